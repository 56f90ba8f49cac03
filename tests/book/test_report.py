"""Reports: what is shown is written, whole, with its provenance."""

import errno
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from lungnb.book import report as module
from lungnb.book.report import Report, comparison, label, pivot
from lungnb.core import UserError

PUBLISHED = pd.DataFrame(
    {"row": ["CNN", "CNN", "CNN+CBA"], "metric": ["Score", "Se", "Score"], "value": [66.2, 40.1, 68]}
)
OURS = pd.DataFrame(
    {
        "row": ["ours only", "CNN"],
        "metric": ["Score", "Score"],
        "ours": [1.0, 64.344],
        "sd": [None, 1.2],
        "n_seeds": [1, 2],
        "low": [None, 60.0],
        "high": [None, 67.125],
    }
)


@pytest.fixture
def shown(monkeypatch):
    """What a notebook would have displayed."""
    displayed = []
    monkeypatch.setattr(module, "get_ipython", lambda: "a shell")
    monkeypatch.setattr(module, "display", lambda what, **_: displayed.append(what))
    return displayed


def draw():
    figure, axes = plt.subplots()
    axes.plot([1, 2])
    axes.set_xlabel("x")
    return figure


def test_files_and_manifest(tmp_path, corpus, runs, shown):
    report = Report("01_toy", "smoke", out=tmp_path)
    report.table("table-1", comparison(PUBLISHED, OURS), title="scores", corpus=corpus, runs=runs, note="a <note>.")
    report.figure("figure-2", draw(), corpus=corpus)
    folder = tmp_path / "smoke" / "01_toy"
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert files == {"manifest.json", "tables/table-1.csv", "figures/figure-2.png", "figures/figure-2.svg"}

    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["versions"]["pandas"] == pd.__version__
    assert set(manifest["git"] or {"commit": 0, "dirty": 0}) == {"commit", "dirty"}
    table, figure = manifest["artefacts"]["table-1"], manifest["artefacts"]["figure-2"]
    assert table["kind"] == "table"
    assert table["origin"] == "real, partial (192 of 920 recordings)"
    assert table["corpus"] == {"name": "icbhi", "fingerprint": "0123abcd"}
    assert table["runs"] == ["run-0", "run-1"]
    assert table["seeds"] == [0, 1]
    assert table["devices"] == ["cpu"]
    assert table["notes"] == ["a <note>.", "patients 156 and 218 are on both sides"]
    assert 0 <= table["seconds"] <= figure["seconds"] < 60
    assert figure["runs"] == []

    html = shown[0]["text/html"]
    assert "Table 1: scores. Real data, partial (192 of 920 recordings). A &lt;note&gt;. Patients 156 and 218" in html
    assert "64.3 ± 1.20 [60.0, 67.1]" in html
    assert "0x" not in shown[0]["text/plain"]
    assert shown[1].alt == "Figure 2: real data, partial (192 of 920 recordings)."


def test_origin_stands_on_every_row_and_figure(tmp_path, corpus):
    report = Report("01_toy", "smoke", out=tmp_path, corpus=corpus)
    report.table("table-1", comparison(PUBLISHED, OURS))
    table = pd.read_csv(report.folder / "tables" / "table-1.csv")
    assert list(table.columns[:7]) == ["row", "metric", "published", "ours", "sd", "n_seeds", "origin"]
    assert table["origin"].tolist() == [corpus.origin_text, "published", "published", corpus.origin_text]
    figures = {"figure-1": "", "figure-2": "diagram", "figure-3": "published"}
    texts = []
    for name, origin in figures.items():
        figure = draw()
        report.figure(name, figure, origin=origin)
        texts.append(figure.texts[-1].get_text())
    assert texts == ["real data, partial (192 of 920 recordings)", "diagram", "published numbers"]
    assert report.artefacts["figure-3"]["corpus"] is None


def test_figures_are_the_same_each_time(tmp_path, corpus):
    written = []
    for name in "ab":
        report = Report(name, "smoke", out=tmp_path, corpus=corpus)
        report.figure("figure-1", draw())
        written.append([(report.folder / f"figures/figure-1.{kind}").read_bytes() for kind in ("png", "svg")])
    assert written[0] == written[1]


