"""A small experiment from its trainings to its file."""

import pytest
import yaml
from corpora import write_tiny

from lungnb.book import evidence, experiments

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
    one: {transfer: [sprsound-common], leaky_selection: true}
    two: {start: one}
    three: {start: "second: other"}
  changed:
    one, epoch chosen on test: {row: one, rule: test (leaky)}
    one, abroad: {row: one, task: sprsound-common}
    one, reflected: {row: one, test_padding: reflect}
  folds: [0, 1]
  seeds: [5]
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
    monkeypatch.setattr(evidence, "_CONFIGS", tmp_path / "configs")
    for module in (evidence, experiments):
        monkeypatch.setattr(module, "folder", lambda: tmp_path)
    return tmp_path


def test_trainings_are_recorded_and_their_scores_follow(place):
    here = experiments.record("paper/first", "simulated", rows=("one",))
    frame = evidence.predictions("paper/first")
    changed = yaml.safe_load(SMALL)["first"]["changed"]
    assert set(frame["row"]) == {"one", *changed}
    assert set(frame["fold"]) == {0, 1}
    assert set(frame["split"]) == {"test"}
    one, other = (set(frame.loc[frame["row"] == row, "patient"]) for row in ("one", "one, abroad"))
    assert one
    assert other
    assert not one & other
    assert evidence.verify() == []
    trainings = evidence.training("paper/first")
    assert trainings[["row", "seed", "fold", "epochs"]].values.tolist() == [["one", 5, 0, 1], ["one", 5, 1, 1]]
    assert (here / "provenance.json").is_file()


def test_a_training_begins_with_another(place):
    runs = experiments.runs_of("paper/first", "simulated")
    assert runs["two", 5, 1].start == runs["one", 5, 1]
    (other,) = experiments.runs_of("paper/second", "simulated").values()
    assert runs["three", 5, 0].start == runs["three", 5, 1].start == other


def test_asked_anew_what_is_on_file_stays(place):
    experiments.record("paper/second", "simulated")
    before = evidence.predictions("paper/second")
    experiments.record("paper/second", "simulated", seeds=(6,))
    after = evidence.predictions("paper/second")
    assert set(after["seed"]) == {5, 6}
    assert after[after["seed"] == 5].reset_index(drop=True).equals(before)


def test_a_row_that_starts_from_a_data_set_that_is_not_there_is_left_out(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(experiments, "runs_of", lambda name, data, rows, *_, **__: asked.append(rows) or {})
    monkeypatch.setattr(experiments, "run_all", lambda *_: None)
    monkeypatch.setattr(experiments, "collect", lambda *_: None)
    write_tiny(tmp_path / "icbhi")
    evidence.live("respirenet/icbhi", "laptop", str(tmp_path))
    every = tuple(evidence.experiment("respirenet/icbhi")["rows"])
    assert set(every) - set(asked[0]) == {"started from SPRSound"}
    (tmp_path / "sprsound" / "BioCAS2022" / "train2022_json").mkdir(parents=True)
    (tmp_path / "sprsound" / "BioCAS2022" / "train2022_json" / "40512331_8.1_1_p1_3544.json").write_text("{}")
    evidence.live("respirenet/icbhi", "laptop", str(tmp_path))
    assert asked[1] == every
