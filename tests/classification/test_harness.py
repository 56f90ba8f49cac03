"""The harness: the same words make the same run, and what was not loaded or has no label map is refused."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from lungnb import UserError
from lungnb.classification.harness import harness_of
from lungnb.configs import COMPARE
from lungnb.data.tasks import TASKS


@pytest.fixture(scope="module")
def harness():
    return harness_of("smoke", names=["icbhi"])


def test_two_notebooks_make_the_same_run(harness):
    again = harness_of("smoke", names=["icbhi"])
    for model in COMPARE["smoke"]["models"]:
        if model != "MPA":
            assert harness.run("icbhi", model).infra.uid() == again.run("icbhi", model).infra.uid()


def test_settings_go_from_the_profile_to_the_model_to_what_is_asked(harness):
    size = COMPARE["smoke"]
    run = harness.run("icbhi", "small CNN")
    assert run.draws == size["run"]["draws"]
    assert run.epochs == size["models"]["small CNN"]["epochs"]
    assert harness.run("icbhi", "small CNN", epochs=3, seed=5).epochs == 3
    assert harness_of("smoke", names=["icbhi"], epochs=2).run("icbhi", "small CNN").epochs == 2


def test_a_group_is_one_run_a_seed():
    runs = harness_of("smoke", names=["icbhi"], seeds=[3, 4]).group("icbhi", "boosting")
    assert [run.seed for run in runs] == [3, 4]
    assert len({run.infra.uid() for run in runs}) == 2
    assert [run.seed for run in harness_of("smoke", names=["icbhi"], seeds=7).group("icbhi", "boosting")] == [7]


def test_a_view_is_the_data_as_the_task_sees_them(harness):
    assert set(harness.view("icbhi").events["label"]) <= set(TASKS["icbhi"].classes)
    assert "40 patients" in harness.data
    assert "simulated" in harness.data


@pytest.mark.parametrize(("task", "told"), [("coughvid", "no label map; known are icbhi"), ("sprsound", "not loaded")])
def test_what_cannot_be_asked_is_one_sentence(harness, task, told):
    with pytest.raises(UserError, match=told):
        harness.run(task, "small CNN")


def test_cohorts_are_simulated_where_a_clinic_has_none(tmp_path, monkeypatch):
    loaded = {}

    def load(name, folder, n_patients):
        loaded[name] = folder
        return name

    monkeypatch.setattr("lungnb.classification.harness.load_corpus", load)
    harness_of("smoke", str(tmp_path))
    assert loaded == {"icbhi": str(tmp_path), "sprsound": str(tmp_path), "multisite": "simulated"}
    (tmp_path / "multisite").mkdir()
    harness_of("smoke", str(tmp_path))
    assert loaded["multisite"] == str(tmp_path)


@pytest.mark.parametrize(
    ("origins", "text"),
    [
        (("simulated", "simulated"), "simulated"),
        (("real", "real, partial (1 of 2 recordings)"), "real (a: real; b: real, partial (1 of 2 recordings))"),
        (("real", "simulated"), "simulated in part (a: real; b: simulated)"),
    ],
)
def test_data_sets_together_are_real_only_if_all_are(harness, origins, text):
    corpora = {
        name: SimpleNamespace(origin_text=o, fingerprint=name * 2) for name, o in zip("ab", origins, strict=True)
    }
    both = replace(harness, corpora=corpora).together("a", "b")
    assert (both.name, both.origin_text, both.fingerprint) == ("a + b", text, "aa+bb")
