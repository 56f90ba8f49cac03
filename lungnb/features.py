"""Front ends and augmentation, batched on the device. The spectrograms are held against librosa in tests.

RespireNet's released code applies, with probability 0.5, one of five augmenters of the nlpaug package to each padded clip, and
independently, with probability 0.5, rolls it by a random offset (docs/papers/respirenet.md, section 2.4). The five are written
here with explicit numbers. `speed` and `noise` are ours to choose: the package changes only the middle of a clip, we all of it.
"""

import math

import torch
import torchaudio
from torch import nn

#: Ranges from which each clip draws its own value.
NOISE_SNR_DB = (15.0, 35.0)
SPEED = (0.8, 1.25)
LOUDNESS = (0.5, 2.0)
VTLP = (0.9, 1.1)
PITCH_SEMITONES = (-1.0, 3.0)

_N_FFT, _HOP = 256, 64


class LogMel(nn.Module):
    """Waveform (B, T) -> log-mel spectrogram in dB below the clip's maximum (B, n_mels, 1 + T // hop_length).

    RespireNet's released values (docs/papers/respirenet.md, section 2): 4 kHz, Hann window of 256 samples (64 ms), hop 128
    (32 ms), 64 mel bands of 50 to 2000 Hz, Slaney scale and norm, 80 dB of range.
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


def mean_and_sd(batches, dims: tuple[int, ...], least: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and sd over `dims` of all tensors of an iterable, one at a time, float64; variances are `least` at least."""
    n, total, square = 0, 0.0, 0.0
    for x in batches:
        x = x.double()
        total, square = total + x.sum(dims), square + x.square().sum(dims)
        n += x.numel() // total.numel()
    mean = total / n
    return mean, (square / n - mean.square()).clamp(min=least).sqrt()


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
        mean, sd = mean_and_sd(batches, (0, 3) if self.form == "row" else (0, 2, 3), 1e-6)
        self.mean.copy_(mean.view_as(self.mean))
        self.sd.copy_(sd.view_as(self.sd))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if self.form == "clip":
            sd, mean = torch.std_mean(features, (2, 3), keepdim=True)
            return (features - mean) / sd.clamp(min=1e-3)
        return (features - self.mean) / self.sd


def augment(clips: torch.Tensor, generator: torch.Generator, p: float = 0.5) -> torch.Tensor:
    """One of noise, speed, loudness, VTLP, pitch with probability p, then a roll with probability p: (B, T) -> (B, T)."""
    n = len(clips)
    kinds = [noise, speed, loudness, vtlp, pitch]
    kind = torch.randint(len(kinds), (n,), generator=generator, device=clips.device)
    chosen = torch.rand(n, generator=generator, device=clips.device) < p
    clips = clips.clone()
    for k, change in enumerate(kinds):
        rows = torch.nonzero(chosen & (kind == k)).squeeze(1)
        if len(rows):
            clips[rows] = change(clips[rows], generator)
    rolled = torch.rand(n, generator=generator, device=clips.device) < p
    offset = torch.randint(clips.shape[1], (n,), generator=generator, device=clips.device) * rolled
    return roll(clips, offset)


