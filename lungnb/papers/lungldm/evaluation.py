"""Clips of a generator, measured: what independent judges take them for, clicks and tones, how near they are to real sound.

One row a clip, so that every number of a table can be computed anew from them, with its interval, by `lungnb.book.clips`.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import nn

from lungnb.data.prompts import prompts
from lungnb.metrics.acoustics import energy_below, kurtosis, tonal_share
from lungnb.metrics.clips import LETTERS, TYPES
from lungnb.metrics.embedding import cell_means
from lungnb.papers.lungldm.classifier import in_batches
from lungnb.papers.lungldm.diffusion import DiffusionRun
from lungnb.papers.lungldm.encoder_judge import EncoderJudgeRun
from lungnb.papers.lungldm.experiments import AutoencoderRun, ClassifierRun, Computed, LungRun, VocoderRun
from lungnb.papers.lungldm.frontend import GriffinLim, LungMel, Mels, to_waveform
from lungnb.papers.lungldm.judges import JudgeRun, clip_table, fit_length, sounding_share, type_indices

#: Training clips of each type that a clip's nearest is looked for among, and that the tree of lengths is fitted to.
N_TRAINING = 400
_RATE = 16000


class MeasuredRun(LungRun):
    """Clips and what is measured of them; `judges` and `embedding` are of other seeds than all that generates."""

    judges: list[Annotated[JudgeRun | EncoderJudgeRun, Field(discriminator="network")]]
    #: The classifier whose embedding distances are measured in.
    embedding: ClassifierRun
    n_per_type: int = 40

    def asked(self, mels: Mels, part: str) -> np.ndarray:
        """Rows of `n_per_type` clips of each type of TYPES of a part, drawn by seed 0 whatever the run's; all of rarer types."""
        rng, rows = np.random.default_rng(0), np.flatnonzero(mels.part == part)
        drawn = [rng.permutation(rows[mels.sound[rows] == name])[: self.n_per_type] for name in TYPES]
        return np.concatenate(drawn)

    def measure(self, mels: Mels, table: pd.DataFrame, log_mels: torch.Tensor, waveforms: torch.Tensor) -> pd.DataFrame:
        """`table` of N clips, with what is measured of their log-mels (N, 1, frames, n_mels) and waveforms (N, T)."""
        heard, training = waveforms.numpy(), self._training(mels)
        parts = {LETTERS[judge.network]: judge.predict(waveforms) for judge in self.judges}
        tree = fit_length(sounding_share(mels.waveforms(training).numpy()), type_indices(mels.sound[training.numpy()]))
        parts["r"] = np.zeros((len(table), len(TYPES)))
        parts["r"][:, tree.classes_] = tree.predict_proba(sounding_share(heard)[:, None])
        parts["e"] = in_batches(self.embedding.trained("cpu").embed, log_mels).numpy()
        parts["s"] = spectrum_statistics(waveforms)
        numbers = {
            "kurtosis": kurtosis(heard, _RATE),
            "tonal": tonal_share(heard, _RATE),
            "low": energy_below(heard, _RATE),
            "nearest": nearest(cell_means(log_mels), cell_means(mels.log_mel[training].float())),
        }
        frames = [pd.DataFrame(values).add_prefix(letter) for letter, values in parts.items()]
        return pd.concat([table.reset_index(drop=True).assign(**numbers), *frames], axis=1)

    def _training(self, mels: Mels) -> torch.Tensor:
        rng, rows = np.random.default_rng(0), np.flatnonzero(mels.part == "train")
        kept = [rng.permutation(rows[mels.sound[rows] == name])[:N_TRAINING] for name in TYPES]
        return torch.from_numpy(np.concatenate(kept))


class RealClipsRun(MeasuredRun):
    """Held-out clips. reference: of validation patients; real: of test patients, who share no patient with them, and so as near
    as real sound comes; mel and Griffin-Lim: the latter through the front end and back, as near as the generator can come."""

    def compute(self, checkpoint: Path) -> Computed:
        mels, parts, griffin_lim = self.mels(), [], GriffinLim(LungMel(**self.front_end))
        for name, part in {"reference": "validation", "real": "test"}.items():
            rows = torch.from_numpy(self.asked(mels, part))
            table = _described(mels, rows.numpy()).assign(row=name)
            parts.append(self.measure(mels, table, mels.log_mel[rows].float(), mels.waveforms(rows)))
        log_mels = mels.log_mel[rows].float()
        table = table.assign(row="mel and Griffin-Lim")
        parts.append(self.measure(mels, table, log_mels, _inverted(griffin_lim, log_mels, mels.n_samples)))
        return pd.DataFrame(columns=["epoch"]), pd.concat(parts, ignore_index=True), {}, mels.facts


