"""Thresholds: chosen on other patients, and worth what a shifted scale has cost."""

import numpy as np
import pandas as pd
import pytest

from lungnb.metrics.classification import table_scores
from lungnb.metrics.thresholds import best_threshold, decided, reset_by_folds


def table(n=400, shift=0.0, seed=0):
    """Events of 40 patients in 5 folds, three classes; p(abnormal) tells normal from abnormal well, on a shifted scale."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, n)
    p = 1 / (1 + np.exp(-(2 * (label > 0) - 1 + rng.normal(size=n) + shift)))
    right = np.where(rng.random(n) < 0.9, label, 3 - label)  # of the abnormal ones, what they are called
    frame = pd.DataFrame({"patient": np.arange(n) % 40, "label": label, "p0": 1 - p}).astype({"patient": str})
    frame["p1"], frame["p2"] = np.where(right == 2, 0.2, 0.8) * p, np.where(right == 2, 0.8, 0.2) * p
    frame["fold"] = frame["patient"].astype(int) % 5
    return frame.assign(predicted=frame[["p0", "p1", "p2"]].to_numpy().argmax(1))


def test_a_threshold_by_hand():
    four = pd.DataFrame({"patient": "a", "label": [0, 0, 1, 1], "p0": [0.9, 0.4, 0.5, 0.1], "p1": [0.1, 0.6, 0.5, 0.9]})
    assert best_threshold(four) == pytest.approx((0.1 + 0.5) / 2)  # ties with .75: the lowest that gives AS .75
    assert decided(four, 0.55)["predicted"].tolist() == [0, 1, 0, 1]
    assert decided(four, np.array([0, 1, 1, 1.0]))["predicted"].tolist() == [1, 0, 0, 0]


def test_no_other_threshold_is_better():
    one = table(seed=3)
    best = table_scores(decided(one, best_threshold(one)))["AS"]
    assert best == pytest.approx(max(table_scores(decided(one, t))["AS"] for t in np.r_[-1, np.sort(1 - one["p0"]), 2]))


def test_equal_probabilities_are_not_told_apart():
    same = pd.DataFrame({"patient": "a", "label": [0, 1, 1], "p0": 0.5, "p1": 0.5})
    assert table_scores(decided(same, best_threshold(same)))["AS"] == 0.5


def test_a_shift_costs_the_threshold_and_not_the_ranking():
    home, abroad = table(2000), table(2000, shift=4.0)
    assert table_scores(abroad)["AUROC"] == pytest.approx(table_scores(home)["AUROC"])
    assert table_scores(abroad)["AS"] < table_scores(home)["AS"] - 0.1
    again = reset_by_folds(abroad)
    assert table_scores(again)["AS"] == pytest.approx(table_scores(reset_by_folds(home))["AS"], abs=0.01)
    assert again["p0"].equals(abroad["p0"])


def test_no_patient_chooses_its_own_threshold():
    one = table()
    other = one.copy()
    own = other["fold"] == 2
    other.loc[own, "label"] = (other.loc[own, "label"] + 1) % 3
    changed = reset_by_folds(one)["predicted"] != reset_by_folds(other)["predicted"]
    assert not changed[own].any()
