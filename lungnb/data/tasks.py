"""Named classification problems: a data set, what its labels mean here, and who is trained on, selects and is tested.

A comparison is fair where every model has the same events under the same names in the same parts. A task fixes all three, so
that nothing about them is left to a model. Its label map is a table of what a physician wrote and what it counts as; what has
no counterpart is left out, and told.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

from lungnb.core import UserError
from lungnb.data import icbhi, sprsound
from lungnb.data.corpus import Corpus
from lungnb.data.splits import grouped_folds, patient_folds
from lungnb.data.sprsound import sprsound_view

Split = Literal["patients", "events (leaky)"]
PARTS = ("train", "validation", "test")
N_FOLDS = 5

_SAME_ICBHI = {label: label for label in icbhi.LABELS}
_SAME_SPRSOUND = {label: label for label in sprsound.LABELS}
#: SPRSound's words in ICBHI's, whose annotators had four: a rhonchus is a low wheeze, and a crackle is fine or coarse. Stridor
#: comes from the throat and has no counterpart.
_COMMON = {
    "normal": "normal",
    "fine crackle": "crackle",
    "coarse crackle": "crackle",
    "wheeze": "wheeze",
    "rhonchi": "wheeze",
    "wheeze+crackle": "both",
    "stridor": None,
}
_DIAGNOSES = {"control": "normal", "pneumonia": "abnormal", "bronchiolitis": "abnormal", "asthma": "abnormal"}


@dataclass(frozen=True)
class Task:
    """labels: the corpus' own label -> class, None where it is left out. unit: what is scored. age_step: years an age bin."""

    name: str
    corpus: Literal["icbhi", "sprsound", "multisite"]
    labels: dict[str, str | None]
    classes: tuple[str, ...]
    unit: Literal["event", "patient"] = "event"
    age_step: float = 1.0

    def view(self, corpus: Corpus) -> Corpus:
        """`corpus` as the task sees it: `label` is the class, events without one are counted in `skipped`.

        With patients as the unit the rows are recordings, and each has its patient's label. Raises UserError for another
        data set, and for a label that the map does not have.
        """
        if corpus.name != self.corpus:
            raise UserError(f"The task {self.name!r} is of {self.corpus}, not of {corpus.name!r}; load that corpus.")
        if self.name == "sprsound-patients":
            corpus = sprsound_view(corpus)
        label = corpus.events["label"]
        if unknown := sorted(set(label) - set(self.labels)):
            raise UserError(
                f"The label map of {self.name!r} has no {unknown[0]!r}; known are {', '.join(self.labels)}: add it in "
                "lungnb/data/tasks.py."
            )
        label = label.map(self.labels).astype("string")
        left_out = label.isna()
        kept = replace(corpus, events=corpus.events.assign(label=label)).select(~left_out)
        told = {f"events of {' and '.join(k for k, c in self.labels.items() if c is None)}": int(left_out.sum())}
        return replace(kept, skipped=kept.skipped | {reason: n for reason, n in told.items() if n})


TASKS = {
    task.name: task
    for task in (
        Task("icbhi", "icbhi", _SAME_ICBHI, tuple(icbhi.LABELS), age_step=5.0),
        Task("sprsound", "sprsound", _SAME_SPRSOUND, tuple(sprsound.LABELS)),
        Task("sprsound-common", "sprsound", _COMMON, tuple(icbhi.LABELS)),
        Task(
            "sprsound-patients",
            "sprsound",
            {"normal": "normal", "adventitious": "abnormal"},
            ("normal", "abnormal"),
            "patient",
        ),
        Task("cohorts", "multisite", _DIAGNOSES, ("normal", "abnormal"), "patient"),
    )
}


def task_of(name: str) -> Task:
    """The task called `name`. Raises UserError for a data set without a label map."""
    if name not in TASKS:
        known = ", ".join(TASKS)
        raise UserError(f"{name!r} has no label map; known are {known}: choose one, or add it in lungnb/data/tasks.py.")
    return TASKS[name]


def label_maps() -> pd.DataFrame:
    """All label maps as one table: columns task, data set, unit, label, class (NA: left out)."""
    rows = [(t.name, t.corpus, t.unit, label, to) for t in TASKS.values() for label, to in t.labels.items()]
    return pd.DataFrame(rows, columns=["task", "data set", "unit", "label", "class"]).convert_dtypes()


def parts_of(task: Task, corpus: Corpus, fold: int = 0, split: Split = "patients") -> tuple[pd.Series, list[str]]:
    """train, validation or test for each row of `corpus` (`task.view`), and what is leaky about them.

    Five folds, the labels spread evenly: `fold` is tested, the next one selects the epoch. "patients": nobody stands in two
    of them. "events (leaky)": rows are dealt one by one, whoever they are of. Raises UserError for too few patients, or a
    part that holds nothing normal or nothing else.
    """
    events = corpus.events
    if not 0 <= fold < N_FOLDS:
        raise UserError(f"There is no fold {fold}; known are 0 to {N_FOLDS - 1}.")
    if split == "events (leaky)":
        folds = pd.Series(-1, index=events.index)
        dealt = StratifiedKFold(N_FOLDS, shuffle=True, random_state=0).split(events, events["label"].astype(object))
        for k, (_, rows) in enumerate(dealt):
            folds.iloc[rows] = k
    elif events["patient"].nunique() < 2 * N_FOLDS:
        raise UserError(
            f"{corpus.audio_root} has {events['patient'].nunique()} patients for {task.name!r}, too few for {N_FOLDS} folds of "
            "at least two; use more."
        )
    else:
        folds = patient_folds(corpus, N_FOLDS, 0) if task.unit == "patient" else grouped_folds(events, N_FOLDS, 0)
    names = np.full(N_FOLDS, "train", dtype=object)
    names[[fold, (fold + 1) % N_FOLDS]] = "test", "validation"
    part = pd.Series(names[folds], index=events.index, dtype="string").rename("part")
    for name in PARTS:
        here = events.loc[part == name, "label"]
        if not (here == task.classes[0]).any() or (here == task.classes[0]).all():
            raise UserError(f"Fold {fold} of {task.name!r} leaves {name} without one kind of sound; use more patients.")
    patients = {name: set(events.loc[part == name, "patient"]) for name in PARTS}
    n = len(patients["train"] & patients["test"])
    return part, [f"leaky split: {n} patients stand in train and in test"] if n else []