class GeneratedClipsRun(MeasuredRun):
    """Clips of a generator for the prompts of test clips, `n_per_type` of each type; where a type has fewer, prompts come again,
    the noise does not. Beside them the test clips through its VAE, with what their log-mels are missed by (`l1`, nats)."""

    diffusion: DiffusionRun
    #: None: Griffin-Lim.
    vocoder: VocoderRun | None = None
    guidance: float = 2.0
    steps: int = 25
    #: Without, the clips of the VAE are left out: they are the same for each strength of guidance.
    through_vae: bool = True

    @property
    def autoencoder(self) -> AutoencoderRun:
        return self.diffusion.autoencoder

    def invert(self, log_mels: torch.Tensor) -> torch.Tensor:
        """Log-mels (N, 1, frames, n_mels) -> waveforms (N, T), by the vocoder or Griffin-Lim."""
        vocoder = self.vocoder.trained("cpu") if self.vocoder else GriffinLim(LungMel(**self.front_end))
        return _inverted(vocoder, log_mels, round(self.seconds * _RATE))

    def compute(self, checkpoint: Path) -> Computed:
        self.refuse_other(self.diffusion, self.embedding)
        mels = self.mels()
        rows = self.asked(mels, "test")
        types = mels.sound[rows]
        again = np.concatenate([np.resize(rows[types == name], self.n_per_type) for name in TYPES if name in types])
        table = _described(mels, again).assign(row="generated")
        # A clip belongs to no patient: what is drawn anew for an interval are the places of the prompts.
        table = table.assign(patient=[f"prompt {k}" for k in range(len(table))])
        texts = list(table["prompt"])
        made = self.diffusion.generate(texts, self.steps, self.guidance, self.seed, vocoder=self.vocoder)
        parts, state = [self.measure(mels, table, made.log_mels, made.waveforms)], {"log_mels": made.log_mels.half()}
        if not self.through_vae:
            return pd.DataFrame(columns=["epoch"]), parts[0], state, mels.facts
        real = mels.log_mel[rows].float()
        network = self.autoencoder.trained("cpu")
        with torch.inference_mode():
            through = in_batches(network.reconstruct, real)
        waveforms = self.invert(through)
        table = _described(mels, rows).assign(
            row="through the VAE", l1=(through - real).abs().mean(dim=(1, 2, 3)).numpy()
        )
        parts.append(self.measure(mels, table, through, waveforms))
        return pd.DataFrame(columns=["epoch"]), pd.concat(parts, ignore_index=True), state, mels.facts


def _described(mels: Mels, rows: np.ndarray) -> pd.DataFrame:
    events = mels.events.iloc[rows].reset_index(drop=True)
    return clip_table(mels, rows).assign(prompt=prompts(events).astype(object))


@torch.inference_mode()
def _inverted(vocoder: nn.Module, log_mels: torch.Tensor, n_samples: int) -> torch.Tensor:
    return in_batches(lambda part: to_waveform(vocoder, part, n_samples), log_mels)


def spectrum_statistics(waveforms: torch.Tensor, n_bands: int = 16) -> np.ndarray:
    """The embedding that needs no network: mean and deviation over time of 16 bands of the log-mel to 4 kHz, (N, 32), in nats."""
    mel = LungMel(f_max=4000.0)
    with torch.inference_mode():
        bands = [mel(part)[:, 0].unflatten(2, (n_bands, -1)).mean(dim=3) for part in waveforms.split(64)]
    x = torch.cat(bands)
    return torch.cat([x.mean(dim=1), x.std(dim=1)], dim=1).numpy()


def nearest(clips: np.ndarray, training: np.ndarray) -> np.ndarray:
    """The RMS distance (N,) of each of `clips` (N, dims) to the nearest of `training` (M, dims)."""
    distance = torch.cdist(torch.from_numpy(clips), torch.from_numpy(training)).min(dim=1).values
    return (distance / clips.shape[1] ** 0.5).numpy()