def test_what_a_report_refuses(tmp_path, corpus):
    frame = pd.DataFrame({"x": [1]})
    with pytest.raises(UserError, match="no profile 'big'"):
        Report("01_toy", "big", out=tmp_path)
    report = Report("01_toy", "smoke", out=tmp_path)
    with pytest.raises(UserError, match="origin of its data"):
        report.table("table-1", frame)
    with pytest.raises(UserError, match="origin of its data"):
        report.table("table-1", frame, origin="real")
    for name in ("Table 1", "table-0", "../x", "table_1", ""):
        with pytest.raises(UserError, match="cannot name a table"):
            report.table(name, frame, corpus=corpus)
    report.table("listening", frame, corpus=corpus)
    with pytest.raises(UserError, match="already"):
        report.figure("listening", draw(), corpus=corpus)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_a_full_disk_is_one_sentence_and_keeps_what_was_finished(tmp_path, corpus, monkeypatch, code):
    report = Report("01_toy", "smoke", out=tmp_path, corpus=corpus)
    report.table("table-1", pd.DataFrame({"x": [1]}))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    def full(self, content):
        with self.open("wb") as handle:
            handle.write(content[:3])
        raise OSError(code, "no")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"table-2\.csv could not be written") as error:
        report.table("table-2", pd.DataFrame({"x": [2]}))
    assert "\n" not in str(error.value)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_an_interrupted_write_leaves_the_old_file(tmp_path, corpus, monkeypatch):
    Report("01_toy", "smoke", out=tmp_path, corpus=corpus).table("table-1", pd.DataFrame({"x": [1]}))
    report = Report("01_toy", "smoke", out=tmp_path, corpus=corpus)

    def killed(self, content):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            report.table("table-1", pd.DataFrame({"x": [2]}))
    assert pd.read_csv(report.folder / "tables" / "table-1.csv")["x"].tolist() == [1]
    assert json.loads((report.folder / "manifest.json").read_text())["artefacts"] == {}


def test_default_out(toy, monkeypatch, tmp_path):
    monkeypatch.chdir(toy / "notebooks")
    assert Report("01_toy", "paper").folder == toy / "reports" / "paper" / "01_toy"
    monkeypatch.setenv("LUNGNB_REPORTS", str(tmp_path))
    assert Report("01_toy", "paper").folder == tmp_path / "paper" / "01_toy"
    monkeypatch.delenv("LUNGNB_REPORTS")
    monkeypatch.chdir(tmp_path)
    assert Report("01_toy", "paper").folder == tmp_path / "reports" / "paper" / "01_toy"


def test_comparison_keeps_the_published_order():
    tidy = comparison(PUBLISHED, OURS)
    assert tidy["row"].tolist() == ["CNN", "CNN", "CNN+CBA", "ours only"]
    assert tidy["published"].tolist()[:3] == [66.2, 40.1, 68]
    assert pd.isna(tidy["published"].iloc[3])
    assert tidy["n_seeds"].tolist() == [2, pd.NA, pd.NA, 1]
    with pytest.raises(pd.errors.MergeError):
        comparison(pd.concat([PUBLISHED, PUBLISHED]), OURS)


def test_comparison_with_a_recorded_run():
    one = pd.DataFrame({"row": ["CNN"], "metric": ["Score"], "ours": [65.0], "subset": ["test"]})
    assert comparison(PUBLISHED, OURS, one)["recorded"].tolist()[0] == 65
    assert pivot(comparison(PUBLISHED, OURS, one)).loc["CNN", ("Score", "recorded")] == "65.0"
    with pytest.raises(pd.errors.MergeError):
        comparison(PUBLISHED, OURS, pd.concat([one, one.assign(subset="inter")]))


def test_comparison_by_subset():
    parts = ["combined", "inter"]
    ours = pd.concat([OURS.assign(subset=s) for s in parts])
    kept = pd.DataFrame({"row": "CNN", "metric": "Score", "ours": [65.0, 63.0], "subset": parts})
    tidy = comparison(PUBLISHED.assign(subset="combined"), ours, kept).set_index(["subset", "row", "metric"])
    assert tidy.loc[("combined", "CNN", "Score"), ["published", "ours", "recorded"]].tolist() == [66.2, 64.344, 65]
    assert tidy.loc[("inter", "CNN", "Score"), ["ours", "recorded"]].tolist() == [64.344, 63]
    assert pd.isna(tidy.loc[("inter", "CNN", "Score"), "published"])
    wide = pivot(tidy.reset_index())
    assert wide.loc[("inter", "CNN"), ("Score", "recorded")] == "63.0"
    assert wide.index.get_level_values(0).tolist() == ["combined"] * 3 + ["inter"] * 2


