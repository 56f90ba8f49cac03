"""Splits: who is trained on, who selects the epoch, and who is tested.

A *split* puts each event into `train`, `validation` or `test` (for SPRSound's challenge `inter` or `intra`), or nowhere (NA). It
is *leaky* when a patient has events both in train and in a part that is tested: the score then also measures how well that
patient was remembered. A leaky split is refused unless the caller names it (`leaky="official"`), and says so in `Split.notes`.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from lungnb.core import UserError
from lungnb.data.sprsound_files import anonymous

#: The parts that are tested, whatever the split calls them.
TESTED = ("test", "inter", "intra")
Validation = Literal["patients", "events (leaky)", "none"]


@dataclass(frozen=True)
class Split:
    """part: for each event train, validation, test, inter, intra, or NA (left out). shared: patients trained on and tested."""

    part: pd.Series
    shared: tuple[str, ...]
    notes: list[str]


# A rule: (events, fold, n_folds) -> the part of each event.


def official(events: pd.DataFrame, *_) -> pd.Series:
    """The data set's own parts (ICBHI: 60-40 by recording, so that patients 156 and 218 stand on both sides)."""
    return events["cohort" if "cohort" in events else "split"]


def official_disjoint(events: pd.DataFrame, *_) -> pd.Series:
    """The official split without the training events of patients who also stand in its test side."""
    split = official(events)
    tested = set(events.loc[split == "test", "patient"])
    return split.mask((split == "train") & events["patient"].isin(tested))


def respirenet(events: pd.DataFrame, fold: int, n_folds: int) -> pd.Series:
    """RespireNet's 80-20 split: the patients of `fold` (4 in the released commands) of its fold list are the test side."""
    without = events.loc[events["fold"].isna(), "patient"].unique()
    if len(without):
        raise UserError(
            f"patient_list_foldwise.txt is not there or gives no fold to patient {without[0]} ({len(without)} in all); "
            "add the patient or use the split 'stratified'."
        )
    return (events["fold"] == fold).map({True: "test", False: "train"})


def stratified(events: pd.DataFrame, fold: int, n_folds: int) -> pd.Series:
    """The honest 80-20 split: patients grouped, devices and labels spread evenly over the folds."""
    return (grouped_folds(events, n_folds, seed=0) == fold).map({True: "test", False: "train"})


def training_folds(events: pd.DataFrame, fold: int, n_folds: int) -> pd.Series:
    """The folds by which a recipe is chosen: of the patients whom `official` trains on, those of `fold` are tested, and
    nobody of its test side is looked at."""
    train = events[official(events) == "train"]
    fold_of = grouped_folds(train, n_folds, seed=0)
    return (fold_of == fold).map({True: "test", False: "train"}).reindex(events.index)


def dealt(events: pd.DataFrame, n_folds: int, seed: int) -> pd.Series:
    """A fold number for each event, dealt one by one, whoever they are of. Leaky."""
    return _number_folds(StratifiedKFold(n_folds, shuffle=True, random_state=seed), events, events["label"])


def rotated(folds: Callable[[pd.DataFrame, int, int], pd.Series]) -> Callable[[pd.DataFrame, int, int], pd.Series]:
    """The rule by which one of the `folds` is tested, the next one selects the epoch, and the others are trained on."""

    def rule(events: pd.DataFrame, fold: int, n_folds: int) -> pd.Series:
        if not 0 <= fold < n_folds:
            raise UserError(f"There is no fold {fold}; known are 0 to {n_folds - 1}.")
        parts = dict.fromkeys(range(n_folds), "train") | {(fold + 1) % n_folds: "validation", fold: "test"}
        return folds(events, n_folds, seed=0).map(parts)

    return rule


def grouped_folds(events: pd.DataFrame, n_folds: int, seed: int) -> pd.Series:
    """A fold number for each event: no patient in two folds, labels and devices stratified.

    Raises UserError for fewer than two patients a fold.
    """
    if events["patient"].nunique() < n_folds:
        raise UserError(
            f"{events['patient'].nunique()} patients are too few for {n_folds} folds of patients; use more patients or fewer "
            "folds, or validation='none' (selection='last')."
        )
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    strata = events["label"] + " " + events["device"].fillna("")
    if strata.value_counts().max() < n_folds:
        raise UserError(
            f"No label of a device has {n_folds} events, so they cannot be spread over as many folds; use more data or fewer "
            "folds."
        )
    return _number_folds(splitter, events, strata, events["patient"].astype(object))


