"""Sentences say what the numbers carry and no more."""

import pandas as pd
import pytest

from lungnb.book import sentences

GAIN = {"ours": 0.045, "low": 0.018, "high": 0.072, "n_seeds": 5, "n_patients": 85, "p": 0.002, "n_compared": 6}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "A is better than B: +0.045 in Score [+0.018, +0.072]."),
        ({"ours": -0.045, "low": -0.072, "high": -0.018}, "A is worse than B: -0.045 in Score [-0.072, -0.018]."),
        (
            {"p": 0.061},
            "A against B: +0.045 in Score [+0.018, +0.072]. Alone this interval excludes 0; corrected for 6 comparisons, "
            "p = 0.061, the difference is not established.",
        ),
        ({"p": 0.3, "low": -0.01}, "A and B cannot be told apart: +0.045 in Score [-0.010, +0.072]."),
        ({"p": float("nan")}, "A is better than B"),
        ({"n_seeds": 2}, "of 2 seeds, 85 patients, which are too few to tell."),
        (
            {"n_patients": 4, "low": float("nan"), "high": float("nan")},
            "of 5 seeds, 4 patients, which are too few to tell.",
        ),
    ],
)
def test_a_difference_is_called_one_only_where_it_is_carried(change, said):
    assert said in sentences.difference("A", "B", pd.Series(GAIN | change))


def test_a_value_without_interval_says_so():
    assert sentences.value(GAIN) == "0.045 [0.018, 0.072] (5 seeds, 85 patients)"
    assert "too few for an interval" in sentences.value(GAIN | {"low": float("nan")})


def test_a_value_says_of_how_many_patients_the_smaller_class_is():
    said = sentences.value(GAIN | {"n_all": 230})
    assert said == "0.045 [0.018, 0.072] (5 seeds, 85 patients in the smaller class, of 230)"
    assert sentences.value(GAIN | {"n_all": 85}) == sentences.value(GAIN)
    assert (
        sentences.counts({"n_seeds": 1, "n_patients": 1, "n_all": 3}) == "1 seed, 1 patient in the smaller class, of 3"
    )
