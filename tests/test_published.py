"""The published numbers and what does not add up in them."""

import pandas as pd
import pytest

from lungnb.audit import audit
from lungnb.audit.checks import fits, reachable
from lungnb.errors import UserError
from lungnb.published import load, papers, wide


@pytest.fixture(scope="module")
def findings():
    return {paper: audit(paper).set_index("claim") for paper in ("respirenet", "convlstm")}


def failed(frame):
    return set(frame.index[~frame["agrees"].fillna(True)])


@pytest.mark.parametrize("paper", papers())
def test_tables_are_well_formed(paper):
    table = load(paper)
    assert table["value"].dtype == "Float64"
    assert set(table["paper"]) == {paper}
    assert not table.duplicated(["artefact", "row", "metric"]).any()
    assert table.drop(columns=["value", "note"]).notna().all(axis=None)
    # A missing value is a dash of the source and says so.
    assert table.loc[table["value"].isna(), "note"].str.startswith("not given").all()
    assert table["artefact"].str.fullmatch(r"table-\d|text|data|log|readme|code|hits|reference").all()


def test_respirenet_tables_have_all_rows():
    table = wide("respirenet", "table-1")
    assert table.shape == (17, 3)
    assert table.loc["80-20 4-class | CNN+CBA+BRC+FT"].tolist() == [83.3, 53.7, 68.5]
    assert table.loc["60-40 4-class | Serbes", "Score"] == 49.9
    assert pd.isna(table.loc["60-40 4-class | Serbes", "Sp"])
    assert wide("respirenet", "table-2")["Score"].idxmax() == "7 s"
    assert len(load("respirenet", "table-2")) == 9
    assert wide("respirenet", "table-3").loc["Litt3200"].tolist() == [9, 9.3]


def test_convlstm_tables_have_all_rows():
    assert wide("convlstm", "table-3").loc["full"].tolist() == [0.5716, 0.7882, 0.6799, 0.6626, 0.6756, 0.6713]
    assert wide("convlstm", "table-2").shape == (4, 6)
    assert load("convlstm", "table-1")["value"].sum() == 6656


def test_derived_values_say_so():
    padding = load("respirenet", "text").query("row == 'zero padding'").set_index("metric")
    assert padding.loc["difference", "value"] == 5
    assert "derived" not in padding.loc["difference", "note"]
    assert "derived" in padding.loc["Score", "note"]


@pytest.mark.parametrize(("paper", "artefact"), [("nobody", None), ("respirenet", "table-9")])
def test_unknown_names_list_the_known(paper, artefact):
    with pytest.raises(UserError, match="table-1" if artefact else "respirenet"):
        load(paper, artefact)


def test_audit_of_an_unknown_paper():
    with pytest.raises(UserError, match="convlstm"):
        audit("nobody")


@pytest.mark.parametrize("paper", ["respirenet", "convlstm"])
def test_every_check_has_a_number_and_one_sentence(findings, paper):
    frame = findings[paper]
    assert frame.index.is_unique
    assert frame["recomputed"].notna().all()
    assert frame["comment"].str.fullmatch(r"[A-Z0-9].*\.").all()
    assert not frame["comment"].str.contains(r"\. [A-Z]").any()


def test_respirenet_log_gives_the_golden_values(findings):
    log = findings["respirenet"]["recomputed"]
    golden = {"Sp": 79.7419, "Se": 52.3169, "Score": 66.0294, "accuracy": 67.0360}
    for name, value in golden.items():
        assert log[f"Log, best epoch: {name} (%)"] == pytest.approx(value, abs=5e-5)
    assert log["Log: mean Score of the last 20 epochs (%)"] == pytest.approx(63.17, abs=0.005)
    assert log["Log: best epoch over the mean of the last"] == pytest.approx(2.86, abs=0.005)


