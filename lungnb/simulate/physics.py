"""The sounds of a chest and of a stethoscope: pure functions on numpy arrays.

Every source takes a `numpy.random.Generator` and a sample rate in Hz, and every time is in seconds of the recording.
Amplitudes are in units of the vesicular sound: it has root mean square 1 at a flow of 1, the peak of a quiet inspiration.
An adventitious source returns `(wave, boxes)`: the waveform over its span, to be laid into the recording with `mix`, and
the ground truth of where its energy is. Numbers without a source in their docstring were chosen by ear and eye.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import fft

#: Age in years against breaths and heart beats a minute at rest: textbook middle values; adults of the ICBHI data, most
#: of them ill, breathe once in 2.7 s (RespireNet, section II: mean cycle).
_AGES = np.array([0.0, 1.0, 3.0, 6.0, 12.0, 18.0])
_BREATHS = np.array([44.0, 36.0, 29.0, 25.0, 22.0, 20.0])
_BEATS = np.array([140.0, 125.0, 105.0, 95.0, 85.0, 75.0])


class Box(NamedTuple):
    """Where a sound is: seconds, and the hertz between which the middle 90 % of its energy lies."""

    start_s: float
    end_s: float
    low_hz: float
    high_hz: float
    kind: str


Sound = tuple[np.ndarray, list[Box]]


def breaths_per_minute(age_years: float) -> float:
    """Respiratory rate at rest, breaths a minute: 44 in the newborn, 20 in the adult (textbook)."""
    return float(np.interp(age_years, _AGES, _BREATHS))


def beats_per_minute(age_years: float) -> float:
    """Heart rate at rest, beats a minute: 140 in the newborn, 75 in the adult (textbook)."""
    return float(np.interp(age_years, _AGES, _BEATS))


def mix(signal: np.ndarray, wave: np.ndarray, start_s: float, sr: int) -> None:
    """Add `wave` to `signal` in place from `start_s` on; what would run past the end is dropped."""
    first = round(start_s * sr)
    wave = wave[: len(signal) - first]
    signal[first : first + len(wave)] += wave


def noise(rng: np.random.Generator, n: int, psd: Callable[[np.ndarray], np.ndarray], sr: int) -> np.ndarray:
    """`n` samples of Gaussian noise whose one-sided power density at `hz` is `psd(hz)`, per Hz."""
    size = fft.next_fast_len(n, real=True)
    amplitude = np.sqrt(psd(fft.rfftfreq(size, 1 / sr)) * size * sr / 4).astype(np.float32)
    real, imaginary = rng.standard_normal((2, size // 2 + 1), dtype=np.float32)
    return fft.irfft((real + 1j * imaginary) * amplitude, size)[:n]


def air_flow(cycles: Sequence[tuple[float, float]], n: int, sr: int, inspiration: float = 0.42) -> np.ndarray:
    """Flow at the mouth over `n` samples, peak +1 in inspiration, about -0.8 in expiration, 0 outside `cycles` (s).

    Inspiration is half a sine over the first `inspiration` of a cycle; expiration starts fast and dies away.
    """
    flow = np.zeros(n, dtype=np.float32)
    for start_s, end_s in cycles:
        first, last = round(start_s * sr), min(round(end_s * sr), n)
        turn = first + round((last - first) * inspiration)
        flow[first:turn] = np.sin(np.pi * np.linspace(0, 1, turn - first))
        u = np.linspace(0, 1, last - turn)
        flow[turn:last] = -1.6 * np.sin(np.pi * u) * np.exp(-1.5 * u)
    return flow


def vesicular_psd(hz: np.ndarray, corner_hz: float = 150.0) -> np.ndarray:
    """Power density, per Hz, of the vesicular sound at flow 1 (total power 1).

    Flat to `corner_hz` (100 to 200 Hz), then falling by 12 dB/octave (design, 7); little below 40 Hz.
    """

    def shape(hz):
        return 1 / ((1 + (hz / corner_hz) ** 4) * (1 + (40 / np.maximum(hz, 1)) ** 4))

    return shape(np.asarray(hz)) / shape(np.arange(0.5, 4000)).sum()


def vesicular(
    rng: np.random.Generator, flow: np.ndarray, sr: int, corner_hz: float = 150.0, expiration: float = 0.6
) -> np.ndarray:
    """Breath sound: noise of `vesicular_psd` whose amplitude follows the flow, in expiration times `expiration`."""
    loudness = np.where(flow > 0, flow, -expiration * flow)
    return noise(rng, len(flow), lambda hz: vesicular_psd(hz, corner_hz), sr) * loudness


def heart_sounds(rng: np.random.Generator, n: int, sr: int, beats: float) -> np.ndarray:
    """First and second heart sound: bursts of 100 and 70 ms at about 50 and 70 Hz, peak 1; `beats` a minute."""
    wave = np.zeros(n, dtype=np.float32)
    period = 60 / beats
    t = np.arange(round(0.12 * sr)) / sr
    for beat in np.arange(rng.uniform(0, period), n / sr, period):
        onset = beat + rng.normal(0, 0.02)
        for delay, hz, length_s, level in ((0.0, 50, 0.10, 1.0), (0.38 * period**0.5, 70, 0.07, 0.7)):
            burst = np.exp(-(((t - 0.05) / (length_s / 4)) ** 2)) * np.cos(2 * np.pi * hz * rng.normal(1, 0.08) * t)
            if 0 <= onset + delay < n / sr:
                mix(wave, level * rng.normal(1, 0.1) * burst, onset + delay, sr)
    return wave


def band(waves: np.ndarray, sr: int) -> np.ndarray:
    """(k, 2): for each row of `waves` (k, n) the frequencies, Hz, below which 5 % and 95 % of its energy lie."""
    size = max(2048, fft.next_fast_len(waves.shape[1], real=True))
    energy = np.cumsum(np.abs(fft.rfft(waves, size, axis=1)) ** 2, axis=1)
    share = energy / energy[:, -1:]
    return np.stack([(share < q).sum(axis=1) for q in (0.05, 0.95)], axis=1) * sr / size


def _crackles(rng, onsets_s: np.ndarray, hz: np.ndarray, length_s: float, sr: int, kind: str) -> Sound:
    """Damped tones with a sharp rise, falling in pitch, each `length_s` long and of peak amplitude about 1.

    The waveform starts at the first onset.
    """
    t = np.arange(round(length_s * sr)) / sr
    tones = np.sin(
        2 * np.pi * hz[:, None] * (1.1 * t - t**2 / (8 * length_s)) + rng.uniform(0, 2 * np.pi, (len(hz), 1))
    )
    damping = 1.6 * (1 - np.exp(-t / (length_s / 20))) * np.exp(-t / (length_s / 4))
    waves = damping * tones * rng.uniform(0.6, 1.2, (len(hz), 1))
    first = np.round((onsets_s - onsets_s[0]) * sr).astype(int)
    train = np.zeros(first[-1] + len(t), dtype=np.float32)
    np.add.at(train, first[:, None] + np.arange(len(t)), waves)
    bands = band(waves, sr)
    boxes = [
        Box(s, s + length_s, low, high, kind) for s, (low, high) in zip(onsets_s.tolist(), bands.tolist(), strict=True)
    ]
    return train, boxes


def fine_crackles(rng: np.random.Generator, start_s: float, end_s: float, count: int, sr: int) -> Sound:
    """Up to `count` fine crackles, about 650 Hz and 5 ms each, in [start_s, end_s]: late inspiration (design, 7)."""
    length_s = 0.005
    onsets = np.sort(rng.uniform(start_s, end_s - length_s, count))
    return _crackles(rng, onsets, rng.normal(650, 70, count).clip(450, 900), length_s, sr, "crackle_fine")


def coarse_crackles(rng: np.random.Generator, start_s: float, end_s: float, count: int, sr: int) -> Sound:
    """`count` coarse crackles, 100 to 500 Hz and 15 ms each, anywhere in [start_s, end_s] (design, 7)."""
    length_s = 0.015
    onsets = np.sort(rng.uniform(start_s, end_s - length_s, count))
    return _crackles(rng, onsets, rng.uniform(150, 500, count), length_s, sr, "crackle_coarse")


def _tone(rng, start_s: float, end_s: float, hz: float, rolloff_db: float, n_partials: int, drift: float, sr: int):
    """Harmonic tone of amplitude 1: pitch drifts by up to `drift` of itself, partials fall by `rolloff_db` each."""
    t = np.linspace(0, 1, round((end_s - start_s) * sr), dtype=np.float32)
    bend = 1 + drift * (
        rng.uniform(-1, 1) * (t - 0.5) + 0.4 * rng.uniform(-1, 1) * np.sin(2 * np.pi * (t + rng.uniform()))
    )
    phase = 2 * np.pi * np.cumsum(hz * bend) / sr
    partials = [k for k in range(1, n_partials + 1) if k * hz * (1 + drift) < sr / 2]
    wave = sum(10 ** (-rolloff_db * (k - 1) / 20) * np.sin(k * phase + rng.uniform(0, 2 * np.pi)) for k in partials)
    rise_s = min(0.05, (end_s - start_s) / 3)
    edge = np.clip(np.minimum(t, 1 - t) * (end_s - start_s) / rise_s, 0, 1)
    return wave * np.sin(np.pi / 2 * edge) ** 2


def _tonal(rng, start_s, end_s, hz, rolloff_db, n_partials, drift, sr, kind: str) -> Sound:
    wave = _tone(rng, start_s, end_s, hz, rolloff_db, n_partials, drift, sr)
    low, high = band(wave[None], sr)[0].tolist()
    return wave, [Box(start_s, end_s, low, high, kind)]


def wheeze(rng: np.random.Generator, start_s: float, end_s: float, hz: float, sr: int) -> Sound:
    """Musical tone of 100 to 2500 Hz, at least 80 ms, with a few harmonics and a slight drift in pitch (design, 7)."""
    if end_s - start_s < 0.08 - 1e-9 or not 100 <= hz <= 2500:
        raise ValueError(
            f"a wheeze lasts 0.08 s or more and has 100 to 2500 Hz, not {end_s - start_s:.3f} s, {hz:.0f} Hz"
        )
    return _tonal(rng, start_s, end_s, hz, rng.uniform(9, 16), 4, 0.15, sr, "wheeze")


def rhonchus(rng: np.random.Generator, start_s: float, end_s: float, hz: float, sr: int) -> Sound:
    """Snoring tone below 200 Hz (design, 7): slow fall of its partials, so it sounds rough."""
    if not hz < 200:
        raise ValueError(f"a rhonchus lies below 200 Hz, not at {hz:.0f} Hz")
    return _tonal(rng, start_s, end_s, hz, 5.0, 6, 0.08, sr, "rhonchus")


def stridor(rng: np.random.Generator, start_s: float, end_s: float, hz: float, sr: int) -> Sound:
    """Loud high tone of the upper airway, over inspiration (design, 7); `hz` is 500 or more, with rich harmonics."""
    if hz < 500:
        raise ValueError(f"a stridor is high, 500 Hz or more, not {hz:.0f} Hz")
    return _tonal(rng, start_s, end_s, hz, 6.0, 5, 0.10, sr, "stridor")


def thump(rng: np.random.Generator, sr: int) -> np.ndarray:
    """Handling noise: a knock of 40 to 120 ms, low and blunt, sometimes with a bright scrape; peak about 1."""
    t = np.arange(round(rng.uniform(0.04, 0.12) * sr)) / sr
    scrape = rng.standard_normal(len(t)) * rng.uniform(0, 0.1)
    decay = np.exp(-t * rng.uniform(25, 60)) * (1 - np.exp(-t / 0.004))
    return decay * (np.sin(2 * np.pi * rng.uniform(40, 120) * t) + scrape)


def friction(rng: np.random.Generator, sr: int) -> np.ndarray:
    """Hair or cloth under the stethoscope: 1 to 4 clicks of noise within 0.2 s, each 3 to 10 ms, peak about 1."""
    wave = np.zeros(round(0.21 * sr))
    for onset_s in rng.uniform(0, 0.2, rng.integers(1, 5)):
        n = round(rng.uniform(0.003, 0.01) * sr)
        mix(wave, rng.uniform(0.2, 0.5) * rng.standard_normal(n) * np.exp(-4 * np.arange(n) / n), onset_s, sr)
    return wave


def short_tone(rng: np.random.Generator, sr: int) -> np.ndarray:
    """A squeak of 30 to 70 ms, 200 to 1000 Hz, amplitude 1: too short to be a wheeze (80 ms; design, 7)."""
    return _tone(rng, 0.0, rng.uniform(0.03, 0.07), rng.uniform(200, 1000), 12.0, 2, 0.05, sr)


def speech_hum(rng: np.random.Generator, length_s: float, sr: int) -> np.ndarray:
    """Voice through the chest wall: pitch 100 to 250 Hz, partials close together, syllables 4 a second; peak about 1."""
    tone = _tone(rng, 0.0, length_s, rng.uniform(100, 250), 4.0, 6, 0.3, sr)
    t = np.arange(len(tone)) / sr
    return tone / 3 * np.clip(np.sin(2 * np.pi * rng.uniform(3, 5) * t + rng.uniform(0, 6)), 0, 1)


def distractor(
    rng: np.random.Generator,
    chances: Sequence[float],
    thump_level: tuple[float, float],
    friction_db: tuple[float, float],
    tone_db: tuple[float, float],
    background: Callable[[float, float], float],
    sr: int,
) -> np.ndarray:
    """What a listener must not take for a sound of the lung: a knock, cloth, a squeak too short for a wheeze, or a voice.

    chances: of the four. thump_level: mean and spread of the logarithm of the knock's level; friction_db, tone_db: of the level
    in dB over the breath in the sound's own band, which `background(hz, width_hz)` gives.
    """
    what = rng.choice(["thump", "friction", "tone", "voice"], p=chances)
    if what == "thump":
        return rng.lognormal(*thump_level) * thump(rng, sr)
    if what == "friction":
        return 10 ** (rng.normal(*friction_db) / 20) * background(650, 400) * friction(rng, sr)
    if what == "tone":
        return 10 ** (rng.normal(*tone_db) / 20) * background(400, 16) * short_tone(rng, sr)
    return rng.lognormal(-1.5, 0.6) * speech_hum(rng, rng.uniform(0.3, 1.0), sr)


@dataclass(frozen=True)
class Device:
    """A stethoscope or microphone. `low_hz`, `high_hz`: -3 dB band, falling by 6 * `order` dB/octave above it.

    `peak_hz`, `peak_db`: a resonance one octave wide. `noise_db`: level of its own noise below 4 kHz, in dB against the
    vesicular sound. Bands follow the measured spectra of the ICBHI recordings in outline only.
    """

    low_hz: float
    high_hz: float
    order: int
    peak_hz: float
    peak_db: float
    noise_db: float

    def response(self, hz: np.ndarray, blank: bool = False) -> np.ndarray:
        """Gain at `hz`. `blank`: nothing at all passes above 1.5 kHz (RespireNet, section III: blank regions)."""
        hz = np.maximum(hz, 1.0)
        band = 1 / np.sqrt((1 + (self.low_hz / hz) ** 4) * (1 + (hz / self.high_hz) ** (2 * self.order)))
        gain = band * 10 ** (self.peak_db / 20 * np.exp(-((np.log2(hz / self.peak_hz) / 0.5) ** 2)))
        return gain * _blank_gain(hz) if blank else gain

    def noise_psd(self, hz: np.ndarray, blank: bool = False) -> np.ndarray:
        """Power density of the noise floor, per Hz, in units of the sources: white, rising below 100 Hz."""
        white = 10 ** (self.noise_db / 10) / 4000
        return white * (1 + (100 / np.maximum(hz, 20)) ** 4) * (_blank_gain(hz) ** 2 if blank else 1)


def _blank_gain(hz: np.ndarray) -> np.ndarray:
    """1 below 1.2 kHz, exactly 0 above 1.45 kHz."""
    return np.clip((1450 - hz) / 250, 0, 1) ** 2


def through(rng: np.random.Generator, device: Device, signal: np.ndarray, sr: int, blank: bool = False) -> np.ndarray:
    """`signal` as `device` records it: filtered, with its noise floor."""
    size = fft.next_fast_len(len(signal), real=True)
    gain = device.response(fft.rfftfreq(size, 1 / sr), blank).astype(np.float32)
    heard = fft.irfft(fft.rfft(signal, size) * gain, size)[: len(signal)]
    return heard + noise(rng, len(signal), lambda hz: device.noise_psd(hz, blank), sr)
