"""Ratings: what is refused and why, intervals that cover the truth, agreement against the published example."""

import copy
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lungnb.book.comparison import comparison
from lungnb.core import UserError
from lungnb.metrics.ratings import (
    SCALES,
    _icc,
    agreement,
    difference_rows,
    number_needed,
    order,
    origin_text,
    ratings_table,
    read_key,
    read_ratings,
    simulate_ratings,
    simulated_means,
    system_rows,
    z_scores,
)

SYSTEMS = ["ground truth", "AudioLDM", "LungLDM"]


def key_of(n_types=13):
    files = [{"system": s, "type": f"type {t}", "prompt": f"text {t}"} for s in SYSTEMS for t in range(n_types)]
    named = {f"{i:08x}": file for i, file in enumerate(files)}
    return {"format": "lungnb-listening-key", "test": "ab", "title": "A test", "files": named}


KEY = key_of()


def table_of(seed=0, key=KEY, n_listeners=34):
    return ratings_table(simulate_ratings(key, n_listeners, seed), key)


@pytest.fixture(scope="module")
def table():
    return table_of()


def test_saved_files_become_the_table(tmp_path, table):
    results = simulate_ratings(KEY)
    paths = [tmp_path / f"{result['listener']}.json" for result in results.values()]
    for path, result in zip(paths, results.values(), strict=True):
        path.write_text(json.dumps(result))
    (tmp_path / "listening-key.json").write_text(json.dumps(KEY))
    read = read_ratings(paths, read_key(tmp_path / "listening-key.json"))
    pd.testing.assert_frame_equal(read, table)
    assert list(read) == ["listener", "file", "system", "type", "OVL", "REL", "origin"]
    assert len(read) == 34 * 39
    assert list(dict.fromkeys(read["system"])) == SYSTEMS
    some = results["simulated listener 7"]["ratings"][11]
    row = read[(read["listener"] == "simulated-007") & (read["file"] == some["file"])].iloc[0]
    assert row[["OVL", "REL"]].tolist() == [some["OVL"], some["REL"]]
    assert row[["system", "type"]].tolist() == [KEY["files"][some["file"]][k] for k in ("system", "type")]


def test_simulated_listeners_are_called_so_everywhere(table):
    assert all(r["origin"] == "simulated" and "simulated" in r["listener"] for r in simulate_ratings(KEY, 3).values())
    made = [
        table,
        z_scores(table),
        system_rows(table),
        difference_rows(table),
        agreement(table),
        number_needed(table, 5),
    ]
    assert all(set(frame["origin"]) == {"simulated"} for frame in made)
    assert origin_text(table) == "34 simulated listeners, 39 files"


def test_people_and_simulated_listeners_are_not_pooled(table):
    mixed = pd.concat([table, table.assign(origin="real", listener="a " + table["listener"])])
    for analysis in (system_rows, difference_rows, agreement, origin_text):
        with pytest.raises(UserError, match="analyse the two apart"):
            analysis(mixed)


