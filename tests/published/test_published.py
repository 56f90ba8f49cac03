"""The published numbers and what does not add up in them."""

import pandas as pd
import pytest
from scipy.stats import ttest_ind_from_stats

from lungnb import published
from lungnb.core import UserError
from lungnb.published import ANSWER, KINDS, PAPERS, audit, disagreements, load, wide
from lungnb.published.formulas import fits, reachable


@pytest.fixture(scope="module")
def findings():
    return {paper: audit(paper).set_index("claim") for paper in PAPERS}


TABLES = [f"table-{i}" for i in range(1, 10)]


def test_printed_keeps_the_digits():
    gain = load("lungldm").query("row == 'LungLDM over AudioLDM' and metric == 'IS'")
    assert gain["printed"].tolist() == ["0.00"]
    assert load("pediatric", "table-5").query("row == 'GVA'")["printed"].tolist()[-2:] != ["1", "1"]


def failed(frame):
    return set(frame.index[~frame["agrees"].fillna(True)])


@pytest.mark.parametrize("paper", PAPERS)
def test_tables_are_well_formed(paper):
    table = load(paper)
    assert table["value"].dtype == "Float64"
    assert set(table["paper"]) == {paper}
    assert not table.duplicated(["artefact", "row", "metric"]).any()
    assert table.drop(columns=["value", "printed", "note"]).notna().all(axis=None)
    # A missing value is a dash of the source and says so.
    assert table.loc[table["value"].isna(), "note"].str.startswith("not given").all()
    assert table["source"].isin(["paper", "derived", "code", "ours"]).all()
    assert table.loc[table["source"] == "paper", "artefact"].isin(["text", "data", "listening", *TABLES]).all()
    assert table["artefact"].str.fullmatch(r"table-\d|listening|text|data|log|readme|code|hits|reference").all()


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


def test_pediatric_tables_have_all_rows():
    shapes = [wide("pediatric", f"table-{i}").shape for i in range(1, 10)]
    assert shapes == [(4, 3), (5, 6), (8, 6), (4, 6), (4, 6), (2, 6), (7, 6), (7, 6), (16, 6)]
    assert not any(load("pediatric", f"table-{i}")["value"].isna().any() for i in range(1, 10))
    assert wide("pediatric", "table-1")["patients"].tolist() == [55, 23, 160, 80]
    assert wide("pediatric", "table-2").loc["MEL"].tolist() == [0.34, 0.07, 0.88, 0.03, 0.89, 0.04]
    assert wide("pediatric", "table-3").loc["position 2"].tolist() == [0.31, 0.07, 0.87, 0.05, 0.89, 0.04]
    assert wide("pediatric", "table-4").loc["POA1 | inverse loss"].tolist()[:5] == [116, 25, 1, 8, 0.94]
    assert wide("pediatric", "table-6").loc["MPA"].tolist()[:5] == [22, 22, 8, 8, 0.73]
    assert wide("pediatric", "table-7").loc["POA2 -> GVA"].tolist()[:5] == [39, 22, 1, 16, 0.7821]
    assert wide("pediatric", "table-8").loc["GVA -> POA1"].tolist() == [0.26, 0.04, 0.89, 0.02, 0.86, 0.01]
    assert wide("pediatric", "table-9").loc["POA | position 3"].tolist() == [0.2226, 0.0138, 1, 0, 1, 0]
    assert wide("pediatric", "table-9").loc["GVA | position 8", "F1 sd"] == 0.1138


def test_lungldm_tables_have_all_rows():
    table, heard = wide("lungldm", "table-1"), wide("lungldm", "listening")
    assert table.to_dict("index") == {
        "AudioLDM": {"FAD": 18.82, "KL": 1.75, "IS": 1.01},
        "LungLDM": {"FAD": 14.71, "KL": 0.01, "IS": 1.01},
    }
    assert heard.loc["AudioLDM"].tolist() == [63.63, 52.69]
    assert heard.loc["LungLDM"].tolist() == [65.89, 64.94]
    assert heard.loc["ground truth"].isna().all()
    text = wide("lungldm", "text")
    assert text.loc["data", ["recordings", "data sets", "sound types"]].tolist() == [124883, 9, 13]
    assert text.loc["training", ["steps", "learning rate"]].tolist() == [250000, 2e-4]
    assert text.loc["sampling", "guidance scale"] == 3.5
    assert text.loc["listening test", ["participants", "files"]].tolist() == [34, 39]


