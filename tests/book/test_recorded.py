"""What is recorded follows from its predictions, and what does not is found."""

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from lungnb import UserError
from lungnb.book import attributions, clips, front, recorded
from lungnb.book.experiments import write_predictions
from lungnb.cli import app
from lungnb.metrics import probability_columns
from lungnb.metrics.classification import evaluate

NAME = "convlstm/sprsound-event-folds"


def answers(seed):
    """Predictions of 12 patients in two folds, right in three of four events."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, 480)
    p = rng.dirichlet(np.ones(3), 480)
    right = rng.random(480) < 0.75
    p[right] = np.eye(3)[label[right]] * 0.9 + 0.05
    columns = {"event": [f"e{k}" for k in range(480)], "recording": "r", "patient": [f"p{k % 12}" for k in range(480)]}
    frame = pd.DataFrame(columns | {"split": np.where(np.arange(480) % 12 < 8, "inter", "intra"), "label": label})
    return frame.join(pd.DataFrame(p).add_prefix("p")).assign(seed=seed, fold=np.arange(480) % 2)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A recorded experiment of two configurations and three seeds."""
    for module in (recorded, attributions, clips):
        monkeypatch.setattr(module, "folder", lambda: tmp_path)
    rows = list(recorded.configurations(NAME))[:2]
    frame = pd.concat([answers(seed).assign(row=row) for row in rows for seed in range(3)])
    (tmp_path / NAME).mkdir(parents=True)
    write_predictions(tmp_path / NAME / "predictions.parquet", frame)
    recorded.scores(NAME).to_csv(tmp_path / NAME / "scores.csv", index=False)
    (tmp_path / NAME / "config.yaml").write_text(yaml.safe_dump(recorded.configurations(NAME), sort_keys=False))
    return tmp_path / NAME


def test_scores_are_those_of_the_predictions_folds_pooled(place):
    table = recorded.scores(NAME).set_index(["row", "subset", "metric"])
    assert set(table.index.get_level_values("subset")) == {"inter", "intra", "combined"}
    row = table.index[0][0]
    pooled = [answers(seed).assign(predicted=lambda x: x[["p0", "p1", "p2"]].to_numpy().argmax(1)) for seed in range(3)]
    by_hand = evaluate(pooled).set_index("metric").loc["AS"]
    assert table.loc[(row, "combined", "AS"), ["ours", "sd", "low", "high"]].tolist() == pytest.approx(
        by_hand[["ours", "sd", "low", "high"]].tolist(), abs=1e-5
    )
    assert table.loc[(row, "inter", "AS"), ["n_seeds", "n_patients"]].tolist() == [3, 8]
    assert np.isnan(table.loc[(row, "intra", "AS"), "low"])  # four patients


def test_a_row_of_fewer_classes_has_fewer_probabilities(place):
    frame = pd.read_parquet(place / "predictions.parquet")
    two = frame.query("label < 2").assign(row="two classes", p2=np.nan)
    write_predictions(place / "predictions.parquet", pd.concat([frame, two]))
    frame = recorded.predictions(NAME)
    table = recorded.by_seed(frame, "two classes")[0]
    assert probability_columns(table) == ["p0", "p1"]
    assert (table["predicted"] == (table["p1"] > table["p0"])).all()
    assert probability_columns(recorded.by_seed(frame, "zero-padded")[0]) == ["p0", "p1", "p2"]
    assert np.isfinite(evaluate([table])["ours"]).all()


def test_nothing_differs_until_something_does(place, monkeypatch):
    assert recorded.verify() == []
    monkeypatch.setattr(front, "differences", list)  # the README is of all that is recorded, not of this one experiment
    assert "Every recorded score follows" in CliRunner().invoke(app, ["verify"]).output
    kept = pd.read_csv(place / "scores.csv")
    kept.loc[0, "ours"] += 0.001
    kept.drop(index=5).to_csv(place / "scores.csv", index=False)
    found = recorded.verify()
    assert len(found) == 2
    assert any("ours was" in line for line in found)
    assert any("is computed and was not recorded" in line for line in found)
    assert CliRunner().invoke(app, ["verify"]).exit_code == 1


@pytest.mark.parametrize(
    ("value", "off", "n_found"), [(40.0, 1e-4, 0), (40.0, 0.01, 1), (0.4, 1e-6, 0), (0.4, 1e-5, 1)]
)
def test_another_processor_differs_in_the_sixth_digit_alone(value, off, n_found):
    one = pd.DataFrame([{"row": "a", "subset": "all", "metric": "FAD", "n_seeds": 3, "n_patients": 9}])
    one = one.assign(ours=value, sd=0.1, low=np.nan, high=np.nan)
    assert len(recorded.differences("x", one, one.assign(ours=value + off))) == n_found


def test_another_configuration_than_was_trained_is_found(place):
    configs = yaml.safe_load((place / "config.yaml").read_text())
    configs["zero-padded"]["epochs"] = 99
    (place / "config.yaml").write_text(yaml.safe_dump(configs))
    assert "was recorded with other choices" in recorded.verify()[0]


def test_what_is_not_on_file_says_how_to_record_it(tmp_path, monkeypatch):
    monkeypatch.setattr(recorded, "folder", lambda: tmp_path)
    with pytest.raises(UserError, match="record it with"):
        recorded.predictions(NAME)
    with pytest.raises(UserError, match="There is no experiment 'x'; known are"):
        recorded.configurations("x")


def test_recorded_base_rows_hardly_depend_on_the_seed():
    """Sentences lean on them: their Score may move by less than 4 points from seed to seed (all tested events)."""
    for name, rows in {"convlstm/sprsound-event": ["fair CNN", "best CNN"], NAME: ["stretched"]}.items():
        frame = recorded.predictions(name)
        for row in rows:
            by_seed = [evaluate([table], 2)["ours"][4] for table in recorded.by_seed(frame, row)]
            assert len(by_seed) >= 3
            assert max(by_seed) - min(by_seed) < 0.04, row


def test_what_is_made_of_several_experiments_says_what_each_is_of(monkeypatch):
    known = {
        "comparison/sprsound": {"fingerprint": "a", "origin": "real"},
        "comparison/encoders-sprsound": {"fingerprint": "a", "origin": "real"},
        "comparison/icbhi": {"fingerprint": "b", "origin": "real, partial (192 of 920 recordings)"},
        "pediatric/cohorts": {"fingerprint": "c", "origin": "simulated"},
    }
    monkeypatch.setattr(recorded, "provenance", known.get)
    first, encoders, icbhi, cohorts = known
    assert recorded.Source(first, encoders).origin_text == "real, recorded"
    assert recorded.Source(first, encoders).fingerprint == "a"
    both = recorded.Source(first, icbhi)
    assert both.origin_text == "real (SPRSound: real; ICBHI: real, partial (192 of 920 recordings)), recorded"
    assert (both.name, both.fingerprint) == ("comparison/sprsound + comparison/icbhi", "a+b")
    assert recorded.Source(first, cohorts).origin_text.startswith("simulated in part (SPRSound: real; ")
