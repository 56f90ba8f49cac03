"""Who is recorded, where, with what, and what each breath holds: the simulated ICBHI before there is any sound.

The plan mimics how the real data are bound together (docs/papers/respirenet.md, sections 1 to 1.2): diagnosis goes with
the device, classes cluster by patient, folds are confounded with devices, and the official split cuts through patients.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from lungnb.simulate import Device
from lungnb.simulate.chest import Site, breaths_per_minute


class Group(NamedTuple):
    """The patients of one device: shares of all patients and recordings, shares of the classes in its cycles.

    Class shares are those of the real device. `full`: the real numbers of patients and recordings; in smaller corpora the
    Littmanns have more than their share, so that they hold enough. `device` is an outline of the real spectra. `folds` and
    `diagnoses` are dealt out in turn. `formats`: sample rate, sample type, share. `peak_db`: lowest and highest, of full
    scale. `blank`: share of recordings with nothing between 1.5 and 2 kHz (RespireNet, section III).
    """

    mode: str
    device: Device
    patients: float
    recordings: float
    full: tuple[int, int]
    classes: tuple[float, float, float, float]
    folds: tuple[int, ...]
    diagnoses: tuple[str, ...]
    formats: list[tuple[int, str, float]]
    peak_db: tuple[float, float]
    blank: float = 0.0


_MEDITRON = (
    "Healthy URTI Bronchiolitis Healthy Bronchiectasis URTI COPD Healthy Pneumonia Healthy URTI LRTI Healthy Asthma"
)
GROUPS = {
    "Litt3200": Group(
        *("sc", Device(60, 900, 3, peak_hz=600, peak_db=6, noise_db=-42), 0.12, 0.10, (11, 60)),
        *((0.67, 0.06, 0.22, 0.05), (3, 4), ("COPD",), [(4000, "PCM_16", 1.0)], (-3, 0), 1.0),
    ),
    "LittC2SE": Group(
        *("mc", Device(25, 450, 2, peak_hz=130, peak_db=4, noise_db=-37), 0.12, 0.10, (23, 87)),
        *((0.58, 0.13, 0.21, 0.08), (3, 4), ("COPD", "COPD", "Pneumonia"), [(44100, "PCM_16", 1.0)], (-22, -4)),
    ),
    "Meditron": Group(
        *("sc", Device(35, 1300, 2, peak_hz=250, peak_db=2, noise_db=-34), 0.40, 0.22, (62, 127)),
        *((0.71, 0.15, 0.10, 0.04), (1, 2, 1, 2, 1, 2, 4), tuple(_MEDITRON.split())),
        *([(4000, "PCM_16", 0.25), (44100, "PCM_16", 0.25), (44100, "PCM_24", 0.5)], (-12, 0), 0.2),
    ),
    "AKGC417L": Group(
        *("mc", Device(20, 1800, 1, peak_hz=90, peak_db=3, noise_db=-24), 0.36, 0.58, (30, 646)),
        *((0.44, 0.355, 0.115, 0.09), (0, 0, 4, 0), ("COPD",) * 6 + ("Pneumonia",), [(44100, "PCM_24", 1.0)], (-18, 0)),
    ),
}
#: Patients of the real database; from so many on a simulated one has as many recordings a patient, and as long ones, as it.
FULL_SIZE = 126
#: Shortest and longest recording, s, in small and in full corpora.
LENGTHS_S = ((15, 20), (18, 22.5))
#: By diagnosis: range of ages in years, and odds of crackle, wheeze and both against normal (real annotations, rounded).
DIAGNOSES = {
    **{"Asthma": (45, 85, 0.1, 2.0, 0.1), "Bronchiectasis": (45, 85, 0.24, 0.60, 0.20)},
    **{"Bronchiolitis": (0.25, 2, 0.20, 0.84, 0.07), "COPD": (45, 85, 0.65, 0.28, 0.18)},
    **{"Healthy": (0.5, 16, 0.05, 0.01, 0.003), "LRTI": (1, 6, 0.01, 0.03, 0.003)},
    **{"Pneumonia": (45, 85, 0.09, 0.10, 0.01), "URTI": (0.75, 14, 0.10, 0.04, 0.005)},
}
#: At least this many cycles of each class in every fold, side of the official split, and device; half of it within the
#: part of a device in fold 4 and outside it.
MIN_CYCLES = 4
#: The trachea is bright and loud.
SITES = {
    **{"Tc": Site(320, 1.4, 1.0), "Al": Site(160, 1.0, 2.2), "Ar": Site(160, 1.0, 1.3), "Pl": Site(150, 1.0, 0.8)},
    **{"Pr": Site(150, 1.0, 0.6), "Ll": Site(135, 0.8, 1.2), "Lr": Site(135, 0.8, 0.6)},
}


class Plan(NamedTuple):
    """`patients` by patient number, `recordings` by corrected name, `cycles` one row each, in order of time."""

    patients: pd.DataFrame
    recordings: pd.DataFrame
    cycles: pd.DataFrame


def make_plan(n_patients: int, rng: np.random.Generator) -> Plan:
    """Draw patients, their recordings, breathing cycles and the class of each cycle (crackle + 2 * wheeze)."""
    patients = _patients(n_patients, rng)
    recordings = _recordings(patients, rng)
    recordings["split"] = _official_split(patients, recordings, rng)
    cycles = _cycles(patients, recordings, rng)
    cycles["label"] = _labels(patients, recordings, cycles, rng)
    return Plan(patients, recordings, cycles)


def _patients(n: int, rng: np.random.Generator) -> pd.DataFrame:
    counts = {
        device: round(n * (g.full[0] / FULL_SIZE if n >= FULL_SIZE else g.patients)) for device, g in GROUPS.items()
    }
    counts["AKGC417L"] += n - sum(counts.values())
    rows = []
    for device, group in GROUPS.items():
        for i in range(counts[device]):
            diagnosis = group.diagnoses[i % len(group.diagnoses)]
            low, high, *_ = DIAGNOSES[diagnosis]
            age = round(low + (high - low) * rng.beta(2, 2), 2 if high < 3 else 0)
            rows.append((device, i, group.folds[i % len(group.folds)], diagnosis, age, rng.choice(["F", "M"])))
    frame = pd.DataFrame(rows, columns=["device", "rank", "fold", "diagnosis", "age", "sex"])
    # Patients differ in how ill they sound; numbers do not tell the device.
    ill = [np.exp([0, *(rng.normal(0, 2.0) + rng.normal(0, 2.2, 3))]) for _ in range(n)]
    frame["odds"] = [np.array([1.0, *DIAGNOSES[d][2:]]) * more for d, more in zip(frame["diagnosis"], ill, strict=True)]
    frame.index = pd.Index(rng.permutation(n) + 101, name="patient")
    return frame.sort_index()


def _recordings(patients: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Deal the recordings of each device to its patients. Three patients have a second device, as four real ones do."""
    n, full = len(patients), len(patients) >= FULL_SIZE
    by_rank = patients.reset_index().set_index(["device", "rank"])["patient"]
    second = {"Meditron": [by_rank["Litt3200", k] for k in (0, 1)], "AKGC417L": [by_rank["LittC2SE", 1]]}
    rows = []
    for device, group in GROUPS.items():
        main = patients.index[patients["device"] == device].tolist()
        owners = main + second.get(device, [])
        # Two each where there are enough, so that a patient can stand on both sides of the split.
        total = round(n * group.full[1] / FULL_SIZE if full else n * 100 / 36 * group.recordings)
        least = 2 if total > 2 * len(owners) else 1
        spare = total - least * len(owners)
        weights = rng.dirichlet([3.0] * len(main) + [0.5] * (len(owners) - len(main)))
        for patient, extra in zip(owners, rng.multinomial(spare, weights).tolist(), strict=True):
            sites = np.concatenate([rng.permutation(list(SITES)) for _ in range(extra // 7 + 2)])[: least + extra]
            for i, site in enumerate(sites):
                # Microphones of one session record at the same time, so they share its breaths. No two recordings agree
                # in all of patient, session, site and mode: the second device has its own session.
                session = f"{1 + i // 7 if patient in main else 3 + i // 7}b1"
                name = f"{patient}_{session}_{site}_{group.mode}_{device}"
                rows.append((name, patient, session, site, group.mode, device))
    columns = ["recording", "patient", "session", "site", "mode", "device"]
    return pd.DataFrame(rows, columns=columns).set_index("recording").sort_index()


def _official_split(patients: pd.DataFrame, recordings: pd.DataFrame, rng: np.random.Generator) -> pd.Series:
    """Train or test by recording: LittC2SE only in train, Litt3200 nearly all in test, two patients on both sides."""
    side = pd.Series(pd.NA, index=recordings.index, dtype="string")
    device, patient = recordings["device"], recordings["patient"]
    main, rank = patient.map(patients["device"]), patient.map(patients["rank"])
    side[main == "LittC2SE"] = "train"
    side[main == "Litt3200"] = "test"
    # On both sides: the first patient of Litt3200 (all of its Meditron, one of its own), like patient 218 of the real
    # list, and the patient with most microphone recordings, like 156.
    first = (main == "Litt3200") & (rank == 0)
    side[first & (device == "Meditron")] = "train"
    side[side.index[first & (device == "Litt3200")][0]] = "train"
    most = side.index[patient == patient[main == "AKGC417L"].mode()[0]]
    side[most] = np.where(np.arange(len(most)) % 2, "test", "train")
    # The devices' shares of recordings in train are the real ones.
    for name, share in (("AKGC417L", 0.56), ("Meditron", 0.68)):
        quota = share * (device == name).sum()
        for p in rng.permutation(patient[side.isna() & (device == name)].unique()):
            fits = ((side == "train") & (device == name)).sum() + (patient == p).sum() / 2 <= quota
            side[patient == p] = "train" if fits else "test"
    return side


def _cycles(patients: pd.DataFrame, recordings: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Cycles follow one another without gap, 0.2 to 16 s, 2.7 s in the mean (RespireNet, section II)."""
    pace = {p: 60 / breaths_per_minute(age) * rng.lognormal(0, 0.25) for p, age in patients["age"].items()}
    sessions: dict[tuple, list] = {}
    rows = []
    for name, r in recordings.iterrows():
        if (key := (r["patient"], r["session"], r["mode"])) not in sessions:
            length_s, sessions[key] = round(rng.uniform(*LENGTHS_S[len(patients) >= FULL_SIZE]), 3), []
            start = round(rng.uniform(0, 0.8), 3)
            while start < length_s - 0.2:
                # Now and then a breath is held; real cycles reach 16 s.
                held = rng.random() < 0.003
                end = start + (rng.uniform(8, 16) if held else pace[r["patient"]] * rng.lognormal(0, 0.15))
                end = round(min(max(end, start + 0.2), start + 16, length_s), 3)
                sessions[key].append((length_s, start, end))
                start = end
        rows += [(name, *cycle) for cycle in sessions[key]]
    return pd.DataFrame(rows, columns=["recording", "length_s", "start_s", "end_s"])


def _labels(patients, recordings, cycles, rng: np.random.Generator) -> np.ndarray:
    """Draw each cycle's class from its patient's odds, scaled so that each device has its shares in the mean."""
    of_cycle = recordings.loc[cycles["recording"]].reset_index()
    patient = patients.loc[of_cycle["patient"]].reset_index()
    by_recording = pd.DataFrame(np.exp(rng.normal(0, 2.2, (len(recordings), 4))), index=recordings.index)
    odds = np.stack(patient["odds"].to_list()) * by_recording.loc[of_cycle["recording"]].to_numpy()
    label = np.zeros(len(cycles), dtype=int)
    for device, group in GROUPS.items():
        mine = of_cycle["device"] == device
        share = _scaled(odds[mine], np.array(group.classes)).cumsum(axis=1)
        label[mine] = (rng.random((mine.sum(), 1)) > share[:, :3]).sum(axis=1)
    of_device = [of_cycle["device"] == device for device in GROUPS]
    parts = [
        *(patient["fold"] == k for k in range(5)),
        *(of_cycle["split"] == s for s in ("train", "test")),
        *of_device,
    ]
    parts = [(part, MIN_CYCLES) for part in parts]
    parts += [(mine & ((patient["fold"] == 4) == t), MIN_CYCLES // 2) for mine in of_device for t in (True, False)]
    ill = (patient["diagnosis"] != "Healthy").to_numpy()
    for part, least in parts:
        for k in (1, 2, 3):
            if (lacking := least - int((part & (label == k)).sum())) > 0:
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