def _number_folds(splitter, events: pd.DataFrame, strata: pd.Series, groups: pd.Series | None = None) -> pd.Series:
    fold = pd.Series(-1, index=events.index)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # rare strata are spread as far as they go
        for k, (_, rows) in enumerate(splitter.split(events, strata.astype(object), groups)):
            fold.iloc[rows] = k
    return fold


def patient_folds(events: pd.DataFrame, n_folds: int, seed: int) -> pd.Series:
    """A fold from 0 to `n_folds` - 1 for each event: patients whole and counted once, their labels and cohorts spread evenly.

    A patient with eight sites weighs no more than one with four. Raises UserError if no label of a cohort has a patient for
    each fold.
    """
    cohort = "cohort" if "cohort" in events else "split"
    people = events.drop_duplicates("patient")
    most = people.groupby(["label", cohort], dropna=False).size().max()
    if not 2 <= n_folds <= most:
        raise UserError(
            f"{n_folds} folds cannot be spread evenly over {len(people)} patients, of whom one label and cohort has {most} at "
            "most; use from 2 to that many folds, or more patients."
        )
    fold = grouped_folds(people.assign(device=people[cohort]), n_folds, seed)
    return events["patient"].map(dict(zip(people["patient"], fold, strict=True))).astype(int).rename("fold")


SPLITS: dict[str, Callable[[pd.DataFrame, int, int], pd.Series]] = {
    "official": official,
    "official_disjoint": official_disjoint,
    "respirenet": respirenet,
    "stratified": stratified,
    "training folds": training_folds,
    "patients": rotated(grouped_folds),
    "children": rotated(patient_folds),
    "events (leaky)": rotated(dealt),
}


def make_split(
    events: pd.DataFrame,
    name: str,
    *,
    fold: int = 0,
    n_folds: int = 5,
    validation: Validation = "patients",
    held_out: tuple[int, int] = (1, 5),
    leaky: str | None = None,
) -> Split:
    """The split called `name` of SPLITS.

    validation: where the split itself sets no events aside to select the epoch with, held_out[0] of held_out[1] folds of the
    training side are, by patients or (leaky) by events; "none" trains on all of them. Raises UserError for an unknown name, an
    empty part, too few patients, or a leak not asked for by name.
    """
    if name not in SPLITS:
        raise UserError(f"There is no split {name!r}; known are {', '.join(SPLITS)}.")
    unnumbered = _unnumbered(events)  # whoever they are may stand on the other side
    part = SPLITS[name](events[~unnumbered], fold, n_folds).reindex(events.index)
    part = part.astype("string").rename("part")
    part = part.replace("validation", "train") if validation == "none" else part
    if not (part == "train").any() or not part.isin(TESTED).any():
        empty = "train" if not (part == "train").any() else "test"
        raise UserError(
            f"The split {name!r} (fold {fold}) leaves no event to {empty}; use more of the data or another fold."
        )
    if validation != "none" and not (part == "validation").any():
        train = events[part == "train"]
        by_patient = validation == "patients"
        held = hold_out_patients(train, *held_out) if by_patient else hold_out_events(train, held_out[0] / held_out[1])
        part = part.mask(held.reindex(part.index, fill_value=False), "validation")
    if events.loc[part == "train", "label"].nunique() < 2:
        raise UserError(f"The split {name!r} leaves one kind of sound to train on; use more patients.")
    known = {p: set(events.loc[part == p, "patient"]) for p in part.dropna().unique()}
    tested = set().union(*(known.get(p, set()) for p in TESTED))
    shared = tuple(sorted(known["train"] & tested))
    crossing = shared or tuple(sorted(known.get("validation", set()) & tested))
    if crossing and leaky != name and "leaky" not in name:
        raise UserError(
            f"The split {name!r} has {len(crossing)} patients in {'train' if shared else 'validation'} and in test "
            f"({', '.join(crossing[:4])}); ask for it by name with leaky={name!r}, or use a patient-grouped split."
        )
    left = int(unnumbered.sum())
    notes = [f"{left} events of children without a number are in no part"] if left else []
    return Split(part, shared, _leaks(known) + notes)


