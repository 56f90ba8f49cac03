"""Front ends: waveform batches to spectrograms, as modules that run on the device. Parity with librosa is a test."""

import torch
import torchaudio
from torch import nn


class LogMel(nn.Module):
    """Waveform (B, T) -> log-mel spectrogram in dB below the clip's maximum (B, n_mels, 1 + T // hop_length).

    RespireNet's released values (docs/papers/respirenet.md, section 2): 4 kHz, Hann window of 256 samples (64 ms), hop 128
    (32 ms), 64 mel
    bands of 50 to 2000 Hz, Slaney scale and norm, 80 dB of range.
    """

    def __init__(self, sample_rate=4000, n_fft=256, hop_length=128, n_mels=64, f_min=50.0, f_max=2000.0, top_db=80.0):
        super().__init__()
        self.top_db = top_db
        self.spectrum = torchaudio.transforms.Spectrogram(n_fft, hop_length=hop_length, power=None, pad_mode="constant")
        self.mel = torchaudio.transforms.MelScale(n_mels, sample_rate, f_min, f_max, 1 + n_fft // 2, "slaney", "slaney")

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        spectrum = self.spectrum(waveform)
        power = self.mel(spectrum.real.square() + spectrum.imag.square())  # abs() first would cost four times as much
        db = power.clamp_(min=1e-10).log10_().mul_(10)
        return db.sub_(db.amax(dim=(1, 2), keepdim=True)).clamp_(min=-self.top_db)


def decibels(power: torch.Tensor, top_db: float) -> torch.Tensor:
    """10 log10 of power (B, ...), at least 1e-10, within `top_db` of the clip's maximum."""
    db = power.clamp(min=1e-10).log10().mul(10)
    return db.maximum(db.flatten(1).amax(1).view(-1, *[1] * (db.dim() - 1)) - top_db)


class Standardise(nn.Module):
    """Features (B, C, rows, frames) minus mean over sd, as a part of the network, so that it takes features as they are.

    form: "channel" and "row" hold statistics of the training features, over a channel or a row of it; "clip" takes those of
    each clip; a pair (mean, sd) is fixed.
    """

    def __init__(self, form: str | tuple[float, float], n_channels: int, n_rows: int):
        super().__init__()
        self.form = form
        mean, sd = (0.0, 1.0) if isinstance(form, str) else form
        rows = n_rows if form == "row" else 1
        self.register_buffer("mean", torch.full((1, n_channels, rows, 1), float(mean)))
        self.register_buffer("sd", torch.full((1, n_channels, rows, 1), float(sd)))

    @torch.no_grad()
    def fit_statistics(self, batches) -> None:
        """Set mean and sd from an iterable of batches of training features."""
        if self.form not in ("channel", "row"):
            return
        dims = (0, 3) if self.form == "row" else (0, 2, 3)
        n, total, square = 0, 0.0, 0.0
        for features in batches:
            x = features.double().cpu()  # not every device has float64
            n += x[:, 0].numel() // (x.shape[2] if self.form == "row" else 1)
            total, square = total + x.sum(dims), square + x.square().sum(dims)
        mean = total / n
        self.mean.copy_(mean.view_as(self.mean))
        self.sd.copy_((square / n - mean.square()).clamp(min=1e-6).sqrt().view_as(self.sd))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if self.form == "clip":
            sd, mean = torch.std_mean(features, (2, 3), keepdim=True)
            return (features - mean) / sd.clamp(min=1e-3)
        return (features - self.mean) / self.sd
