"""A small experiment from its trainings to its file."""

import pytest
import yaml
from corpora import write_tiny

from lungnb import UserError
from lungnb.book import experiments, recorded
from lungnb.data import load_corpus

SMALL = """
first:
  corpus: icbhi
  n_patients: 24
  cut: "nearly everything"
  fields: &fields
    task: icbhi
    model: small CNN
    split: patients
    n_folds: 3
    validation: none
    selection: last
    pooling: [8, 8]
    epochs: 1
    draws: 64
  rows:
    one: {transfer: [sprsound-common], leaky_selection: true, predict_train: true}
    two: {start: one}
    three: {start: "second: other"}
  changed:
    one, epoch chosen on test: {row: one, rule: test (leaky)}
    one, abroad: {row: one, task: sprsound-common}
    one, reflected: {row: one, test_padding: reflect}
  folds: [0, 1]
  seeds: [5]
patients:
  corpus: multisite
  simulated: true
  n_patients: 30
  cut: ""
  sites: ["1", "5"]
  fields: {task: cohorts, split: cohort, fold: null, cohort: GVA, model: MPA, clip_s: 5.0, long: "crops, paper", missing: mean,
    pooling: [3, 4], normalisation: fixed, augment_features: false, epochs: 1, draws: 32, class_balance: 1.0, criterion: -loss,
    combine: none, predict_train: true}
  rows:
    MPA: {}
    MPO: {model: SiteCNN, sites: each}
    MPA -> POA1: {cohort: POA1, start: best of MPA}
    MPA reduced: {sites: all but each, model: SiteCNN}
  changed:
    MPA, dropout left on: {row: MPA, passes: 3}
    MPA, sites reversed: {row: MPA, sites: reversed}
  seeds: [0, 1]
second:
  corpus: icbhi
  n_patients: 24
  cut: ""
  fields: *fields
  rows: {other: {}}
  seeds: [5]
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "paper.yaml").write_text(SMALL)
    monkeypatch.setattr(recorded, "_CONFIGS", tmp_path / "configs")
    for module in (recorded, experiments):
        monkeypatch.setattr(module, "folder", lambda: tmp_path)
    return tmp_path


def test_trainings_are_recorded_and_their_scores_follow(place):
    here = experiments.record("paper/first", "simulated", rows=("one",))
    frame = recorded.predictions("paper/first")
    changed = yaml.safe_load(SMALL)["first"]["changed"]
    assert set(frame["row"]) == {"one", *changed}
    assert set(frame["fold"]) == {0, 1}
    assert set(frame["split"]) == {"test"}  # by folds everybody is tested, and the training side is not kept
    one, other = (set(frame.loc[frame["row"] == row, "patient"]) for row in ("one", "one, abroad"))
    assert one
    assert other
    assert not one & other
    assert recorded.verify() == []
    trainings = recorded.training("paper/first")
    assert trainings[["row", "seed", "fold", "epochs"]].values.tolist() == [["one", 5, 0, 1], ["one", 5, 1, 1]]
    assert (here / "provenance.json").is_file()


def test_a_training_begins_with_another(place):
    runs = experiments.runs_of("paper/first", "simulated")
    assert runs["two", 5, 1].start == runs["one", 5, 1]
    (other,) = experiments.runs_of("paper/second", "simulated").values()
    assert runs["three", 5, 0].start == runs["three", 5, 1].start == other


def test_rows_of_sites_are_a_row_a_site():
    about = {
        "sites": ["1", "5"],
        "rows": {"MPO": {"sites": "each", "lr": 1}, "MPA": {"lr": 2}, "less": {"sites": "all but each"}},
    }
    found = recorded.expanded(about)
    assert found["MPO, site 5"] == {"sites": ["5"], "lr": 1}
    assert found["MPA"] == {"lr": 2}
    assert found["less, without site 1"] == {"sites": ["5"]}
    assert list(found) == ["MPO, site 1", "MPO, site 5", "MPA", "less, without site 1", "less, without site 5"]
    assert list(recorded.expanded(about, ["5", "left"])) == ["MPO, site 5", "MPA", "less, without site 5"]
    assert list(recorded.expanded(about, ["left", "right"]))[:2] == ["MPO, site left", "MPO, site right"]


@pytest.mark.train
def test_patients_are_recorded_with_their_crops(place):
    name = "paper/patients"
    runs = experiments.runs_of(name, "simulated", ("MPO",))
    assert [key[:2] for key in runs] == [(f"MPO, site {site}", seed) for site in "15" for seed in (0, 1)]
    assert {run.sites for run in runs.values()} == {("1",), ("5",)}
    with pytest.raises(UserError, match="has no row MPX"):
        experiments.runs_of(name, "simulated", ("MPX",))
    experiments.record(name, "simulated", rows=("MPA", "MPO"))
    experiments.record(name, "simulated", rows=("MPA -> POA1",))
    assert recorded.verify() == []
    frame = recorded.predictions(name)
    assert set(frame["row"]) == {
        "MPA",
        "MPA, dropout left on",
        "MPA, sites reversed",
        "MPO, site 1",
        "MPO, site 5",
        "MPA -> POA1",
    }
    assert set(frame["split"]) == {"train", "validation", "test"}
    mpa = frame[(frame["row"] == "MPA") & (frame["seed"] == 1)]
    assert mpa["patient"].is_unique
    assert mpa["crops"].min() > 0
    assert (mpa["called"] <= mpa["crops"]).all()
    run = experiments.runs_of(name, "simulated", ("MPA",))["MPA", 1, None]
    crops = run.tested("test").groupby("patient")["p1"].agg(["mean", "max", "size"])
    kept = mpa[mpa["split"] == "test"].set_index("patient").loc[crops.index]
    assert kept["p1"].to_numpy() == pytest.approx(crops["mean"].to_numpy(), abs=1e-3)
    assert kept["highest"].to_numpy() == pytest.approx(crops["max"].to_numpy(), abs=1e-3)
    assert kept["crops"].tolist() == crops["size"].tolist()
    both = frame[frame["row"] == "MPA, dropout left on"]
    assert (both["sd"] > 0).all()
    assert frame.loc[frame["row"] != "MPA, dropout left on", "sd"].isna().all()
    moved = experiments.runs_of(
        name, "simulated", ("MPA -> POA1",), seeds=(1,)
    )  # the best of all, whichever is asked for
    begun = {one.start.uid for one in moved.values()}
    losses = {one.uid: one.result()["val_loss"] for one in experiments.runs_of(name, "simulated", ("MPA",)).values()}
    assert begun == {min(losses, key=losses.get)}


def test_part_of_an_experiment_is_recorded_on_the_data_of_the_rest_alone(place, monkeypatch):
    experiments.record("paper/second", "simulated")
    before = recorded.provenance("paper/second")
    monkeypatch.setitem(recorded.experiment("paper/second"), "n_patients", 24)
    other = load_corpus("icbhi", "simulated", 26)
    monkeypatch.setattr(experiments, "load_corpus", lambda *_: other)
    monkeypatch.setattr(experiments, "run_all", lambda *_: pytest.fail("nothing is to be trained"))
    for part in ({"rows": ("other",)}, {"seeds": (6,)}):
        with pytest.raises(UserError, match=r"is on file of simulated data .*; give the same data, or record all rows"):
            experiments.record("paper/second", "simulated", **part)
    assert recorded.provenance("paper/second") == before


def test_a_row_that_is_none_is_named_beside_others(place):
    with pytest.raises(UserError, match="paper/first has no row four; its rows are one, two, three"):
        experiments.runs_of("paper/first", "simulated", ("one", "four"))


def test_asked_anew_what_is_on_file_stays(place):
    experiments.record("paper/second", "simulated")
    before = recorded.predictions("paper/second")
    experiments.record("paper/second", "simulated", seeds=(6,))
    after = recorded.predictions("paper/second")
    assert set(after["seed"]) == {5, 6}
    assert after[after["seed"] == 5].reset_index(drop=True).equals(before)


def test_a_row_that_starts_from_a_data_set_that_is_not_there_is_left_out(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(experiments, "runs_of", lambda name, data, rows, *_, **__: asked.append(rows) or {})
    monkeypatch.setattr(experiments, "run_all", lambda *_: None)
    monkeypatch.setattr(experiments, "collect", lambda *_: None)
    write_tiny(tmp_path / "icbhi")
    experiments.live("respirenet/icbhi", "laptop", str(tmp_path))
    every = tuple(recorded.experiment("respirenet/icbhi")["rows"])
    assert set(every) - set(asked[0]) == {"started from SPRSound"}
    (tmp_path / "sprsound" / "BioCAS2022" / "train2022_json").mkdir(parents=True)
    (tmp_path / "sprsound" / "BioCAS2022" / "train2022_json" / "40512331_8.1_1_p1_3544.json").write_text("{}")
    experiments.live("respirenet/icbhi", "laptop", str(tmp_path))
    assert asked[1] == every


def test_rows_of_sites_are_trained_again_on_simulated_data_as_well(monkeypatch):
    asked = []
    monkeypatch.setattr(experiments, "runs_of", lambda name, data, rows, *_, **__: asked.append(rows) or {})
    monkeypatch.setattr(experiments, "run_all", lambda *_: None)
    monkeypatch.setattr(experiments, "collect", lambda *_: "all")
    for name in ("pediatric/cohorts", "respirenet/icbhi"):
        assert experiments.live(name, "smoke", "simulated") is None
        assert experiments.live(name, "laptop", "simulated") == "all"
        assert asked.pop() == tuple(recorded.experiment(name)["rows"])
