"""Who is recorded, where, and what each breath holds: the simulated SPRSound before there is any sound.

The plan mimics how the real data hang together (docs/papers/convlstm.md, section 1): a patient has one disease, rare
classes rest on very few patients, inter-subject patients are new, and intra-subject recordings are of patients met in
training.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from lungnb.simulate.chest import INSPIRATION, breaths, breaths_per_minute

POSITIONS = ["p1", "p2", "p3", "p4"]
#: Recordings of a patient: lowest and highest number. Fewer than the real ones (7.8 and 8.7; 2.3 in intra).
RECORDINGS = {"train": (5, 7), "intra": (2, 2), "inter": (5, 7)}
#: Share of patients who are not in training, and of those in training who come back in the intra-subject test.
INTER_SHARE, INTRA_SHARE = 0.15, 0.6
#: Share of recordings that are of poor quality: 177 of 1949 in training, 10 of 734 in the tests.
POOR_SHARE = {"train": 0.09, "intra": 0.02, "inter": 0.02}
#: Recordings last 72 or 120 blocks of 128 ms; 27 % of the real ones are long.
LENGTHS_S, LONG_SHARE = (9.216, 15.36), 0.27
#: Share of the breaths that nobody annotated.
SKIPPED = 0.12
#: At most this share of a patient's events in a part is adventitious: ill children have normal events too.
ILL_SHARE = 0.8


class Pattern(NamedTuple):
    """A class: its share of the events in train, intra and inter, and at least how many events.

    `lead` is the share of the first patient who has it; 0 for many patients of falling shares. Shares are the real ones
    but for wheezes in train (real: 7 %), and the rare classes get a few events more than their share of a small corpus.
    """

    label: str
    shares: tuple[float, float, float]
    least: tuple[int, int, int]
    lead: float = 0.0


PARTS = ["train", "intra", "inter"]
PATTERNS = [
    Pattern("Stridor", (0.0023, 0.002, 0.0), (6, 1, 0), 0.9),
    Pattern("Wheeze+Crackle", (0.0045, 0.003, 0.0007), (6, 1, 1), 0.5),
    Pattern("Coarse Crackle", (0.0074, 0.014, 0.002), (8, 2, 1), 0.5),
    Pattern("Rhonchi", (0.0059, 0.014, 0.0), (8, 3, 0), 0.5),
    Pattern("Wheeze", (0.085, 0.108, 0.213), (1, 1, 1)),
    Pattern("Fine Crackle", (0.137, 0.174, 0.056), (1, 1, 1)),
]
#: Median age in years of who has it, and spread of its logarithm; the last pattern that a patient has decides. As in the
#: real data those who wheeze are youngest; the others are older than real ones, since in a small corpus more are ill.
AGES = {"Normal": 8.0, "Fine Crackle": 5.0, "Rhonchi": 6.0, "Coarse Crackle": 2.0, "Wheeze": 1.8, "Wheeze+Crackle": 1.5}
AGE_SPREAD = 0.5
#: Between which shares of its breath an event ends, by class; those of long tones are drawn otherwise.
ENDS = {
    **{"Fine Crackle": (0.46, 0.64), "Coarse Crackle": (0.45, 0.75)},
    **{"Stridor": (0.43, 0.60), "Wheeze+Crackle": (0.65, 0.80)},
}


class Plan(NamedTuple):
    """`patients` by number, `recordings` by file stem, `breaths` one row each, in order of time.

    `breaths.label` is NA where nothing is annotated; else the event lies between `first_ms` and `last_ms`.
    """

    patients: pd.DataFrame
    recordings: pd.DataFrame
    breaths: pd.DataFrame


def make_plan(n_patients: int, rng: np.random.Generator) -> Plan:
    """Draw patients, their recordings and breaths, and what each breath holds."""
    numbers = rng.permutation(np.unique(rng.integers(40_000_000, 70_000_000, 2 * n_patients)))[:n_patients].tolist()
    n_inter = round(INTER_SHARE * n_patients)
    inter, train = numbers[:n_inter], numbers[n_inter:]
    owners = {"train": _train_owners(train, rng)}
    few = max(1, n_inter // 3)
    wheeze, fine = inter[:few], inter[few : 2 * few]
    owners["inter"] = {"Wheeze+Crackle": wheeze[:1], "Coarse Crackle": fine[:1], "Wheeze": wheeze, "Fine Crackle": fine}
    intra = set(train[: round(INTRA_SHARE * len(train))])
    owners["intra"] = {label: [p for p in mine if p in intra] for label, mine in owners["train"].items()}
    patients = _patients({"inter": inter, "train": train}, intra, owners, rng)
    recordings = _recordings(patients, rng)
    breaths = _breaths(patients, recordings, rng)
    breaths["label"] = _labels(recordings, breaths, owners, rng)
    spans = [_event(b.label, b.start_s, b.end_s, rng) for b in breaths.itertuples()]
    breaths["first_ms"], breaths["last_ms"] = np.transpose(spans)
    return Plan(patients, recordings, breaths)


def _train_owners(train: list[int], rng: np.random.Generator) -> dict[str, list[int]]:
    """The rare classes have their own few patients, who come first and so return in the intra-subject test."""
    few = max(3, round(0.1 * len(train)))
    both, coarse, rhonchi = (train[2 + i * few : 2 + (i + 1) * few] for i in range(3))
    rest = train[2 + 3 * few :]
    wheeze = rng.permutation([*both, *rest[1::5]]).tolist()
    fine = rng.permutation([*both, *coarse[1:], *rest[::4]]).tolist()
    rare = {"Stridor": train[:2], "Wheeze+Crackle": both, "Coarse Crackle": coarse, "Rhonchi": rhonchi}
    return {**rare, "Wheeze": wheeze, "Fine Crackle": fine}


def _patients(parts: dict[str, list[int]], intra: set[int], owners, rng: np.random.Generator) -> pd.DataFrame:
    """Age in years, sex (0 male, 1 female), inter-subject or not, intra-subject or not."""
    rows = []
    for part, numbers in parts.items():
        medians = dict.fromkeys(numbers, AGES["Normal"])
        for label in AGES:
            medians.update(dict.fromkeys(owners[part].get(label, ()), AGES[label]))
        if part == "train":
            medians.update(zip(owners["train"]["Stridor"], (0.4, 2.5), strict=True))
        for number, median in medians.items():
            spread = AGE_SPREAD if median > 1 else 0.2
            age = round(float(np.clip(median * rng.lognormal(0, spread), 0.2, 17.9)), 1)
            rows.append((number, age, int(rng.random() < 0.47), part == "inter", number in intra))
    return pd.DataFrame(rows, columns=["patient", "age", "sex", "inter", "intra"]).set_index("patient").sort_index()


def _recordings(patients: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """The four positions in turn; the last part of a name is a running number over all recordings."""
    rows = []
    for p, person in patients.iterrows():
        for part in ["inter"] if person["inter"] else ["train", "intra"][: 1 + person["intra"]]:
            low, high = RECORDINGS[part]
            sites = np.concatenate([rng.permutation(POSITIONS) for _ in range(2)])[: rng.integers(low, high + 1)]
            rows += [(p, part, site, LENGTHS_S[int(rng.random() < LONG_SHARE)]) for site in sites.tolist()]
    frame = pd.DataFrame(rows, columns=["patient", "part", "position", "length_s"])
    frame["poor"] = False
    for part, share in POOR_SHARE.items():
        names = rng.permutation(frame.index[frame["part"] == part])
        frame.loc[names[: max(1, round(share * len(names)))], "poor"] = True
    number = rng.permutation(len(frame)) + 1
    of = patients.loc[frame["patient"]]
    about = zip(frame["patient"], of["age"], of["sex"], frame["position"], number, strict=True)
    frame.index = pd.Index([f"{p}_{age:.1f}_{sex}_{site}_{k}" for p, age, sex, site, k in about], name="recording")
    return frame.sort_index()


def _breaths(patients: pd.DataFrame, recordings: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Breaths follow one another without gap; those cut by the end of the recording are heard but not annotated."""
    pace = {p: 60 / breaths_per_minute(age) * rng.lognormal(0, 0.1) for p, age in patients["age"].items()}
    rows = []
    for name, r in recordings.iterrows():
        skipped = 0.0  # the first whole breath is always annotated
        first_s = rng.uniform(0, 1) * pace[r["patient"]]
        for start, end in breaths(rng, first_s, pace[r["patient"]], r["length_s"]):
            rows.append((name, start, end, end > r["length_s"] or r["poor"] or rng.random() < skipped))
            skipped = SKIPPED
    return pd.DataFrame(rows, columns=["recording", "start_s", "end_s", "silent"])


