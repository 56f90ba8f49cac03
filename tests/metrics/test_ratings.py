"""Ratings: what is refused and why, and intervals that cover the truth."""

import json

import numpy as np
import pandas as pd
import pytest

from lungnb.book import comparison
from lungnb.core import UserError
from lungnb.metrics.listening import (
    SCALES,
    origin_text,
    rating_rows,
    read_key,
    read_ratings,
    simulate_ratings,
    simulated_means,
)

SYSTEMS = ["ground truth", "AudioLDM", "LungLDM"]


def key_of(n_types=13):
    files = [{"system": s, "type": f"type {t}", "prompt": f"text {t}"} for s in SYSTEMS for t in range(n_types)]
    named = {f"{i:08x}": file for i, file in enumerate(files)}
    return {"format": "lungnb-listening-key", "test": "ab", "title": "A test", "files": named}


KEY = key_of()


def table_of(seed=0, key=KEY, n_listeners=34):
    return simulate_ratings(key, n_listeners, seed)


@pytest.fixture(scope="module")
def table():
    return table_of()


def result_of(table, listener):
    """What the page would have saved for a listener of `table`."""
    mine = table[table["listener"] == listener]
    ratings = [{"file": r.file, "OVL": r.OVL, "REL": r.REL, "plays": 1, "seconds": 2.5} for r in mine.itertuples()]
    result = {"format": "lungnb-listening", "origin": "real", "test": "ab", "title": "A test", "versions": {"page": 1}}
    result |= {
        "listener": listener,
        "order_seed": 7,
        "order": [r["file"] for r in ratings][::-1],
        "ratings": ratings[::-1],
    }
    return result | {"started": "2026-01-01T10:00:00Z", "finished": "2026-01-01T10:20:00Z"}


def save(folder, **contents):
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


@pytest.mark.parametrize("beside", [True, False])
def test_saved_files_become_the_table_and_are_called_real(tmp_path, table, beside):
    """A folder of what people saved, with the key of their test beside it or of a test just written."""
    save(tmp_path, **{f"ratings-{k}": result_of(table, f"simulated-{k:03d}") for k in range(1, 35)})
    if beside:
        save(tmp_path, **{"listening-key": KEY})
    read = read_ratings(tmp_path, KEY | {"test": "other"} if beside else KEY)
    assert list(read) == ["listener", "file", "system", "type", "OVL", "REL", "origin"]
    by = ["listener", "file"]
    pd.testing.assert_frame_equal(
        read.sort_values(by, ignore_index=True), table.assign(origin="real").sort_values(by, ignore_index=True)
    )
    assert list(dict.fromkeys(read["system"])) == SYSTEMS
    assert origin_text(read) == "34 real listeners, 39 files"
    rows, expected = rating_rows(read), rating_rows(table)
    pd.testing.assert_frame_equal(rows, expected)


def test_simulated_listeners_are_called_so(table):
    assert set(table["origin"]) == {"simulated"}
    assert table["listener"].str.startswith("simulated").all()
    assert origin_text(table) == "34 simulated listeners, 39 files"


def edited(edit):
    result = result_of(table_of(n_listeners=1), "simulated-001")
    edit(result)
    return result


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda r: r.update(format="other"), "b.json holds no ratings"),
        (lambda r: r.update(origin="simulated"), "b.json: origin = simulated"),
        (lambda r: r.update(test="cd"), "b.json is of the test cd, the key of ab"),
        (lambda r: r["ratings"].pop(), "b.json lacks the ratings of 1 of 39 files, first 0"),
        (lambda r: r["ratings"][3].update(OVL=101), r"b.json: ratings.3.OVL = 101: .*less than or equal to 100"),
        (lambda r: r["ratings"][0].update(REL=-1), r"b.json: ratings.0.REL = -1: .*greater than or equal to 0"),
        (lambda r: r["ratings"][0].update(REL=float("nan")), r"b.json: ratings.0.REL = nan"),
        (lambda r: r["ratings"][0].update(REL="50"), r"b.json: ratings.0.REL = 50: .*valid number"),
        (lambda r: r.pop("order"), "b.json: order"),
        (lambda r: r["ratings"].append(r["ratings"][0]), "b.json rates a file twice"),
        (lambda r: r["order"].reverse() or r["order"].pop(), "b.json rates a file twice, or one that is not"),
        (lambda r: r.update(mood="good"), "b.json: mood = good"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path, edit, sentence):
    save(tmp_path, b=edited(edit))
    with pytest.raises(UserError, match=sentence) as error:
        read_ratings(tmp_path, KEY)
    assert "\n" not in str(error.value)


def test_a_listener_counts_once(tmp_path):
    with pytest.raises(UserError, match="holds no ratings, or no key to them"):
        read_ratings(tmp_path, KEY)
    result = edited(lambda r: None)
    save(tmp_path, a=result, b=result)
    with pytest.raises(UserError, match=r"b.json is of listener simulated-001, as a.json is; leave one"):
        read_ratings(tmp_path, KEY)