def edited(edit):
    result = copy.deepcopy(simulate_ratings(KEY, 1)["simulated listener 1"])
    edit(result)
    return {"b.json": result}


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda r: r.update(format="other"), "b.json holds no ratings"),
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
def test_what_is_no_result_is_refused(edit, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        ratings_table(edited(edit), KEY)
    assert "\n" not in str(error.value)


def test_a_listener_counts_once():
    (result,) = edited(lambda r: None).values()
    with pytest.raises(UserError, match=r"b.json is of listener simulated-001, who is there already"):
        ratings_table({"a.json": result, "b.json": result}, KEY)
    with pytest.raises(UserError, match="There are no ratings"):
        ratings_table({}, KEY)


@pytest.mark.parametrize("content", [b"{half", b"\xff\xfe\x00", b""])
def test_files_that_are_no_json(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    for read in (read_key, lambda path: read_ratings([path], KEY)):
        with pytest.raises(UserError, match=r"a\.json cannot be read as JSON"):
            read(tmp_path / "a.json")
    with pytest.raises(UserError, match=r"none\.json cannot be read"):
        read_key(tmp_path / "none.json")


def test_ratings_are_no_key(tmp_path):
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(UserError, match="is no key of a listening test"):
        read_key(tmp_path / "a.json")
    with pytest.raises(UserError, match="holds no ratings"):
        read_ratings([tmp_path / "a.json"], KEY)


@given(st.integers(0, 2**32 - 1), st.integers(1, 50))
def test_an_order_holds_every_file_once(seed, n):
    names = [f"{i:02d}" for i in range(n)]
    assert sorted(order(reversed(names), seed)) == names
    assert order(reversed(names), seed) == order(names, seed)


def test_every_file_comes_first_about_as_often_as_another():
    names = [f"{i:02d}" for i in range(13)]
    rng = np.random.default_rng(0)
    orders = [order(names, int(seed)) for seed in rng.integers(2**32, size=2600)]
    for place in (0, 6, 12):
        counts = pd.Series([drawn[place] for drawn in orders]).value_counts()
        assert len(counts) == 13
        assert ((counts - 200) ** 2 / 200).sum() < 33  # chi-square of 12 degrees of freedom, 0.999 quantile


def test_means_are_those_of_the_table_and_stand_beside_the_published(table):
    rows = system_rows(table)
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
    rows = difference_rows(table).set_index(["row", "metric"])
    means = system_rows(table).set_index(["row", "metric"])["ours"]
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
    assert np.allclose(difference_rows(moved)[numbers], difference_rows(table)[numbers])
    assert not np.allclose(system_rows(moved)[numbers], system_rows(table)[numbers])


def test_the_bootstrap_is_that_of_drawing_listeners_and_types_by_name():
    """Against a loop over data frames that knows nothing of weights."""
    table = table_of(key=key_of(6), n_listeners=8)
    table = table[table["system"] == "LungLDM"]
    square = table.pivot(index="listener", columns="type", values="OVL")
    rng = np.random.default_rng(1)
    slow = [
        square.loc[rng.choice(square.index, 8), rng.choice(square.columns, 6)].to_numpy().mean() for _ in range(1500)
    ]
    fast = system_rows(table, n_resamples=3000).set_index("metric").loc["OVL"]
    assert np.percentile(slow, [2.5, 97.5]) == pytest.approx([fast["low"], fast["high"]], abs=0.08 * np.ptp(slow))
    assert system_rows(table, seed=3).equals(system_rows(table, seed=3))


def test_intervals_cover_the_truth_and_listeners_alone_do_not():
    """40 simulated tests: 95 % intervals hold the true mean or difference about so often, if types are drawn too."""
    truth = simulated_means(KEY)
    truth = pd.concat([truth, pd.Series({f"{b} − {a}": truth[b] - truth[a] for a in SYSTEMS for b in SYSTEMS})])
    share, width = {}, {}
    tables = [table_of(seed) for seed in range(40)]
    for rows in (system_rows, difference_rows):
        for over in ("both", "listeners"):
            made = pd.concat([rows(table, over=over, n_resamples=250) for table in tables])
            true = made["row"].map(truth)
            share[rows, over] = ((made["low"] <= true) & (true <= made["high"])).mean()
            width[rows, over] = (made["high"] - made["low"]).mean()
        assert 0.87 <= share[rows, "both"] <= 0.99
        assert share[rows, "listeners"] < share[rows, "both"] - 0.08
        assert width[rows, "listeners"] < 0.8 * width[rows, "both"]
    assert share[difference_rows, "listeners"] < 0.75


def test_z_scores_take_out_the_listener(table):
    z = z_scores(table)
    by_listener = z.groupby("listener")[SCALES]
    assert np.allclose(by_listener.mean(), 0)
    assert np.allclose(by_listener.std(ddof=0), 1)
    half = table["listener"] < "simulated-017"
    other = table.assign(OVL=table["OVL"].where(half, 0.3 * table["OVL"] + 60))
    assert np.allclose(z_scores(other)["OVL"], z["OVL"])
    assert (z_scores(table.assign(REL=50.0))["REL"] == 0).all()
    assert system_rows(z)["ours"].abs().max() < 2


def test_agreement_of_the_example_of_shrout_and_fleiss():
    """Six subjects, four judges: ICC(2,1) = .29, ICC(2,4) = .62 (Shrout and Fleiss 1979, tables 2 and 4)."""
    ratings = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])
    assert _icc(ratings) == {"one": pytest.approx(0.29, abs=0.005), "mean of all": pytest.approx(0.62, abs=0.005)}


def test_agreement_of_those_who_agree_and_of_chance(table):
    rng = np.random.default_rng(0)
    same = table.assign(OVL=table.groupby("file")["OVL"].transform("mean"), REL=rng.uniform(0, 100, len(table)))
    rows = agreement(same).set_index(["metric", "row"])["ours"]
    assert rows["OVL"].tolist() == pytest.approx([1, 1])
    assert abs(rows["REL", "one"]) < 0.03


def test_one_listener_or_one_type_tells_no_spread(table):
    for few in (table[table["listener"] == "simulated-001"], table[table["type"] == "type 1"]):
        for over in ("both", "listeners"):
            assert difference_rows(few, over)[["low", "high"]].isna().all(axis=None)
            assert system_rows(few, over)["ours"].notna().all()
        with pytest.raises(UserError, match=r"two of each are needed"):
            number_needed(few, 5)
    assert agreement(table[table["listener"] == "simulated-001"])["ours"].isna().all()


def test_the_number_needed_is_what_makes_the_estimate_sharp_enough(table):
    """With as many types as it says, the spread of the estimated difference is difference / (1.96 + 0.84)."""
    many = table_of(seed=5, key=key_of(150))
    listeners = int(many["listener"].nunique())
    needed = number_needed(many, 10.0).set_index(["row", "metric"])["types"]
    types = int(needed["LungLDM − AudioLDM", "OVL"])
    drawn = [
        difference_rows(table_of(s, key_of(types), listeners), n_resamples=1)["ours"] for s in range(50)
    ]  # of three pairs and two scales
    spread = np.std(np.array(drawn), axis=0).mean()
    assert spread == pytest.approx(10 / (1.96 + 0.842), rel=0.2)
    small = number_needed(table, 2.0)
    assert small["listeners"].isna().all()  # thirteen types cannot show two points, however many listen
    assert (number_needed(table, 12.0)["listeners"] < 34).all()
    assert (number_needed(table, 8.0, power=0.95)["types"] > number_needed(table, 8.0)["types"]).all()
