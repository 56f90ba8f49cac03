"""The sounds of a chest, and those of its surroundings that must not be taken for them.

Every source takes a `numpy.random.Generator` and a sample rate in Hz; times are seconds of the recording. Amplitudes are
in units of the vesicular sound: it has root mean square 1 at a flow of 1, the peak of a quiet inspiration. Adventitious
sounds are defined as in Bohadana, Izbicki and Kraman, "Fundamentals of lung auscultation", N Engl J Med 2014;370:744,
table 1. Numbers without a source were chosen by ear and eye.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from lungnb.simulate import Box, Sound, band, hump, mix, noise

#: Age in years against breaths and heart beats a minute at rest: textbook middle values; adults of the ICBHI data, most of them
#: ill, breathe once in 2.7 s (RespireNet, section II: mean cycle).
_AGES = [0.0, 1.0, 3.0, 6.0, 12.0, 18.0]
_BREATHS = [44.0, 36.0, 29.0, 25.0, 22.0, 20.0]
_BEATS = [140.0, 125.0, 105.0, 95.0, 85.0, 75.0]
#: Share of a breath that is inspiration, at rest and in health.
INSPIRATION = 0.42


class Site(NamedTuple):
    """What is heard at a place on the chest: corner of the breath sound (Hz), level of the breath and of the heart."""

    corner_hz: float
    breath: float
    heart: float


def breaths_per_minute(age_years: float) -> float:
    """Respiratory rate at rest, breaths a minute: 44 in the newborn, 20 in the adult (textbook)."""
    return float(np.interp(age_years, _AGES, _BREATHS))


def beats_per_minute(age_years: float) -> float:
    """Heart rate at rest, beats a minute: 140 in the newborn, 75 in the adult (textbook)."""
    return float(np.interp(age_years, _AGES, _BEATS))


# ---- noise and breath -------------------------------------------------------------------------------------------------


def breaths(rng: np.random.Generator, start_s: float, pace_s: float, until_s: float) -> Iterator[tuple[float, float]]:
    """(start, end) of breaths one after another that last about `pace_s`, until one ends at or after `until_s`."""
    while start_s < until_s:
        end_s = start_s + pace_s * float(np.clip(rng.lognormal(0, 0.15), 0.7, 1.5))
        yield start_s, end_s
        start_s = end_s


def air_flow(rng, cycles: Sequence[tuple[float, float]], n: int, sr: int, inspiration=INSPIRATION, depth=(1, 1)):
    """Flow at the mouth over `n` samples, 0 outside `cycles` (s), of which the first may begin before 0 s.

    Inspiration is half a sine over the first `inspiration` of a cycle, of peak +1; expiration starts fast and dies away,
    its peak is about -0.8. Each cycle is of a depth between the two of `depth`.
    """
    before_s = max(0.0, -cycles[0][0])
    skipped = round(before_s * sr)
    flow = np.zeros(max(skipped + n, round((cycles[-1][1] + before_s) * sr) + 1), dtype=np.float32)
    for start_s, end_s in cycles:
        first, last = round((start_s + before_s) * sr), round((end_s + before_s) * sr)
        turn = first + round((last - first) * inspiration)
        flow[first:turn] = np.sin(np.pi * np.linspace(0, 1, turn - first))
        u = np.linspace(0, 1, last - turn)
        flow[turn:last] = -1.6 * np.sin(np.pi * u) * np.exp(-1.5 * u)
        flow[first:last] *= rng.uniform(*depth)
    return flow[skipped : skipped + n]


def breathing(rng, at_s: float, into: float, pace_s: float, n: int, sr: int, inspiration: float, depth) -> tuple:
    """Breaths one after another, one of which has got `into` of its length at `at_s`: (start, turn, end) of each (s), and
    the flow (n,)."""
    cycles = list(breaths(rng, 0.0, pace_s, n / sr + 4 * pace_s))
    start_s, end_s = cycles[1]  # this one is moved to where it has to be
    shift = at_s - start_s - into * (end_s - start_s)
    cycles = [(s + shift, e + shift) for s, e in cycles]
    flow = air_flow(rng, cycles, n, sr, inspiration, depth)
    return [(s, s + inspiration * (e - s), e) for s, e in cycles if e > 0 and s < n / sr], flow


def vesicular_psd(hz: np.ndarray, corner_hz: float = 150.0) -> np.ndarray:
    """Power density, per Hz, of the vesicular sound at flow 1 (total power 1).

    Flat to `corner_hz` (100 to 200 Hz), then falling by 12 dB/octave: the chest wall filters turbulence; little below 40 Hz.
    """

    def shape(hz):
        return 1 / ((1 + (hz / corner_hz) ** 4) * (1 + (40 / np.maximum(hz, 1)) ** 4))

    return shape(np.asarray(hz)) / shape(np.arange(0.5, 4000)).sum()


def vesicular(rng, flow: np.ndarray, sr: int, corner_hz: float = 150.0, expiration: float = 0.6) -> np.ndarray:
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
        # Systole shortens with the root of the period (Bazett).
        for delay, hz, length_s, level in ((0.0, 50, 0.10, 1.0), (0.38 * period**0.5, 70, 0.07, 0.7)):
            burst = np.exp(-(((t - 0.05) / (length_s / 4)) ** 2)) * np.cos(2 * np.pi * hz * rng.normal(1, 0.08) * t)
            if 0 <= onset + delay < n / sr:
                mix(wave, level * rng.normal(1, 0.1) * burst, onset + delay, sr)
    return wave


# ---- adventitious sounds ----------------------------------------------------------------------------------------------


def crackles(
    rng: np.random.Generator, kind: str, start_s: float, end_s: float, count: int, sr: int, pitch=1.0
) -> Sound:
    """`count` crackles in [start_s, end_s]: damped tones with a sharp rise, falling in pitch, of peak about 1.

    kind: "crackle_fine", about 650 Hz and 5 ms each, or "crackle_coarse", 150 to 500 Hz (about 350) and 15 ms; times `pitch`.
    """
    fine = kind == "crackle_fine"
    length_s, hz, width_hz = (0.005, 650, 400) if fine else (0.015, 320, 130)
    onsets_s = np.sort(rng.uniform(start_s, end_s - length_s, count))
    tones_hz = (rng.normal(650, 70, count) * pitch).clip(450, 900) if fine else pitch * rng.uniform(150, 500, count)
    t = np.arange(round(length_s * sr)) / sr
    phase = 2 * np.pi * tones_hz[:, None] * (1.1 * t - t**2 / (8 * length_s))
    tones = np.sin(phase + rng.uniform(0, 2 * np.pi, (count, 1)))
    damping = 1.6 * (1 - np.exp(-t / (length_s / 20))) * np.exp(-t / (length_s / 4))
    waves = damping * tones * rng.uniform(0.6, 1.2, (count, 1))
    first = np.round((onsets_s - onsets_s[0]) * sr).astype(int)
    train = np.zeros(first[-1] + len(t), dtype=np.float32)
    np.add.at(train, first[:, None] + np.arange(len(t)), waves)
    spans = zip(onsets_s.tolist(), band(waves, sr).tolist(), strict=True)
    return Sound(train, [Box(s, s + length_s, *edges, kind) for s, edges in spans], hz, width_hz)


#: Musical sounds: lowest and highest pitch (Hz), by how much each partial falls (dB; None: drawn), their number, drift in pitch.
MUSICAL = {
    "wheeze": (100, 2500, None, 4, 0.15),
    "rhonchus": (0, 199.9, 5.0, 6, 0.08),  # its partials fall slowly, so it sounds rough: a snore, about 150 Hz
    "stridor": (500, np.inf, 6.0, 5, 0.10),  # of the upper airway, loud and rich, over inspiration
}


def musical(rng: np.random.Generator, kind: str, start_s: float, end_s: float, hz: float, sr: int) -> Sound:
    """A sound of a `kind` of MUSICAL. Raises ValueError for a pitch or a length that it cannot have."""
    low_hz, high_hz, rolloff_db, partials, drift = MUSICAL[kind]
    if not low_hz <= hz <= high_hz or (kind == "wheeze" and end_s - start_s < 0.08 - 1e-9):
        raise ValueError(f"{end_s - start_s:.3f} s at {hz:.0f} Hz is no {kind}")
    wave = _tone(rng, start_s, end_s, hz, rolloff_db or rng.uniform(9, 16), partials, drift, sr)
    # Its energy is narrow: what competes with it is the breath of 16 Hz about its pitch.
    return Sound(wave, [Box(start_s, end_s, *band(wave[None], sr)[0].tolist(), kind)], hz, 16)


def _tone(rng, start_s: float, end_s: float, hz: float, rolloff_db: float, n_partials: int, drift: float, sr: int):
    """Harmonic tone of amplitude 1: pitch drifts by up to `drift` of itself, partials fall by `rolloff_db` each."""
    t = np.linspace(0, 1, round((end_s - start_s) * sr), dtype=np.float32)
    slope, sway = rng.uniform(-1, 1), 0.4 * rng.uniform(-1, 1)
    bend = 1 + drift * (slope * (t - 0.5) + sway * np.sin(2 * np.pi * (t + rng.uniform())))
    phase = 2 * np.pi * np.cumsum(hz * bend) / sr
    partials = [k for k in range(1, n_partials + 1) if k * hz * (1 + drift) < sr / 2]
    wave = sum(10 ** (-rolloff_db * (k - 1) / 20) * np.sin(k * phase + rng.uniform(0, 2 * np.pi)) for k in partials)
    rise_s = min(0.05, (end_s - start_s) / 3)
    edge = np.clip(np.minimum(t, 1 - t) * (end_s - start_s) / rise_s, 0, 1)
    return wave * np.sin(np.pi / 2 * edge) ** 2


# ---- distractors: what must not be taken for a sound of the lung -------------------------------------------------------


def thump(rng: np.random.Generator, sr: int) -> Sound:
    """Handling noise: a knock of 40 to 120 ms, low and blunt, sometimes with a bright scrape; peak about 1."""
    t = np.arange(round(rng.uniform(0.04, 0.12) * sr)) / sr
    scrape = rng.standard_normal(len(t)) * rng.uniform(0, 0.1)
    decay = np.exp(-t * rng.uniform(25, 60)) * (1 - np.exp(-t / 0.004))
    return Sound(decay * (np.sin(2 * np.pi * rng.uniform(40, 120) * t) + scrape), [], 80, 60)


def friction(rng: np.random.Generator, sr: int) -> Sound:
    """Hair or cloth under the stethoscope: 2 to 6 bursts of noise within 0.4 s, each 15 to 60 ms, peak about 1."""
    wave = np.zeros(round(0.5 * sr))
    for onset_s in rng.uniform(0, 0.4, rng.integers(2, 7)):
        n = round(rng.uniform(0.015, 0.06) * sr)
        burst = rng.standard_normal(n) * np.sin(np.pi * np.arange(n) / n) ** 2
        mix(wave, rng.uniform(0.2, 0.5) * burst, onset_s, sr)
    return Sound(wave, [], 650, 400)


def squeak(rng: np.random.Generator, sr: int) -> Sound:
    """A tone of 30 to 70 ms, 200 to 1000 Hz, amplitude 1: too short to be a wheeze (80 ms)."""
    return Sound(_tone(rng, 0.0, rng.uniform(0.03, 0.07), hz := rng.uniform(200, 1000), 12.0, 2, 0.05, sr), [], hz, 16)


def babble(rng: np.random.Generator, sr: int) -> Sound:
    """A voice in the room: 2 to 5 syllables, each a stack of partials 100 to 280 Hz apart under two formants, peak about 1."""
    f0, at_s, syllables = rng.uniform(100, 280), 0.0, []
    for _ in range(rng.integers(2, 6)):
        t = np.arange(round(rng.uniform(0.1, 0.25) * sr)) / sr
        hz = f0 * rng.lognormal(0, 0.08) * (1 + rng.uniform(-0.15, 0.15) * t / t[-1])
        phase, first, second = 2 * np.pi * np.cumsum(hz) / sr, rng.uniform(300, 700), rng.uniform(900, 1500)
        k = np.arange(1, int(0.45 * sr / hz.max()) + 1)
        gain = hump(k * f0, first, 0.5) + 0.3 * hump(k * f0, second, 0.3)
        wave = gain @ np.sin(k[:, None] * phase + rng.uniform(0, 2 * np.pi, (len(k), 1)))
        syllables.append((at_s, wave * np.sin(np.pi * t / t[-1]).clip(0) ** 0.5 * rng.uniform(0.6, 1)))
        at_s += t[-1] + rng.uniform(0, 0.1)
    voice = np.zeros(round((at_s + 0.01) * sr))
    for onset_s, wave in syllables:
        mix(voice, wave, onset_s, sr)
    return Sound(voice / np.abs(voice).max(), [], 400, 16)