def _labels(recordings: pd.DataFrame, breaths: pd.DataFrame, owners, rng: np.random.Generator) -> np.ndarray:
    """Deal each class out to its patients, recording by recording, as many events as it has to have."""
    label = np.where(breaths["silent"], None, "Normal").astype(object)
    of_breath = recordings.loc[breaths["recording"]]
    part, patient = of_breath["part"].to_numpy(), of_breath["patient"].to_numpy()
    order = pd.Series(rng.permutation(len(recordings)), index=recordings.index)
    rank = order[breaths["recording"]].to_numpy()
    for pattern in PATTERNS:
        for name, share, least in zip(PARTS, pattern.shares, pattern.least, strict=True):
            mine = owners[name].get(pattern.label, [])
            count = max(least, round(share * pd.notna(label[part == name]).sum()))
            lacking = 0
            for owner, quota in zip(mine, _quotas(count, len(mine), pattern.lead), strict=True):
                here = (part == name) & (patient == owner)
                free = np.flatnonzero(here & (label == "Normal"))
                # A recording is filled before the next begins; one breath in five is passed over.
                passed = rng.random(len(free)) > ILL_SHARE
                free = free[np.lexsort((rng.random(len(free)), rank[free], passed))]
                most = len(free) - round((1 - ILL_SHARE) * pd.notna(label[here]).sum())
                chosen = free[: max(0, min(quota + lacking, most))]
                label[chosen] = pattern.label
                lacking += quota - len(chosen)
    return label


