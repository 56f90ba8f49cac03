"""Clips for prompts by a finished LungLDM, as experiments; how they are compared with real ones; a box to type prompts into."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import ipywidgets as widgets
import numpy as np
import pandas as pd
import torch

from lungnb.core import UserError
from lungnb.data.prompts import FIELDS, check_prompt, parse, prompts
from lungnb.metrics.generation import frechet_distance, inception_score, kernel_distance, kl_paired
from lungnb.papers.lungldm.classifier import CLASSES, Judge, in_batches
from lungnb.papers.lungldm.diffusion import DiffusionRun
from lungnb.papers.lungldm.experiments import ClassifierRun, Computed, LungRun, VocoderRun
from lungnb.papers.lungldm.frontend import Mels
from lungnb.papers.lungldm.pipeline import Sampler


class SampleRun(LungRun):
    """A clip for the whole prompt of each clip of the `prompt_set`; the state holds the log-mels and the waveforms.

    The run's seed is that of the noise; that of the training is in `diffusion`.
    """

    diffusion: DiffusionRun
    #: The finished classifier of sound types whose answers are kept as `predicted`.
    judge: ClassifierRun
    #: None: the waveforms are made by Griffin and Lim.
    vocoder: VocoderRun | None = None
    n_per_type: int = 8
    sampler: Sampler = "dpm"
    #: Of the sampler: none takes its own number.
    steps: int | None = None
    guidance: float = 3.5

    def prompted(self, mels: Mels) -> torch.Tensor:
        """Rows of the clips whose prompts are taken."""
        return prompt_set(mels, self.n_per_type)

    def compute(self, checkpoint: Path) -> Computed:
        self.refuse_other(self.diffusion, self.judge)
        mels = self.mels()
        events = mels.events.iloc[self.prompted(mels).numpy()].reset_index(drop=True)
        texts = prompts(events)
        made = self.diffusion.generate(list(texts), self.steps, self.guidance, self.seed, self.sampler, self.vocoder)
        predicted = self.judge.predict(made.log_mels)
        predictions = events[["clip", "patient", *FIELDS]].assign(prompt=texts, predicted=predicted)
        adherence = float((predictions["predicted"] == predictions["sound"]).mean())
        facts = mels.facts | {"n_clips": len(events), "adherence": adherence}
        state = {"log_mels": made.log_mels, "waveforms": made.waveforms}
        return pd.DataFrame(columns=["epoch"]), predictions, state, facts

    @property
    def log_mels(self) -> torch.Tensor:
        """(N, 1, frames, 64)."""
        return self.state["log_mels"]

    @property
    def waveforms(self) -> torch.Tensor:
        """(N, T) float32 at 16 kHz."""
        return self.state["waveforms"]


class SynthesisRun(SampleRun):
    """One round of clips to train with: for the prompts of training clips, which `draw_clips` draws by the seed.

    The seed is that of the noise, too. The state holds the log-mels alone, float16.
    """

    #: Type -> number of its clips, where that is another.
    rare: dict[str, int] = {}  # noqa: RUF012 pydantic copies it
    #: Of DPM-Solver++: adherence is flat from here on (notebook 04).
    steps: int | None = 6

    def prompted(self, mels: Mels) -> torch.Tensor:
        refuse_leak(mels, self.diffusion.training_clips(mels))
        return draw_clips(mels, "train", self.n_per_type, self.rare, self.seed)

    def compute(self, checkpoint: Path) -> Computed:
        history, predictions, state, facts = super().compute(checkpoint)
        return history, predictions, {"log_mels": state["log_mels"].half()}, facts


def draw_clips(
    mels: Mels, part: str, n_per_type: int, rare: dict[str, int] | None = None, seed: int = 0, again: bool = False
) -> torch.Tensor:
    """Rows of at most `n_per_type` clips of every type, or as many as `rare` says of it, of the patients of a part.

    Drawn by `seed`, type by type; fewer clips are the first of more. again: a type that has fewer has its clips again and again.
    """
    rng, rows = np.random.default_rng(seed), np.flatnonzero(mels.part == part)
    drawn = []
    for name in CLASSES["sound"]:
        of_type, n = rng.permutation(rows[mels.sound[rows] == name]), (rare or {}).get(name, n_per_type)
        drawn.append(np.resize(of_type, n) if again and len(of_type) else of_type[:n])
    return torch.from_numpy(np.concatenate(drawn))


def prompt_set(mels: Mels, n_per_type: int, seed: int = 0) -> torch.Tensor:
    """Rows of `n_per_type` test clips of every sound type there is, type by type. Where a type has fewer, prompts come again,
    the noise does not."""
    return draw_clips(mels, "test", n_per_type, seed=seed, again=True)


def matched_references(mels: Mels, rows: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """For each of `rows` another test clip of its type, of another patient if there is one: as near as real sound comes."""
    rng, others = np.random.default_rng(seed), []
    test, sound, patient = np.flatnonzero(mels.part == "test"), mels.sound, mels.patient
    for row in rows.tolist():
        same = test[(sound[test] == sound[row]) & (test != row)]
        of_others = same[patient[same] != patient[row]]
        others.append(rng.choice(next(c for c in (of_others, same, [row]) if len(c))))
    return torch.tensor(others)


def refuse_leak(mels: Mels, rows: torch.Tensor) -> None:
    """Raise UserError if `rows`, which a model was trained on, are of a patient by whom a classifier is selected or tested."""
    if shared := set(mels.patient[rows.cpu().numpy()]) & set(mels.patient[mels.part != "train"]):
        raise UserError(
            f"The diffusion was trained on clips of {len(shared)} patients of the validation or test part, first "
            f"{min(shared)}; split the clips by patient before both."
        )


class Prediction(NamedTuple):
    """What a classifier makes of N clips: embedding (N, dims) and logits (N, classes)."""

    embedding: np.ndarray
    logits: np.ndarray


def predict(judge: Judge, log_mel: torch.Tensor) -> Prediction:
    """Log-mels (N, 1, frames, 64), in batches on the judge's device."""
    return Prediction(*(in_batches(function, log_mel).numpy() for function in (judge.embed, judge)))


