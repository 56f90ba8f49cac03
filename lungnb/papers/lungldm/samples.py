"""What a finished LungLDM makes for the prompts of test clips, as a run, and how it is compared with those clips."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from lungnb.data.prompts import FIELDS, prompts
from lungnb.metrics.generation import frechet_distance, inception_score, kernel_distance, kl_paired
from lungnb.papers.lungldm.diffusion import DiffusionRun, generate
from lungnb.papers.lungldm.experiments import CLASSES, ClassifierRun, Judge, in_batches
from lungnb.papers.lungldm.mels import LungRun, Mels, mels_of
from lungnb.papers.lungldm.vocoder_experiment import VocoderRun
from lungnb.training import State


class SampleRun(LungRun):
    """A clip for the whole prompt of each clip that `asked` chooses; the state holds the log-mels and the waveforms.

    The run's seed is that of the noise; that of the training is in `diffusion`.
    """

    diffusion: DiffusionRun
    #: The finished classifier of sound types whose answers are kept as `predicted`.
    judge: ClassifierRun
    #: None: the waveforms are made by Griffin and Lim.
    vocoder: VocoderRun | None = None
    n_per_type: int = 8
    sampler: Literal["ddim", "dpm"] = "dpm"
    #: Of the sampler: none takes its own number.
    steps: int | None = None
    guidance: float = 3.5

    def compute(self, checkpoint: Path) -> tuple[pd.DataFrame, pd.DataFrame, State, dict[str, Any]]:
        for part in (self.diffusion, self.judge):
            self.refuse_other(part)
        given = mels_of(self)
        rows = asked(given, self.n_per_type)
        table = given.table.iloc[rows.numpy()].reset_index(drop=True)
        said = prompts(table)
        made = generate(self.diffusion, list(said), self.steps, self.guidance, self.seed, self.sampler, self.vocoder)
        names = np.array(CLASSES["sound"], dtype=object)
        answers = names[in_batches(self.judge.trained(), made.log_mels).argmax(1).numpy()]
        predictions = table[["clip", "patient", *FIELDS]].assign(prompt=said, predicted=answers)
        facts = {
            "notes": given.notes,
            "n_clips": len(table),
            "adherence": float((predictions["predicted"] == predictions["sound"]).mean()),
        }
        state = {"log_mels": made.log_mels, "waveforms": made.waveforms}
        return pd.DataFrame(columns=["epoch"]), predictions, state, facts

    @property
    def log_mels(self) -> torch.Tensor:
        """(N, 1, frames, 64) float32."""
        return self.state["log_mels"]

    @property
    def waveforms(self) -> torch.Tensor:
        """(N, T) float32 at 16 kHz."""
        return self.state["waveforms"]


def asked(given: Mels, n_per_type: int, seed: int = 0) -> torch.Tensor:
    """Rows of `n_per_type` test clips of every sound type there is, type by type, drawn by `seed`.

    A type with fewer has its clips again and again: their prompts are the same, the noise is not.
    """
    rng, rows = np.random.default_rng(seed), []
    test = given.rows("test").cpu().numpy()
    sound = given.table["sound"].to_numpy(object)[test]
    for name in CLASSES["sound"]:
        if len(of_type := test[sound == name]):
            rows.append(np.resize(rng.permutation(of_type), n_per_type))
    return torch.from_numpy(np.concatenate(rows))


def counterparts(given: Mels, rows: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """For each of `rows` another test clip of its type, of another patient if there is one: as near as real sound comes."""
    rng, others = np.random.default_rng(seed), []
    test = given.rows("test").cpu().numpy()
    sound = given.table["sound"].to_numpy(object)
    patient = given.table["patient"].fillna(given.table["clip"]).to_numpy(object)
    for row in rows.tolist():
        same = test[(sound[test] == sound[row]) & (test != row)]
        of_others = same[patient[same] != patient[row]]
        others.append(rng.choice(next(c for c in (of_others, same, [row]) if len(c))))
    return torch.tensor(others)


@dataclass(frozen=True)
class Heard:
    """What a classifier makes of N clips: embedding (N, dims) and logits (N, classes)."""

    embedding: np.ndarray
    logits: np.ndarray


def heard(judge: Judge, log_mel: torch.Tensor) -> Heard:
    """Log-mels (N, 1, frames, 64), in batches."""
    return Heard(*(in_batches(function, log_mel).numpy() for function in (judge.embed, judge)))


def spectrum(log_mel: torch.Tensor) -> np.ndarray:
    """The embedding that needs no network: the mean log-mel spectrum (N, 64) of log-mels (N, 1, frames, 64)."""
    return log_mel.float().mean(dim=(1, 2)).numpy()


def measures(reference: Heard, other: Heard, sound: pd.Series) -> dict[str, float]:
    """Table 1's metrics of `other` against `reference`, clip by clip of the types `sound` (N,), and what the table lacks.

    FAD and kernel distance in the classifier's embedding, one vector a clip; KL paired and IS over the softmax of its
    logits (`lungnb.metrics.generation`); adherence: the share of clips that it takes for their type.
    """
    kernel = kernel_distance(reference.embedding, other.embedding)
    answers = np.array(CLASSES["sound"], dtype=object)[other.logits.argmax(axis=1)]
    return {
        "FAD": frechet_distance(reference.embedding, other.embedding),
        "KL": kl_paired(pd.DataFrame(reference.logits), pd.DataFrame(other.logits)),
        "IS": inception_score(other.logits)[0],
        "kernel distance": kernel.value,
        "adherence": float((answers == sound.to_numpy(object)).mean()),
    }
