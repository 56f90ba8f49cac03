"""Front ends: waveform batches to spectrogram images, as modules that run on the device.

Parity with librosa (mel in dB, 1e-4) is a test.
"""

from typing import Literal

import matplotlib
import torch
import torchaudio
from torch import nn

BlankRegionClipping = Literal["none", "paper", "code"]


class LogMel(nn.Module):
    """Waveform (B, T) -> log-mel spectrogram in dB below the clip's maximum (B, n_mels, 1 + T // hop_length).

    RespireNet's released values (fact sheet, section 2): 4 kHz, Hann window of 256 samples (64 ms), hop 128 (32 ms), 64 mel
    bands of 50 to 2000 Hz, Slaney scale and norm, 80 dB of range.
    """

    def __init__(self, sample_rate=4000, n_fft=256, hop_length=128, n_mels=64, f_min=50.0, f_max=2000.0, top_db=80.0):
        super().__init__()
        self.top_db = top_db
        self.mel = torchaudio.transforms.MelSpectrogram(
            sample_rate=sample_rate,
            n_fft=n_fft,
            hop_length=hop_length,
            n_mels=n_mels,
            f_min=f_min,
            f_max=f_max,
            pad_mode="constant",  # as librosa
            norm="slaney",
            mel_scale="slaney",
        )

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        power = self.mel(waveform).clamp_(min=1e-10)
        db = power.log10_().mul_(10)
        return (db - db.amax(dim=(1, 2), keepdim=True)).clamp_(min=-self.top_db)


class MelImage(nn.Module):
    """Waveform (B, T) -> colour image of its log-mel spectrogram (B, 3, 64 * zoom, frames * zoom), high frequency on top.

    min-max per clip to 256 levels -> blank region clipping -> magma colours -> bilinear zoom, then minus `mean` over `std`
    per channel (statistics of the training clips, set by `fit_statistics`). A clip of 7 s gives 3 x 192 x 657 at zoom 3.
    """

    def __init__(self, clipping: BlankRegionClipping = "none", zoom: int = 3):
        super().__init__()
        self.log_mel, self.clipping, self.zoom = LogMel(), clipping, zoom
        self.register_buffer("magma", torch.tensor(matplotlib.colormaps["magma"].colors, dtype=torch.float32))
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("std", torch.ones(3))

    def levels(self, waveform: torch.Tensor) -> torch.Tensor:
        """Grey levels uint8 (B, 64, frames), row 0 = highest frequency. A constant clip is all zero."""
        db = self.log_mel(waveform)
        low, high = db.amin(dim=(1, 2), keepdim=True), db.amax(dim=(1, 2), keepdim=True)
        return ((db - low) / (high - low).clamp(min=1e-6) * 255).to(torch.uint8).flip(1)

    def colour(self, levels: torch.Tensor) -> torch.Tensor:
        """The image (B, 3, H, W) of grey levels, values in 0..1."""
        image = self.magma.index_select(0, levels.flatten().int()).view(*levels.shape, 3).permute(0, 3, 1, 2)
        image = nn.functional.interpolate(image, scale_factor=self.zoom, mode="bilinear") if self.zoom > 1 else image
        if self.clipping == "none":
            return image
        return stretch_below(image, self.zoom * blank_rows(levels, self.clipping))

    def standardise(self, image: torch.Tensor) -> torch.Tensor:
        return (image - self.mean[:, None, None]) / self.std[:, None, None]

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return self.standardise(self.colour(self.levels(waveform)))

    @torch.no_grad()
    def fit_statistics(self, batches) -> None:
        """Set `mean` and `std` (per channel, pooled over pixels) from an iterable of batches of grey levels."""
        n, total, square = 0, 0.0, 0.0
        for levels in batches:
            image = self.colour(levels).double()
            n += image[:, 0].numel()
            total, square = total + image.sum(dim=(0, 2, 3)), square + image.square().sum(dim=(0, 2, 3))
        mean = total / n
        self.mean.copy_(mean)
        self.std.copy_((square / n - mean.square()).clamp(min=1e-12).sqrt())


def blank_rows(levels: torch.Tensor, form: BlankRegionClipping) -> torch.Tensor:
    """Number of blank rows on top of each spectrogram: levels (B, F, frames), row 0 = highest frequency -> (B,) int64.

    A pixel is blank if its grey value in magma is below 10, that is level <= 14 of 255, within 4.7 dB of the clip's floor; a
    row is blank if at least 80 % of it is (fact sheet, section 2.2). "code" also counts the first row that is *not* blank, as
    the released code does, so every clip loses its top mel band; "paper" does not. A clip that is blank throughout is kept.
    """
    filled = (levels <= 14).float().mean(dim=2) < 0.80
    first_filled = filled.int().argmax(dim=1)
    rows = first_filled + (1 if form == "code" else 0)
    keep = ~filled.any(dim=1) | (rows >= levels.shape[1])
    return rows.masked_fill(keep, 0)


def stretch_below(image: torch.Tensor, cut: torch.Tensor) -> torch.Tensor:
    """Remove the top `cut` (B,) rows of each image (B, C, H, W) and stretch the rest back to H rows, bilinearly."""
    height = image.shape[2]
    row = torch.arange(height, device=image.device, dtype=image.dtype)
    rest = (height - cut)[:, None].to(image.dtype)
    source = ((row + 0.5) * rest / height - 0.5).clamp(min=0) + cut[:, None]
    above = source.floor().long().clamp(max=height - 1)
    weight = (source - above)[:, None, :, None]

    def pick(r: torch.Tensor) -> torch.Tensor:
        return image.gather(2, r[:, None, :, None].expand_as(image))

    return torch.lerp(pick(above), pick((above + 1).clamp(max=height - 1)), weight)
