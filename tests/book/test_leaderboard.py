"""The leaderboard: every number once, under its question, with where it comes from."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from lungnb import published
from lungnb.book import Report, comparison
from lungnb.book.leaderboard import SOURCES, gaps, leaderboard, side_by_side
from lungnb.core import UserError
from lungnb.published import PAPERS

SIMULATED = SimpleNamespace(name="icbhi", origin="simulated", origin_text="simulated", fingerprint="4567")
ROWS = ["60-40 4-class | CNN", "a row of ours"]


def measured(values, **more):
    return pd.DataFrame({"row": ROWS, "metric": "Score", "ours": values, "n_seeds": 2, **more})


def report(out, profile, corpus, values, notebook="01_respirenet", kept=None):
    """A report whose table-1 compares `values` with RespireNet's Table I."""
    made = Report(notebook, profile, out=out, corpus=corpus)
    table = published.load("respirenet", "table-1").query("row == @ROWS[0] and metric == 'Score'")
    ours = measured(values, sd=[1.5, None], low=[40.0, None], high=[60.0, None])
    made.table("table-1", comparison(table, ours, kept))
    made.table("counts", pd.DataFrame({"row": ["all"], "metric": ["n"], "value": [7]}))
    return made


def of(lines, row):
    (line,) = lines[(lines["artefact"] == "table-1") & (lines["row"] == row) & (lines["metric"] == "Score")].to_dict(
        "records"
    )
    return line


def test_without_any_report_every_published_number_is_there_once(tmp_path):
    numbers = leaderboard(tmp_path)
    measured = ["value", "sd", "low", "high", "n_seeds", "published"]
    question = ["paper", "artefact", "subset", "row", "metric"]
    assert list(numbers) == [*question, "source", *measured, "origin", "profile", "note"]
    assert set(numbers["source"]) == {"published"}
    assert list(numbers["paper"].unique()) == PAPERS
    for paper in PAPERS:
        ours = numbers[numbers["paper"] == paper].reset_index(drop=True)
        known = published.load(paper).query("source == 'paper'").reset_index(drop=True)
        order = ours.set_index(["artefact", "row", "metric"])["value"].loc[
            [*zip(known.artefact, known.row, known.metric, strict=True)]
        ]
        assert len(ours) == len(known)
        pd.testing.assert_series_equal(order.reset_index(drop=True), known["value"], check_names=False)


def test_the_three_kinds_stand_beside_each_other_with_their_data(tmp_path):
    kept = measured([31.0, 2.0], sd=[1.5, None], low=[40.0, None], high=[60.0, None])
    kept.attrs["provenance"] = {"origin": "real, partial (192 of 920 recordings)"}
    report(tmp_path, "smoke", SIMULATED, [54.25, 3.0], kept=kept)
    numbers = leaderboard(tmp_path)
    assert numbers["source"].value_counts().reindex(SOURCES[1:]).tolist() == [2, 2]
    lines = side_by_side(numbers)
    line = of(lines, ROWS[0])
    assert (line["published"], line["published data"]) == ("55.2", "published")
    assert line["recorded"] == "31 ± 1.50 [40.0, 60.0]"
    assert line["recorded data"] == "real, partial (192 of 920 recordings)"
    assert (line["this build"], line["this build data"]) == ("54.2 ± 1.50 [40.0, 60.0]", "simulated; smoke")
    line = of(lines, ROWS[1])
    assert (line["published"], line["recorded"], line["this build"]) == ("", "2", "3")
    assert not lines.duplicated(["paper", "artefact", "subset", "row", "metric"]).any()


def test_the_largest_profile_is_shown_and_all_are_kept(tmp_path):
    for profile, value in (("paper", 60.0), ("smoke", 10.0), ("laptop", 20.0)):
        report(tmp_path, profile, SIMULATED, [value, 0.0])
    numbers = leaderboard(tmp_path)
    assert sorted(numbers.loc[numbers["row"] == ROWS[0]].query("source == 'this build'")["value"]) == [10, 20, 60]
    assert of(side_by_side(numbers), ROWS[0])["this build"].startswith("60 ")


def test_only_several_subsets_are_part_of_the_question(tmp_path):
    made = Report("02_convlstm", "smoke", out=tmp_path, corpus=SIMULATED)
    nothing = pd.DataFrame({"row": [], "metric": [], "value": [], "subset": []})
    made.table("one", comparison(nothing, measured([1.0, 2.0], subset="combined")))
    made.table("two", comparison(nothing, measured([1.0, 2.0], subset=["inter", "intra"])))
    numbers = leaderboard(tmp_path)
    assert numbers.loc[numbers["artefact"] == "one", "subset"].isna().all()
    assert numbers.loc[numbers["artefact"] == "two", "subset"].tolist() == ["inter", "intra"]


def test_each_published_number_is_there_once_also_where_ours_has_another_name(tmp_path):
    """What a comparison shows under a name of ours is no other published number: it is what ours is compared with."""
    made = Report("01_respirenet", "smoke", out=tmp_path, corpus=SIMULATED)
    rows = ["CBA", "zero padding", "ours"]  # the first is printed in the text of the paper, the second follows from it
    known = pd.DataFrame({"row": rows, "metric": "Score", "value": [66.8, 61.2, float("nan")]})
    made.table(
        "ablation", comparison(known, pd.DataFrame({"row": rows, "metric": "Score", "ours": [50.0, 40.0, 30.0]}))
    )
    numbers, before = leaderboard(tmp_path), leaderboard(tmp_path / "nothing")
    assert (numbers["source"] == "published").sum() == len(before)
    measured = numbers.query("source == 'this build'")
    assert measured["published"].fillna(0).tolist() == [66.8, 61.2, 0]
    lines = side_by_side(numbers).query("paper == 'respirenet'")
    assert lines.query("artefact == 'ablation'")[["row", "published", "published data"]].values.tolist() == [
        ["CBA", "66.8", "published"],
        ["zero padding", "61.2", "derived"],
        ["ours", "", ""],
    ]
    assert lines.query("row == 'CBA' and metric == 'Score'")["artefact"].tolist() == ["ablation"]
    assert len(lines) == len(before.query("paper == 'respirenet'")) - 1 + len(rows)


def test_the_repository_lists_what_the_papers_print():
    numbers = leaderboard(Path(__file__).parents[2] / "reports")
    printed = sum(len(published.load(paper).query("source == 'paper'")) for paper in PAPERS)
    assert (numbers["source"] == "published").sum() == printed
    assert not numbers.duplicated(["paper", "artefact", "subset", "row", "metric", "source", "profile"]).any()


def test_a_notebook_of_no_paper_comes_after_the_papers(tmp_path):
    report(tmp_path, "smoke", SIMULATED, [1.0, 2.0], notebook="90_compare_classifiers")
    assert list(leaderboard(tmp_path)["paper"].unique()) == [*PAPERS, "compare_classifiers"]


def test_what_was_not_built_is_a_gap(tmp_path):
    report(tmp_path, "laptop", SIMULATED, [1.0, 2.0])
    assert gaps(tmp_path, ["01_respirenet", "04_lungldm"]) == ["04_lungldm"]


def test_a_file_that_is_gone_is_one_sentence(tmp_path):
    report(tmp_path, "smoke", SIMULATED, [1.0, 2.0])
    path = tmp_path / "smoke" / "01_respirenet" / "tables" / "table-1.csv"
    path.rename(path.with_suffix(".old"))
    with pytest.raises(UserError, match=r"table-1\.csv is missing .* build the report again\.$"):
        leaderboard(tmp_path)
