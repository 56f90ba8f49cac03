"""Means of what single sounds score, over training seeds and patients, with the interval of `lungnb.metrics.intervals`."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lungnb.metrics.intervals import draw, interval, p_value


def mean_over_sounds(values: pd.DataFrame, metrics: Sequence[str], signed: Sequence[str] = ()) -> pd.DataFrame:
    """A row a metric: ours, sd, n_seeds, n_patients, n_sounds, low, high.

    values: columns seed, event, patient and the metrics; NaN is left out. Of each seed the mean over its own sounds, of these the
    mean over seeds: one network may get sounds right that another does not. n_sounds, n_patients: of any seed. A metric is a
    share, between 0 and 1, or `signed`, between -1 and 1.
    """
    drawn, n_patients = _drawn(values, metrics)
    low, high = interval(drawn, n_patients, (np.where(np.isin(metrics, signed), -1.0, 0.0), 1.0))
    known = np.isfinite(values[list(metrics)].to_numpy(float))
    n_sounds = [values["event"][here].nunique() for here in known.T]
    table = {"ours": drawn[:, 0].mean(0), "sd": pd.DataFrame(drawn[:, 0]).std().to_numpy(), "n_seeds": len(drawn)}
    table |= {"n_patients": n_patients, "n_sounds": n_sounds, "low": low, "high": high}
    return pd.DataFrame(table, index=pd.Index(metrics, name="metric"))


def gain_over_sounds(one: pd.DataFrame, other: pd.DataFrame) -> dict[str, float]:
    """By how much the sounds of `one` have a greater `value` than the same sounds have in `other`, seed by seed: a line of
    `mean_over_sounds`, and p, two-sided, that it is nothing. Both: columns seed, event, patient, value."""
    both = one.merge(other[["seed", "event", "value"]], on=["seed", "event"], suffixes=("", " other"))
    both = both.assign(value=both["value"] - both["value other"])
    if both["value"].notna().sum() == 0:
        return dict.fromkeys(("ours", "sd", "low", "high", "p"), np.nan) | {
            "n_seeds": 0,
            "n_patients": 0,
            "n_sounds": 0,
        }
    line = mean_over_sounds(both, ["value"], ["value"]).loc["value"]
    drawn, n_patients = _drawn(both, ["value"])
    return line.to_dict() | {"p": float(p_value(drawn, n_patients)[0])}


def _drawn(values: pd.DataFrame, metrics: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Means (seeds, 1 + drawings, metrics), each patient once and then as drawn, and of how many patients each metric is."""
    names, of = np.unique(values["patient"].to_numpy(str), return_inverse=True)
    times, numbers, seeds = draw(len(names)), values[list(metrics)].to_numpy(float), values["seed"].to_numpy()
    known, drawn, has = np.isfinite(numbers), [], np.zeros((len(names), len(metrics)), dtype=bool)
    for seed in np.unique(seeds):
        here = seeds == seed
        sums = np.zeros((2, len(names), len(metrics)))
        np.add.at(sums[0], of[here], np.where(known, numbers, 0)[here])
        np.add.at(sums[1], of[here], known[here])
        has |= sums[1] > 0
        with np.errstate(invalid="ignore"):
            drawn.append((times @ sums[0]) / (times @ sums[1]))
    return np.stack(drawn), has.sum(axis=0)
