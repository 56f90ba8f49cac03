"""Who is recorded, where, with what, and what each breath holds: the simulated ICBHI before there is any sound.

The plan mimics how the real data are bound together (docs/papers/respirenet.md, sections 1 to 1.2): diagnosis goes with
the device, classes cluster by patient, folds are confounded with devices, and the official split cuts through patients.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lungnb.simulate import physics

#: In the order of the class number crackle + 2 * wheeze.
CLASSES = ["normal", "crackle", "wheeze", "both"]
SITES = ["Tc", "Al", "Ar", "Pl", "Pr", "Ll", "Lr"]


@dataclass(frozen=True)
class Group:
    """The patients of one device: shares of all patients and recordings; shares of the classes in its cycles.

    `folds` and `diagnoses` are dealt out to its patients in turn. Class shares are those of the real device; shares of
    recordings too, but for Litt3200 and LittC2SE, which get 10 % each (real: 7 and 9 %) so that small corpora hold enough.
    """

    device: str
    mode: str
    patients: float
    recordings: float
    classes: tuple[float, float, float, float]
    folds: tuple[int, ...]
    diagnoses: tuple[str, ...]


GROUPS = [
    Group("Litt3200", "sc", 0.12, 0.10, (0.67, 0.06, 0.22, 0.05), (3, 4), ("COPD",)),
    Group("LittC2SE", "mc", 0.12, 0.10, (0.58, 0.13, 0.21, 0.08), (3, 4), ("COPD", "COPD", "Pneumonia")),
    Group(
        *("Meditron", "sc", 0.40, 0.22, (0.71, 0.15, 0.10, 0.04), (1, 2, 1, 2, 1, 2, 4)),
        (
            *("Healthy", "URTI", "Bronchiolitis", "Healthy", "Bronchiectasis", "URTI", "COPD"),
            *("Healthy", "Pneumonia", "Healthy", "URTI", "LRTI", "Healthy", "Asthma"),
        ),
    ),
    Group("AKGC417L", "mc", 0.36, 0.58, (0.44, 0.355, 0.115, 0.09), (0, 0, 4, 0), ("COPD",) * 6 + ("Pneumonia",)),
]
#: Odds of crackle, wheeze and both against normal, by diagnosis: counts of the real annotations, rounded.
ODDS = {
    "Asthma": (0.1, 2.0, 0.1),
    "Bronchiectasis": (0.24, 0.60, 0.20),
    "Bronchiolitis": (0.20, 0.84, 0.07),
    "COPD": (0.65, 0.28, 0.18),
    "Healthy": (0.05, 0.01, 0.003),
    "LRTI": (0.01, 0.03, 0.003),
    "Pneumonia": (0.09, 0.10, 0.01),
    "URTI": (0.10, 0.04, 0.005),
}
#: Range of ages in years by diagnosis; all others are adults of 45 to 85.
AGES = {"Healthy": (0.5, 16), "URTI": (0.75, 14), "Bronchiolitis": (0.25, 2), "LRTI": (1, 6)}
#: Share of the recordings of a device in the train side of the official split (docs/papers/respirenet.md, section 1.1).
TRAIN_SHARE = {"AKGC417L": 0.56, "Meditron": 0.68}
#: Share of Meditron recordings whose files still carry the device first noted (91 of 127 in the real archive).
OLD_SUFFIX = 0.7
#: At least this many cycles of each class in every fold, side of the official split, and device; half of it within the
#: part of a device in fold 4 and outside it.
MIN_CYCLES = 4


@dataclass(frozen=True)
class Plan:
    """`patients` by patient number, `recordings` by corrected name, `cycles` one row each, in order of time."""

    patients: pd.DataFrame
    recordings: pd.DataFrame
    cycles: pd.DataFrame


def make_plan(n_patients: int, rng: np.random.Generator) -> Plan:
    """Draw patients, their recordings, breathing cycles and the class of each cycle."""
    patients = _patients(n_patients, rng)
    recordings = _recordings(patients, round(n_patients * 100 / 36), rng)
    recordings["split"] = _official_split(patients, recordings, rng)
    cycles = _cycles(patients, recordings, rng)
    cycles["label"] = _labels(patients, recordings, cycles, rng)
    return Plan(patients, recordings, cycles)


def _patients(n: int, rng: np.random.Generator) -> pd.DataFrame:
    counts = [round(n * g.patients) for g in GROUPS[:-1]]
    rows = []
    for group, count in zip(GROUPS, [*counts, n - sum(counts)], strict=True):
        for i in range(count):
            diagnosis = group.diagnoses[i % len(group.diagnoses)]
            low, high = AGES.get(diagnosis, (45, 85))
            age = round(low + (high - low) * rng.beta(2, 2), 2 if high < 3 else 0)
            rows.append((group.device, i, group.folds[i % len(group.folds)], diagnosis, age, rng.choice(["F", "M"])))
    frame = pd.DataFrame(rows, columns=["device", "rank", "fold", "diagnosis", "age", "sex"])
    # Patients differ in how ill they sound; numbers do not tell the device.
    frame["odds"] = [
        np.array([1.0, *ODDS[d]]) * np.exp([0, *(rng.normal(0, 1.0) + rng.normal(0, 0.7, 3))])
        for d in frame["diagnosis"]
    ]
    frame.index = pd.Index(rng.permutation(n) + 101, name="patient")
    return frame.sort_index()


def _recordings(patients: pd.DataFrame, total: int, rng: np.random.Generator) -> pd.DataFrame:
    """Deal the recordings of each device to its patients. Three patients have a second device, as four real ones do."""
    by_rank = patients.reset_index().set_index(["device", "rank"])["patient"]
    second = [
        (by_rank["Litt3200", 0], "Meditron"),
        (by_rank["Litt3200", 1], "Meditron"),
        (by_rank["LittC2SE", 1], "AKGC417L"),
    ]
    rows = []
    for group in GROUPS:
        main = patients.index[patients["device"] == group.device].tolist()
        owners = main + [p for p, d in second if d == group.device]
        # Two each where there are enough, so that a patient can stand on both sides of the split.
        least = 2 if total * group.recordings > 2 * len(owners) else 1
        spare = round(total * group.recordings) - least * len(owners)
        weights = rng.dirichlet([3.0] * len(main) + [0.5] * (len(owners) - len(main)))
        for patient, extra in zip(owners, rng.multinomial(spare, weights).tolist(), strict=True):
            sites = np.concatenate([rng.permutation(SITES) for _ in range(extra // 7 + 2)])[: least + extra]
            for i, site in enumerate(sites):
                # Microphones of one session record at the same time, so they share its breaths. No two recordings agree
                # in all of patient, session, site and mode: the second device has its own session.
                session = f"{1 + i // 7 if patient in main else 3 + i // 7}b1"
                name = f"{patient}_{session}_{site}_{group.mode}_{group.device}"
                rows.append((name, patient, session, site, group.mode, group.device))
    columns = ["recording", "patient", "session", "site", "mode", "device"]
    return pd.DataFrame(rows, columns=columns).set_index("recording").sort_index()


def _official_split(patients: pd.DataFrame, recordings: pd.DataFrame, rng: np.random.Generator) -> pd.Series:
    """Train or test by recording: LittC2SE only in train, Litt3200 nearly all in test, two patients on both sides."""
    side = pd.Series(pd.NA, index=recordings.index, dtype="string")
    device, patient = recordings["device"], recordings["patient"]
    main, rank = patient.map(patients["device"]), patient.map(patients["rank"])
    side[main == "LittC2SE"] = "train"
    side[main == "Litt3200"] = "test"
    # On both sides: the first patient of Litt3200 (all of its Meditron, one of its own), like patient 218 of the real list,
    # and the patient with most microphone recordings, like 156.
    first = (main == "Litt3200") & (rank == 0)
    side[first & (device == "Meditron")] = "train"
    side[side.index[first & (device == "Litt3200")][0]] = "train"
    most = side.index[patient == patient[main == "AKGC417L"].mode()[0]]
    side[most] = np.where(np.arange(len(most)) % 2, "test", "train")
    for name, share in TRAIN_SHARE.items():
        quota = share * (device == name).sum()
        for p in rng.permutation(patient[side.isna() & (device == name)].unique()):
            fits = ((side == "train") & (device == name)).sum() + (patient == p).sum() / 2 <= quota
            side[patient == p] = "train" if fits else "test"
    return side


def _cycles(patients: pd.DataFrame, recordings: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Cycles follow one another without gap, 0.2 to 16 s, 2.7 s in the mean (RespireNet, section II)."""
    sessions: dict[tuple, tuple[float, list]] = {}
    pace = {p: 60 / physics.breaths_per_minute(age) * rng.lognormal(0, 0.15) for p, age in patients["age"].items()}
    rows = []
    for name, r in recordings.iterrows():
        key = (r["patient"], r["session"], r["mode"])
        if key not in sessions:
            length_s = round(rng.uniform(15, 20), 3)
            sessions[key] = length_s, _breaths(pace[r["patient"]], length_s, rng)
        length_s, breaths = sessions[key]
        rows += [(name, length_s, start, end) for start, end in breaths]
    return pd.DataFrame(rows, columns=["recording", "length_s", "start_s", "end_s"])


