"""The ICBHI ledger: every flag has an allowed value and a source, every Score is the mean of Se and Sp or said not to be."""

import re

import pandas as pd
import pytest

from lungnb.published import FLAGS, PAPERS, ledger, wide

SPLITS = {"official 60-40", "80-20", "patient-wise", "random by recording", "random by cycle", "not read"}
KNOWN = {"yes", "no", "not said", "not read"}


@pytest.fixture(scope="module")
def entries():
    return ledger()


def test_columns_and_order(entries):
    about = ["entry", "authors", "year", "venue", "method", "split", "Se", "Sp", "Score", "score_source"]
    flags = [name for flag in (*FLAGS, "pretrained") for name in (flag, f"{flag}_source")]
    assert list(entries) == [*about, *flags, "seeds", "best_seed", "seeds_source", "note"]
    assert entries["entry"].is_unique
    assert entries[["year", "entry"]].to_numpy().tolist() == sorted(entries[["year", "entry"]].to_numpy().tolist())
    assert (entries[["entry", "authors", "split", "Score", "score_source"]] != "").all(axis=None)
    assert entries["year"].str.fullmatch(r"20(1[7-9]|2\d)").all()
    assert not entries.map(lambda text: text != text.strip()).any(axis=None)


def test_the_ledger_is_no_paper():
    assert "ledger" not in PAPERS


def test_flags_have_allowed_values(entries):
    assert set(entries["split"]) <= SPLITS
    assert set(entries[FLAGS].melt()["value"]) <= KNOWN | {"other split"}
    assert set(entries["best_seed"]) <= KNOWN
    assert entries["seeds"].str.fullmatch(r"\d+|not said|not read").all()
    assert (entries["pretrained"] != "").all()


@pytest.mark.parametrize("flag", [*FLAGS, "pretrained"])
def test_what_is_known_has_a_source(entries, flag):
    known = ~entries[flag].isin(["not read", "not said"])
    assert (entries.loc[known, f"{flag}_source"] != "").all()
    assert (entries.loc[entries[flag] == "not read", f"{flag}_source"] == "").all()


def test_numbers_of_seeds_have_a_source(entries):
    known = entries["seeds"].str.isdigit() | entries["best_seed"].isin(["yes", "no"])
    assert (entries.loc[known, "seeds_source"] != "").all()


def test_sources_name_a_commit_an_address_a_quotation_or_a_table(entries):
    sources = entries[[name for name in entries if name.endswith("_source")]].melt()["value"]
    shape = re.compile(r'[\w.-]+/[\w.-]+@[0-9a-f]{40}:[\w./-]+|https://\S+|"[^"]+"|Table I of RespireNet')
    assert [text for text in sources if text and not shape.search(text)] == []
    assert not any(re.search("@(?![0-9a-f]{40}:)", text) for text in sources)


def test_splits_and_flags_agree(entries):
    random = entries["split"].str.startswith("random")
    assert (entries.loc[random, "random_split"] == "yes").all()
    assert (entries.loc[~random, "random_split"] != "yes").all()
    assert (entries.loc[entries["shared_patients"] == "other split", "split"] != "official 60-40").all()
    assert entries.loc[entries["shared_patients"] == "yes", "split"].eq("official 60-40").all()


def off_by(entry: pd.Series) -> float:
    """How far Score is from the mean of Se and Sp, beyond what the rounding of all three allows."""
    units = {name: 10.0 ** -len(entry[name].partition(".")[2]) for name in ("Se", "Sp", "Score")}
    slack = units["Score"] / 2 + (units["Se"] + units["Sp"]) / 4
    return abs(float(entry["Score"]) - (float(entry["Se"]) + float(entry["Sp"])) / 2) - slack


def test_score_is_the_mean_or_said_not_to_be(entries):
    whole = entries[(entries["Se"] != "") & (entries["Sp"] != "")]
    assert len(whole) > 25
    off = whole[whole.apply(off_by, axis=1) > 1e-9]
    said = whole[whole["note"].str.contains("Score is not the mean of the printed Se and Sp")]
    assert list(off["entry"]) == list(said["entry"]) != []


def test_numbers_are_those_of_the_table_that_respirenet_prints(entries):
    """The rows that RespireNet prints are typed in twice, here and in respirenet.csv."""
    printed = wide("respirenet", "table-1")
    rows = {"gairola-2021-60": "60-40 4-class | CNN+CBA+BRC+FT", "gairola-2021-80": "80-20 4-class | CNN+CBA+BRC+FT"}
    rows |= {
        "chambres-2018": "60-40 4-class | Chambres",
        "kochetov-2018": "80-20 4-class | Kochetov",
        "ma-2019": "60-40 4-class | Ma bi-ResNet",
    }
    rows |= {"acharya-2020": "80-20 4-class | Acharya", "ma-2020-80": "80-20 4-class | Ma LungRN+NL"}
    table = entries.set_index("entry")
    for entry, row in rows.items():
        assert (
            table.loc[entry, ["Se", "Sp", "Score"]].astype(float).tolist()
            == printed.loc[row, ["Se", "Sp", "Score"]].tolist()
        )
