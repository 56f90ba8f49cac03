"""Splits: functions from events to a fold column, and the rule that no patient stands on both sides unless by name.

A split is *leaky* when a patient has events in train and in test: the test score then also measures how well the patient was
remembered. Such a split is refused unless the caller names it (`leaky="official"`), and says so in `Split.notes`.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from lungnb.core import UserError
from lungnb.data.corpus import Corpus


@dataclass(frozen=True)
class Split:
    """`side` is "train", "test" or NA (left out) for each event; `shared` are the patients with events on both sides."""

    name: str
    side: pd.Series
    shared: tuple[str, ...]

    @property
    def notes(self) -> list[str]:
        if not self.shared:
            return []
        one = len(self.shared) == 1
        who = f"patient {self.shared[0]} stands" if one else f"patients {' and '.join(self.shared)} stand"
        if len(self.shared) > 4:
            who = f"{len(self.shared)} patients stand"
        return [f"leaky split: {who} in train and in test"]


def official(corpus: Corpus, fold: int) -> pd.Series:
    """The data set's own train and test (ICBHI: 60-40 by recording, so that patients 156 and 218 stand on both sides)."""
    return corpus.events["split"]


def official_disjoint(corpus: Corpus, fold: int) -> pd.Series:
    """The official split without the training events of patients who also stand in its test side."""
    events = corpus.events
    tested = set(events.loc[events["split"] == "test", "patient"])
    return events["split"].mask((events["split"] == "train") & events["patient"].isin(tested))


def respirenet(corpus: Corpus, fold: int) -> pd.Series:
    """RespireNet's 80-20 split: the patients of `fold` (4 in the released commands) are the test side."""
    of_event = corpus.events["fold"]
    unknown = corpus.events.loc[of_event.isna(), "patient"].unique()
    if of_event.isna().all():
        raise UserError(
            f"{corpus.audio_root / 'patient_list_foldwise.txt'} is missing (the fold list of the RespireNet repository); get it "
            "with `lungnb data fetch icbhi` or copy it there."
        )
    if len(unknown):
        raise UserError(
            f"{corpus.audio_root / 'patient_list_foldwise.txt'} gives no fold to patient {unknown[0]} "
            f"({len(unknown)} in all); add the patient or use the split 'stratified'."
        )
    return _sides(of_event == fold, corpus.events.index)


def stratified(corpus: Corpus, fold: int) -> pd.Series:
    """The honest 80-20 split: patients grouped, devices and labels spread evenly over five folds."""
    return _sides(grouped_folds(corpus.events, n_folds=5, seed=0) == fold, corpus.events.index)


SPLITS: dict[str, Callable[[Corpus, int], pd.Series]] = {
    f.__name__: f for f in (official, official_disjoint, respirenet, stratified)
}


def make_split(corpus: Corpus, name: str, fold: int = 4, leaky: str | None = None) -> Split:
    """The split called `name`. Raises UserError for an unknown name, an empty side, or a leak not asked for by name."""
    if name not in SPLITS:
        raise UserError(f"There is no split {name!r}; known are {', '.join(SPLITS)}.")
    side = SPLITS[name](corpus, fold).astype("string").rename("side")
    patients = corpus.events["patient"]
    shared = tuple(sorted(set(patients[side == "train"]) & set(patients[side == "test"])))
    if shared and leaky != name:
        raise UserError(
            f"The split {name!r} has {len(shared)} patients in train and in test ({', '.join(shared[:4])}); "
            f"ask for it by name with leaky={name!r}, or use a patient-grouped split."
        )
    for one in ("train", "test"):
        if not (side == one).any():
            raise UserError(f"The split {name!r} (fold {fold}) leaves no event to {one} in {corpus.audio_root}.")
    return Split(name, side, shared)


def grouped_folds(events: pd.DataFrame, n_folds: int, seed: int) -> pd.Series:
    """A fold number for each event: no patient in two folds, labels and devices stratified."""
    strata = events["label"] + " " + events["device"].fillna("")
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    fold = pd.Series(-1, index=events.index)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # rare strata are spread as far as they go
        for k, (_, rows) in enumerate(splitter.split(events, strata.astype(object), events["patient"].astype(object))):
            fold.iloc[rows] = k
    return fold


def patient_folds(corpus: Corpus, n_folds: int, seed: int) -> pd.Series:
    """A fold from 0 to `n_folds` - 1 for each event: patients whole, their labels and cohorts spread evenly.

    Patients are counted, not recordings, so that a child with eight sites weighs no more than one with four. Raises
    UserError if no label of a cohort has a patient for each fold.
    """
    people = corpus.events.drop_duplicates("patient")
    most = people.groupby(["label", "split"], dropna=False).size().max()
    if not 2 <= n_folds <= most:
        raise UserError(
            f"{n_folds} folds cannot be spread evenly over {len(people)} patients, of whom one label and cohort has {most} at "
            "most; use from 2 to that many folds, or more patients."
        )
    fold = grouped_folds(people.assign(device=people["split"]), n_folds, seed)
    folds = corpus.events["patient"].map(dict(zip(people["patient"], fold, strict=True))).astype(int).rename("fold")
    check_folds(corpus, folds)
    return folds


def check_folds(corpus: Corpus, folds: pd.Series) -> None:
    """Raise UserError if `folds`, a fold for each event, puts a patient in two folds or leaves an event without one."""
    events = corpus.events.assign(fold=folds.reindex(corpus.events.index))
    without = events[events["fold"].isna()]
    if len(without):
        first = without.iloc[0]
        raise UserError(
            f"The fold list gives none to {first['recording']} of patient {first['patient']} ({len(without)} rows in all); "
            "add them, or leave them out of the corpus."
        )
    of = events.drop_duplicates(["patient", "fold"])
    of = of[of["patient"].duplicated(keep=False)]
    if len(of):
        one, other = (row for _, row in of[of["patient"] == of["patient"].iloc[0]].iloc[:2].iterrows())
        raise UserError(
            f"The fold list puts patient {one['patient']} in two folds: {one['recording']} in {one['fold']} and "
            f"{other['recording']} in {other['fold']} ({of['patient'].nunique()} such patients in all); give all recordings "
            "of a patient one fold."
        )


def hold_out_validation(events: pd.DataFrame, seed: int, n_folds: int = 5, n_held: int = 1) -> pd.Series:
    """True for the events of the validation patients, about n_held/n_folds of `events` (the training side of a split).

    Raises UserError if there are fewer patients than folds: then nothing honest can be held out.
    """
    if events["patient"].nunique() < n_folds:
        raise UserError(
            f"Only {events['patient'].nunique()} patients are left to train on, too few to hold out 1 in {n_folds} for "
            "validation; use more patients or selection='last'."
        )
    return grouped_folds(events, n_folds, seed) < n_held


def hold_out_events(events: pd.DataFrame, share: float = 0.3, seed: int = 0) -> pd.Series:
    """True for `share` of the events of each label, drawn one by one. Leaky: patients stand on both sides."""
    drawn = events.groupby("label").sample(frac=share, random_state=seed)
    return pd.Series(events.index.isin(drawn.index), index=events.index)


def _sides(is_test: pd.Series, index: pd.Index) -> pd.Series:
    return pd.Series("train", index=index, dtype="string").mask(is_test, "test")
