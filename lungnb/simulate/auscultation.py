"""One patient's chest, which has an identity, and one recording of it in the making."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lungnb.simulate import Box, Device, Sound, mix, noise
from lungnb.simulate import chest as sources
from lungnb.simulate.chest import Site, vesicular, vesicular_psd

#: Where the gain of a body is drawn, Hz, and its spread over patients and over the recordings of one, dB.
BODY_HZ = np.geomspace(60, 1900, 9)
BODY_DB, PLACING_DB = 9.0, 2.0
#: What is heard over a chest and is none of the lung: its source, how often it is the one, and its level over the background in
#: its own band, dB, mean and spread: that of the sounds of the lung.
DISTRACTORS = {
    **{sources.thump: (0.3, 36, 6), sources.friction: (0.3, 35, 5)},
    **{sources.squeak: (0.15, 28, 5), sources.babble: (0.25, 32, 6)},
}


@dataclass(frozen=True, kw_only=True)
class Chest:
    """How one patient sounds in all of their recordings.

    beats: of the heart, a minute. heart_db, level_db: of the heart and of the whole. tilt: of the corner of the breath
    sound, times. sound_db: level of clear sounds over the breath in their own band, by kind. fine_share: how many of the
    crackles are fine. crackle: of their pitch, times. restless: distractors a second. habits: how often each kind is the one.
    body: gain at BODY_HZ, dB. hum: mains, in units of the breath.
    """

    beats: float
    heart_db: float
    sound_db: dict[str, float]
    wheeze_hz: float
    restless: float = 0.0
    level_db: float = 0.0
    tilt: float = 1.0
    fine_share: float = 0.5
    crackle: float = 1.0
    rhonchus_hz: float = 130.0
    hum: float = 0.0
    body: Sequence[float] = (0.0,) * len(BODY_HZ)
    habits: Sequence[float] = tuple(chance for chance, *_ in DISTRACTORS.values())


def identity(rng, age_years: float, heart_db: float, restless: float) -> dict[str, Any]:
    """What tells a patient of `age_years` from others, whatever they have; fields of a Chest. `heart_db`, `restless`: means."""
    return {
        "beats": sources.beats_per_minute(age_years) * rng.lognormal(0, 0.08),
        "heart_db": rng.normal(heart_db, 4),
        "tilt": rng.lognormal(0, 0.12),
        "body": rng.normal(0, BODY_DB, len(BODY_HZ)),
        "hum": rng.lognormal(-2, 1),
        "crackle": rng.lognormal(0, 0.12),
        "rhonchus_hz": rng.uniform(95, 165),
        "restless": rng.gamma(3, restless / 3),
        "habits": rng.dirichlet([4 * p for p, *_ in DISTRACTORS.values()]),
    }


class Auscultation:
    """One recording in the making: `signal` (n,) at the chest wall, at first the breath alone, and `boxes` of what was added.

    site: here and now. expiration: its level against inspiration. device: whose noise the added sounds compete with, beside
    the breath; None: with the breath alone.
    """

    def __init__(self, rng, flow: np.ndarray, sr: int, site: Site, expiration: float, device: Device | None = None):
        self.rng, self.sr, self.site, self.device, self.length_s = rng, sr, site, device, len(flow) / sr
        self.signal = site.breath * vesicular(rng, flow, sr, site.corner_hz, expiration)
        self.boxes: list[Box] = []

    def murmur(self, level: float, corner_hz: float) -> None:
        """Steady noise (muscle, room) of the colour of a breath of `corner_hz`, in units of the breath."""
        self.signal += level * noise(self.rng, len(self.signal), lambda hz: vesicular_psd(hz, corner_hz), self.sr)

    def heart(self, chest: Chest, hum_hz: float = 50.0) -> None:
        """The sounds of the heart, as loud as at this site, and mains with its second and third harmonic."""
        level = self.site.heart * 10 ** (chest.heart_db / 20)
        self.signal += level * sources.heart_sounds(self.rng, len(self.signal), self.sr, chest.beats)
        t = 2 * np.pi * hum_hz * np.arange(len(self.signal)) / self.sr
        for k in (1, 2, 3) if chest.hum else ():
            self.signal += chest.hum / 2 ** (k - 1) * np.sin(k * t + self.rng.uniform(0, 2 * np.pi))

    def background(self, hz: float, width_hz: float) -> float:
        """Root mean square of breath and device noise in a band, referred to the chest."""
        power = self.site.breath**2 * vesicular_psd(hz, self.site.corner_hz)
        if self.device:
            power += self.device.noise_psd(hz) / max(self.device.response(hz), 1e-3) ** 2
        return float(np.sqrt(power * width_hz))

    def lay(self, wave: np.ndarray, start_s: float) -> None:
        """Add `wave` from `start_s` on."""
        mix(self.signal, wave, start_s, self.sr)

    def add(self, sound: Sound, over_db: float, start_s: float | None = None) -> None:
        """Lay `sound` in at its place, or at `start_s`, `over_db` over the background in its own band."""
        level = 10 ** (over_db / 20) * self.background(sound.hz, sound.width_hz)
        self.lay(level * sound.wave, sound.boxes[0].start_s if start_s is None else start_s)
        self.boxes += sound.boxes

    def distract(self, chest: Chest, times: float = 1.0, louder_db: float = 0.0) -> None:
        """What this patient does, or hears, `times` as often and `louder_db` louder than usual."""
        kinds = list(DISTRACTORS.items())
        count = self.rng.poisson(times * chest.restless * self.length_s)
        for start_s in self.rng.uniform(0, self.length_s - 0.3, count):
            source, (_, mean_db, spread_db) = kinds[self.rng.choice(len(kinds), p=chest.habits)]
            self.add(source(self.rng, self.sr), self.rng.normal(mean_db + louder_db, spread_db), start_s)

    def record(self, device: Device, chest: Chest) -> np.ndarray:
        """The signal as `device` records it, placed once more on this body."""
        gain_db = chest.body + self.rng.normal(0, PLACING_DB, len(BODY_HZ))

        def colour(hz: np.ndarray) -> np.ndarray:
            return 10 ** (np.interp(np.log(np.maximum(hz, 1)), np.log(BODY_HZ), gain_db) / 20)

        return device.record(self.rng, self.signal, self.sr, colour)
