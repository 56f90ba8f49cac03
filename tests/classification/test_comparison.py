"""The comparison: the same words make the same training, and what was not loaded or has no label map is refused."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from lungnb import UserError, configs
from lungnb.classification.comparison import load_comparison
from lungnb.data.tasks import TASKS

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def compared():
    return load_comparison("smoke", names=["icbhi"])


def test_two_notebooks_make_the_same_run(compared):
    again = load_comparison("smoke", names=["icbhi"])
    for model in configs.load("compare", "smoke")["models"]:
        if model != "MPA":
            assert compared.experiment("icbhi", model).infra.uid() == again.experiment("icbhi", model).infra.uid()


def test_settings_go_from_the_profile_to_the_model_to_what_is_asked(compared):
    size = configs.load("compare", "smoke")
    run = compared.experiment("icbhi", "small CNN")
    assert run.draws == size["run"]["draws"]
    assert run.epochs == size["models"]["small CNN"]["epochs"]
    assert compared.experiment("icbhi", "small CNN", epochs=3, seed=5).epochs == 3
    assert load_comparison("smoke", names=["icbhi"], epochs=2).experiment("icbhi", "small CNN").epochs == 2


def test_a_group_is_one_run_a_seed():
    runs = load_comparison("smoke", names=["icbhi"], seeds=[3, 4]).group("icbhi", "boosting")
    assert [run.seed for run in runs] == [3, 4]
    assert len({run.infra.uid() for run in runs}) == 2
    assert [run.seed for run in load_comparison("smoke", names=["icbhi"], seeds=7).group("icbhi", "boosting")] == [7]


def test_a_view_is_the_data_as_the_task_sees_them(compared):
    assert set(compared.view("icbhi").events["label"]) <= set(TASKS["icbhi"].classes)
    assert "40 patients" in compared.data
    assert "simulated" in compared.data


@pytest.mark.parametrize(("task", "told"), [("coughvid", "no label map; known are icbhi"), ("sprsound", "not loaded")])
def test_what_cannot_be_asked_is_one_sentence(compared, task, told):
    with pytest.raises(UserError, match=told):
        compared.experiment(task, "small CNN")


def test_cohorts_are_simulated_where_a_clinic_has_none(tmp_path, monkeypatch):
    loaded = {}

    def load(name, folder, n_patients):
        loaded[name] = folder
        return name

    monkeypatch.setattr("lungnb.classification.comparison.load_corpus", load)
    load_comparison("smoke", str(tmp_path))
    assert loaded == {"icbhi": str(tmp_path), "sprsound": str(tmp_path), "multisite": "simulated"}
    (tmp_path / "multisite").mkdir()
    load_comparison("smoke", str(tmp_path))
    assert loaded["multisite"] == str(tmp_path)


@pytest.mark.parametrize(
    ("origins", "text"),
    [
        (("simulated", "simulated"), "simulated"),
        (("real", "real, partial (1 of 2 recordings)"), "real (a: real; b: real, partial (1 of 2 recordings))"),
        (("real", "simulated"), "simulated in part (a: real; b: simulated)"),
    ],
)
def test_data_sets_together_are_real_only_if_all_are(compared, origins, text):
    corpora = {
        name: SimpleNamespace(origin_text=o, fingerprint=name * 2) for name, o in zip("ab", origins, strict=True)
    }
    both = replace(compared, corpora=corpora).joined("a", "b")
    assert (both.name, both.origin_text, both.fingerprint) == ("a + b", text, "aa+bb")
