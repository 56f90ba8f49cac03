"""The sounds of a chest, what one patient has of them, and one recording in the making.

Every source takes a `numpy.random.Generator` and a sample rate in Hz; times are seconds of the recording. Amplitudes are
in units of the vesicular sound: it has root mean square 1 at a flow of 1, the peak of a quiet inspiration. Adventitious
sounds are defined as in Bohadana, Izbicki and Kraman, "Fundamentals of lung auscultation", N Engl J Med 2014;370:744,
table 1. Numbers without a source were chosen by ear and eye.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lungnb.simulate import Box, Device, Sound, band, mix, noise

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


def crackles(rng: np.random.Generator, kind: str, start_s: float, end_s: float, count: int, sr: int) -> Sound:
    """`count` crackles in [start_s, end_s]: damped tones with a sharp rise, falling in pitch, of peak about 1.

    kind: "crackle_fine", about 650 Hz and 5 ms each, or "crackle_coarse", 150 to 500 Hz (about 350) and 15 ms.
    """
    fine = kind == "crackle_fine"
    length_s, hz, width_hz = (0.005, 650, 400) if fine else (0.015, 320, 130)
    onsets_s = np.sort(rng.uniform(start_s, end_s - length_s, count))
    pitch = rng.normal(650, 70, count).clip(450, 900) if fine else rng.uniform(150, 500, count)
    t = np.arange(round(length_s * sr)) / sr
    phase = 2 * np.pi * pitch[:, None] * (1.1 * t - t**2 / (8 * length_s))
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


def squeak(rng: np.random.Generator, sr: int) -> np.ndarray:
    """A tone of 30 to 70 ms, 200 to 1000 Hz, amplitude 1: too short to be a wheeze (80 ms)."""
    return _tone(rng, 0.0, rng.uniform(0.03, 0.07), rng.uniform(200, 1000), 12.0, 2, 0.05, sr)


def speech_hum(rng: np.random.Generator, length_s: float, sr: int) -> np.ndarray:
    """Voice through the chest wall: pitch 100 to 250 Hz, partials close together, syllables 4 a second; peak about 1."""
    tone = _tone(rng, 0.0, length_s, rng.uniform(100, 250), 4.0, 6, 0.3, sr)
    t = np.arange(len(tone)) / sr
    return tone / 3 * np.clip(np.sin(2 * np.pi * rng.uniform(3, 5) * t + rng.uniform(0, 6)), 0, 1)


class Distractors(NamedTuple):
    """`chances` of a knock, cloth, a squeak and a voice. `thump`: mean and spread of the logarithm of a knock's level;
    `friction_db`, `squeak_db`: of the level over the breath in the sound's own band, dB."""

    chances: tuple[float, float, float, float]
    thump: tuple[float, float]
    friction_db: tuple[float, float]
    squeak_db: tuple[float, float]


# ---- patients and recordings --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Chest:
    """How one patient sounds in all of their recordings: the place for an identity of the patient.

    beats: of the heart, a minute. heart_db, level_db: of the heart and of the whole. tilt: of the corner of the breath
    sound, times. sound_db: level of clear sounds over the breath in their own band, by kind. fine_share: how many of the
    crackles are fine. restless: distractors a second.
    """

    beats: float
    heart_db: float
    sound_db: dict[str, float]
    wheeze_hz: float
    restless: float = 0.0
    level_db: float = 0.0
    tilt: float = 1.0
    fine_share: float = 0.5
    rhonchus_hz: float = 130.0


class Auscultation:
    """One recording in the making: `signal` (n,) at the chest wall, at first the breath alone, and `boxes` of what was added.

    site: here and now. expiration: its level against inspiration. device: whose noise the added sounds compete with, beside
    the breath; None: with the breath alone.
    """

    def __init__(self, rng, flow: np.ndarray, sr: int, site: Site, expiration: float, device: Device | None = None):
        self.rng, self.sr, self.site, self.device, self.length_s = rng, sr, site, device, len(flow) / sr
        self.signal = site.breath * vesicular(rng, flow, sr, site.corner_hz, expiration)
        self.boxes: list[Box] = []

    def murmur(self, level: float) -> None:
        """Steady noise of the colour of the breath (muscle, room), in units of the breath."""
        self.signal += level * noise(
            self.rng, len(self.signal), lambda hz: vesicular_psd(hz, self.site.corner_hz), self.sr
        )

    def heart(self, chest: Chest) -> None:
        """The sounds of the heart, as loud as at this site."""
        level = self.site.heart * 10 ** (chest.heart_db / 20)
        self.signal += level * heart_sounds(self.rng, len(self.signal), self.sr, chest.beats)

    def background(self, hz: float, width_hz: float) -> float:
        """Root mean square of breath and device noise in a band, referred to the chest."""
        power = self.site.breath**2 * vesicular_psd(hz, self.site.corner_hz)
        if self.device:
            power += self.device.noise_psd(hz) / max(self.device.response(hz), 1e-3) ** 2
        return float(np.sqrt(power * width_hz))

    def lay(self, wave: np.ndarray, start_s: float) -> None:
        """Add `wave` from `start_s` on."""
        mix(self.signal, wave, start_s, self.sr)

    def add(self, sound: Sound, over_db: float) -> None:
        """Lay `sound` in, `over_db` over the background in its own band."""
        level = 10 ** (over_db / 20) * self.background(sound.hz, sound.width_hz)
        self.lay(level * sound.wave, sound.boxes[0].start_s)
        self.boxes += sound.boxes

    def moments(self, per_s: float) -> np.ndarray:
        """Times at which something happens that happens `per_s` times a second, but for the last 0.3 s."""
        return self.rng.uniform(0, self.length_s - 0.3, self.rng.poisson(per_s * self.length_s))

    def distractor(self, kinds: Distractors) -> np.ndarray:
        """A knock, cloth, a squeak or a voice, at the level it has over this chest."""
        rng, sr = self.rng, self.sr
        match rng.choice(["thump", "friction", "squeak", "voice"], p=kinds.chances):
            case "thump":
                return rng.lognormal(*kinds.thump) * thump(rng, sr)
            case "friction":
                return self.rubbing(kinds.friction_db)
            case "squeak":
                return 10 ** (rng.normal(*kinds.squeak_db) / 20) * self.background(400, 16) * squeak(rng, sr)
        return rng.lognormal(-1.5, 0.6) * speech_hum(rng, rng.uniform(0.3, 1.0), sr)

    def rubbing(self, over_db: tuple[float, float]) -> np.ndarray:
        """Cloth, `over_db` (mean and spread) over the background in its own band."""
        level = 10 ** (self.rng.normal(*over_db) / 20) * self.background(650, 400)
        return level * friction(self.rng, self.sr)
