"""Waveform augmentations of RespireNet, batched on the device: no item is touched in Python.

The released code applies, with probability 0.5, one of five augmenters of the nlpaug package to each padded clip, and
independently, with probability 0.5, rolls it by a random offset (fact sheet, section 2.4). The five are written here with
explicit numbers. `speed` and `noise` are ours to choose: the package changes only the middle of a clip, we change all of it.
"""

import math

import torch

#: Ranges from which each clip draws its own value.
NOISE_SNR_DB = (15.0, 35.0)
SPEED = (0.8, 1.25)
LOUDNESS = (0.5, 2.0)
VTLP = (0.9, 1.1)
PITCH_SEMITONES = (-1.0, 3.0)

_N_FFT, _HOP = 256, 64


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
    t = torch.arange(clips.shape[1], device=clips.device)
    return clips.gather(1, (t + offset[:, None]) % clips.shape[1])


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
    return _read_at(stretched, torch.arange(clips.shape[1], device=clips.device) * ratio)


def vtlp(clips: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Vocal tract length perturbation (Jaitly & Hinton 2013): frequencies scaled by a factor drawn from VTLP.

    Linear up to a boundary and linear again from there to the Nyquist frequency, so that the axis keeps its ends.
    """
    spectrum = _stft(clips)
    n = spectrum.shape[1]
    f = torch.arange(n, device=clips.device) / (n - 1)
    alpha = _draw(clips, VTLP, generator)
    edge = 0.8 * torch.minimum(alpha, torch.ones_like(alpha)) / alpha
    upper = 1 - (1 - edge * alpha) / (1 - edge) * (1 - f)
    source = torch.where(f <= edge, f * alpha, upper)  # where each output band is read
    low = (source * (n - 1)).long().clamp(0, n - 2)
    band = low[:, :, None].expand(-1, -1, spectrum.shape[2])
    weight = (source * (n - 1) - low)[:, :, None]
    magnitude = spectrum.abs()
    warped = torch.lerp(magnitude.gather(1, band), magnitude.gather(1, band + 1), weight)
    # A tone read from another band must also turn at its new frequency, or the frames cancel when they are added.
    nearest = (band + (weight > 0.5)).clamp(max=n - 1)
    advance = _phase_advance(spectrum).gather(1, nearest) * (f / source.clamp(min=1e-6))[:, :, None]
    start = spectrum[:, :, :1].angle().gather(1, nearest[:, :, :1])
    phase = torch.cat([start, start + torch.cumsum(advance, dim=2)[:, :, :-1]], dim=2)
    return _istft(torch.polar(warped, phase), clips.shape[1])


def time_stretch(clips: torch.Tensor, rate: torch.Tensor, n_samples: int | None = None) -> torch.Tensor:
    """Phase vocoder with a rate of its own for each clip: (B, T), rate (B, 1) -> (B, n_samples); rate 2 is twice as fast."""
    n_samples = n_samples or clips.shape[1]
    spectrum = torch.nn.functional.pad(_stft(clips), (0, 2))
    frames = torch.arange(1 + n_samples // _HOP, device=clips.device) * rate  # (B, frames out), in frames in
    low = frames.floor().long().clamp(max=spectrum.shape[2] - 2)
    pick = low[:, None, :].expand(-1, spectrum.shape[1], -1)
    here, after = spectrum.gather(2, pick), spectrum.gather(2, pick + 1)
    past_end = (frames > spectrum.shape[2] - 2)[:, None, :]
    magnitude = torch.lerp(here.abs(), after.abs(), (frames - low)[:, None, :]).masked_fill(past_end, 0)
    advance = _phase_advance(spectrum).gather(2, pick)
    phase = here[:, :, :1].angle() + torch.cumsum(advance, dim=2) - advance
    return _istft(torch.polar(magnitude, phase), n_samples)


def _phase_advance(spectrum: torch.Tensor) -> torch.Tensor:
    """Radians that each band turns from a frame to the next (0 for the last), unwrapped around the band's own frequency."""
    expected = 2 * math.pi * _HOP / _N_FFT * torch.arange(spectrum.shape[1], device=spectrum.device)[:, None]
    deviation = spectrum.angle().diff(dim=2) - expected
    advance = expected + deviation - 2 * math.pi * torch.round(deviation / (2 * math.pi))
    return torch.nn.functional.pad(advance, (0, 1))


def _draw(clips: torch.Tensor, bounds: tuple[float, float], generator: torch.Generator) -> torch.Tensor:
    low, high = bounds
    return low + (high - low) * torch.rand(len(clips), 1, generator=generator, device=clips.device)


def _read_at(clips: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    low = position.floor().long().clamp(max=clips.shape[1] - 2)
    return torch.lerp(clips.gather(1, low), clips.gather(1, low + 1), position - low)


def _window(like: torch.Tensor) -> torch.Tensor:
    return torch.hann_window(_N_FFT, device=like.device)


def _stft(clips: torch.Tensor) -> torch.Tensor:
    return torch.stft(clips, _N_FFT, _HOP, window=_window(clips), return_complex=True)


def _istft(spectrum: torch.Tensor, n_samples: int) -> torch.Tensor:
    return torch.istft(spectrum, _N_FFT, _HOP, window=_window(spectrum), length=n_samples)