def test_what_lungldm_does_not_print_is_kept_apart():
    """The paper's own artefacts hold what it prints; all else stands under `reference` and names its page."""
    table = load("lungldm")
    assert set(table["artefact"]) == {"table-1", "listening", "text", "reference"}
    surround = table[table["artefact"] == "reference"]
    assert surround["note"].str.contains("docs/papers/lungldm.md, section").all()
    assert not table.drop(surround.index)["note"].str.contains("docs/papers").any()
    net = wide("lungldm", "reference").loc["U-Net | paper preset"]
    assert net[["no gates", "SE gates"]].tolist() == [96_052_232, 96_158_726]


def test_derived_values_say_so():
    padding = load("respirenet", "text").query("row == 'zero padding'").set_index("metric")
    assert padding.loc["difference", "value"] == 5
    assert "derived" not in padding.loc["difference", "note"]
    assert "derived" in padding.loc["Score", "note"]
    balanced = load("pediatric").query("metric == 'balanced accuracy'")
    assert len(balanced) == 17
    assert balanced["note"].str.contains("derived").all()
    assert not load("pediatric").query("metric == 'TP'")["note"].str.contains("derived").any()


@pytest.mark.parametrize(("paper", "artefact"), [("nobody", None), ("respirenet", "table-9")])
def test_unknown_names_list_the_known(paper, artefact):
    with pytest.raises(UserError, match="table-1" if artefact else "respirenet"):
        load(paper, artefact)


def test_audit_of_an_unknown_paper():
    with pytest.raises(UserError, match="convlstm"):
        audit("nobody")


@pytest.mark.parametrize("paper", PAPERS)
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
        "Text: gain of CBA in Se, against Table I with CBA and BRC",
        "Footnote 5: patients on both official sides",
        "Text: band-pass upper edge lies below Nyquist (Hz)",
        "Log: windows, if clips last 7 s",
    }
    assert expected <= failed(frame)
    assert frame.loc["Text: overall gain of fine-tuning, from Table III by its shares", "kind"] == "note"
    assert frame.loc["Footnote 5: patients on both official sides", "recomputed"] == 2
    assert frame.loc["Log: windows, if clips last 8 s", "agrees"]
    assert frame.loc["Log: windows, if clips last 8 s", "recomputed"] == 6915
    # Of the 15 rows of Table I that give Sp and Se, one cited row has another Score.
    scores = frame[frame.index.str.fullmatch("Table I, .*: Score")]
    assert len(scores) == 15
    assert failed(scores) == {"Table I, 60-40 4-class | Ma bi-ResNet: Score"}
    # It is quoted from others, and Figure 1 filters before it downsamples: nothing is left against the paper itself.
    cited = ~scores.index.str.contains("CNN")
    assert set(scores["kind"][cited]) == {"note"}
    assert set(scores["kind"][~cited]) == {"contradiction"}
    assert frame.loc["Text: band-pass upper edge lies below Nyquist (Hz)", "kind"] == "note"
    assert disagreements("respirenet", "contradiction")[0].empty


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


def test_pediatric_golden_values(findings):
    frame = findings["pediatric"]
    golden = {
        "Table V, GVA -> POA1: accuracy": 0.9333,  # of (116, 24, 2, 8)
        "Table V, POA1: balanced accuracy (derived)": 0.8778,
        "Table IV, POA1 | inverse loss: balanced accuracy (derived)": 0.9485,
        "Table V, GVA -> POA1: balanced accuracy (derived)": 0.9293,
        "Always case, GVA: accuracy (derived)": 0.7051,
        "Always case, POA1: accuracy (derived)": 0.8267,
        "Always case, POA2: accuracy (derived)": 0.7126,
        "Table VII, POA1: accuracy over always case (points)": 4.6667,
        "Text: patients of POA, batches and validation": 248,
        "Table I: POA cases, batches and validation": 168,
        "Table I: minutes of all recordings (derived)": 22 * 60 + 15,
        "Code: crops of 30 s (derived)": 21,
        "Code: crops of 10 s (derived)": 5,
        "Code: crops of 7.5 s (derived)": 3,
        "Code: crops of 5 s (derived)": 1,
        "Code, STFT: rows (derived)": 150,
        "Code, mel: rows (derived)": 50,
        "Code, MFCC: rows (derived)": 32,
        "Code, STFT: columns (derived)": 216,
    }
    for claim, value in golden.items():
        assert frame.loc[claim, "recomputed"] == value, claim
    # Doubling all losses leaves the weights of the inverse loss alone.
    assert frame.loc["Inverse loss, Table III: largest weight", "agrees"]


