"""Front ends: waveform batches to spectrogram images, as modules that run on the device.

Parity with librosa (mel in dB, MFCC) to 1e-4 is a test.
"""

from typing import ClassVar, Literal

import matplotlib
import torch
import torchaudio
from torch import nn

BlankRegionClipping = Literal["none", "paper", "code"]


class LogMel(nn.Module):
    """Waveform (B, T) -> log-mel spectrogram in dB below the clip's maximum (B, n_mels, 1 + T // hop_length).

    RespireNet's released values (docs/papers/respirenet.md, section 2): 4 kHz, Hann window of 256 samples (64 ms), hop
    128 (32 ms), 64 mel bands of 50 to 2000 Hz, Slaney scale and norm, 80 dB of range.
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


class StackedMaps(nn.Module):
    """Waveform (B, T) -> log-mel, MFCC and LFCC, one above the other (B, 3, n_rows, 1 + T // hop_length).

    The three channels of the Conv-LSTM paper (section 3.2), which gives no number; these are common choices
    (docs/papers/convlstm.md, section 2). Both filter banks span 0 to `sample_rate` / 2 with `n_rows` bands; levels are
    in dB re 1 within 80 dB of the clip's maximum; the coefficients are all `n_rows` of the orthonormal DCT-II over the
    bands, of the mel bands (Slaney scale and norm, as in librosa) for MFCC and of the linear bands for LFCC.
    """

    def __init__(self, sample_rate=8000, n_fft=512, hop_length=320, n_rows=64, top_db=80.0):
        super().__init__()
        self.top_db = top_db
        self.spectrum = torchaudio.transforms.Spectrogram(n_fft, hop_length=hop_length, power=None, pad_mode="constant")
        n_bins, nyquist = 1 + n_fft // 2, sample_rate / 2
        mel = torchaudio.functional.melscale_fbanks(n_bins, 0.0, nyquist, n_rows, sample_rate, "slaney", "slaney")
        linear = torchaudio.functional.linear_fbanks(n_bins, 0.0, nyquist, n_rows, sample_rate)
        self.register_buffer("banks", torch.cat([mel, linear], dim=1))
        self.register_buffer("dct", torchaudio.functional.create_dct(n_rows, n_rows, "ortho"))

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        spectrum = self.spectrum(waveform).mT  # frames first, as it lies in memory: the products below are one each
        power = (spectrum.real.square() + spectrum.imag.square()) @ self.banks
        mel, linear = (decibels(part, self.top_db) for part in power.chunk(2, dim=2))
        return torch.stack([mel, mel @ self.dct, linear @ self.dct], dim=1).mT


class CropSpectrogram(nn.Module):
    """Crops (B, T) at 22,050 Hz -> dB spectrograms (B, n_rows, 1 + T // 512), row 0 = lowest frequency.

    The three inputs of the paediatric paper (docs/papers/pediatric.md, section 2), as librosa makes them with n_fft
    2048 and hop 512: "stft", the first 150 bins, to 1,604 Hz, within 80 dB of the crop's maximum; "mel", the first 50
    of 128 bands, in dB below the crop's maximum; "mfcc", 32 coefficients of all 128 bands. A crop of 5 s has 216
    frames.
    """

    N_ROWS: ClassVar[dict[str, int]] = {"stft": 150, "mel": 50, "mfcc": 32}

    def __init__(self, kind: Literal["stft", "mel", "mfcc"] = "stft", sample_rate: int = 22050):
        super().__init__()
        self.kind, self.n_rows = kind, self.N_ROWS[kind]
        self.spectrum = torchaudio.transforms.Spectrogram(2048, hop_length=512, power=None, pad_mode="constant")
        bank = torchaudio.functional.melscale_fbanks(1025, 0.0, sample_rate / 2, 128, sample_rate, "slaney", "slaney")
        self.register_buffer("bank", bank)
        self.register_buffer("dct", torchaudio.functional.create_dct(32, 128, "ortho"))

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        spectrum = self.spectrum(waveform).mT
        power = spectrum.real.square() + spectrum.imag.square()
        if self.kind == "stft":  # `decibels`, but of the rows that are kept: the logarithm is what takes the time
            loudest = power.amax(dim=(1, 2), keepdim=True).clamp(min=1e-10).log10().mul(10)
            db = power[:, :, : self.n_rows].clamp(min=1e-10).log10().mul(10)
            return db.maximum(loudest - 80.0).mT
        db = decibels(power @ self.bank, 80.0)
        if self.kind == "mel":
            return (db - db.amax(dim=(1, 2), keepdim=True))[:, :, : self.n_rows].mT
        return (db @ self.dct).mT


def decibels(power: torch.Tensor, top_db: float) -> torch.Tensor:
    """10 log10 of power (B, ...), at least 1e-10, within `top_db` of the clip's maximum."""
    db = power.clamp(min=1e-10).log10().mul(10)
    return db.maximum(db.flatten(1).amax(1).view(-1, *[1] * (db.dim() - 1)) - top_db)


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
        db = self.log_mel(waveform)  # at most 0
        low = db.amin(dim=(1, 2), keepdim=True)
        return ((db - low) / (-low).clamp(min=1e-6) * 255).to(torch.uint8).flip(1)

    def colour(self, levels: torch.Tensor) -> torch.Tensor:
        """The image (B, 3, H, W) of grey levels, values in 0..1."""
        return self._paint(levels, self.magma)

    def image(self, levels: torch.Tensor) -> torch.Tensor:
        """`standardise(colour(levels))`, but the 256 colours are standardised instead of the pixels."""
        return self._paint(levels, (self.magma - self.mean) / self.std)

    def _paint(self, levels: torch.Tensor, colours: torch.Tensor) -> torch.Tensor:
        """Colours (256, 3) in place of grey levels, zoomed and clipped; channels last in memory, as convolutions like it."""
        pixels = colours.index_select(0, levels.flatten().int()).view(*levels.shape, 3).permute(0, 3, 1, 2)
        if self.clipping == "none":
            return _zoomed(pixels, self.zoom, self.zoom)
        # Zoom and clipping both mix rows: they are done to the rows of the unit matrix, and by one product to the image.
        mix = _zoomed(torch.eye(levels.shape[1], device=levels.device)[None, None], self.zoom, 1)
        mix = stretch_below(mix.expand(len(levels), -1, -1, -1), self.zoom * blank_rows(levels, self.clipping))[:, 0]
        wide = _zoomed(pixels, 1, self.zoom).permute(0, 2, 3, 1)  # (B, H, W, 3)
        with torch.autocast(levels.device.type, enabled=False):
            return (mix @ wide.flatten(2)).unflatten(2, wide.shape[2:]).permute(0, 3, 1, 2)

    def standardise(self, image: torch.Tensor) -> torch.Tensor:
        return (image - self.mean[:, None, None]) / self.std[:, None, None]

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return self.image(self.levels(waveform))

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


def _zoomed(image: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    return (
        nn.functional.interpolate(image, scale_factor=(rows, columns), mode="bilinear") if rows * columns > 1 else image
    )


def blank_rows(levels: torch.Tensor, form: BlankRegionClipping) -> torch.Tensor:
    """Number of blank rows on top of each spectrogram: levels (B, F, frames), row 0 = highest frequency -> (B,) int64.

    A pixel is blank if its grey value in magma is below 10, that is level <= 14 of 255, within 4.7 dB of the clip's floor; a
    row is blank if at least 80 % of it is (docs/papers/respirenet.md, section 2.2). "code" also counts the first row
    that is *not* blank, as the released code does, so every clip loses its top mel band; "paper" does not. A clip that
    is blank throughout is kept.
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
