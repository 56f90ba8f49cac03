"""Recorded results: real data only, with everything needed to believe them."""

import json
import shutil
from types import SimpleNamespace

import pandas as pd
import pytest

from lungnb.book import Report, comparison, recorded
from lungnb.book.recorded import record
from lungnb.core import UserError

PUBLISHED = pd.DataFrame({"row": ["CNN", "cited"], "metric": ["Score", "Score"], "value": [66.2, 49.4]})
OURS = pd.DataFrame({"row": ["CNN"], "metric": ["Score"], "ours": [41.23456], "sd": [1.5], "n_seeds": [2]})


@pytest.fixture
def built(tmp_path, corpus, runs, monkeypatch):
    """A report on real, partial data, and an empty repository to record into."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "lungnb"\n')
    monkeypatch.chdir(tmp_path)
    report = Report("01_toy", "laptop", out=tmp_path / "out", corpus=corpus)
    report.table("table-1", comparison(PUBLISHED, OURS), runs=runs)
    report.table("counts", pd.DataFrame({"n": [1]}))
    return tmp_path


def test_only_comparisons_are_kept_and_only_our_rows(built):
    paths = record("01_toy", "laptop", "Half the epochs.", out=str(built / "out"))
    assert paths == [built / "reports" / "recorded" / "toy-table-1.csv"]
    kept = recorded("toy-table-1")
    assert kept[["row", "metric", "ours", "subset"]].values.tolist() == [["CNN", "Score", 41.23456, "test"]]
    assert kept["origin"].str.startswith("real, partial").all()


def test_provenance_holds_config_fingerprint_commit_and_device(built, corpus):
    record("01_toy", "laptop", "Half the epochs.", out=str(built / "out"))
    about = json.loads((built / "reports" / "recorded" / "toy-table-1.json").read_text())
    assert about["fingerprint"] == corpus.fingerprint
    assert about["configs"] == {"run-0": {"epochs": 2}, "run-1": {"epochs": 2}}
    assert (about["device"], about["seeds"], about["cut"]) == ("cpu", [0, 1], "Half the epochs.")
    assert {"commit", "dirty", "origin", "versions", "profile", "notes"} <= set(about)


def test_a_recorded_number_stands_beside_the_published_one(built):
    record("01_toy", "laptop", "Half the epochs.", out=str(built / "out"))
    tidy = comparison(PUBLISHED, OURS, recorded("toy-table-1")).set_index("row")
    assert tidy.loc["CNN", ["published", "recorded"]].tolist() == [66.2, 41.23456]
    assert pd.isna(tidy.loc["cited", "recorded"])


def test_a_simulated_table_says_that_its_recorded_column_is_real(built, runs):
    record("01_toy", "laptop", "Half the epochs.", out=str(built / "out"))
    simulated = SimpleNamespace(name="icbhi", origin="simulated", origin_text="simulated", fingerprint="0")
    report = Report("01_toy", "smoke", out=built / "out", corpus=simulated)
    report.table("table-1", comparison(PUBLISHED, OURS, recorded("toy-table-1")), runs=runs)
    about = json.loads((built / "out" / "smoke" / "01_toy" / "manifest.json").read_text())["artefacts"]["table-1"]
    assert about["origin"] == "simulated"
    assert "column recorded: real, partial (192 of 920 recordings)" in about["notes"]


def test_generated_sounds_go_with_their_tables(built):
    sounds = built / "out" / "laptop" / "01_toy" / "samples"
    kept = built / "reports" / "recorded" / "toy-samples"
    for names in (["cough-1.ogg", "cough-2.ogg"], ["wheeze-1.ogg"]):  # the second time nothing is left of the first
        sounds.mkdir()
        for name in names:
            (sounds / name).write_bytes(name.encode())
        assert kept in record("01_toy", "laptop", "Half the epochs.", out=str(built / "out"))
        assert {path.name: path.read_bytes().decode() for path in kept.iterdir()} == {name: name for name in names}
        shutil.rmtree(sounds)


def test_simulated_numbers_are_refused(built, runs):
    simulated = SimpleNamespace(name="icbhi", origin="simulated", origin_text="simulated", fingerprint="0")
    report = Report("02_toy", "smoke", out=built / "out", corpus=simulated)
    report.table("table-1", comparison(PUBLISHED, OURS), runs=runs)
    with pytest.raises(UserError, match="no comparison on real data"):
        record("02_toy", "smoke", "", out=str(built / "out"))
    assert not (built / "reports" / "recorded").exists()


def test_a_report_that_was_never_built_is_named(built):
    with pytest.raises(UserError, match="holds no report; build it first with `lungnb report 09_none"):
        record("09_none", "paper", "", out=str(built / "out"))