def _breaths(pace_s: float, length_s: float, rng: np.random.Generator) -> list[tuple[float, float]]:
    start, breaths = round(rng.uniform(0, 0.8), 3), []
    while start < length_s - 0.2:
        # Now and then a breath is held; real cycles reach 16 s.
        end = start + (rng.uniform(8, 16) if rng.random() < 0.003 else pace_s * rng.lognormal(0, 0.22))
        end = round(min(max(end, start + 0.2), start + 16, length_s), 3)
        breaths.append((start, end))
        start = end
    return breaths


def _labels(patients, recordings, cycles, rng: np.random.Generator) -> np.ndarray:
    """Draw each cycle's class from its patient's odds, scaled so that each device has its shares in the mean."""
    of_cycle = recordings.loc[cycles["recording"]].reset_index()
    patient = patients.loc[of_cycle["patient"]].reset_index()
    by_recording = {name: np.exp(rng.normal(0, 0.4, 4)) for name in recordings.index}
    odds = np.stack(patient["odds"].to_list()) * np.stack([by_recording[name] for name in of_cycle["recording"]])
    label = np.zeros(len(cycles), dtype=int)
    for group in GROUPS:
        mine = (of_cycle["device"] == group.device).to_numpy()
        share = _scaled(odds[mine], np.array(group.classes)).cumsum(axis=1)
        label[mine] = (rng.random((mine.sum(), 1)) > share[:, :3]).sum(axis=1)
    test_fold = patient["fold"] == 4
    parts = [(patient["fold"] == k, MIN_CYCLES) for k in range(5)]
    parts += [(of_cycle["split"] == s, MIN_CYCLES) for s in ("train", "test")]
    parts += [(of_cycle["device"] == g.device, MIN_CYCLES) for g in GROUPS]
    parts += [
        (((of_cycle["device"] == g.device) & (test_fold == t)), MIN_CYCLES // 2) for g in GROUPS for t in (True, False)
    ]
    ill = (patient["diagnosis"] != "Healthy").to_numpy()
    for part, least in parts:
        for k in (1, 2, 3):
            lacking = least - int((part & (label == k)).sum())
            if lacking > 0:
                free = np.flatnonzero(part & ill & (label == 0))
                label[rng.choice(free, min(lacking, len(free)), replace=False)] = k
    return label


def _scaled(odds: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Rows of class probabilities from `odds` (n, 4), columns rescaled until their mean is `shares`."""
    scale = np.ones(4)
    for _ in range(50):
        p = odds * scale
        p /= p.sum(axis=1, keepdims=True)
        scale *= shares / p.mean(axis=0)
    return p / p.sum(axis=1, keepdims=True)


def file_names(recordings: pd.DataFrame, rng: np.random.Generator) -> dict[str, str]:
    """Stem of the files by corrected name: some Meditron recordings are filed under the device first noted."""
    names = {name: name for name in recordings.index}
    for name in recordings.index[recordings["device"] == "Meditron"]:
        old = rng.choice(["AKGC417L", "LittC2SE"], p=[0.4, 0.6])
        if rng.random() < OLD_SUFFIX:
            names[name] = name.replace("Meditron", old)
    return names