def _quotas(count: int, n: int, lead: float) -> list[int]:
    """`count` events among `n` patients: `lead` of them to the first and the rest in equal parts, or falling shares."""
    if n == 0:
        return []
    weights = (1.0 + np.arange(n)) ** -0.5
    if lead and n > 1:
        weights[0], weights[1:] = lead, (1 - lead) / (n - 1)
    edges = np.round(np.cumsum(weights[::-1] / weights.sum()) * count).astype(int)
    return np.diff(edges, prepend=0)[::-1].tolist()


def _event(label: str | None, start_s: float, end_s: float, rng: np.random.Generator) -> tuple[int, int]:
    """First and last millisecond of what an annotator marks in a breath: lengths by class follow the real ones."""
    length_s = end_s - start_s
    turn_s = start_s + INSPIRATION * length_s
    if label in ("Wheeze", "Rhonchi"):
        a, b = (turn_s, end_s) if rng.random() < 0.75 else (start_s, turn_s)
        lasts = min(max(0.16, rng.lognormal(np.log(0.56 if label == "Wheeze" else 0.78), 0.35)), 0.95 * (b - a))
        first = rng.uniform(a, b - lasts)
        last = first + lasts
    else:
        low, high = ENDS.get(label, (0.40, 0.95))
        first, last = start_s + rng.uniform(0, 0.08) * length_s, start_s + rng.uniform(low, high) * length_s
    return int(np.ceil(1000 * first)), int(1000 * last)
