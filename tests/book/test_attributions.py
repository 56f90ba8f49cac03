"""A small experiment from its trainings to its maps, and what is said of them follows from the table."""

import numpy as np
import pandas as pd
import pytest

from lungnb import UserError
from lungnb.book import attributions, experiments, recorded
from lungnb.metrics.sounds import gain_over_sounds, mean_over_sounds

SMALL = """
maps:
  corpus: icbhi
  simulated: always
  n_patients: 24
  cut: "nearly everything"
  attributions: {places: truth, sounds: 3, draws: 2, steps: 2, shown: 1}
  fields: {task: icbhi, split: patients, n_folds: 3, validation: none, selection: last, epochs: 2, draws: 64}
  rows:
    small CNN: {model: small CNN}
    another: {model: small CNN, lr: 2.0e-3}
  changed:
    small CNN, dropout left on: {row: small CNN, passes: 3}
  seeds: [0, 1]
around:
  corpus: sprsound
  cut: ""
  attributions: {places: annotations, sounds: 2, draws: 1, steps: 2, shown: 1}
  fields: {task: sprsound-common, split: patients, validation: none, selection: last, epochs: 1, draws: 64}
  rows: {small CNN: {model: small CNN}}
  seeds: [0]
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "paper.yaml").write_text(SMALL)
    monkeypatch.setattr(recorded, "_CONFIGS", tmp_path / "configs")
    for module in (attributions, recorded, experiments):
        monkeypatch.setattr(module, "folder", lambda: tmp_path)
    return tmp_path


@pytest.mark.train
def test_maps_are_recorded_and_their_scores_follow(place):
    here = experiments.record("paper/maps", "elsewhere", rows=("small CNN",))
    assert recorded.verify() == attributions.verify() == []
    table = attributions.attributions("paper/maps")
    assert set(table["row"]) == {"small CNN"}
    trained = table[(table["control"] == "trained") & (table["stage"] == "last")]
    assert len(trained) == 2 * 2 * 6  # seeds, methods, sounds
    assert trained[["pointing", "moment", "energy", "deletion", "agreement"]].notna().all(axis=None)
    assert trained.filter(like="Hz").sum(axis=1).to_numpy() == pytest.approx(1, abs=2e-3)
    drawn = table[table["control"].str.startswith("redrawn") & (table["stage"] == "two earlier")]
    assert drawn["likeness"].between(-1, 1).all()
    assert (
        table.query("control == 'truth'")["pointing"] > table.query("control == 'floor'")["pointing"].mean()
    ).mean() > 0.5
    passes = recorded.predictions("paper/maps").query("row == 'small CNN, dropout left on'")
    assert (passes["mutual information"] >= 0).all()
    assert set(passes["split"]) == {"test"}
    kept = attributions.maps("paper/maps", "small CNN")
    assert kept["trained, Grad-CAM++"].shape == kept["loud"].shape == (2, 62, 60)
    assert kept["label"].tolist() == ["crackle", "wheeze"]
    assert set(kept["boxes"][:, 0]) == {0, 1}

    experiments.record("paper/maps", "elsewhere", rows=("another",))
    again = attributions.attributions("paper/maps")
    assert set(again["row"]) == {"small CNN", "another"}
    assert again[again["row"] == "small CNN"][table.columns].reset_index(drop=True).equals(table)
    assert attributions.verify() == []

    file = here / "attribution_scores.csv"
    changed = pd.read_csv(file)
    changed.loc[3, "ours"] += 0.01
    changed.to_csv(file, index=False)
    assert any(": ours was" in sentence for sentence in attributions.verify())
    del changed
    experiments.record("paper/maps", "elsewhere", rows=("another",))
    table = pd.read_parquet(here / "attributions.parquet")
    table.loc[table["control"] == "trained", "energy"] += np.float16(0.1)
    table.to_parquet(here / "attributions.parquet")
    assert any("energy: ours was" in sentence for sentence in attributions.verify())


@pytest.mark.train
def test_an_event_is_shown_in_its_surroundings(place):
    experiments.record("paper/around", "simulated")
    table = attributions.attributions("paper/around").query("control == 'floor'")
    assert table["energy"].between(0.01, 0.7).all()  # an event is no longer than half of the clip
    boxes = attributions.maps("paper/around", "small CNN")["boxes"]
    assert (boxes[:, 1] < boxes[:, 2]).all()
    assert boxes[:, 1:3].min() >= 0
    assert boxes[:, 1:3].max() <= 3


def test_what_is_not_on_file_says_how_to_record_it(tmp_path, monkeypatch):
    monkeypatch.setattr(attributions, "folder", lambda: tmp_path)
    with pytest.raises(UserError, match="record it with `lungnb record explanations/simulated"):
        attributions.attributions("explanations/simulated")


def table_by_hand():
    """Two seeds, eight sounds of eight patients, the last of which no network gets right; a map and its two rivals."""
    rows = []
    for seed in (0, 1):
        for k in range(8):
            about = {"row": "net", "seed": seed, "stage": "last", "event": f"e{k}", "patient": f"p{k}"}
            about |= {"label": "crackle" if k % 2 else "wheeze", "right": k < 7 if seed == 0 else k < 6}
            for control, energy in (("trained", 0.5 + 0.1 * seed), ("redrawn 0", 0.2), ("redrawn 1", 0.4)):
                rows.append(about | {"control": control, "method": "Grad-CAM++", "energy": energy})
            if seed == 0:
                rows.append(about | {"right": None, "control": "floor", "method": "", "energy": 0.1 * k})
    return pd.DataFrame(rows)


def test_means_are_of_sounds_that_a_network_gets_right():
    table = table_by_hand()
    own = attributions.line(table, "net", "energy")
    assert own["ours"] == pytest.approx(0.55)
    assert (own["n_seeds"], own["n_sounds"], own["n_patients"]) == (2, 7, 7)
    assert attributions.line(table, "net", "energy", attributions.REDRAWN)["ours"] == pytest.approx(0.3)
    floor = attributions.line(table, "net", "energy", attributions.FLOOR)
    assert floor["ours"] == pytest.approx((0.3 + 0.25) / 2)  # of seven sounds of the one seed and of six of the other
    gain = attributions.gain(table, "net", "energy", attributions.FLOOR)
    assert gain["ours"] == pytest.approx(0.55 - 0.275)
    few = attributions.line(table, "net", "energy", kind="crackle")
    assert few["n_patients"] == 3
    assert np.isnan(few["low"])  # of so few there is no interval


def test_a_mean_over_sounds_is_one_over_seeds_of_patients_who_count_by_their_sounds():
    values = pd.DataFrame(
        {"seed": [0, 0, 0, 1], "event": list("abca"), "patient": list("xyyx"), "value": [1.0, 0, 0, 1]}
    )
    line = mean_over_sounds(values, ["value"]).loc["value"]
    assert line["ours"] == pytest.approx((1 / 3 + 1) / 2)
    assert (line["n_seeds"], line["n_patients"], line["n_sounds"]) == (2, 2, 3)
    same = gain_over_sounds(values, values.assign(value=values["value"] / 2))
    assert same["ours"] == pytest.approx((1 / 3 + 1) / 4)
    assert gain_over_sounds(values, values.iloc[:0])["n_sounds"] == 0