def spectrum(log_mel: torch.Tensor) -> np.ndarray:
    """The embedding that needs no network: the mean log-mel spectrum (N, 64) of log-mels (N, 1, frames, 64)."""
    return log_mel.float().mean(dim=(1, 2)).numpy()


def measures(reference: Prediction, other: Prediction, sound: pd.Series) -> dict[str, float]:
    """Table 1's metrics of `other` against `reference`, clip by clip of the types `sound` (N,), and what the table lacks.

    FAD and kernel distance in the classifier's embedding, one vector a clip; KL paired and IS over the softmax of its
    logits (`lungnb.metrics.generation`); adherence: the share of clips that it takes for their type.
    """
    predicted = np.array(CLASSES["sound"], dtype=object)[other.logits.argmax(axis=1)]
    return {
        "FAD": frechet_distance(reference.embedding, other.embedding),
        "KL": kl_paired(pd.DataFrame(reference.logits), pd.DataFrame(other.logits)),
        "IS": inception_score(other.logits)[0],
        "kernel distance": kernel_distance(reference.embedding, other.embedding).value,
        "adherence": float((predicted == sound.to_numpy(object)).mean()),
    }


class PromptBox(widgets.VBox):
    """`show(text, seed)` displays what the model makes of a prompt; each press of the button draws other noise.

    What is wrong with a prompt (empty, too long) is said in one sentence and nothing is generated; what the model has seen
    nothing like (off the grammar) is said and generated all the same.
    """

    def __init__(self, show: Callable[[str, int], None], prompt: str):
        self.show, self.seed = show, 0
        self.text = widgets.Text(prompt, continuous_update=False, layout={"width": "36em"}, description="prompt")
        self.button = widgets.Button(description="make a sound", button_style="primary")
        self.message, self.output = widgets.Label(), widgets.Output()
        self.button.on_click(lambda _: self.make())
        super().__init__([widgets.HBox([self.text, self.button]), self.message, self.output])

    def make(self) -> None:
        """What the button does."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                text = check_prompt(self.text.value)
                parse(text)
            except UserError as error:
                self.message.value = str(error)
                return
            self.message.value = " ".join(str(warning.message) for warning in caught)
        self.output.clear_output(wait=True)
        with self.output, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the text encoder says again what was said above
            self.show(text, self.seed)
        self.seed += 1

    def __repr__(self) -> str:
        return "A box to type a prompt into stands here while the notebook runs."