PEDIATRIC_FAILURES = {
    "Text: cases by diagnosis",
    "Table IX: GVA patients left for a test",
    "Text: batches of POA cases, by the code",
    "Text: crops of a recording of 30 s, by their overlap",
    "Text: patients of POA, batches and validation",
    "Table I: POA cases, batches alone",
    "Table I: POA cases, batches and validation",
    "Table I: POA controls, batches alone",
    "Table IV, GVA | mean: cases",
    "Table IV, GVA | mean: controls",
    "Table IV, GVA | mean: accuracy",
    "Table IV, GVA | inverse loss: patients",
    "Table IV, GVA | inverse loss: cases",
    "Table IV, GVA | inverse loss: accuracy",
    "Table IV, POA1 | mean: patients",
    "Table IV, POA1 | mean: cases",
    "Abstract: MPO, GVA (%)",
    "Abstract: models with a weighted mean aggregation",
    "Abstract: MPA, GVA (%)",
    "Abstract: MPA, POA1 (%)",
    "Abstract: MPA, GVA -> POA1 (%)",
    "Conclusion: unseen patients, POA1 (%)",
    "Conclusion: pneumonia, MPA (%)",
    "Conclusion: both models are above it, lowest (%)",
    "Text: transfer helps, GVA -> POA1 by Table VIII (points)",
    "Text: transfer helps, GVA -> POA2 by Table VIII (points)",
    "Table VIII, caption: plain models in the first rows",
    "Text: STFT is better in most cases, means of Table II of 6",
}


