"""Waveform to log-mel and back to the scale of the model (docs/papers/lungldm.md, section 3.1)."""

import torch
import torchaudio
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch.nn import functional

from lungnb.core import UserError

PEAK = 0.5
SILENT = 1e-6  # a thirtieth of the smallest step of a 16-bit file

#: Options of LungMel. "chest" has a bandwidth and a window for chest sounds: half of AudioLDM's bands lie above 1.6 kHz, and
#: its window of 64 ms smears a fine crackle of 5 ms. A vocoder or VAE of AudioLDM goes with "audioldm" only.
MELS = {"audioldm": {}, "chest": {"f_max": 4000.0, "win_length": 512}}


class LungMel(ModelMixin, ConfigMixin):
    """Waveform (B, T) at `sample_rate` -> natural-log mel spectrogram (B, 1, T // hop_length, n_mels), time before frequency.

    AudioLDM's settings (docs/papers/lungldm.md, section 3.1): reflected by (n_fft - hop_length) / 2 samples on each
    side, Hann window, frames not centred, magnitude (not power), Slaney filters, at least `floor`. The VAE sees
    `standardise`d mels; mean 0 and std 0.5, where it starts, leave them as they are. The statistics travel with the
    weights, so they are saved with the pipeline.
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
        """(x - mean) / (2 std): most values in -1..1, so that the exponential penalty stays small."""
        return (log_mel - self.mean) / (2 * self.std)

    def unstandardise(self, mel: torch.Tensor) -> torch.Tensor:
        return mel * (2 * self.std) + self.mean

    @torch.no_grad()
    def fit_statistics(self, batches) -> None:
        """Set `mean` and `std`, pooled over all cells, from an iterable of batches of log-mels."""
        n, total, square = 0, 0.0, 0.0
        for log_mel in batches:
            values = log_mel.cpu().double()  # not every device has float64
            n, total, square = n + values.numel(), total + values.sum(), square + values.square().sum()
        mean = total / n
        self.mean.copy_(mean)
        self.std.copy_((square / n - mean.square()).clamp(min=1e-12).sqrt())


def prepare(clip: torch.Tensor, n_samples: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """One clip (T,) -> (n_samples,): cropped, mean removed, peak at 0.5, zeros behind it (docs/papers/lungldm.md,
    section 3.1).

    The crop begins at random with a generator, else at the first sample. Raises UserError if nothing sounds in it.
    """
    if len(clip) > n_samples:
        last = len(clip) - n_samples
        first = 0 if generator is None else int(torch.randint(last + 1, (), generator=generator))
        clip = clip[first : first + n_samples]
    clip = clip.float() - clip.float().mean()
    peak = clip.abs().max() if len(clip) else torch.tensor(0.0)
    if not peak.isfinite():
        raise UserError("The clip holds samples that are not numbers (NaN or infinite); repair it or leave it out.")
    if peak < SILENT:
        raise UserError("The clip is silent, so it has no peak to scale by; leave it out or take another part of it.")
    return functional.pad(clip * (PEAK / peak), (0, n_samples - len(clip)))
