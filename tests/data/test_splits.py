"""Splits: who stands on which side, and that no patient stands on both unless by name."""

import pandas as pd
import pytest
from corpora import real_data, simulated

from lungnb import UserError
from lungnb.data import load_corpus
from lungnb.data.icbhi import read_annotations, read_folds
from lungnb.data.splits import SPLITS, grouped_folds, hold_out_events, hold_out_patients, make_split


def patients(split, corpus):
    return {part: set(corpus.events.loc[split.part == part, "patient"]) for part in ("train", "validation", "test")}


def test_a_leak_is_refused_and_then_noted():
    corpus = simulated()
    with pytest.raises(UserError, match=r"leaky='official'"):
        make_split(corpus.events, "official")
    with pytest.raises(UserError, match=r"leaky='official'"):
        make_split(corpus.events, "official", leaky="respirenet")  # another split's name is no permission
    split = make_split(corpus.events, "official", leaky="official")
    sides = patients(split, corpus)
    assert set(split.shared) == sides["train"] & sides["test"] != set()
    assert "leaky split" in split.notes[0]
    assert split.shared[0] in split.notes[0]


def test_a_patient_who_selects_the_epoch_and_is_tested_is_a_leak():
    people = [(p, label, side) for p in "abcdefgh" for label in ("normal", "wheeze") for side in ("train",) * 4]
    people += [(p, label, "test") for p in "xyz" for label in ("normal", "wheeze")]
    events = pd.DataFrame(people, columns=["patient", "label", "split"], dtype="string").assign(device="m")
    held = make_split(events, "official").part.eq("validation")
    selecting = events.loc[held, "patient"].iloc[0]
    events.loc[events["patient"] == "x", "patient"] = selecting
    with pytest.raises(UserError, match=f"1 patients in validation and in test \\({selecting}\\)"):
        make_split(events, "official")
    split = make_split(events, "official", leaky="official")
    assert (split.shared, split.notes) == ((), ["leaky selection: 1 of the 3 test patients select the epoch"])


@pytest.mark.parametrize("name", [n for n in SPLITS if n not in ("official", "events (leaky)")])
def test_no_patient_on_both_sides(name):
    corpus = simulated()
    split = make_split(corpus.events, name)
    sides = patients(split, corpus)
    assert sides["train"]
    assert sides["test"]
    assert not sides["train"] & sides["test"]
    assert not sides["validation"] & (sides["train"] | sides["test"])
    assert split.notes == []


def test_disjoint_only_drops_training_events():
    corpus = simulated()
    full, disjoint = (
        make_split(corpus.events, n, leaky="official", validation="none").part
        for n in ("official", "official_disjoint")
    )
    dropped = disjoint.isna()
    assert dropped.any()
    assert (full[dropped] == "train").all()
    assert (full[~dropped] == disjoint[~dropped]).all()


def test_stratified_folds_cover_every_patient_once():
    corpus = simulated()
    tested = [patients(make_split(corpus.events, "stratified", fold=k), corpus)["test"] for k in range(5)]
    assert sorted(p for fold in tested for p in fold) == sorted(set(corpus.events["patient"]))


def test_the_same_events_give_the_same_folds():
    events = simulated().events
    folds = grouped_folds(events, 5, seed=3)
    assert grouped_folds(events.copy(), 5, seed=3).equals(folds)
    assert set(folds) == set(range(5))


def test_stratified_spreads_classes_over_the_folds():
    events = simulated().events
    share = (events["label"] == "normal").groupby(grouped_folds(events, 5, seed=0)).mean()
    assert share.between(0.2, 0.9).all()
    assert events["device"].groupby(grouped_folds(events, 5, seed=0)).nunique().max() == 4


def test_validation_patients_are_nobodys_training_patients():
    events = simulated().events
    held = hold_out_patients(events, 1, 5)
    assert not set(events[held]["patient"]) & set(events[~held]["patient"])
    assert 0.05 < held.mean() < 0.5


def test_of_few_patients_whole_ones_are_held_out():
    events = simulated().events
    names = events["patient"].unique()
    few, one = (events[events["patient"].isin(names[:n])] for n in (4, 1))
    held = hold_out_patients(few, 3, 10)
    assert set(few[held]["patient"]) | set(few[~held]["patient"]) == set(names[:4])
    assert few[held]["patient"].nunique() == 1
    with pytest.raises(UserError, match="1 patients are too few for 2 folds"):
        hold_out_patients(one, 1, 5)


