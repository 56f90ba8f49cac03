"""Tasks: every label has a class or is left out, parts keep patients apart, and what leaks says so."""

import functools

import pytest

from lungnb.core import UserError
from lungnb.data import icbhi, multisite, sprsound
from lungnb.data.load import load_corpus
from lungnb.data.tasks import PARTS, TASKS, label_maps, parts_of, task_of

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
    known = sprsound.VIEW_LABELS if name == "sprsound-patients" else known
    assert set(task.labels) == set(known)
    assert set(task.labels.values()) - {None} == set(task.classes)
    assert [label for label, to in task.labels.items() if to == task.classes[0]] in (["normal"], ["control"])


def test_the_table_of_label_maps_says_what_is_left_out():
    table = label_maps()
    assert len(table) == sum(len(t.labels) for t in TASKS.values())
    left_out = table[table["class"].isna()]
    assert left_out[["task", "label"]].to_numpy().tolist() == [["sprsound-common", "stridor"]]


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


def test_patients_of_a_task_have_one_label():
    for name in ("sprsound-patients", "cohorts"):
        events = view(name).events
        assert (events.groupby("patient")["label"].nunique() == 1).all()
        assert set(events["label"]) == {"normal", "abnormal"}
    own = corpus("multisite").events
    assert ((own["label"] == "control") == (view("cohorts").events["label"] == "normal")).all()


@pytest.mark.parametrize("name", TASKS)
def test_parts_keep_patients_apart_and_folds_test_everyone_once(name):
    task, here = TASKS[name], view(name)
    tested = []
    for fold in range(5):
        part, notes = parts_of(task, here, fold)
        assert not notes
        assert set(part) == set(PARTS)
        assert (here.events["patient"].groupby(part).unique().explode().value_counts() == 1).all()
        tested += here.events.index[part == "test"].tolist()
    assert sorted(tested) == here.events.index.tolist()


def test_events_dealt_one_by_one_leak_and_say_so():
    task, here = TASKS["icbhi"], view("icbhi")
    part, notes = parts_of(task, here, split="events (leaky)")
    patients = {name: set(here.events.loc[part == name, "patient"]) for name in PARTS}
    n = len(patients["train"] & patients["test"])
    assert n > 10
    assert notes == [f"leaky split: {n} patients stand in train and in test"]
    honest = parts_of(task, here)[0].value_counts()
    assert part.value_counts()["test"] == pytest.approx(honest["test"], rel=0.5)


def test_what_has_no_label_map_is_refused_with_those_there_are():
    with pytest.raises(UserError, match=r"'coughvid' has no label map; known are icbhi, sprsound, .*cohorts"):
        task_of("coughvid")


def test_bad_corpora_are_refused():
    task, here = TASKS["icbhi"], corpus("icbhi")
    with pytest.raises(UserError, match=r"is of icbhi, not of 'sprsound'"):
        task.view(corpus("sprsound"))
    odd = here.select(here.events.index < 9)
    odd.events.loc[3, "label"] = "squawk"
    with pytest.raises(UserError, match="has no 'squawk'"):
        task.view(odd)
    few = here.events["patient"].unique()[:6]
    with pytest.raises(UserError, match=r"6 patients .* too few"):
        parts_of(task, here.select(here.events["patient"].isin(few)))
    with pytest.raises(UserError, match="no fold 5"):
        parts_of(task, here, 5)
    healthy = here.select(here.events["label"] == "normal")
    with pytest.raises(UserError, match="without one kind of sound"):
        parts_of(task, healthy)