def _unnumbered(events: pd.DataFrame) -> pd.Series:
    """Whether an event is of a child of SPRSound whom no number tells from others (`lungnb.data.sprsound_files.anonymous`)."""
    of_sprsound = events["corpus"].eq("sprsound") if "corpus" in events else pd.Series(False, events.index)
    return of_sprsound & anonymous(events)


def _leaks(known: dict[str, set[str]]) -> list[str]:
    """Sentences on patients who stand in two parts; known: the patients of each."""
    train, validation = known["train"], known.get("validation", set())
    notes = []
    for part in TESTED:
        own = known.get(part, set())
        both = sorted(own & train)
        if both and part != "test":  # SPRSound's challenge, by design
            notes.append(f"leaky test: {len(both)} of the {len(own)} {part} patients are trained on")
        elif both:
            names = f"patient {both[0]} stands" if len(both) == 1 else f"patients {' and '.join(both)} stand"
            who = f"{len(both)} patients stand" if len(both) > 4 else names
            notes.append(f"leaky split: {who} in train and in test")
        if n := len(own & validation):
            notes.append(f"leaky selection: {n} of the {len(own)} {part} patients select the epoch")
    if n := len(train & validation):
        notes.append(f"leaky validation: {n} patients stand in training and in validation")
    return notes


def cohort_split(
    events: pd.DataFrame, cohort: str, *, fold: int | None = None, n_folds: int = 10, balanced: bool = False
) -> Split:
    """Train in one cohort (or those whose names begin so), test on everyone else, or with `fold` on that fold of the cohort.

    Of the cohort's other patients 1 in 9 selects the epoch (the paediatric paper: 9 of 78). balanced: as many patients of the
    more frequent class are drawn as there are of the other (section III-C), always the same. Raises UserError for a cohort
    without both kinds of patient.
    """
    people = events.drop_duplicates("patient").set_index("patient", drop=False)
    in_cohort = people["cohort"].str.startswith(cohort)
    own = people[in_cohort].assign(device=pd.NA)
    if own["label"].nunique() < 2:
        here = ", ".join(sorted(events["cohort"].dropna().unique()))
        raise UserError(
            f"The cohort {cohort!r} does not hold both kinds of patient, so nothing can be trained on it (cohorts here: "
            f"{here}); name another."
        )
    if balanced:
        own = own.groupby("label").sample(own["label"].value_counts().min(), random_state=0)
    tested = people.index[~in_cohort]
    if fold is not None:
        members = events[events["patient"].isin(own.index)].reset_index(drop=True)
        here = patient_folds(members, n_folds, seed=0) == fold
        tested = pd.Index(members.loc[here, "patient"].unique())
        own = own.drop(tested)
    fewest = own["label"].value_counts().min()
    if fewest < 2:
        raise UserError(
            f"The cohort {cohort!r} has one case or one control to train on, and none to select the epoch with; use more "
            "patients or fewer folds."
        )
    held = hold_out_patients(own, 1, min(9, fewest))
    part_of = pd.concat([held.map({True: "validation", False: "train"}), pd.Series("test", index=tested)])
    return Split(events["patient"].map(part_of).astype("string").rename("part"), (), [])


def hold_out_patients(events: pd.DataFrame, n_held: int, n_folds: int) -> pd.Series:
    """True for the events of the validation patients, about n_held / n_folds of `events`, always the same ones.

    Of fewer patients than folds each is a fold. Raises UserError for a single patient.
    """
    n = max(2, min(n_folds, events["patient"].nunique()))
    return grouped_folds(events, n, seed=0) < max(1, round(n_held * n / n_folds))


def hold_out_events(events: pd.DataFrame, share: float) -> pd.Series:
    """True for `share` of the events of each label, drawn one by one. Leaky: patients stand on both sides."""
    drawn = events.groupby("label").sample(frac=share, random_state=0)
    return pd.Series(events.index.isin(drawn.index), index=events.index)
