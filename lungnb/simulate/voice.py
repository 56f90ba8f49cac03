"""The sounds of the mouth: a source (pulses of the glottis, or noise of fast air) and a filter (the vocal tract).

Age and sex act where they do in people: on the pitch, by the length of the vocal folds, and on the formants, by the length of
the vocal tract. As in `physics`, every source takes a `numpy.random.Generator`; times are in seconds, and numbers without a
source were chosen by ear and eye, those of coughs beside real ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import fft

from lungnb.simulate import physics
from lungnb.simulate.physics import Box, Sound

#: Hz of everything here.
RATE = 16000
#: Pitch (Hz) and length of the vocal tract (cm) by age in years: the voice breaks between 12 and 18 years, a woman's pitch
#: falls in old age and a man's rises (textbook middle values).
_AGES = [3, 6, 10, 12, 15, 18, 45, 65, 90]
_PITCH = {
    "female": [320, 295, 265, 255, 225, 215, 205, 190, 180],
    "male": [320, 295, 265, 255, 165, 125, 115, 122, 140],
}
_TRACT_CM = {
    "female": [11.0, 12.0, 13.0, 13.5, 14.3, 14.5, 14.5, 14.6, 14.7],
    "male": [11.0, 12.0, 13.0, 13.7, 15.8, 17.0, 17.0, 17.1, 17.2],
}
#: A man's tract (cm), to which belong the formants (Hz) of open sounds: rounded from Peterson and Barney (1952).
MAN_CM = 17.0
FORMANTS = {
    **{"a": (730, 1090, 2440, 3400), "e": (480, 1900, 2550, 3500), "o": (470, 860, 2450, 3300)},
    **{"i": (270, 2290, 3010, 3600), "u": (300, 870, 2240, 3300)},
    **{"r": (420, 1250, 1650, 3200), "n": (250, 1150, 2300, 3300)},
    # A tract of even width; behind teeth or lips while air is drawn in; with the tongue low and the jaw dropped.
    **{"neutral": (500, 1500, 2500, 3500), "drawn": (380, 1750, 2700, 3700), "open": (650, 1350, 2450, 3450)},
}
#: Noise of consonants: centre (Hz, of a man), width (octaves), level against a vowel, and length (s).
CONSONANTS = {
    **{"s": (5600, 0.45, 0.30, 0.11), "f": (4500, 1.6, 0.10, 0.09), "t": (3800, 0.8, 0.35, 0.03)},
    **{"k": (1900, 0.6, 0.30, 0.03), "v": (3000, 1.5, 0.05, 0.05)},
}
#: Before these the mouth is shut for as long (s).
CLOSURE_S = {"t": 0.05, "k": 0.05}
#: One to ten in the letters above.
DIGITS = ("uan", "tu", "fri", "for", "faiv", "siks", "seven", "eit", "nain", "ten")


@dataclass(frozen=True)
class Voice:
    """Of one person: pitch, tract, shares by which period and amplitude change from pulse to pulse, share of breath noise,
    and the corner (Hz) above which the pulses lose another 6 dB/octave (a soft voice closes slowly)."""

    f0_hz: float
    tract_cm: float
    jitter: float
    shimmer: float
    breathiness: float
    soft_hz: float


def pitch_hz(age_years: float, sex: str) -> float:
    """Mean pitch in speech: about 300 Hz in children, 210 in women, 120 in men."""
    return float(np.interp(age_years, _AGES, _PITCH[sex]))


def tract_cm(age_years: float, sex: str) -> float:
    """Length of the vocal tract: 17 cm in men, 14.5 in women, 11 at 3 years."""
    return float(np.interp(age_years, _AGES, _TRACT_CM[sex]))


def formants_hz(sound: str, length_cm: float) -> np.ndarray:
    """(k,): resonances below 7.8 kHz of a tract of `length_cm` that says `sound`: all scale with 1 / length.

    From the fifth on they are those of a tube that is open at one end, (2k - 1) c / 4L.
    """
    tube = [(2 * k - 1) * 35000 / (4 * MAN_CM) for k in range(5, 9)]
    hz = np.array([*FORMANTS[sound], *tube]) * MAN_CM / length_cm
    return hz[: max(4, int((hz < 7800).sum()))]


def through_tract(
    source: np.ndarray, times_s: Sequence[float], formants: np.ndarray, damping: float = 1.0
) -> np.ndarray:
    """`source` (n,) filtered by resonances that move: `formants` (m, k) in Hz at `times_s` (m,), linear in between.

    Each resonance is a pair of poles of gain 1 at 0 Hz; its width, 50 Hz + 2 % of its frequency, is `damping` times that
    (an open glottis damps). Frames of 16 ms are filtered one by one and laid over each other.
    """
    window, hop, size = 256, 128, 1024
    starts = np.arange(-hop, len(source), hop)
    middle_s = (starts + hop) / RATE
    hz = np.stack([np.interp(middle_s, times_s, track) for track in np.asarray(formants).T], axis=1)
    if len(times_s) == 1:
        hz = hz[:1]
    radius = np.exp(-np.pi * damping * (50 + 0.02 * hz) / RATE)
    pairs = np.stack([np.ones_like(hz), -2 * radius * np.cos(2 * np.pi * hz / RATE), radius**2])  # (3, frames, k)
    # Numerator over denominator in z of the whole cascade, each frame's pairs multiplied out.
    poles = np.ones((1, len(hz)))
    for pair in np.moveaxis(pairs, 2, 0):
        poles = sum(np.pad(poles * pair[lag], ((lag, 2 - lag), (0, 0))) for lag in range(3))
    gain = poles.sum(axis=0)[:, None] / fft.rfft(poles.T, size)
    padded = np.pad(source, (hop, size + window))
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(window) + 0.5) / window)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[starts + hop] * hann
    heard = fft.irfft(fft.rfft(frames, size) * gain, size)
    out = np.zeros(len(padded) + size)
    for start, frame in zip(starts + hop, heard, strict=True):
        out[start : start + size] += frame
    return out[hop : hop + len(source)]


def glottis(rng: np.random.Generator, f0_hz: np.ndarray, voice: Voice) -> np.ndarray:
    """Voice before the tract, root mean square about 1: the slope of the air's pulses, whose pitch follows `f0_hz` (n,).

    One pulse: opens over 40 % of the period, closes over 16 % (Rosenberg's), here without what aliases; jitter and shimmer
    are drawn anew for each.
    """
    size, opening, closing = 1024, 0.40, 0.16
    u = np.arange(size) / size
    flow = np.where(u < opening, 0.5 - 0.5 * np.cos(np.pi * u / opening), np.cos(np.pi / 2 * (u - opening) / closing))
    partials = fft.rfft(np.where(u < opening + closing, flow, 0.0)) * 1j * np.arange(size // 2 + 1)
    k_hz = np.arange(size // 2 + 1) * np.median(f0_hz)
    partials *= (k_hz < 7600 * np.median(f0_hz) / f0_hz.max()) / np.sqrt(1 + (k_hz / voice.soft_hz) ** 2)
    pulse = fft.irfft(partials)
    pulse = np.append(pulse, pulse[0]) / pulse.std()
    period = np.floor(np.cumsum(f0_hz / RATE)).astype(int)
    wobble, tremble = rng.standard_normal((2, period[-1] + 1))
    phase = np.cumsum(f0_hz / RATE * (1 + voice.jitter * wobble[period]))
    tone = np.interp(phase % 1, np.linspace(0, 1, size + 1), pulse) * (1 + voice.shimmer * tremble[period])
    return tone + voice.breathiness * rng.standard_normal(len(tone)) * (1 + np.sin(2 * np.pi * phase)) / 2


def _drift(rng: np.random.Generator, n: int, depth: float) -> np.ndarray:
    """A slow wander around 1 by about `depth`: knots a fifth of a second apart."""
    knots = 1 + depth * rng.standard_normal(2 + n * 5 // RATE)
    return np.interp(np.arange(n) / n * (len(knots) - 1), np.arange(len(knots)), knots)


def _edges(n: int, rise_s: float, fall_s: float) -> np.ndarray:
    """From 0 to 1 within `rise_s`, and back to 0 within `fall_s` before the end."""
    t = np.arange(n) / RATE
    return np.sin(np.pi / 2 * np.clip(np.minimum(t / rise_s, t[::-1] / fall_s), 0, 1)) ** 2


def _level(wave: np.ndarray) -> np.ndarray:
    """`wave` at root mean square 1."""
    return wave / np.sqrt(np.mean(np.square(wave)))


def box(wave: np.ndarray, start_s: float, end_s: float, kind: str) -> Box:
    """The box of `wave`, which is heard from `start_s` to `end_s`."""
    low, high = physics.band(wave[None], RATE)[0].tolist()
    return Box(start_s, end_s, low, high, kind)


def sustained_vowel(rng: np.random.Generator, letter: str, length_s: float, voice: Voice) -> Sound:
    """One vowel held, root mean square 1: the pitch wanders by 1 %, the mouth by 2 %."""
    n = round(length_s * RATE)
    f0 = voice.f0_hz * _drift(rng, n, 0.01)
    formants = formants_hz(letter, voice.tract_cm)
    formants *= 1 + 0.02 * rng.standard_normal(len(formants))
    source = glottis(rng, f0, voice) * _drift(rng, n, 0.06) * _edges(n, 0.06, 0.08)
    wave = _level(through_tract(source, [0.0], formants[None]))
    return wave, [box(wave, 0.0, length_s, f"vowel_{letter}")]


def counting(rng: np.random.Generator, length_s: float, voice: Voice, pace: float = 1.0) -> Sound:
    """Numbers said one after another from any on, vowels at root mean square about 1; `pace` 1 is about two a second."""
    n = round(length_s * RATE)
    # Letter by letter: consonants are laid down at once; of the voice, formants and loudness are noted at their times.
    noise, tracks, loud, boxes = np.zeros(n), [], [(0.0, 0.0)], []
    t, number = 0.0, int(rng.integers(len(DIGITS)))
    while t < length_s - 0.1:
        word = DIGITS[number % len(DIGITS)]
        for k, letter in enumerate(word):
            start_s = t
            if letter in CONSONANTS:
                hz, octaves, level, lasts = CONSONANTS[letter]
                t += (CLOSURE_S.get(letter, 0.0) if k else 0.0) / pace
                burst = _consonant(rng, min(hz * MAN_CM / voice.tract_cm, 6800), octaves, lasts / pace)
                loud += [(start_s + 0.01, 0.0), (t + 0.8 * lasts / pace, 0.3 if letter == "v" else 0.0)]
                if t < length_s:
                    physics.mix(noise, level * burst, t, RATE)
                t += lasts / pace
            else:
                weak = letter in "nr"
                t += (0.07 if weak else rng.uniform(0.10, 0.16)) / pace
                tracks.append(((start_s + t) / 2, formants_hz(letter, voice.tract_cm)))
                loud += [(start_s + 0.02, 0.45 if weak else 1.0), (t - 0.01, 0.4 if weak else 0.9)]
            boxes.append((start_s, min(t, length_s), letter))
        loud += [(t + 0.05, 0.0)]
        t, number = t + rng.uniform(0.08, 0.25) / pace, number + 1
        loud += [(t, 0.0)]
    seconds = np.arange(n) / RATE
    f0 = voice.f0_hz * _drift(rng, n, 0.06) * (1.08 - 0.12 * (seconds % 1.0))
    voiced = glottis(rng, f0, voice) * np.interp(seconds, *zip(*sorted(loud), strict=True))
    times, formants = zip(*tracks, strict=True)
    voiced = through_tract(voiced, times, np.stack(formants))
    wave = (voiced / np.sqrt(np.mean(voiced**2)) * 0.7 + noise) * _edges(n, 0.005, 0.02)
    return wave, [
        box(wave[round(s * RATE) : round(e * RATE)], s, e, f"speech_{x}") for s, e, x in boxes if e - s > 0.01
    ]


def _consonant(rng: np.random.Generator, hz: float, octaves: float, length_s: float) -> np.ndarray:
    n = round(length_s * RATE)
    shape = physics.noise(rng, n, lambda f: np.exp(-((np.log2(np.maximum(f, 1) / hz) / octaves) ** 2)), RATE)
    return _level(shape) * _edges(n, 0.006 if length_s < 0.05 else 0.03, 0.02)


def mouth_breath(rng: np.random.Generator, flow: np.ndarray, length_cm: float) -> np.ndarray:
    """Breath at the mouth, about 1 at a flow of 1 (quiet): the noise grows with the square of `flow` and grows brighter.

    Turbulence needs speed, so high frequencies come in late and go early in each phase; drawn in, air hisses behind teeth
    and lips; let out, it comes through an open mouth and blows on the microphone below 150 Hz.
    """
    speed = np.abs(flow)
    n = len(flow)
    dull = physics.noise(rng, n, lambda hz: 1 / (1 + (hz / 500) ** 2) / 800, RATE)
    bright = physics.noise(rng, n, lambda hz: 1 / (1 + (hz / 3000) ** 2) / 5000, RATE)
    source = dull * speed**1.7 + bright * speed**2.6
    every = slice(None, None, RATE // 50)
    drawn, out = formants_hz("drawn", length_cm), formants_hz("open", length_cm)
    mouth = np.where(flow[every, None] > 0, drawn, out)
    wave = through_tract(source, np.arange(n)[every] / RATE, mouth, damping=4.0)
    blow = physics.noise(rng, n, lambda hz: 1 / (1 + (hz / 120) ** 4) / 120, RATE)
    return 0.55 * wave + 0.3 * blow * np.clip(-flow, 0, None) ** 2


def exhale(rng: np.random.Generator, length_s: float, length_cm: float) -> Sound:
    """One "ha" as breathed on a cold pane, root mean square 1: air thrown out of the throat through a mouth that says a.

    It starts at once and wanes as the lungs empty; its force makes it brighter than a breath, and blows on the microphone.
    """
    n = round(length_s * RATE)
    t = np.arange(n) / n
    force = _edges(n, 0.03, 0.25 * length_s) * (1 - 0.5 * t)
    hiss = physics.noise(rng, n, lambda hz: 1 / (1 + (hz / 1800) ** 2) / 3000, RATE)
    blow = physics.noise(rng, n, lambda hz: 1 / (1 + (hz / 120) ** 4) / 120, RATE)
    mouth = formants_hz("a", length_cm) * (1 + 0.03 * rng.standard_normal())
    wave = _level(through_tract(hiss * force**2, [0.0], mouth[None], damping=2.5))
    wave = _level(wave + 0.3 * blow * force**2)
    return wave, [box(wave, 0.0, length_s, "exhalation")]


def cough(rng: np.random.Generator, voice: Voice, heavy: bool = False, wet: float = 0.0, voiced: float = 1.0) -> Sound:
    """One cough in three phases, peak about 1: explosive burst, noise of the air, and the voice as the glottis closes again.

    Burst 30 to 50 ms, noise 0.1 to 0.2 s, voice 60 to 130 ms with falling pitch and level `voiced` (0: none). `heavy`: half
    as long again, with the low resonance of the chest. `wet`: share of the noise that rattles, as air through fluid does.
    """
    stretch = 1.4 if heavy else 1.0
    burst_s, noise_s, voice_s = rng.uniform([0.03, 0.1, 0.06], [0.05, 0.2, 0.13]) * [1, stretch, stretch]
    ends = np.cumsum([burst_s, noise_s, voice_s if voiced else 0.0])
    n = round((ends[-1] + 0.04) * RATE)
    t = np.arange(n) / RATE
    # The burst rises within 4 ms; what follows is steady air whose force wanes until the glottis closes.
    waning = np.exp(-np.clip(t - burst_s, 0, None) / (0.55 * noise_s))
    air = np.clip(t / 0.004, 0, 1) * (np.exp(-t / (0.6 * burst_s)) + rng.uniform(0.25, 0.45) * waning)
    hiss = physics.noise(rng, n, lambda hz: 1 / (1 + (hz / 2500) ** 2) / 4000, RATE)
    rattle = 1 + 2.0 * wet * (flutter(rng, n, rng.uniform(25, 45)) - 0.5)
    source = hiss * air * np.where(t < burst_s, 1.0, rattle)
    centre = ends[1] + 0.4 * voice_s
    hum = voiced * np.exp(-(((t - centre) / (0.6 * voice_s)) ** 2)) * (t > burst_s)
    f0 = voice.f0_hz * rng.uniform(1.2, 1.7) * _drift(rng, n, 0.03) * (1.15 - 0.45 * t / t[-1])
    # Pressed together, the folds close sharply.
    source += 0.35 * glottis(rng, f0, replace(voice, soft_hz=4000)) * hum
    mouth = np.stack([formants_hz(s, voice.tract_cm) for s in ("open", "neutral", "neutral")])
    mouth *= 1 + 0.06 * rng.standard_normal(mouth.shape)
    wave = through_tract(source, [0.0, burst_s, ends[-1]], mouth, damping=4.0)
    wave /= np.abs(wave).max()
    if heavy:
        boom = physics.noise(rng, n, lambda hz: np.exp(-((np.log2(np.maximum(hz, 1) / 260) / 0.7) ** 2)) / 300, RATE)
        wave += rng.uniform(0.25, 0.4) * boom * np.sqrt(air)
    wave *= _edges(n, 0.001, 0.03)
    phases = ["explosive", "intermediate", "voiced"][: 3 if voiced else 2]
    spans = zip([0.0, *ends], ends, phases, strict=False)
    return wave / np.abs(wave).max(), [
        box(wave[round(s * RATE) : round(e * RATE)], float(s), float(e), f"cough_{phase}") for s, e, phase in spans
    ]


def flutter(rng: np.random.Generator, n: int, hz: float) -> np.ndarray:
    """Between 0 and 1 at irregular intervals, about `hz` a second: bubbles."""
    knots = rng.uniform(0, 1, 2 + int(2 * hz * n / RATE))
    return np.interp(np.arange(n) / n * (len(knots) - 1), np.arange(len(knots)), knots)
