"""Calibration against planted probabilities and a loop by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from lungnb.metrics import columns_of
from lungnb.metrics.calibration import (
    calibration_error,
    least_probabilities,
    reliability,
    temperature,
    tempered,
)
from lungnb.metrics.uncertainty import risk_coverage


def answers(t=1.0, n=20000, seed=0):
    """Labels drawn from softmax(z), and probabilities softmax(z / t): t = 1 is calibrated, t < 1 is too sure."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 2, (n, 4))
    true = softmax(z, axis=1)
    label = (true.cumsum(1) > rng.random((n, 1))).argmax(1)
    return pd.DataFrame(softmax(z / t, axis=1)).add_prefix("p").assign(label=label)


def test_the_error_is_that_of_a_loop():
    table = answers(0.5, n=500)
    bins = [[] for _ in range(10)]
    for *p, label in table[["p0", "p1", "p2", "p3", "label"]].itertuples(index=False):
        bins[min(int(max(p) * 10), 9)].append((max(p), p.index(max(p)) == label))
    by_hand = sum(abs(sum(c for c, _ in b) - sum(right for _, right in b)) for b in bins) / 500
    assert calibration_error(table) == pytest.approx(by_hand, abs=1e-9)


def test_a_planted_temperature_is_found_and_mends_the_error():
    table = answers(0.5)
    t = temperature([table.iloc[::2], table.iloc[1::2]])
    assert t == pytest.approx(2.0, rel=0.05)
    other = answers(0.5, seed=1)
    assert calibration_error(other) > 0.1
    assert calibration_error(tempered(other, t)) < 0.02
    before, after = (x.filter(regex=r"^p").to_numpy().argmax(1) for x in (other, tempered(other, t)))
    assert (before == after).all()


def test_calibrated_answers_lie_on_the_diagonal():
    bins = reliability(answers())
    assert bins["n"].sum() == 20000
    many = bins[bins["n"] > 1000]
    assert len(many) > 4
    assert (many["confidence"] - many["accuracy"]).abs().max() < 0.03


def test_abstaining_lowers_the_risk_and_all_answers_have_the_error_rate():
    table = answers()
    p = columns_of(table)
    wrong = p.argmax(1) != table["label"]
    coverage, risk = risk_coverage(wrong, -p.max(1))
    assert risk[-1] == pytest.approx(wrong.mean())
    assert coverage[-1] == 1
    at = [risk[int(20000 * c) - 1] for c in (0.25, 0.5, 1)]
    assert at[0] < at[1] < at[2]


def test_the_set_holds_the_class_of_as_many_events_as_promised():
    """Children who differ: of new ones drawn alike, 90 % of normal and of adventitious events have their class in the set."""

    def events(rng, n_children):
        child = np.repeat(np.arange(n_children), rng.integers(5, 40, n_children))
        label = (rng.random(len(child)) < 0.3).astype(int)
        margin = rng.normal(1.0, 1.5, n_children)[child] + rng.normal(0, 1, len(child))
        p = 1 / (1 + np.exp(-np.where(label == 1, margin - 1, margin)))
        p1 = np.where(label == 1, p, 1 - p)
        return pd.DataFrame({"patient": child.astype(str), "label": label, "p0": 1 - p1, "p1": p1})

    inside = np.zeros(2)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        least = least_probabilities(events(rng, 60))
        new = events(rng, 200)
        p = new[["p0", "p1"]].to_numpy()[range(len(new)), new["label"]]
        held = pd.Series(p >= least[new["label"]])
        for label in (0, 1):  # an event of a child, each child alike
            here = new["label"] == label
            inside[label] += held[here].groupby(new["patient"][here]).mean().mean() / 40
    assert (inside > 0.88).all()
    assert (inside < 0.94).all()
    few = events(np.random.default_rng(0), 5)
    assert (least_probabilities(few) == 0).all()  # five children can exclude nothing