def test_what_does_not_add_up_in_pediatric(findings):
    frame = findings["pediatric"]
    assert failed(frame) == PEDIATRIC_FAILURES
    assert frame.loc["Text: cases by diagnosis", "recomputed"] == 212
    assert frame.loc["Table IX: rows whose F1 is not the accuracy again", "recomputed"] == 11
    # Table IV cuts off after two digits: all four of its accuracies, of which rounding alone changes two.
    cut = frame[frame["comment"].str.contains("cut off")]
    assert failed(cut) == {f"Table IV, GVA | {how}: accuracy" for how in ("mean", "inverse loss")}
    four = frame[frame.index.str.fullmatch("Table IV, .*: accuracy")]
    assert ((100 * four["recomputed"]) // 1 == 100 * four["published"]).all()


def test_what_adds_up_in_pediatric(findings):
    frame = findings["pediatric"]
    matrices = frame[frame.index.str.match("Table (V|VI|VII), .*: (patients|cases|controls|accuracy|balanced)")]
    assert len(matrices) == (4 + 2 + 7) * 5 + 3  # the three are the accuracies over always case
    assert not failed(matrices)
    assert frame.loc["Table I: POA controls, batches and validation", "agrees"]
    # What agrees within the rounding of its print does so in figures as well.
    good = frame[frame["agrees"].fillna(False) & frame["published"].notna()]
    percent = good.index.str.contains("%")
    gap = (good["published"] - good["recomputed"]).abs()
    assert (gap[percent] <= 0.5).all()
    assert (gap[~percent & ~good.index.str.contains("Hz")] <= 0.005).all()
    said = frame[frame["published"].isna() & frame["agrees"].fillna(False)]["recomputed"]
    better = said[said.index.str.contains("beats|transfer helps")]
    assert len(better) == 6
    assert (better > 0).all()
    assert (said[said.index.str.contains("does not help")] < 0).all()


LUNGLDM_FAILURES = {
    "Introduction: LungLDM is better, metrics of Table 1",
    "Table 1, AudioLDM: KL, by the tool's default backbone",
    "Final model: parameters of all parts (M)",
}


def test_lungldm_golden_values(findings):
    frame = findings["lungldm"]
    golden = {
        "FAD: LungLDM less AudioLDM (derived)": -4.11,
        "FAD: LungLDM less AudioLDM (%, derived)": -21.8385,
        "OVL: LungLDM less AudioLDM (derived)": 2.26,
        "REL: LungLDM less AudioLDM (derived)": 12.25,
        "Listening test: ratings of a system (derived)": 442,
        "Listening test: systems by sound types": 39,
        "AudioLDM: KL weight on mean L1 (derived)": 0.0153,
        "Passes over the data, a clip in the batch (derived)": 2.0019,
        "Table 1, LungLDM: information that IS leaves (% of all types)": 0.3879,  # ln 1.01 of ln 13
        "Table 1, LungLDM: most that KL allows between pairs (%)": 7.0711,
        "Smoke preset: parameters": 571908,
        "FAD against 20,000: largest N whose bias exceeds the gap of Table 1": 250,
    }
    for claim, value in golden.items():
        assert frame.loc[claim, "recomputed"] == pytest.approx(value, abs=5e-5), claim
    # A difference of two means of 442 with this sd stands exactly at the edge of 5 %.
    sd = frame.loc["OVL: largest sd of ratings at which the gain is significant", "recomputed"]
    assert ttest_ind_from_stats(2.26, sd, 442, 0, sd, 442).pvalue == pytest.approx(0.05, abs=5e-4)


def test_what_does_not_add_up_in_lungldm(findings):
    frame = findings["lungldm"]
    assert failed(frame) == LUNGLDM_FAILURES
    assert frame.loc["Introduction: LungLDM is better, metrics of Table 1", "recomputed"] == 2
    assert frame.loc["U-Net, paper preset: parameters (M)", "agrees"]
    assert frame.loc["Table 1, LungLDM: KL, by the tool's default backbone", "agrees"]


def test_rounding_is_allowed_and_no_more():
    def half_sum(a, b):
        return (a + b) / 2

    assert reachable(66.3, half_sum, (84.1, 48.6), 0.05)  # 66.35
    assert reachable(0.7, lambda a, b: a - b, (10.0, 9.2), 0.05)  # 9.96 - 9.24 = 0.72
    assert not reachable(0.6, lambda a, b: a - b, (10.0, 9.2), 0.05)
    assert not reachable(50.3, half_sum, (69.2, 31.1), 0.05)  # 50.15 cannot become 50.3
    assert fits([403 / 705], 705, 0.5e-4)
    assert not fits([0.5723], 705, 0.5e-4)


@pytest.mark.parametrize(
    ("paper", "artefact", "row", "metric", "noticed"),
    [
        ("respirenet", "data", "test", "cycles", {"Official test: cycles", "Official train + test: cycles"}),
        (
            "pediatric",
            "table-7",
            "POA2",
            "TP",
            {f"Table VII, POA2: {part}" for part in ("patients", "cases", "accuracy", "balanced accuracy (derived)")},
        ),
        (
            "lungldm",
            "listening",
            "LungLDM",
            "REL",
            {"Introduction, LungLDM: REL", "REL: LungLDM less AudioLDM (derived)"},
        ),
    ],
)
def test_a_changed_number_is_noticed(findings, monkeypatch, paper, artefact, row, metric, noticed):
    """The audit reads the tables: a cooked one fails checks that hold."""

    def cooked(of, what):
        table = wide(of, what)
        if what == artefact:
            table.loc[row, metric] += 1
        return table

    monkeypatch.setattr(published, "wide", cooked)
    new = failed(audit(paper).set_index("claim")) - failed(findings[paper])
    assert noticed <= new if paper == "respirenet" else noticed == new


def test_a_formula_that_fails_is_named(monkeypatch):
    monkeypatch.setattr(published.yaml, "safe_load", lambda text: {"definitions": {"n": "tabel_1.sum()"}, "checks": []})
    with pytest.raises(NameError) as error:
        audit("respirenet")
    assert error.value.__notes__ == ["in the formula tabel_1.sum() of a sheet of claims"]


@pytest.fixture(scope="module")
def tables():
    return {(paper, kind): disagreements(paper, kind)[0] for paper in PAPERS for kind in KINDS}


@pytest.mark.parametrize("paper", PAPERS)
def test_each_finding_stands_in_one_table_once(findings, tables, paper):
    frame = findings[paper]
    shown = [finding for kind in KINDS for finding in tables[paper, kind]["finding"] if finding]
    assert len(set(shown)) == len(shown)
    against = frame[frame["kind"] != "note"]
    # What has no verdict accuses nobody, so it is a note; and nothing that fails is left out.
    assert against["agrees"].notna().all()
    for kind in KINDS:
        table, bad = tables[paper, kind], frame[(frame["kind"] == kind) & ~frame["agrees"].fillna(kind != "note")]
        said = [finding for finding in table["finding"] if finding]
        assert set(said) == set(bad["finding"])
        whole = table.assign(finding=table["finding"].replace("", pd.NA).ffill())
        claims = whole["claim"].where(whole["claim"] != "", whole["finding"])
        assert claims.is_unique
        assert set(bad.index) <= set(claims)
        assert all(isinstance(text, str) for text in table.to_numpy().ravel())
        for claim, row in zip(claims, whole.itertuples(), strict=True):
            check = frame.loc[claim]
            assert row.finding == check["finding"]
            assert row.published == ("" if pd.isna(check["published"]) else f"{check['published']:g}")
            assert row.comment in (check["comment"], "")
        sentences = set(frame.loc[claims, "comment"]) - {""}
        assert sentences <= set(table["comment"])  # each is said, where it was first


@pytest.mark.parametrize("paper", PAPERS)
def test_the_authors_have_one_sentence_and_a_note_needs_none(findings, tables, paper):
    for kind in KINDS:
        assert (ANSWER in tables[paper, kind]) == (kind != "note")
    for kind in KINDS[:2]:
        answers = tables[paper, kind][ANSWER]
        assert answers[answers != ""].str.fullmatch(r"[A-Z].*\.").all()
        assert not answers.str.contains(r"\. [A-Z]").any()
    agreeing = findings[paper][findings[paper]["agrees"].fillna(True)]
    assert (agreeing["answer"] == "").all()


@pytest.mark.parametrize("paper", PAPERS)
def test_a_paper_is_held_against_itself_by_what_it_prints(tables, monkeypatch, paper):
    """Whatever is not printed in it may be another number: the findings of the first table stay as they are."""

    def other(of, artefact=None):
        table = load(of, artefact)
        # But for the length of the code's clips, by which other rows of the sheet are found.
        table.loc[(table["source"] != "paper") & (table["metric"] != "clip length_s"), "value"] += 1
        return table

    monkeypatch.setattr(published, "load", other)
    pd.testing.assert_frame_equal(disagreements(paper, "contradiction")[0], tables[paper, "contradiction"])


def claims_of(table, finding):
    """The rows of one finding, which stands in the first of them."""
    return table[table["finding"].replace("", pd.NA).ffill() == finding]


def test_nobody_is_accused_of_what_he_does_not_say(findings, tables):
    against = {paper: pd.concat([tables[paper, kind] for kind in KINDS[:2]]) for paper in PAPERS}
    words = {paper: " ".join(table.to_numpy().ravel()) for paper, table in against.items()}
    # The log's run is one without concatenation, and not held against a row with it, nor counted against Table I.
    assert "CBA" not in words["respirenet"]
    assert "Log, best epoch" not in words["respirenet"]
    notes = claims_of(tables["respirenet", "note"], "the log beside what the paper has without concatenation")
    assert notes["published"].tolist() == ["78.8", "53.6", "66.2", "66.7"]
    assert "folds that hold all four" not in words["respirenet"]
    assert "merged" not in words["respirenet"]
    for check in findings["respirenet"].itertuples():
        assert "the stated gain" not in check.comment, check.Index  # a factor beside numbers that have another
    # The full model's TS is Eq. (1)'s; the baselines' is the challenge's.
    rows = claims_of(tables["convlstm", "contradiction"], "baseline rows do not follow Eq. (1)")
    assert len(rows) > 1
    assert not rows["claim"].str.contains("full").any()
    assert "Table 3, full" not in words["convlstm"]
    train = findings["convlstm"].loc["Data: test patients who are also in train"]
    assert train["kind"] == "note"
    assert pd.isna(train["published"])
    # Figure 8 says that its labels are reversed.
    assert "Figure 8" not in words["pediatric"]
    for note in ("Table IX GVA", "Table II, STFT", "is balanced", "MPA, POA1 (%)", "by the code", "cut off"):
        assert note not in words["pediatric"], note
    # Neither has code, Conv-LSTM's counts are the data's, and LungLDM lists no data. Their notebooks say so.
    assert tables["convlstm", "inconsistent"].empty
    assert tables["lungldm", "inconsistent"].empty
    # Other papers' numbers and our own counts are no evidence against LungLDM.
    assert against["lungldm"].empty
    assert "EzAudio" not in " ".join(findings["lungldm"]["comment"])


def test_the_kinds_are_listed():
    with pytest.raises(UserError, match="contradiction, inconsistent, note"):
        disagreements("respirenet", "slander")
