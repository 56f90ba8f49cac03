"""Tasks: a data set, what its labels mean there, and what is scored.

A comparison is fair where every model has the same events under the same names. A task fixes both, so that nothing about them
is left to a model. Its label map is a table of what a physician wrote and what it counts as; what has no counterpart is left
out, and counted.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from lungnb.core import UserError
from lungnb.data import icbhi, sprsound
from lungnb.data.corpus import Corpus


@dataclass(frozen=True)
class Task:
    """labels: the corpus' own label -> class, None where it is left out; the first class is normal. unit: what is scored.

    age_step: years an age bin. excluded: parts of the data set that are not looked at. repeated: recordings that the data
    set holds a second time on the other side of its split; they are left out. rows: makes other rows of the data set's events,
    as whole recordings; its labels are then those of these rows.
    """

    name: str
    corpus: str
    labels: dict[str, str | None]
    unit: Literal["event", "patient"] = "event"
    age_step: float = 1.0
    excluded: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    rows: Callable[[Corpus], Corpus] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by index."""
        return tuple(dict.fromkeys(c for c in self.labels.values() if c is not None))

    def view(self, corpus: Corpus) -> Corpus:
        """`corpus` as the task sees it: `label` is the class, `annotation` the data set's own label, `cohort` its own split.

        Events without a class are counted in `skipped`. With patients as the unit the rows are recordings, and each has its
        patient's label. Raises UserError for another data set, and for a label that the map does not have.
        """
        if corpus.name != self.corpus:
            raise UserError(f"The task {self.name!r} is of {self.corpus}, not of {corpus.name!r}; load that corpus.")
        if self.excluded:
            corpus = corpus.select(~corpus.events["split"].isin(self.excluded))
        if (again := corpus.events["recording"].isin(self.repeated)).any():
            skipped = corpus.skipped | {
                "events of a recording that stands on both sides of the split": int(again.sum())
            }
            corpus = replace(corpus.select(~again), skipped=skipped)
        corpus = self.rows(corpus) if self.rows else corpus
        events = corpus.events
        if unknown := sorted(set(events["label"]) - set(self.labels)):
            raise UserError(
                f"The label map of {self.name!r} has no {unknown[0]!r}; known are {', '.join(self.labels)}: add it in "
                "lungnb/data/tasks.py."
            )
        label = events["label"].map(self.labels).astype("string")
        viewed = replace(corpus, events=events.assign(label=label, annotation=events["label"], cohort=events["split"]))
        if not (n := int(label.isna().sum())):
            return viewed
        reason = f"events of {' and '.join(k for k, c in self.labels.items() if c is None)}"
        return replace(viewed.select(label.notna()), skipped=corpus.skipped | {reason: n})


_ICBHI = {label: label for label in icbhi.LABELS}
_SPRSOUND = {label: label for label in sprsound.LABELS}
#: SPRSound's words in ICBHI's, whose annotators had four: a rhonchus is a low wheeze, and a crackle is fine or coarse. Stridor
#: comes from the throat and has no counterpart.
_COMMON = {"normal": "normal", "fine crackle": "crackle", "coarse crackle": "crackle", "wheeze": "wheeze"}
_COMMON |= {"rhonchi": "wheeze", "wheeze+crackle": "both", "stridor": None}
#: Tasks 2-2 and 2-1 of the BioCAS 2022 challenge: recordings with continuous (CAS) and discontinuous sounds (DAS), or too poor.
_FIVE = {name: name for name in ("Normal", "Poor Quality", "CAS", "DAS", "CAS & DAS")}
_THREE = _FIVE | dict.fromkeys(("CAS", "DAS", "CAS & DAS"), "adventitious")
_ADVENTITIOUS = {"normal": "normal", "adventitious": "abnormal"}
_DIAGNOSES = {"control": "normal", "pneumonia": "abnormal", "bronchiolitis": "abnormal", "asthma": "abnormal"}
_PNEUMONIA = {"bronchiolitis": "bronchiolitis", "pneumonia": "pneumonia", "control": None, "asthma": None}

TASKS = {
    task.name: task
    for task in (
        Task("icbhi", "icbhi", _ICBHI, age_step=5.0),
        Task("icbhi-2-class", "icbhi", {k: "normal" if k == "normal" else "abnormal" for k in _ICBHI}, age_step=5.0),
        Task("sprsound", "sprsound", _SPRSOUND, repeated=sprsound.REPEATED),
        Task("sprsound-common", "sprsound", _COMMON, repeated=sprsound.REPEATED),
        Task("sprsound-records", "sprsound", _THREE, repeated=sprsound.REPEATED, rows=sprsound.sprsound_records),
        Task("sprsound-records-5-class", "sprsound", _FIVE, repeated=sprsound.REPEATED, rows=sprsound.sprsound_records),
        Task("sprsound-patients", "sprsound", _ADVENTITIOUS, "patient", rows=sprsound.sprsound_view),
        Task("sprsound-sites", "sprsound", _ADVENTITIOUS, "patient", excluded=("intra",), rows=sprsound.sprsound_view),
        Task("cohorts", "multisite", _DIAGNOSES, "patient"),
        Task("pneumonia", "multisite", _PNEUMONIA, "patient"),
    )
}


def task_of(name: str) -> Task:
    """The task called `name`. Raises UserError for a data set without a label map."""
    if name not in TASKS:
        known = ", ".join(TASKS)
        raise UserError(f"{name!r} has no label map; known are {known}: choose one, or add it in lungnb/data/tasks.py.")
    return TASKS[name]


def label_maps(names: list[str]) -> pd.DataFrame:
    """The label maps of these tasks as one table: columns task, data set, unit, label, class (NA: left out)."""
    rows = [(t.name, t.corpus, t.unit, label, to) for t in map(task_of, names) for label, to in t.labels.items()]
    return pd.DataFrame(rows, columns=["task", "data set", "unit", "label", "class"]).convert_dtypes()
