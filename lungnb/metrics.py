"""Scores, each under the name of who defined it, and intervals that know patients are the unit of evidence."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import bootstrap


def sensitivity(label: np.ndarray, predicted: np.ndarray) -> float:
    """Se = exact-class hits over the abnormal classes / all abnormal events (label 0 is normal); NaN without any.

    A crackle called "wheeze" is a miss. RespireNet, section III; the Conv-LSTM paper, section 4.2.
    """
    abnormal = np.asarray(label) > 0
    return _ratio((np.asarray(predicted) == label)[abnormal].sum(), abnormal.sum())


def specificity(label: np.ndarray, predicted: np.ndarray) -> float:
    """Sp = normal events called normal / all normal events; NaN without any."""
    normal = np.asarray(label) == 0
    return _ratio((np.asarray(predicted) == label)[normal].sum(), normal.sum())


def icbhi_score(se: float, sp: float) -> float:
    """Score = (Se + Sp) / 2 (RespireNet, section III)."""
    return (se + sp) / 2


def scores(label: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Sp, Se and Score, as fractions."""
    se, sp = sensitivity(label, predicted), specificity(label, predicted)
    return {"Sp": sp, "Se": se, "Score": icbhi_score(se, sp)}


def bootstrap_scores(predictions: pd.DataFrame, seed: int = 0, n_resamples: int = 2000) -> pd.DataFrame:
    """95 % percentile intervals of `scores` when whole patients are drawn anew: columns low, high; rows Sp, Se, Score.

    predictions: columns patient, label, predicted. Cycles of one patient are alike, so drawing cycles would make the
    intervals far too narrow. A draw without a normal or an abnormal event counts for neither bound.
    """
    hit = predictions["label"] == predictions["predicted"]
    normal = predictions["label"] == 0
    counts = pd.DataFrame({"a": hit & ~normal, "b": ~normal, "c": hit & normal, "d": normal})
    per_patient = counts.groupby(predictions["patient"].to_numpy()).sum().to_numpy().T.astype(float)
    if per_patient.shape[1] < 2:
        return pd.DataFrame({"low": np.nan, "high": np.nan}, index=["Sp", "Se", "Score"])

    def statistic(a, b, c, d, axis=-1):
        with np.errstate(invalid="ignore"):
            se, sp = a.sum(axis) / b.sum(axis), c.sum(axis) / d.sum(axis)
        return np.stack([sp, se, icbhi_score(se, sp)])

    drawn = bootstrap(
        tuple(per_patient),
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=n_resamples,
        method="percentile",
        rng=seed,
    ).bootstrap_distribution
    finite = [row[np.isfinite(row)] for row in drawn]
    bounds = [np.percentile(row, [2.5, 97.5]) if len(row) else (np.nan, np.nan) for row in finite]
    return pd.DataFrame(bounds, columns=["low", "high"], index=["Sp", "Se", "Score"])


def _ratio(hits: int, of: int) -> float:
    return float(hits / of) if of else float("nan")


def score_rows(row: str, predictions: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """`scores` in percent as rows of a comparison: one frame of predictions a seed -> row, metric, ours, sd, n_seeds, low, high.

    ours and sd are over seeds; low and high are the interval over patients with the seeds' predictions pooled.
    """
    each = pd.DataFrame([scores(p["label"], p["predicted"]) for p in predictions]) * 100
    interval = bootstrap_scores(pd.concat(predictions)) * 100
    return pd.DataFrame(
        {
            "row": row,
            "metric": each.columns,
            "ours": each.mean().to_numpy(),
            "sd": each.std().to_numpy(),
            "n_seeds": len(each),
            **interval.loc[each.columns].to_dict("list"),
        }
    )
