"""The sounds of the mouth: a source (pulses of the glottis, or noise of fast air) and a filter (the vocal tract).

Age and sex act where they do in people: on the pitch, by the length of the vocal folds, and on the formants, by the length
of the vocal tract. As in `chest`, every source takes a `numpy.random.Generator`; times are in seconds, and numbers without
a source were chosen by ear and eye, those of coughs beside real ones.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import fft, signal

from lungnb.simulate import Box, Sound, band, hump, mix, moved, noise

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
    **{"i": (270, 2290, 3010, 3600), "u": (300, 870, 2240, 3300), "n": (250, 1150, 2300, 3300)},
    # A tract of even width; behind teeth or lips while air is drawn in; with the tongue low and the jaw dropped.
    **{"neutral": (500, 1500, 2500, 3500), "drawn": (380, 1750, 2700, 3700), "open": (650, 1350, 2450, 3450)},
}
#: Noise of consonants: centre (Hz, of a man), width (octaves), level against a vowel, and length (s).
CONSONANTS = {"s": (5600, 0.45, 0.30, 0.11), "f": (4500, 1.6, 0.10, 0.09), "t": (3800, 0.8, 0.35, 0.03)}
#: One to ten in the letters above.
DIGITS = ("uan", "tu", "fi", "fo", "faif", "sis", "sefen", "eit", "nain", "ten")


class Voice(NamedTuple):
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


def voice_of(rng: np.random.Generator, age_years: float, sex: str, smoker: bool, hoarse: float = 1.0) -> Voice:
    """The voice of somebody: an old one trembles and is breathy, a child's and a woman's are softer than a man's, a
    smoker's is lower and rougher (textbook; sizes ours); `hoarse`: jitter and shimmer, times."""
    old, deep = max(0.0, (age_years - 50) / 40), age_years > 15 and sex == "male"
    rough = hoarse * (2.0 if smoker else 1.0) * (1 + 1.5 * old) * rng.lognormal(0, 0.2)
    return Voice(
        f0_hz=pitch_hz(age_years, sex) * (0.92 if smoker else 1.0) * rng.lognormal(0, 0.07),
        tract_cm=tract_cm(age_years, sex) * rng.lognormal(0, 0.025),
        jitter=0.006 * rough,
        shimmer=0.03 * rough,
        breathiness=0.04 * (1 if deep else 1.8) * (1 + 2 * old) * rng.lognormal(0, 0.3),
        soft_hz=(2500 if deep else 1500) * (1 - 0.4 * old) * rng.lognormal(0, 0.2),
    )


def formants_hz(sound: str, length_cm: float) -> np.ndarray:
    """(k,): resonances below 7.8 kHz of a tract of `length_cm` that says `sound`: all scale with 1 / length.

    From the fifth on they are those of a tube that is open at one end, (2k - 1) c / 4L.
    """
    tube = [(2 * k - 1) * 35000 / (4 * MAN_CM) for k in range(5, 9)]
    hz = np.array([*FORMANTS[sound], *tube]) * MAN_CM / length_cm
    return hz[: max(4, int((hz < 7800).sum()))]


def through_tract(source: np.ndarray, formants: np.ndarray, damping: float = 1.0) -> np.ndarray:
    """`source` (n,) filtered by resonances at `formants` (k,) Hz, one after another, each a pair of poles of gain 1 at 0 Hz.

    The width of a resonance, 50 Hz + 2 % of its frequency, is `damping` times that (an open glottis damps).
    """
    radius = np.exp(-np.pi * damping * (50 + 0.02 * formants) / RATE)
    poles = np.stack([np.ones_like(radius), -2 * radius * np.cos(2 * np.pi * formants / RATE), radius**2], axis=1)
    zeros = np.zeros_like(poles)
    zeros[:, 0] = poles.sum(axis=1)
    return signal.sosfilt(np.hstack([zeros, poles]), source)


