"""Planted effects of seeds and patients are covered as often as promised; too few patients have no interval."""

import functools
from statistics import NormalDist

import numpy as np
import pytest

from lungnb.metrics.intervals import draw, holm, interval, p_value, standard_errors, unpaired


def experiment(rng, n_seeds, n_patients, patient_sd, seed_sd, both_sd, mean=1.0):
    """Hits and events (seeds, patients, 2 kinds) of networks and patients who each have an effect on the log odds.

    A patient's events are mostly of one kind, as those of the ill and of the healthy are.
    """
    n = rng.integers(5, 40, n_patients)
    ill = rng.binomial(n, rng.beta(0.7, 0.7, n_patients))
    events = np.stack([ill, n - ill], axis=1)
    patient, seed = rng.normal(0, patient_sd, (n_patients, 1)), rng.normal(0, seed_sd, (n_seeds, 1, 2))
    odds = mean + patient + seed + rng.normal(0, both_sd, (n_seeds, n_patients, 2))
    return rng.binomial(events, 1 / (1 + np.exp(-odds))), events


def average_score(hits, events, times):
    """(seeds, drawings, 1): the mean of both kinds' recall."""
    with np.errstate(invalid="ignore"):
        return (np.einsum("rp,spk->srk", times, hits) / (times @ events)).mean(-1, keepdims=True)


EFFECTS = {
    "patients": (1.0, 0.0, 0.3),
    "seeds": (0.3, 0.8, 0.3),
    "both": (1.0, 0.5, 0.5),
}


@functools.cache
def truth_of(effects):
    """The score of very many seeds and patients."""
    return average_score(*experiment(np.random.default_rng(1), 300, 6000, *effects), np.ones((1, 6000))).mean()


@pytest.mark.parametrize("n_patients", [10, 25, 60])
@pytest.mark.parametrize("n_seeds", [3, 5])
@pytest.mark.parametrize("effects", EFFECTS.values(), ids=EFFECTS)
@pytest.mark.train
def test_the_truth_is_covered_as_often_as_promised(effects, n_seeds, n_patients):
    truth = truth_of(effects)
    rng, inside = np.random.default_rng([n_seeds, n_patients]), []
    for k in range(400):
        drawn = average_score(*experiment(rng, n_seeds, n_patients, *effects), draw(n_patients, 200, seed=k))
        low, high = interval(drawn, n_patients)[:, 0]
        inside.append(low <= truth <= high)
    assert 0.90 <= np.mean(inside) <= 0.98


def test_patients_alone_would_promise_too_much():
    """What the percentiles over patients gave, seeds averaged: the reason for this module."""
    effects = EFFECTS["seeds"]
    truth = truth_of(effects)
    rng, inside = np.random.default_rng(0), []
    for k in range(300):
        drawn = average_score(*experiment(rng, 3, 60, *effects), draw(60, 200, seed=k))
        low, high = np.percentile(drawn[:, 1:, 0].mean(0), [2.5, 97.5])
        inside.append(low <= truth <= high)
    assert np.mean(inside) < 0.8


def test_many_seeds_and_patients_give_the_normal_interval():
    rng = np.random.default_rng(0)
    of_patient, of_seed = rng.normal(0, 1, 2000), rng.normal(0, 0.1, 500)
    times = draw(2000, 400)
    drawn = ((times @ of_patient / 2000)[None] + of_seed[:, None])[..., None]
    low, high = interval(drawn, 2000)[:, 0]
    expected = NormalDist().inv_cdf(0.975) * np.sqrt(1 / 2000 + 0.01 / 500)
    assert (high - low) / 2 == pytest.approx(expected, rel=0.08)


def test_one_seed_has_the_interval_of_its_patients_and_few_patients_have_none():
    values = np.random.default_rng(0).normal(0, 1, 40)
    drawn = (draw(40, 4000) @ values / 40)[None, :, None]
    of_patients, of_seeds = standard_errors(drawn, 40)[:, 0]
    assert of_patients == pytest.approx(values.std(ddof=1) / np.sqrt(40), rel=0.05)
    assert of_seeds == 0
    assert np.isnan(interval(drawn, 5)).all()
    assert np.isnan(p_value(drawn, 5)).all()


def test_drawings_without_the_score_do_not_count_and_bounds_hold():
    drawn = np.array([[[0.9, np.nan], [0.7, np.nan], [1.0, np.nan], [np.nan, np.nan]]])
    low, high = interval(drawn, 8, bounds=(0, 1))
    assert low[0] > 0
    assert high[0] == 1
    assert np.isnan([low[1], high[1]]).all()
    assert interval(np.full((3, 5, 1), 0.4), 8)[:, 0] == pytest.approx([0.4, 0.4])


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.6])
def test_p_is_below_a_twentieth_where_the_interval_leaves_out_nought(shift):
    rng = np.random.default_rng(3)
    for _ in range(50):
        drawn = shift + (draw(12, 200) @ rng.normal(0, 1, (12, 3)) / 12).T[..., None]
        low, high = interval(drawn, 12)[:, 0]
        assert (p_value(drawn, 12)[0] < 0.05) == (low > 0 or high < 0)


def test_a_difference_of_two_groups_is_covered_and_unknown_where_one_is():
    rng, covered = np.random.default_rng(4), 0
    for _ in range(200):
        groups = []
        for mean, n in ((0.7, 20), (0.4, 35)):
            drawn = mean + (draw(n, 200) @ rng.normal(0, 0.2, (n, 1)) / n)[None]
            low, high = interval(drawn, n)[:, 0]
            groups.append({"ours": drawn[0, 0, 0], "low": low, "high": high})
        found = unpaired(*groups)
        covered += found["low"] < 0.3 < found["high"]
    assert 180 <= covered <= 198
    assert unpaired({"ours": 0.9, "low": 0.6, "high": 1.0}, {"ours": 0.5, "low": 0.1, "high": 0.8})[
        "low"
    ] == pytest.approx(-0.1)
    assert np.isnan(unpaired(groups[0], {"ours": 0.5, "low": np.nan, "high": np.nan})["low"])


def test_holm_is_the_books_example():
    assert holm([0.01, 0.04, 0.03, np.nan, 0.005]) == pytest.approx([0.03, 0.06, 0.06, np.nan, 0.02], nan_ok=True)
    assert len(holm([])) == 0
