"""Waveform to log-mel and back (Griffin-Lim, or a HiFi-GAN), and the log-mels of all clips of a corpus with their split."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pandas as pd
import torch
import torchaudio
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn
from torch.nn import functional
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from lungnb.core import cache_dir, cached_arrays
from lungnb.data.corpus import Corpus
from lungnb.data.splits import make_split
from lungnb.data.store import Store, build_store, read_clip
from lungnb.papers.lungldm.windows import with_context

PEAK = 0.5
SILENT = 1e-6  # a thirtieth of the smallest step of a 16-bit file
BATCH = 64
#: Validation clips on which a loss is followed.
N_VALIDATION = 128
#: More clips than this are stored by as many processes as there are cores.
MANY = 10_000

#: Where AudioLDM's SpeechT5HifiGanConfig is not the default (docs/papers/lungldm.md, section 3.5): 160 samples a frame.
AUDIOLDM_VOCODER = {
    "model_in_dim": 64,
    "upsample_initial_channel": 1024,
    "upsample_rates": [5, 4, 2, 2, 2],
    "upsample_kernel_sizes": [16, 16, 8, 4, 4],
    "normalize_before": False,
}


class LungMel(ModelMixin, ConfigMixin):
    """Waveform (B, T) at `sample_rate` -> natural-log mel spectrogram (B, 1, T // hop_length, n_mels), time before frequency.

    AudioLDM's settings (docs/papers/lungldm.md, section 3.1): reflected by (n_fft - hop_length) / 2 samples on each side, Hann
    window, frames not centred, magnitude (not power), Slaney filters, at least `floor`. The VAE sees `standardise`d mels; mean
    0 and std 0.5, where it starts, leave them as they are. The statistics travel with the weights, and so with the pipeline.
    """

    @register_to_config
    def __init__(
        self,
        sample_rate: int = 16000,
        n_fft: int = 1024,
        win_length: int = 1024,
        hop_length: int = 160,
        n_mels: int = 64,
        f_max: float = 8000.0,
        floor: float = 1e-5,
    ):
        super().__init__()
        self.spectrum = torchaudio.transforms.Spectrogram(n_fft, win_length, hop_length, power=1, center=False)
        bank = torchaudio.functional.melscale_fbanks(
            1 + n_fft // 2, 0.0, f_max, n_mels, sample_rate, "slaney", "slaney"
        )
        self.register_buffer("bank", bank, persistent=False)
        self.register_buffer("mean", torch.tensor(0.0))
        self.register_buffer("std", torch.tensor(0.5))

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        pad = (self.config.n_fft - self.config.hop_length) // 2
        magnitude = self.spectrum(functional.pad(waveform, (pad, pad), mode="reflect"))
        return (magnitude.mT @ self.bank).clamp(min=self.config.floor).log()[:, None]

    def standardise(self, log_mel: torch.Tensor) -> torch.Tensor:
        """(x - mean) / (2 std) in float32, on the device of the statistics: most values in -1..1, so that the exponential
        penalty stays small."""
        return (log_mel.to(self.mean.device).float() - self.mean) / (2 * self.std)

    def unstandardise(self, mel: torch.Tensor) -> torch.Tensor:
        return mel * (2 * self.std) + self.mean

    @torch.no_grad()
    def fit_statistics(self, batches: Iterable[torch.Tensor]) -> "LungMel":
        """Set `mean` and `std`, pooled over all cells, from batches of log-mels."""
        n, total, square = 0, 0.0, 0.0
        for log_mel in batches:
            values = log_mel.cpu().double()  # not every device has float64
            n, total, square = n + values.numel(), total + values.sum(), square + values.square().sum()
        mean = total / n
        self.mean.copy_(mean)
        self.std.copy_((square / n - mean.square()).clamp(min=1e-12).sqrt())
        return self


def prepare(clip: torch.Tensor, n_samples: int) -> torch.Tensor | None:
    """One clip (T,) -> (n_samples,): its start, mean removed, peak at 0.5, zeros behind it (docs/papers/lungldm.md, section
    3.1). None if nothing sounds in it, so that it has no peak to scale by."""
    clip = clip[:n_samples].float()
    clip = clip - clip.mean()
    peak = clip.abs().max() if len(clip) else torch.tensor(0.0)
    return functional.pad(clip * (PEAK / peak), (0, n_samples - len(clip))) if peak >= SILENT else None


def hifigan(**options) -> SpeechT5HifiGan:
    """An untrained HiFi-GAN, log-mel (B, frames, 64) -> waveform (B, 160 * frames + 32); `options` change AudioLDM's layout.

    Its weights start as PyTorch's convolutions do. transformers starts them at 0.01: the sound is then so faint that its mel
    lies under the floor everywhere, and no gradient comes back.
    """
    vocoder = SpeechT5HifiGan(SpeechT5HifiGanConfig(**AUDIOLDM_VOCODER | options))
    for layer in vocoder.modules():
        if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
            layer.reset_parameters()
    return vocoder


class GriffinLim(nn.Module):
    """Log-mel (B, frames, n_mels) -> waveform (B, hop_length * frames), called as the HiFi-GAN is, with nothing to train.

    The magnitudes come from the mel bands by the pseudo-inverse of the filters, the phases from `n_iter` rounds of Griffin
    and Lim with momentum. Half a hop at either end, where no frame has its centre, is silent.
    """

    def __init__(self, mel: LungMel, n_iter: int = 32):
        super().__init__()
        self.hop_length = mel.config.hop_length
        self.register_buffer("inverse", torch.linalg.pinv(mel.bank.float()), persistent=False)
        self.phases = torchaudio.transforms.GriffinLim(
            mel.config.n_fft, n_iter, mel.config.win_length, self.hop_length, power=1.0, rand_init=False
        )

    @property
    def device(self) -> torch.device:
        return self.inverse.device

    @torch.no_grad()
    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        magnitude = (log_mel.float().exp() @ self.inverse).clamp(min=0)
        # Our frames have their centres half a hop after those of a centred transform (see LungMel).
        return functional.pad(self.phases(magnitude.mT), (self.hop_length // 2, self.hop_length // 2))


def to_waveform(vocoder: SpeechT5HifiGan | GriffinLim, log_mel: torch.Tensor, n_samples: int) -> torch.Tensor:
    """Log-mel (B, 1, frames, n_mels) -> waveform (B, n_samples), on the vocoder's device; the HiFi-GAN's last 32 samples, and
    more, are cut off."""
    return vocoder(log_mel[:, 0].to(vocoder.device))[:, :n_samples]


@dataclass(frozen=True)
class Mels:
    """N clips as the model sees them: log_mel float16 (N, 1, frames, 64), their rows of events, and the `part` of each.

    part: train, validation or test. On the CPU log_mel is memory-mapped. Clips that are silent for the length of the size,
    from their start, are left out: `stored` are the rows (N,) of `store` that are not. front_end: options of LungMel.
    """

    log_mel: torch.Tensor
    events: pd.DataFrame
    part: np.ndarray
    store: Store
    stored: np.ndarray
    n_samples: int
    front_end: Mapping[str, Any] = field(default_factory=dict)

    def rows(self, part: str) -> torch.Tensor:
        """Indices of the clips of a part, on the device of log_mel."""
        return torch.from_numpy(np.flatnonzero(self.part == part)).to(self.log_mel.device)

    def validation_subset(self) -> torch.Tensor:
        """Rows of N_VALIDATION validation clips, or all: drawn once, so that the rows of a history can be compared."""
        rows = self.rows("validation")
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
        return rows[order[:N_VALIDATION].to(rows.device)]

    def waveforms(self, rows: torch.Tensor) -> torch.Tensor:
        """What the mels of `rows` were made of, (B, T) on the device of log_mel."""
        stored = self.stored[rows.cpu().numpy()]
        waves = self.store.waveforms(stored, self.n_samples / self.store.sample_rate)
        return torch.stack(_prepared(waves, self.store.length[stored], self.n_samples)).to(self.log_mel.device)

    def metadata(self, rows: torch.Tensor) -> pd.DataFrame:
        """Columns clip, patient, sound and part of the clips `rows`."""
        rows = rows.cpu().numpy()
        return self.events.loc[rows, ["clip", "patient", "sound"]].assign(part=self.part[rows]).reset_index(drop=True)

    def fit_mel(self) -> LungMel:
        """The front end with the mean and std of the training clips."""
        mel = LungMel(**self.front_end).to(self.log_mel.device)
        return mel.fit_statistics(self.log_mel[rows] for rows in self.rows("train").split(BATCH))

    @property
    def sound(self) -> np.ndarray:
        """The sound type of each clip (N,)."""
        return self.events["sound"].to_numpy(object)

    @property
    def patient(self) -> np.ndarray:
        """The patient of each clip (N,); a clip whose patient is not known is taken for one of a patient of its own."""
        return self.events["patient"].fillna(self.events["clip"]).to_numpy(object)

    @property
    def n_clips(self) -> dict[str, int]:
        return {part: int((self.part == part).sum()) for part in ("train", "validation", "test")}

    @property
    def facts(self) -> dict[str, Any]:
        """What a report is to say of the clips: n_clips and notes."""
        n, seconds = len(self.store) - len(self.stored), self.n_samples / self.store.sample_rate
        notes = [f"{n} clips are left out, which are silent for their first {seconds:g} s"] if n else []
        return {"notes": notes, "n_clips": self.n_clips}


def load_mels(
    corpus: Corpus,
    seconds: float,
    device: torch.device | str = "cpu",
    front_end: Mapping[str, Any] | None = None,
    context: bool = False,
) -> Mels:
    """The first `seconds` of all clips of `corpus`; their log-mels are computed once, whatever is trained on them.

    front_end: options of LungMel. context: clips are windows of that length, widened as `with_context` does, else an event that
    is shorter is followed by silence.
    """
    front_end, read = dict(front_end or {}), read_clip
    if context:
        corpus, read = with_context(corpus, seconds)
    store = build_store(corpus, n_processes=os.cpu_count() if len(corpus.events) > MANY else 1, source=read)
    arrays = cached_arrays(
        f"mels/{store.name}-{seconds:g}s",
        (store.fingerprint, seconds, *sorted(front_end.items())),
        [__name__],
        lambda: compute_mels(store, seconds, LungMel(**front_end)),
    )
    audible = arrays["audible"]
    return Mels(
        log_mel=torch.from_numpy(arrays["log_mel"]).to(device),
        events=store.events[audible].reset_index(drop=True),
        part=split_clips(store.events)[audible],
        store=store,
        stored=np.flatnonzero(audible),
        n_samples=round(seconds * store.sample_rate),
        front_end=front_end,
    )


@torch.inference_mode()
def compute_mels(store: Store, seconds: float, mel: LungMel) -> dict[str, np.ndarray]:
    """log_mel float16 (M, 1, frames, 64) of the clips in which something is heard; audible: which of all (N,) they are.

    They are collected in a file without a name, so that 124,883 clips take no more memory than one batch.
    """
    n_samples, n = round(seconds * mel.config.sample_rate), 0
    shape = (len(store), 1, n_samples // mel.config.hop_length, mel.config.n_mels)
    cache_dir().mkdir(parents=True, exist_ok=True)
    log_mel = np.memmap(TemporaryFile(dir=cache_dir()), np.float16, "w+", shape=shape)  # noqa: SIM115
    audible = np.ones(len(store), dtype=bool)
    for rows, waves in store.batches(BATCH, seconds):
        prepared = _prepared(waves, store.length[rows], n_samples)
        audible[rows] = [wave is not None for wave in prepared]
        if kept := [wave for wave in prepared if wave is not None]:
            log_mel[n : n + len(kept)] = mel(torch.stack(kept)).half().numpy()
            n += len(kept)
    return {"log_mel": log_mel[:n], "audible": audible}


def _prepared(waves: np.ndarray, length: np.ndarray, n_samples: int) -> list[torch.Tensor | None]:
    """The first `length` (B,) samples of `waves` (B, T), prepared."""
    return [prepare(wave[:n], n_samples) for wave, n in zip(torch.from_numpy(waves), length, strict=True)]


def split_clips(events: pd.DataFrame) -> np.ndarray:
    """train, validation or test for each clip (N,), 3 : 1 : 1, by patient; types and corpora are spread evenly.

    A clip whose patient is not known is taken for one of a patient of its own. Raises UserError for fewer than 5 patients.
    """
    patient = events["patient"].fillna(events["clip"])
    strata = events.assign(label=events["sound"], device=events["corpus"], patient=patient)
    return make_split(strata, "patients").part.to_numpy(object)