def glottis(rng: np.random.Generator, f0_hz: np.ndarray, voice: Voice) -> np.ndarray:
    """Voice before the tract, root mean square about 1: the slope of the air's pulses, whose pitch follows `f0_hz` (n,).

    One pulse opens over 40 % of the period and closes over 16 % (Rosenberg's), here without what aliases; jitter and
    shimmer are drawn anew for each.
    """
    size, opening, closing = 1024, 0.40, 0.16
    u = np.arange(size) / size
    flow = np.where(u < opening, 0.5 - 0.5 * np.cos(np.pi * u / opening), np.cos(np.pi / 2 * (u - opening) / closing))
    # Partials of the slope: the k-th of the flow, times ik.
    k_hz = np.arange(size // 2 + 1) * np.median(f0_hz)
    partials = fft.rfft(np.where(u < opening + closing, flow, 0.0)) * 1j * k_hz
    partials *= (k_hz < 7600 * np.median(f0_hz) / f0_hz.max()) / np.sqrt(1 + (k_hz / voice.soft_hz) ** 2)
    pulse = fft.irfft(partials)
    period = np.floor(np.cumsum(f0_hz / RATE)).astype(int)
    wobble, tremble = rng.standard_normal((2, period[-1] + 1))
    phase = np.cumsum(f0_hz / RATE * (1 + voice.jitter * wobble[period]))
    tone = np.interp(phase % 1, u, pulse / pulse.std(), period=1) * (1 + voice.shimmer * tremble[period])
    return tone + voice.breathiness * rng.standard_normal(len(tone)) * (1 + np.sin(2 * np.pi * phase)) / 2


def wander(rng: np.random.Generator, n: int, per_s: float) -> np.ndarray:
    """(n,): straight lines through standard normal knots, `per_s` a second."""
    knots = rng.standard_normal(2 + int(per_s * n / RATE))
    return np.interp(np.linspace(0, len(knots) - 1, n), np.arange(len(knots)), knots)


def drift(rng: np.random.Generator, n: int, depth: float) -> np.ndarray:
    """(n,): a slow wander around 1 by about `depth`."""
    return 1 + depth * wander(rng, n, 5)


def _edges(n: int, rise_s: float, fall_s: float) -> np.ndarray:
    """From 0 to 1 within `rise_s`, and back to 0 within `fall_s` before the end."""
    t = np.arange(n) / RATE
    return np.sin(np.pi / 2 * np.clip(np.minimum(t / rise_s, t[::-1] / fall_s), 0, 1)) ** 2


def _level(wave: np.ndarray) -> np.ndarray:
    """`wave` at root mean square 1."""
    return wave / np.sqrt(np.mean(np.square(wave)))


def air(rng: np.random.Generator, n: int, corner_hz: float, order: int = 1) -> np.ndarray:
    """(n,): noise of power 1 that is white to `corner_hz` and falls by 6 * `order` dB/octave above."""
    # The integral of 1 / (1 + x^2m) from 0 to infinity is (pi / 2m) / sin(pi / 2m).
    density = np.sin(np.pi / (2 * order)) * 2 * order / np.pi / corner_hz
    return noise(rng, n, lambda hz: density / (1 + (hz / corner_hz) ** (2 * order)), RATE)


def boxes_of(wave: np.ndarray, spans: list[tuple[float, float, str]]) -> list[Box]:
    """The boxes of the parts (start, end, kind) of `wave`, which begins at 0 s."""
    parts = [wave[round(start_s * RATE) : round(end_s * RATE)] for start_s, end_s, _ in spans]
    return [Box(s, e, *band(x[None], RATE)[0].tolist(), kind) for x, (s, e, kind) in zip(parts, spans, strict=True)]


def vowel(rng: np.random.Generator, letter: str, length_s: float, voice: Voice) -> Sound:
    """One vowel held, root mean square 1: the pitch wanders by 1 %, the mouth differs from others by 2 %."""
    n = round(length_s * RATE)
    formants = formants_hz(letter, voice.tract_cm)
    formants *= 1 + 0.02 * rng.standard_normal(len(formants))
    source = glottis(rng, voice.f0_hz * drift(rng, n, 0.01), voice) * drift(rng, n, 0.06) * _edges(n, 0.06, 0.08)
    wave = _level(through_tract(source, formants))
    return Sound(wave, boxes_of(wave, [(0.0, length_s, f"vowel_{letter}")]))


def counting(rng: np.random.Generator, length_s: float, voice: Voice, pace: float = 1.0) -> Sound:
    """Numbers said one after another from any on, root mean square 0.7; `pace` 1 is about two a second.

    Letter by letter: noise for a consonant, else the glottis through the tract of that letter, which rings on for 30 ms.
    """
    n, t, number = round(length_s * RATE), 0.0, int(rng.integers(len(DIGITS)))
    falling = 1.08 - 0.12 * (np.arange(n) / RATE % 1.0)
    voiced = glottis(rng, voice.f0_hz * drift(rng, n, 0.06) * falling, voice)
    wave, spans = np.zeros(n), []
    while t < length_s - 0.1:
        for letter in DIGITS[number % len(DIGITS)]:
            hz, octaves, level, lasts = CONSONANTS.get(letter, (0, 0, 0, rng.uniform(0.10, 0.16)))
            size = round((lasts := lasts / pace) * RATE)
            if hz:
                centre_hz = min(hz * MAN_CM / voice.tract_cm, 6800)
                hiss = noise(rng, size, partial(hump, centre_hz=centre_hz, octaves=octaves), RATE)
                sound = level * _level(hiss) * _edges(size, 0.005, 0.02)
            else:
                piece = voiced[round(t * RATE) :][:size]
                piece = np.pad(piece * _edges(len(piece), 0.02, 0.02), (0, round(0.03 * RATE)))
                sound = (0.45 if letter == "n" else 1.0) * through_tract(piece, formants_hz(letter, voice.tract_cm))
            if t < length_s - 0.01:
                mix(wave, sound, t, RATE)
                spans.append((t, min(t + lasts, length_s), f"speech_{letter}"))
            t += lasts
        t, number = t + rng.uniform(0.08, 0.25) / pace, number + 1
    wave = 0.7 * _level(wave * _edges(n, 0.005, 0.02))
    return Sound(wave, boxes_of(wave, spans))


def mouth_breath(rng: np.random.Generator, flow: np.ndarray, length_cm: float) -> np.ndarray:
    """Breath at the mouth, about 1 at a flow of 1 (quiet): the noise grows with the square of `flow` and grows brighter.

    Turbulence needs speed, so high frequencies come in late and go early in each phase; drawn in, air hisses behind teeth
    and lips; let out, it comes through an open mouth and blows on the microphone below 150 Hz.
    """
    n, speed = len(flow), np.abs(flow)
    source = air(rng, n, 500) * speed**1.7 + air(rng, n, 3000) * speed**2.6
    drawn = through_tract(source * (flow > 0), formants_hz("drawn", length_cm), damping=4.0)
    out = through_tract(source * (flow <= 0), formants_hz("open", length_cm), damping=4.0)
    return 0.55 * (drawn + out) + 0.3 * air(rng, n, 120, order=2) * np.clip(-flow, 0, None) ** 2


def exhale(rng: np.random.Generator, length_s: float, length_cm: float) -> Sound:
    """One "ha" as breathed on a cold pane, root mean square 1: air thrown out of the throat through a mouth that says a.

    It starts at once and wanes as the lungs empty; its force makes it brighter than a breath, and blows on the microphone.
    """
    n = round(length_s * RATE)
    force = _edges(n, 0.03, 0.25 * length_s) * np.linspace(1, 0.5, n)
    mouth = formants_hz("a", length_cm) * (1 + 0.03 * rng.standard_normal())
    wave = _level(through_tract(air(rng, n, 1800) * force**2, mouth, damping=2.5))
    wave = _level(wave + 0.3 * air(rng, n, 120, order=2) * force**2)
    return Sound(wave, boxes_of(wave, [(0.0, length_s, "exhalation")]))


def exhalations(rng: np.random.Generator, length_s: float, length_cm: float, slower: float = 1.0) -> Sound:
    """ "Ha, ha, ha" with a gasp between them, about 0.4 s each, `slower` times that where airways are narrow."""
    made, onset_s, usual_s = Sound(np.zeros(round(length_s * RATE)), []), 0.0, rng.uniform(0.3, 0.5) * slower
    while onset_s + 0.2 < length_s:
        lasts = min(usual_s * rng.uniform(0.9, 1.1), length_s - onset_s)
        _follow(made, exhale(rng, lasts, length_cm), rng.uniform(0.8, 1), onset_s)
        onset_s += lasts + rng.uniform(0.1, 0.2)
    return made


def _follow(made: Sound, sound: Sound, level: float, onset_s: float) -> None:
    """Add `sound` to `made` in place, `onset_s` after its start, with those of its boxes that begin within it."""
    mix(made.wave, level * sound.wave, onset_s, RATE)
    made.boxes.extend(moved(sound.boxes, onset_s, len(made.wave) / RATE))


def cough(rng: np.random.Generator, voice: Voice, heavy: bool = False, wet: float = 0.0, voiced: float = 1.0) -> Sound:
    """One cough in three phases, peak about 1: explosive burst, noise of the air, and the voice as the glottis closes again.

    Burst 30 to 50 ms, noise 0.1 to 0.2 s, voice 60 to 130 ms with falling pitch and level `voiced` (0: none). `heavy`: half
    as long again, with the low resonance of the chest. `wet`: share of the noise that rattles, as air through fluid does.
    """
    stretch = 1.4 if heavy else 1.0
    burst_s, noise_s, voice_s = rng.uniform([0.03, 0.1, 0.06], [0.05, 0.2, 0.13]) * [1, stretch, stretch]
    ends = np.cumsum([burst_s, noise_s, voice_s if voiced else 0.0]).tolist()
    n = round((ends[-1] + 0.04) * RATE)
    t = np.arange(n) / RATE
    # The burst rises within 4 ms; what follows is steady air whose force wanes until the glottis closes.
    waning = np.exp(-np.clip(t - burst_s, 0, None) / (0.55 * noise_s))
    force = np.clip(t / 0.004, 0, 1) * (np.exp(-t / (0.6 * burst_s)) + rng.uniform(0.25, 0.45) * waning)
    # Bubbles burst at irregular intervals.
    rattle = np.clip(1 + 0.6 * wet * wander(rng, n, rng.uniform(50, 90)), 0, None)
    source = air(rng, n, 2500) * force * np.where(t < burst_s, 1.0, rattle)
    # Pressed together, the folds close sharply.
    hum = np.exp(-(((t - ends[1] - 0.4 * voice_s) / (0.6 * voice_s)) ** 2)) * (t > burst_s)
    f0 = voice.f0_hz * rng.uniform(1.2, 1.7) * drift(rng, n, 0.03) * (1.15 - 0.45 * t / t[-1])
    source += 0.35 * voiced * glottis(rng, f0, voice._replace(soft_hz=4000)) * hum
    # The jaw is dropped in the burst, and comes up.
    up = np.clip(t / burst_s, 0, 1)
    wave = np.zeros(n)
    for shape, share in (("open", 1 - up), ("neutral", up)):
        mouth = formants_hz(shape, voice.tract_cm)
        wave += through_tract(source * share, mouth * (1 + 0.06 * rng.standard_normal(len(mouth))), damping=4.0)
    wave /= np.abs(wave).max()
    if heavy:
        boom = noise(rng, n, lambda hz: hump(hz, 260, 0.7) / 300, RATE)
        wave += rng.uniform(0.25, 0.4) * boom * np.sqrt(force)
    wave *= _edges(n, 0.001, 0.03)
    wave /= np.abs(wave).max()
    phases = ["cough_explosive", "cough_intermediate", "cough_voiced"][: 3 if voiced else 2]
    return Sound(wave, boxes_of(wave, list(zip([0.0, *ends], ends, phases, strict=False))))


def coughs(rng: np.random.Generator, length_s: float, voice: Voice, heavy: bool, wet: float, voiced: float) -> Sound:
    """A bout, one every 0.32 s or more, two to four if `length_s` holds them; if not `heavy`, a single shallow one."""
    made, onset_s = Sound(np.zeros(round(length_s * RATE)), []), 0.0
    for _ in range(rng.integers(2, 5) if heavy else 1):
        if onset_s == 0 or onset_s + 0.25 < length_s:
            _follow(made, cough(rng, voice, heavy, wet, voiced), rng.uniform(0.75, 1), onset_s)
        onset_s = max(onset_s + rng.uniform(0.32, 0.45), made.boxes[-1].end_s + 0.02)
    return made


def in_room(rng: np.random.Generator, wave: np.ndarray) -> np.ndarray:
    """`wave` and its echo from the walls: noise that falls by 60 dB within 0.15 to 0.4 s, 12 to 20 dB softer in all."""
    t = np.arange(round(0.3 * RATE)) / RATE
    echo = rng.standard_normal(len(t)) * 10 ** (-3 * t / rng.uniform(0.15, 0.4)) * (t > 0.004)
    echo *= 10 ** (rng.uniform(-20, -12) / 20) / np.sqrt(np.sum(echo**2))
    echo[0] = 1.0
    return signal.fftconvolve(wave, echo)[: len(wave)]
