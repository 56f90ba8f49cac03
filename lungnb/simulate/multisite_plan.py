"""Who comes to which clinic, with what, and which sites are recorded for how long: the simulated cohorts before any sound.

Counts follow the paediatric paper's Table I and what follows from it (docs/papers/pediatric.md, sections 1, 1.1 and
3.8). The paper's parts do not add up: batches and validation make 248 children of Porto Alegre where Table I has 240.
Here Table I holds; the three batches have the make-up that the confusion matrices fix, scaled to it, and validation is
to be drawn from a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from lungnb.simulate import physics

#: Cases and controls of the two clinics, and minutes of audio of each (Table I).
CLINICS = {"GVA": (55, 23), "POA": (160, 80)}
MINUTES = {("GVA", "case"): 100, ("GVA", "control"): 95, ("POA", "case"): 910, ("POA", "control"): 230}
FULL_SIZE = sum(map(sum, CLINICS.values()))
#: Folder of each clinic or batch: weight in the cases and in the controls of its clinic (confusion matrices of Table V).
COHORTS = {"GVA": {"GVA": (1, 1)}, "POA": {"POA1": (40, 50), "POA2": (40, 26), "POA3": (84, 0)}}
#: 49 + 9 + 137 + 17 cases are diagnosed. The clinics' pneumonias are 28 and 30, since 30 are all that POA has for the
#: comparison of section 3.8; how the others fall to the clinics is not known: here in equal proportion.
DIAGNOSES = {
    "GVA": {"bacterial pneumonia": 24, "viral pneumonia": 4, "bronchiolitis": 24, "asthma": 3},
    "POA": {"bacterial pneumonia": 25, "viral pneumonia": 5, "bronchiolitis": 113, "asthma": 14},
}
#: Age in years by diagnosis: median, spread of its logarithm, lowest, highest (textbook; the paper says 0 to 15 years).
AGES = {
    "control": (2.5, 0.9, 0.1, 15.0),
    "bacterial pneumonia": (3.0, 0.7, 0.3, 15.0),
    "viral pneumonia": (2.0, 0.7, 0.2, 15.0),
    "bronchiolitis": (0.7, 0.6, 0.1, 2.0),
    "asthma": (6.0, 0.5, 2.0, 15.0),
}
#: How much faster than healthy children of their age those with a disease breathe.
HURRY = {"bacterial pneumonia": 1.2, "viral pneumonia": 1.2, "bronchiolitis": 1.3, "asthma": 1.1}
#: Share of sites that were not recorded, and the most that one child lacks.
MISSING, MOST_MISSING = 0.125, 4
#: From this many patients on recordings have the paper's lengths, which differ between groups; fewer are for trying things
#: out, and theirs are short and alike. Lowest, median of the short ones, and highest length in each way, s.
LONG_FROM = 160
LONG_S, SHORT_S, SHORT_MEDIAN_S = (3.0, 90.0), (4.0, 20.0), 9.0


class Site(NamedTuple):
    """A place (right to left, back to front, low to high) and what is heard there: corner of the breath in Hz, level of the
    breath and of the heart, and by how many dB the sounds of a disease are clearer than elsewhere.
    """

    place: tuple[float, float, float]
    corner_hz: float
    breath: float
    heart: float
    clarity_db: float


#: The places are ours, since Fig. 1 cannot be read: front and back, each right and left, upper and lower. The clarity plants
#: what the paper's Fig. 6 found: site 1 matters most, then 5, then 2.
SITES = {
    "1": Site((-1, 0.7, 0.7), 215, 1.1, 0.9, 3.0),
    "2": Site((1, 0.7, 0.7), 205, 1.0, 1.6, 1.5),
    "3": Site((-1, 0.7, -0.7), 185, 0.85, 1.0, -1.0),
    "4": Site((1, 0.7, -0.7), 175, 0.75, 2.0, -1.5),
    "5": Site((-1, -0.7, 0.7), 205, 1.0, 0.5, 2.0),
    "6": Site((1, -0.7, 0.7), 200, 0.95, 0.7, 0.0),
    "7": Site((-1, -0.7, -0.7), 190, 0.9, 0.4, -0.5),
    "8": Site((1, -0.7, -0.7), 185, 0.85, 0.6, -1.0),
}


@dataclass(frozen=True)
class Plan:
    """`patients` by (cohort, patient): clinic, diagnosis, age_years, sex, pace_s (seconds a breath).

    `recordings` by path, one row each: cohort, patient, site, length_s.
    """

    patients: pd.DataFrame
    recordings: pd.DataFrame


def make_plan(n_patients: int, rng: np.random.Generator) -> Plan:
    """Draw the children of all cohorts and their recordings."""
    clinics = share_out(n_patients, [sum(counts) for counts in CLINICS.values()])
    patients = pd.concat([_patients(c, n, rng) for c, n in zip(CLINICS, clinics, strict=True)])
    return Plan(patients, _recordings(patients, n_patients >= LONG_FROM, rng))


def share_out(total: int, weights: Sequence[float]) -> list[int]:
    """`total` in whole parts in proportion to `weights`: the largest remainders are rounded up."""
    exact = total * np.asarray(weights, dtype=float) / sum(weights)
    parts = np.floor(exact).astype(int)
    up = np.argsort(parts - exact, kind="stable")[: total - parts.sum()]
    parts[up] += 1
    return parts.tolist()


def _patients(clinic: str, n: int, rng: np.random.Generator) -> pd.DataFrame:
    n_cases, n_controls = share_out(n, CLINICS[clinic])
    known = DIAGNOSES[clinic]
    ill = [d for d, k in zip(known, share_out(n_cases, list(known.values())), strict=True) for _ in range(k)]
    case_weights, control_weights = zip(*COHORTS[clinic].values(), strict=True)
    cohorts = _dealt(clinic, n_cases, case_weights) + _dealt(clinic, n_controls, control_weights)
    diagnoses = ill + ["control"] * n_controls
    frame = pd.DataFrame({"cohort": cohorts, "clinic": clinic, "diagnosis": diagnoses})
    # Numbers run through a clinic in the order of arrival, batches one after another.
    frame = frame.iloc[rng.permutation(n)].sort_values("cohort", kind="stable").reset_index(drop=True)
    frame["patient"] = frame.index + 1
    ages = [_age(rng, *AGES[d]) for d in frame["diagnosis"]]
    hurry = frame["diagnosis"].map(HURRY).fillna(1.0)
    frame["age_years"] = ages
    frame["sex"] = rng.choice(["female", "male"], n, p=[0.45, 0.55])
    healthy_s = np.array([60 / physics.breaths_per_minute(age) for age in ages])
    frame["pace_s"] = healthy_s / hurry * rng.lognormal(0, 0.12, n)
    return frame.set_index(["cohort", "patient"])


def _dealt(clinic: str, n: int, weights: Sequence[float]) -> list[str]:
    """The cohort of each of `n` children, in turns, so that neighbours (of one diagnosis) go to different cohorts."""
    counts = share_out(n, weights)
    turns = [
        ((k + 0.5) / count, name) for name, count in zip(COHORTS[clinic], counts, strict=True) for k in range(count)
    ]
    return [name for _, name in sorted(turns)]


def _age(rng: np.random.Generator, median: float, spread: float, low: float, high: float) -> float:
    return round(float(np.clip(median * rng.lognormal(0, spread), low, high)), 1)


def _recordings(patients: pd.DataFrame, long: bool, rng: np.random.Generator) -> pd.DataFrame:
    """All sites of all children but MISSING of them, whoever the child is."""
    pairs = [(child, site) for child in range(len(patients)) for site in SITES]
    lacking, n_missing = np.zeros(len(patients), dtype=int), round(MISSING * len(pairs))
    missing: set[tuple[int, str]] = set()
    for k in rng.permutation(len(pairs)):
        child, _ = pairs[k]
        if len(missing) < n_missing and lacking[child] < MOST_MISSING:
            missing.add(pairs[k])
            lacking[child] += 1
    rows = []
    for child, site in pairs:
        if (child, site) not in missing:
            (cohort, number), about = patients.index[child], patients.iloc[child]
            length_s = _length_s(rng, about["clinic"], about["diagnosis"], long)
            rows.append((f"{cohort}/audio/{number}_{site}.flac", cohort, number, site, length_s))
    return pd.DataFrame(rows, columns=["path", "cohort", "patient", "site", "length_s"]).set_index("path")


def _length_s(rng: np.random.Generator, clinic: str, diagnosis: str, long: bool) -> float:
    if not long:
        return float(np.clip(rng.lognormal(np.log(SHORT_MEDIAN_S), 0.35), *SHORT_S))
    group = "control" if diagnosis == "control" else "case"
    n_sites = len(SITES) * (1 - MISSING) * CLINICS[clinic][group == "control"]
    spread = 0.5
    return float(np.clip(rng.lognormal(np.log(60 * MINUTES[clinic, group] / n_sites) - spread**2 / 2, spread), *LONG_S))