def test_many_metrics_are_read_line_by_line():
    metrics = ["Se", "Sp", "AS", "HS"]
    published = pd.DataFrame({"row": "CNN", "metric": metrics, "value": [0.4482, 0.7604, 0.6043, 0.564]})
    ours = pd.DataFrame({"row": ["CNN", "ours only"], "metric": "Se", "ours": [0.5, 0.25]})
    wide = pivot(comparison(published, ours))
    assert wide.index.tolist() == [("CNN", "published"), ("CNN", "ours"), ("ours only", "ours")]
    assert wide.columns.tolist() == metrics
    assert wide.loc[("CNN", "published")].tolist() == ["0.448", "0.760", "0.604", "0.564"]
    assert wide.loc[("CNN", "ours")].tolist() == ["0.500", "", "", ""]


def test_pivot_reads_published_beside_ours():
    wide = pivot(comparison(PUBLISHED, OURS))
    assert wide.index.tolist() == ["CNN", "CNN+CBA", "ours only"]
    assert wide.columns.tolist() == [(m, s) for m in ("Score", "Se") for s in ("published", "ours")]
    assert wide.loc["CNN", ("Score", "published")] == "66.2"
    assert wide.loc["CNN", ("Score", "ours")] == "64.3 ± 1.20 [60.0, 67.1]"
    assert wide.loc["ours only"].tolist() == ["", "1.00", "", ""]


def test_seeds_that_are_equal_have_no_spread():
    kept = pd.DataFrame({"row": ["CNN", "LSTM"], "metric": "Score", "ours": 0.3, "sd": [1.4e-16, 0.0037]})
    assert pivot(comparison(recorded=kept))[("Score", "recorded")].tolist() == ["0.300 ± 0.00", "0.300 ± 0.0037"]


def test_published_numbers_stand_as_printed_and_counts_as_whole_numbers():
    published = pd.DataFrame(
        {"row": "CNN", "metric": ["AS", "FP"], "value": [0.7604, 23.0], "printed": ["0.7604", "23"]}
    )
    kept = pd.DataFrame({"row": "CNN", "metric": ["AS", "FP"], "ours": [0.56123, 17.0]})
    assert pivot(comparison(published, recorded=kept)).loc["CNN"].tolist() == ["0.7604", "0.561", "23", "17"]
    in_percent = published.assign(value=[76.04, 2300.0])
    assert pivot(comparison(in_percent)).loc["CNN", ("AS", "published")] == "76.0"
    unprinted = pd.concat([kept, kept.assign(row="always Normal")])  # a row that the paper does not have hides no count
    assert pivot(comparison(published, recorded=unprinted)).loc["always Normal", ("FP", "recorded")] == "17"
    share = kept.assign(ours=1.0)
    assert pivot(comparison(recorded=share)).loc["CNN", ("FP", "recorded")] == "1.00"


def test_a_simulated_table_says_that_its_recorded_column_is_real(toy, runs):
    kept = OURS.assign(n_seeds=3)
    kept.attrs["provenance"] = {"origin": "real, partial (192 of 920 recordings)"}
    simulated = SimpleNamespace(name="icbhi", origin="simulated", origin_text="simulated", fingerprint="0")
    report = Report("01_toy", "smoke", out=toy / "out", corpus=simulated)
    report.table("table-1", comparison(PUBLISHED, OURS, kept), runs=runs)
    about = json.loads((toy / "out" / "smoke" / "01_toy" / "manifest.json").read_text())["artefacts"]["table-1"]
    assert about["origin"] == "simulated"
    assert "column recorded: real, partial (192 of 920 recordings)" in about["notes"]


@pytest.mark.parametrize(
    ("room", "absent"),
    [
        ("lungnb", ["torch", "pandas", "numpy", "librosa", "matplotlib", "IPython"]),
        ("lungnb.cli", ["torch", "pandas", "numpy", "librosa", "matplotlib", "IPython"]),
        ("lungnb.book.report", ["torch", "librosa"]),
    ],
)
def test_imports_stay_light(room, absent):
    code = f"import sys, {room}; print([name for name in {absent} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "shown"),
    [("table-1", "Table 1"), ("sprsound-patients", "SPRSound patients"), ("device-gains", "Device gains")],
)
def test_a_label_keeps_the_names_of_data_sets(name, shown):
    assert label(name) == shown
