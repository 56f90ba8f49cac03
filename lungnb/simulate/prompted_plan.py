"""Who is recorded for the prompts, how each person sounds, and what is written of it: before any sound.

Every sound has age and sex in it, so that a generated clip can be asked whether it is the person the prompt named. What a
condition does is in CONDITIONS, one number each; what smoking does, in SMOKING.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lungnb.simulate import physics, voice


class Condition(NamedTuple):
    """What a condition does to the sounds (textbook findings; the sizes are ours).

    `hurry`: breaths a minute against a healthy person's. `inspiration`: share of a breath; expiration is prolonged where
    airways are narrow. `wet`: how much coughs rattle. `wheezy`: level of a wheeze in coughs and breath at the mouth.
    `fine`: chance that crackles are fine ones, not coarse. `airways`: how many wheeze at once, at most. `harsh`: share by
    which the corner of the breath sound rises over a lung that conducts well. `hoarse`: jitter, times. `voiced`: level of
    the voice at the end of a cough, times.
    """

    hurry: float = 1.0
    inspiration: float = 0.42
    wet: float = 0.1
    wheezy: float = 0.0
    fine: float = 0.5
    airways: int = 1
    harsh: float = 0.0
    hoarse: float = 1.0
    voiced: float = 1.0


CONDITIONS = {
    "healthy": Condition(),
    "asthma": Condition(hurry=1.1, inspiration=0.35, wheezy=1.0, fine=0.4, airways=3),
    "COPD": Condition(hurry=1.15, inspiration=0.33, wet=0.6, wheezy=0.4, fine=0.1, airways=2, hoarse=1.2),
    "pneumonia": Condition(hurry=1.25, wet=0.8, fine=0.35, harsh=0.35),
    "COVID-19": Condition(hurry=1.2, wet=0.0, fine=0.9, harsh=0.15, hoarse=1.5, voiced=0.5),
}


class Smoking(NamedTuple):
    """What smoking does (textbook findings; sizes ours): lower and rougher voice, wetter coughs, faint crackles in any breath."""

    pitch: float = 0.92
    jitter: float = 2.0
    wet: float = 0.35
    crackles_db: float = -12.0


SMOKING = Smoking()
#: Share of children (3 to 17 years) among all, of smokers among adults, and of them in COPD.
CHILDREN, SMOKERS, SMOKERS_COPD = 0.3, 0.35, 0.8
#: Ages of children and adults, years, and the youngest with COPD.
AGES = ((3, 18), (18, 90))
COPD_FROM = 40
#: Share of people of whom age, smoking or condition is not written down; each by itself.
UNKNOWN = 0.1


@dataclass(frozen=True)
class Person:
    """Who it is, which fields the manifest leaves empty, and how they sound; `corner_hz` is that of the vesicular sound."""

    patient: str
    sex: str
    age_years: float
    smoker: bool
    condition: str
    unknown: frozenset[str]
    voice: voice.Voice
    breaths_per_minute: float
    beats_per_minute: float
    corner_hz: float
    wheeze_hz: float
    rhonchus_hz: float
    phone: int
    stethoscope: int

    @property
    def effects(self) -> Condition:
        return CONDITIONS[self.condition]

    @property
    def wet(self) -> float:
        """How much their coughs rattle, 0 to 1."""
        return min(1.0, self.effects.wet + SMOKING.wet * self.smoker)


def make_people(n: int, n_phones: int, n_stethoscopes: int, rng: np.random.Generator) -> list[Person]:
    """`n` people: conditions and sexes in equal parts, whatever `n`."""
    kinds = [(sex, condition) for condition in CONDITIONS for sex in ("female", "male")]
    order = rng.permutation(n)
    return [_person(rng, f"{k + 1:04d}", *kinds[order[k] % len(kinds)], n_phones, n_stethoscopes) for k in range(n)]


def _person(rng, patient: str, sex: str, condition: str, n_phones: int, n_stethoscopes: int) -> Person:
    child = condition != "COPD" and rng.random() < CHILDREN * len(CONDITIONS) / (len(CONDITIONS) - 1)
    low, high = AGES[0] if child else AGES[1]
    age = round(float(rng.uniform(COPD_FROM if condition == "COPD" else low, high - 0.1)), 1)
    smoker = bool(not child and rng.random() < (SMOKERS_COPD if condition == "COPD" else SMOKERS))
    effects = CONDITIONS[condition]
    young = max(0.0, 1 - age / 18)
    return Person(
        patient=patient,
        sex=sex,
        age_years=age,
        smoker=smoker,
        condition=condition,
        unknown=frozenset(f for f in ("age_years", "smoker", "condition") if rng.random() < UNKNOWN),
        voice=_voice(rng, age, sex, smoker, effects.hoarse),
        breaths_per_minute=physics.breaths_per_minute(age) * effects.hurry * rng.lognormal(0, 0.1),
        beats_per_minute=physics.beats_per_minute(age) * rng.lognormal(0, 0.08),
        # The smaller and thinner the chest, the brighter its breath (textbook).
        corner_hz=150 * (1 + 0.5 * young + 0.05 * (sex == "female")) * (1 + effects.harsh) * rng.lognormal(0, 0.07),
        wheeze_hz=float(np.clip(400 * (1 + 0.3 * young) * rng.lognormal(0, 0.35), 180, 900)),
        rhonchus_hz=rng.uniform(95, 165),
        phone=int(rng.integers(n_phones)),
        stethoscope=int(rng.integers(n_stethoscopes)),
    )


def _voice(rng, age: float, sex: str, smoker: bool, hoarse: float) -> voice.Voice:
    """An old voice trembles and is breathy, a child's and a woman's are softer than a man's (textbook; sizes ours)."""
    old = max(0.0, (age - 50) / 40)
    deep = age > 15 and sex == "male"
    rough = hoarse * (SMOKING.jitter if smoker else 1.0) * (1 + 1.5 * old) * rng.lognormal(0, 0.2)
    return voice.Voice(
        f0_hz=voice.pitch_hz(age, sex) * (SMOKING.pitch if smoker else 1.0) * rng.lognormal(0, 0.07),
        tract_cm=voice.tract_cm(age, sex) * rng.lognormal(0, 0.025),
        jitter=0.006 * rough,
        shimmer=0.03 * rough,
        breathiness=0.04 * (1 if deep else 1.8) * (1 + 2 * old) * rng.lognormal(0, 0.3),
        soft_hz=(2500 if deep else 1500) * (1 - 0.4 * old) * rng.lognormal(0, 0.2),
    )
