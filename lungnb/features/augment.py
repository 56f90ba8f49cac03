"""Waveform augmentations of RespireNet, batched on the device: no item is touched in Python.

The released code applies, with probability 0.5, one of five augmenters of the nlpaug package to each padded clip, and
independently, with probability 0.5, rolls it by a random offset (docs/papers/respirenet.md, section 2.4). The five are
written here with explicit numbers. `speed` and `noise` are ours to choose: the package changes only the middle of a
clip, we change all of it.
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
    return _read_at(stretched, torch.arange(clips.shape[1], device=clips.device) * ratio)


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
    advance = _rows(_unwrapped(angle.diff(dim=2)), nearest) * ratio[:, :, None]
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


def _unwrapped(advance: torch.Tensor) -> torch.Tensor:
    """Radians that each band turns in a hop, (B, bands, frames), brought to within half a turn of the band's own frequency."""
    expected = 2 * math.pi * _HOP / _N_FFT * torch.arange(advance.shape[1], device=advance.device)[:, None]
    return advance - 2 * math.pi * torch.round((advance - expected) / (2 * math.pi))


def _magnitude(spectrum: torch.Tensor) -> torch.Tensor:
    return (spectrum.real.square() + spectrum.imag.square()).sqrt()  # faster than abs(), which guards against overflow


def _rows(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """x (B, N, M), index (B, K) -> (B, K, M): rows of each item, moved whole."""
    first = x.shape[1] * torch.arange(len(x), device=x.device)[:, None]
    return x.flatten(0, 1).index_select(0, (first + index).flatten()).unflatten(0, index.shape)


def _draw(clips: torch.Tensor, bounds: tuple[float, float], generator: torch.Generator) -> torch.Tensor:
    low, high = bounds
    return low + (high - low) * torch.rand(len(clips), 1, generator=generator, device=clips.device)


def _read_at(clips: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    low = position.floor().long().clamp(max=clips.shape[1] - 2)
    return torch.lerp(clips.gather(1, low), clips.gather(1, low + 1), position - low)


def _window(like: torch.Tensor) -> torch.Tensor:
    return torch.hann_window(_N_FFT, device=like.device)


def _stft(clips: torch.Tensor) -> torch.Tensor:
    """(B, T) -> complex (B, frames, bands), the order in which torch holds it."""
    # Mirrored ends would start a tone at a wrong phase, and slowed down it would never come right again.
    spectrum = torch.stft(clips, _N_FFT, _HOP, window=_window(clips), pad_mode="constant", return_complex=True)
    return spectrum.transpose(1, 2)


def _istft(spectrum: torch.Tensor, n_samples: int) -> torch.Tensor:
    return torch.istft(spectrum.transpose(1, 2), _N_FFT, _HOP, window=_window(spectrum), length=n_samples)


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
