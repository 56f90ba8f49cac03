"""Tasks: every label has a class or is left out, parts keep patients apart, and what leaks says so."""

import functools
from dataclasses import replace

import pytest
import soundfile
from corpora import real_data

from lungnb.core import UserError
from lungnb.data import icbhi, load_corpus, multisite, sprsound
from lungnb.data.splits import make_split
from lungnb.data.tasks import TASKS, label_maps, task_of

PATIENTS = {"icbhi": 24, "sprsound": 24, "multisite": 30}


@functools.cache
def corpus(name):
    return load_corpus(name, n_patients=PATIENTS[name])


def view(task):
    return TASKS[task].view(corpus(TASKS[task].corpus))


@pytest.mark.parametrize("name", TASKS)
def test_a_label_map_is_whole(name):
    task = TASKS[name]
    known = {"icbhi": icbhi.LABELS, "sprsound": sprsound.LABELS, "multisite": multisite.LABELS}[task.corpus]
    of_rows = {sprsound.sprsound_view: sprsound.VIEW_LABELS, sprsound.sprsound_records: sprsound.RECORD_LABELS}
    known = of_rows.get(task.rows, known)
    assert set(task.labels) == set(known)
    assert set(task.labels.values()) - {None} == set(task.classes)
    assert [label for label, to in task.labels.items() if to == task.classes[0]] in (
        ["normal"],
        ["Normal"],
        ["control"],
        ["bronchiolitis"],
    )


def test_the_table_of_label_maps_says_what_is_left_out():
    names = ["icbhi", "sprsound", "sprsound-common"]
    table = label_maps(names)
    assert len(table) == sum(len(TASKS[name].labels) for name in names)
    left_out = table[table["class"].isna()]
    assert left_out[["task", "label"]].to_numpy().tolist() == [["sprsound-common", "stridor"]]


@pytest.mark.train
def test_common_labels_are_those_of_the_events():
    own, common = corpus("sprsound").events, view("sprsound-common")
    n = (own["label"] == "stridor").sum()
    assert common.skipped["events of stridor"] == n > 0
    assert len(common.events) == len(own) - n
    kept = own[own["label"] != "stridor"].reset_index(drop=True)
    assert (common.events["recording"] == kept["recording"]).all()
    crackles = kept["label"].isin(["fine crackle", "coarse crackle"])
    assert ((common.events["label"] == "crackle") == crackles).all()
    assert set(common.events["label"]) <= set(icbhi.LABELS)


@pytest.mark.train
def test_patients_of_a_task_have_one_label():
    for name in ("sprsound-patients", "cohorts"):
        events = view(name).events
        assert (events.groupby("patient")["label"].nunique() == 1).all()
        assert set(events["label"]) == {"normal", "abnormal"}
    own = corpus("multisite").events
    assert ((own["label"] == "control") == (view("cohorts").events["label"] == "normal")).all()


@pytest.mark.parametrize("name", [n for n in TASKS if n != "pneumonia"])
@pytest.mark.train
def test_parts_keep_patients_apart_and_folds_test_everyone_once(name):
    here, split, tested = view(name), "children" if TASKS[name].unit == "patient" else "patients", []
    for fold in range(5):
        made = make_split(here.events, split, fold=fold)
        assert not made.notes
        assert set(made.part) == {"train", "validation", "test"}
        assert (here.events["patient"].groupby(made.part).unique().explode().value_counts() == 1).all()
        tested += here.events.index[made.part == "test"].tolist()
    assert sorted(tested) == here.events.index.tolist()


def test_events_dealt_one_by_one_leak_and_say_so():
    here = view("icbhi")
    split = make_split(here.events, "events (leaky)")
    assert len(split.shared) > 10
    assert split.notes[0] == f"leaky split: {len(split.shared)} patients stand in train and in test"
    honest = make_split(here.events, "patients").part.value_counts()
    assert split.part.value_counts()["test"] == pytest.approx(honest["test"], rel=0.5)


def test_what_has_no_label_map_is_refused_with_those_there_are():
    with pytest.raises(UserError, match=r"'coughvid' has no label map; known are icbhi, .*sprsound, .*cohorts"):
        task_of("coughvid")


def test_bad_corpora_are_refused():
    task, here = TASKS["icbhi"], corpus("icbhi")
    with pytest.raises(UserError, match=r"is of icbhi, not of 'sprsound'"):
        task.view(corpus("sprsound"))
    odd = here.select(here.events.index < 9)
    odd.events.loc[3, "label"] = "squawk"
    with pytest.raises(UserError, match="has no 'squawk'"):
        task.view(odd)
    few = here.events["patient"].unique()[:4]
    with pytest.raises(UserError, match=r"4 patients are too few"):
        make_split(here.events[here.events["patient"].isin(few)], "patients")
    with pytest.raises(UserError, match="no fold 5"):
        make_split(here.events, "patients", fold=5)
    healthy = here.events[here.events["label"] == "normal"]
    with pytest.raises(UserError, match="one kind of sound"):
        make_split(healthy, "patients")


def test_a_recording_on_both_sides_of_the_split_is_left_out_and_counted(monkeypatch):
    whole = corpus("sprsound")
    again = whole.events["recording"].iloc[0]
    monkeypatch.setitem(TASKS, "sprsound", replace(TASKS["sprsound"], repeated=(again,)))
    seen = TASKS["sprsound"].view(whole)
    n = int((whole.events["recording"] == again).sum())
    assert again not in set(seen.events["recording"])
    assert len(seen.events) == len(whole.events) - n
    assert seen.skipped["events of a recording that stands on both sides of the split"] == n
    assert seen.fingerprint != whole.fingerprint


def test_the_repeated_recording_is_sample_for_sample_another_one():
    (name,), folder = sprsound.REPEATED, real_data("sprsound") / "sprsound"
    files = [next(folder.glob(f"**/{n}.[wf]*")) for n in (name, "41279835_14.1_0_p1_2050")]
    first, second = (soundfile.read(path, dtype="int16")[0].tobytes() for path in files)
    assert first == second