@pytest.mark.parametrize("content", [b"{half", b"\xff\xfe\x00", b""])
def test_files_that_are_no_json(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    for read in (lambda: read_key(tmp_path / "a.json"), lambda: read_ratings(tmp_path, KEY)):
        with pytest.raises(UserError, match=r"a\.json cannot be read as JSON"):
            read()
    with pytest.raises(UserError, match=r"none\.json cannot be read"):
        read_key(tmp_path / "none.json")


def test_ratings_are_no_key(tmp_path):
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(UserError, match="is no key of a listening test"):
        read_key(tmp_path / "a.json")
    with pytest.raises(UserError, match="holds no ratings"):
        read_ratings(tmp_path, KEY)


def test_means_are_those_of_the_table_and_stand_beside_the_published(table):
    rows = rating_rows(table)
    means = table.groupby("system")[SCALES].mean()
    assert rows["ours"].tolist() == pytest.approx(
        [means.loc[r, m] for r, m in zip(rows["row"], rows["metric"], strict=True)]
    )
    assert (rows["low"] < rows["ours"]).all()
    assert (rows["ours"] < rows["high"]).all()
    published = pd.DataFrame({"row": ["LungLDM"], "metric": ["REL"], "value": [64.94]})
    beside = comparison(published, rows)
    assert len(beside) == 6
    assert beside.iloc[0][["row", "metric", "published"]].tolist() == ["LungLDM", "REL", 64.94]
    assert beside["ours"].notna().all()


def test_differences_are_paired(table):
    rows = rating_rows(table, True).set_index(["row", "metric"])
    means = rating_rows(table).set_index(["row", "metric"])["ours"]
    assert [row for row, metric in rows.index if metric == "OVL"] == [
        "AudioLDM − ground truth",
        "LungLDM − ground truth",
        "LungLDM − AudioLDM",
    ]
    assert rows.loc[("LungLDM − AudioLDM", "REL"), "ours"] == pytest.approx(
        means["LungLDM", "REL"] - means["AudioLDM", "REL"]
    )
    bias = dict(zip(table["listener"].unique(), np.random.default_rng(0).normal(0, 30, 34), strict=True))
    moved = table.assign(OVL=table["OVL"] + table["listener"].map(bias))  # a listener's bias is no difference
    numbers = ["ours", "low", "high"]
    assert np.allclose(rating_rows(moved, True)[numbers], rating_rows(table, True)[numbers])
    assert not np.allclose(rating_rows(moved)[numbers], rating_rows(table)[numbers])


@pytest.mark.train
def test_the_bootstrap_is_that_of_drawing_listeners_and_types_by_name():
    """Against a loop over data frames that knows nothing of weights."""
    table = table_of(key=key_of(6), n_listeners=8)
    table = table[table["system"] == "LungLDM"]
    square = table.pivot(index="listener", columns="type", values="OVL")
    rng = np.random.default_rng(1)
    slow = [
        square.loc[rng.choice(square.index, 8), rng.choice(square.columns, 6)].to_numpy().mean() for _ in range(1500)
    ]
    fast = rating_rows(table, n_resamples=3000).set_index("metric").loc["OVL"]
    assert np.percentile(slow, [2.5, 97.5]) == pytest.approx([fast["low"], fast["high"]], abs=0.08 * np.ptp(slow))


@pytest.mark.train
def test_intervals_cover_the_truth_and_listeners_alone_do_not():
    """40 simulated tests: 95 % intervals hold the true mean or difference about so often, if types are drawn too."""
    truth = simulated_means(KEY)["OVL"]  # of all scales the same
    truth = pd.concat([truth, pd.Series({f"{b} − {a}": truth[b] - truth[a] for a in SYSTEMS for b in SYSTEMS})])
    share, width = {}, {}
    tables = [table_of(seed) for seed in range(40)]
    for paired in (False, True):
        for over in ("both", "listeners"):
            made = pd.concat([rating_rows(table, paired, over, 250) for table in tables])
            true = made["row"].map(truth)
            share[paired, over] = ((made["low"] <= true) & (true <= made["high"])).mean()
            width[paired, over] = (made["high"] - made["low"]).mean()
        assert 0.87 <= share[paired, "both"] <= 0.99
        assert share[paired, "listeners"] < share[paired, "both"] - 0.08
        assert width[paired, "listeners"] < 0.8 * width[paired, "both"]
    assert share[True, "listeners"] < 0.75


def test_simulated_listeners_are_centred_on_the_means_that_are_given():
    means = pd.DataFrame({"OVL": [70.0, 50.0, 40.0], "REL": [30.0, 45.0, 60.0]}, index=[*SYSTEMS])
    rated = [simulate_ratings(KEY, 40, seed, means) for seed in range(30)]
    found = pd.concat(rated).groupby("system")[["OVL", "REL"]].mean().loc[[*SYSTEMS]]
    assert (found - means).abs().max(axis=None) < 2.5


def test_one_listener_or_one_type_tells_no_spread(table):
    for few in (table[table["listener"] == "simulated-001"], table[table["type"] == "type 1"]):
        for over in ("both", "listeners"):
            assert rating_rows(few, True, over)[["low", "high"]].isna().all(axis=None)
            assert rating_rows(few, False, over)["ours"].notna().all()