def test_unknown_names_and_empty_sides():
    corpus = simulated()
    with pytest.raises(UserError, match="no split 'oficial'"):
        make_split(corpus.events, "oficial")
    with pytest.raises(UserError, match=r"fold 9\) leaves no event to test"):
        make_split(corpus.events, "respirenet", fold=9)
    events = corpus.events
    part = events.assign(fold=events["fold"].mask(events["patient"] == events["patient"].iloc[0]))
    with pytest.raises(UserError, match="gives no fold to patient"):
        make_split(part, "respirenet")
    with pytest.raises(UserError, match=r"foldwise.txt is not there"):
        make_split(events.assign(fold=pd.NA), "respirenet")


@pytest.mark.parametrize("text", ["1 0\n2\n", "1 0\n2 5\n", "1 0\n2 1 0\n", "1 0\n1 4\n"])
def test_a_bad_fold_line_is_named(tmp_path, text):
    (tmp_path / "patient_list_foldwise.txt").write_text(text)
    with pytest.raises(
        UserError, match=r"foldwise.txt, line 2: expected a patient of whom no line came before and a fold"
    ):
        read_folds(tmp_path)


def test_folds_of_the_real_data():
    folder = real_data() / "icbhi"
    folds = read_folds(folder).set_index("patient")["fold"]
    assert folds.value_counts().sort_index().tolist() == [26, 25, 25, 25, 25]
    recordings = read_annotations(folder).drop_duplicates("recording")
    table = pd.crosstab(recordings["patient"].map(folds), recordings["device"])
    assert table.sum(axis=1).tolist() == [512, 61, 50, 99, 198]
    assert table.loc[4, ["AKGC417L", "Meditron", "LittC2SE", "Litt3200"]].tolist() == [136, 14, 30, 18]


def test_official_split_of_the_real_recordings():
    corpus = load_corpus("icbhi", real_data())
    counts = make_split(corpus.events, "official", leaky="official", validation="none").part.value_counts().to_dict()
    if corpus.n_missing == 0:
        assert counts == {"train": 4142, "test": 2756}
    elif corpus.n_recordings == 192:
        assert counts == {"train": 1076, "test": 920}
    else:
        pytest.skip(f"no counts are known for {corpus.n_recordings} recordings")


def test_events_are_held_out_label_by_label():
    counts = {"normal": 1000, "wheeze": 97, "rhonchi": 10, "coarse crackle": 3, "stridor": 2, "fine crackle": 1}
    label = pd.Series([name for name, n in counts.items() for _ in range(n)], dtype="string").sample(
        frac=1, random_state=1
    )
    events = label.to_frame("label").set_axis(range(5, 5 + 3 * len(label), 3))  # a part of a corpus, with its index
    held = hold_out_events(events, 0.3)
    assert held.index.equals(events.index)
    table = pd.crosstab(events["label"], held)
    assert table[True].to_dict() == {name: round(0.3 * n) for name, n in counts.items()}
    several = table.loc[[name for name, n in counts.items() if n > 1]]
    assert (several > 0).all(axis=None)
    assert hold_out_events(events.copy(), 0.3).equals(held)
    assert hold_out_events(events, share=0.5).sum() == pytest.approx(0.5 * len(events), abs=3)


def test_several_folds_are_held_out():
    events = simulated().events
    one, three = (hold_out_patients(events, n, 10) for n in (1, 3))
    assert (three | ~one).all()
    assert not set(events[three]["patient"]) & set(events[~three]["patient"])
    folds = grouped_folds(events, 10, seed=0)
    assert set(folds[three]) == {0, 1, 2}
    assert three.sum() == folds.isin([0, 1, 2]).sum()


def test_training_folds_never_look_at_the_test_side():
    corpus = simulated()
    whole = make_split(corpus.events, "official", leaky="official", validation="none").part
    tested = []
    for fold in range(5):
        part = make_split(corpus.events, "training folds", fold=fold, validation="none").part
        assert part[whole == "test"].isna().all()
        assert part[whole == "train"].notna().all()
        tested += corpus.events.loc[part == "test", "patient"].unique().tolist()
    assert sorted(tested) == sorted(corpus.events.loc[whole == "train", "patient"].unique())