def roll(clips: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    """Each clip from its sample `offset` (B,) on, and round: a window of the clip written twice."""
    twice = torch.cat([clips, clips], dim=1)
    first = offset + twice.shape[1] * torch.arange(len(clips), device=clips.device)
    return twice.flatten().unfold(0, clips.shape[1], 1).index_select(0, first)


def noise(clips: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """White noise at a signal-to-noise ratio drawn from NOISE_SNR_DB."""
    power = clips.square().mean(dim=1, keepdim=True)
    snr = 10 ** (_draw(clips, NOISE_SNR_DB, generator) / 10)
    return clips + torch.randn(clips.shape, generator=generator, device=clips.device) * (power / snr).sqrt()


def loudness(clips: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Gain by a factor drawn from LOUDNESS."""
    return clips * _draw(clips, LOUDNESS, generator)


def speed(clips: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Time stretch at constant pitch by a rate drawn from SPEED; a clip that got shorter is repeated to its old length."""
    rate = _draw(clips, SPEED, generator)
    stretched = time_stretch(clips, rate)
    t = torch.arange(clips.shape[1], device=clips.device)
    held = (clips.shape[1] / rate).long().clamp(max=clips.shape[1])
    return stretched.gather(1, t % held)


def pitch(clips: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Shift by PITCH_SEMITONES at constant duration: stretch by the ratio of frequencies, then read that much faster."""
    ratio = 2 ** (_draw(clips, PITCH_SEMITONES, generator) / 12)
    longest = math.ceil(clips.shape[1] * 2 ** (PITCH_SEMITONES[1] / 12)) + _HOP
    stretched = time_stretch(clips, 1 / ratio, longest)
    position = torch.arange(clips.shape[1], device=clips.device) * ratio
    low = position.floor().long().clamp(max=longest - 2)
    return torch.lerp(stretched.gather(1, low), stretched.gather(1, low + 1), position - low)


def vtlp(clips: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Vocal tract length perturbation (Jaitly & Hinton 2013): frequencies scaled by a factor drawn from VTLP.

    Linear up to a boundary and linear again from there to the Nyquist frequency, so that the axis keeps its ends.
    """
    spectrum = _stft(clips).transpose(1, 2).contiguous()  # (B, bands, frames): whole bands are moved
    n = spectrum.shape[1]
    f = torch.arange(n, device=clips.device) / (n - 1)
    alpha = _draw(clips, VTLP, generator)
    edge = 0.8 * torch.minimum(alpha, torch.ones_like(alpha)) / alpha
    upper = 1 - (1 - edge * alpha) / (1 - edge) * (1 - f)
    source = torch.where(f <= edge, f * alpha, upper)  # where each output band is read
    low = (source * (n - 1)).long().clamp(0, n - 2)
    weight = source * (n - 1) - low
    magnitude = _magnitude(spectrum)
    warped = torch.lerp(_rows(magnitude, low), _rows(magnitude, low + 1), weight[:, :, None])
    # A tone read from another band must also turn at its new frequency, or the frames cancel when they are added; and the
    # bands of one tone, which differ by half a turn at the start of a frame, must still do so, or they cancel each other.
    nearest = low + (weight > 0.5)
    angle = spectrum.angle()
    ratio = torch.where(source > 0, f / source.clamp(min=1e-6), 1)
    # In a hop each band turns by nearly its own frequency's share: the angle is brought to within half a turn of that.
    expected = 2 * math.pi * _HOP / _N_FFT * torch.arange(n, device=clips.device)[:, None]
    turned = angle.diff(dim=2)
    turned -= 2 * math.pi * torch.round((turned - expected) / (2 * math.pi))
    advance = _rows(turned, nearest) * ratio[:, :, None]
    start = _rows(angle[:, :, :1], nearest) + math.pi * (torch.arange(n, device=clips.device) - nearest)[:, :, None]
    phase = torch.cat([start, advance], dim=2).cumsum(dim=2)
    phase -= 2 * math.pi * torch.round(phase / (2 * math.pi))  # small angles have faster sines
    return _istft(torch.complex(warped * phase.cos(), warped * phase.sin()).transpose(1, 2), clips.shape[1])


def time_stretch(clips: torch.Tensor, rate: torch.Tensor, n_samples: int | None = None) -> torch.Tensor:
    """Phase vocoder with a rate of its own for each clip: (B, T), rate (B, 1) -> (B, n_samples); rate 2 is twice as fast.

    Each band turns from frame to frame as it turned at the same place of the input. Turns are unit complex numbers, so phases
    add up by a product, without angles.
    """
    n_samples = n_samples or clips.shape[1]
    spectrum = _stft(clips)
    last = spectrum.shape[1] - 1
    position = torch.arange(1 + n_samples // _HOP, device=clips.device) * rate  # (B, frames out), in frames in
    low = position.long().clamp(max=last - 1)
    magnitude = _magnitude(spectrum)
    stretched = torch.lerp(_rows(magnitude, low), _rows(magnitude, low + 1), (position - low).clamp(max=1)[:, :, None])
    stretched *= (position <= last)[:, :, None]
    direction = torch.where(magnitude > 0, spectrum.sgn(), 1)
    turn = _rows(direction[:, 1:] * direction[:, :-1].conj(), low[:, :-1])
    phase = torch.cat([direction[:, :1], turn], dim=1).cumprod(dim=1)
    return _istft(stretched * phase, n_samples)


def _magnitude(spectrum: torch.Tensor) -> torch.Tensor:
    return (spectrum.real.square() + spectrum.imag.square()).sqrt()  # faster than abs(), which guards against overflow


def _rows(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """x (B, N, M), index (B, K) -> (B, K, M): rows of each item, moved whole."""
    first = x.shape[1] * torch.arange(len(x), device=x.device)[:, None]
    return x.flatten(0, 1).index_select(0, (first + index).flatten()).unflatten(0, index.shape)


def _draw(clips: torch.Tensor, bounds: tuple[float, float], generator: torch.Generator) -> torch.Tensor:
    low, high = bounds
    return low + (high - low) * torch.rand(len(clips), 1, generator=generator, device=clips.device)


def _stft(clips: torch.Tensor) -> torch.Tensor:
    """(B, T) -> complex (B, frames, bands), the order in which torch holds it."""
    # Mirrored ends would start a tone at a wrong phase, and slowed down it would never come right again.
    window = torch.hann_window(_N_FFT, device=clips.device)
    return torch.stft(clips, _N_FFT, _HOP, window=window, pad_mode="constant", return_complex=True).transpose(1, 2)


def _istft(spectrum: torch.Tensor, n_samples: int) -> torch.Tensor:
    window = torch.hann_window(_N_FFT, device=spectrum.device)
    return torch.istft(spectrum.transpose(1, 2), _N_FFT, _HOP, window=window, length=n_samples)


def shift_and_mask(maps: torch.Tensor, generator: torch.Generator, share: float = 0.125) -> torch.Tensor:
    """Maps (B, C, rows, frames), zero where average: rolled in time by up to `share`, then a band and a stretch set to zero.

    Each clip draws its own shift, and its own two masks of at most `share` of the rows and of the frames.
    """
    n, _, rows, frames = maps.shape

    def span(size: int) -> torch.Tensor:
        """True within an interval of random length and place: (B, size)."""
        length = (torch.rand(n, 1, generator=generator, device=maps.device) * (int(share * size) + 1)).floor()
        start = (torch.rand(n, 1, generator=generator, device=maps.device) * (size - length + 1)).floor()
        at = torch.arange(size, device=maps.device)
        return (at >= start) & (at < start + length)

    far = int(share * frames)
    shift = torch.randint(-far, far + 1, (n, 1), generator=generator, device=maps.device)
    source = (torch.arange(frames, device=maps.device) - shift) % frames
    maps = maps.gather(3, source[:, None, None, :].expand_as(maps))
    return maps.masked_fill(span(rows)[:, None, :, None] | span(frames)[:, None, None, :], 0.0)