def test_what_does_not_add_up_in_respirenet(findings):
    frame = findings["respirenet"]
    expected = {
        "Table III: share of Litt3200 (%)",
        "Table III: share of LittC2SE (%)",
        "Text: overall gain of fine-tuning, from Table III by its shares",
        "Footnote 5: patients on both official sides",
        "Text: band-pass upper edge lies below Nyquist (Hz)",
        "Log: windows, if clips last 7 s",
        "Fold list: folds that hold all four devices",
        "Table I, 80-20 2-class CNN+CBA+BRC: Sp if it were the 4-class model with classes merged",
        "Text: fine-tuning helps under-represented classes (Se rises)",
    }
    assert expected <= failed(frame)
    assert frame.loc["Footnote 5: patients on both official sides", "recomputed"] == 2
    assert frame.loc["Log: windows, if clips last 8 s", "agrees"]
    assert frame.loc["Log: windows, if clips last 8 s", "recomputed"] == 6915
    # Of the 15 rows of Table I that give Sp and Se, one cited row has another Score.
    scores = frame[frame.index.str.fullmatch("Table I, .*: Score")]
    assert len(scores) == 15
    assert failed(scores) == {"Table I, 60-40 4-class | Ma bi-ResNet: Score"}


def test_what_adds_up_in_respirenet(findings):
    frame = findings["respirenet"]
    good = frame[frame.index.str.match("Official|Data|Text: over SOTA|Fold list, |Log, |Text: gain of fine")]
    assert len(good) > 25
    assert not failed(good)


def test_convlstm_mixes_two_formulas(findings):
    frame = findings["convlstm"]
    assert frame.loc["Table 3, full: TS by Eq. (1)", "agrees"]
    assert frame.loc["Table 3, full: TS by (AS+HS)/2", "recomputed"] == pytest.approx(0.6713, abs=5e-5)
    for row in ("CNN", "Upsampling CNN", "ConvLstm"):
        assert frame.loc[f"Table 3, {row}: TS by (AS+HS)/2", "agrees"]
        assert not frame.loc[f"Table 3, {row}: TS by Eq. (1)", "agrees"]
    neither = [frame.loc[f"Table 2, full: TS by {f}", "agrees"] for f in ("Eq. (1)", "(AS+HS)/2")]
    assert not any(neither)
    assert frame.loc["Table 2, CNN: HS", "recomputed"] == pytest.approx(0.4931, abs=5e-5)


def test_convlstm_test_set_is_inter_and_intra(findings):
    frame = findings["convlstm"]
    fractions = frame[frame.index.str.contains("as a fraction of")]
    assert fractions["recomputed"].tolist() == [316, 397, 363, 403, 1314, 1087, 1218, 1362]
    assert fractions["agrees"].all()
    assert frame.loc["Table 2: numbers of abnormal events that all four Se fit", "recomputed"] == 0
    assert not failed(frame[frame.index.str.match("Table 1|Data, ")])


def test_rounding_is_allowed_and_no_more():
    def half_sum(a, b):
        return (a + b) / 2

    assert reachable(66.3, half_sum, (84.1, 48.6), 0.05)  # 66.35
    assert reachable(0.7, lambda a, b: a - b, (10.0, 9.2), 0.05)  # 9.96 - 9.24 = 0.72
    assert not reachable(0.6, lambda a, b: a - b, (10.0, 9.2), 0.05)
    assert not reachable(50.3, half_sum, (69.2, 31.1), 0.05)  # 50.15 cannot become 50.3
    assert fits([403 / 705], 705, 0.5e-4)
    assert not fits([0.5723], 705, 0.5e-4)


def test_a_changed_number_is_noticed(monkeypatch):
    """The audit reads the tables: a cooked one fails a check that holds."""
    import lungnb.audit.respirenet as checks

    def cooked(paper, artefact):
        table = wide(paper, artefact)
        if artefact == "data":
            table.loc["test", "cycles"] += 1
        return table

    monkeypatch.setattr(checks, "wide", cooked)
    assert {"Official test: cycles", "Official train + test: cycles"} <= failed(audit("respirenet").set_index("claim"))
