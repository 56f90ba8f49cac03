"""Scores, each under the name of who defined it, and intervals that know patients are the unit of evidence."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import DegenerateDataWarning, bootstrap


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


def average_score(se: float, sp: float) -> float:
    """AS = (Se + Sp) / 2 (BioCAS 2022 challenge; the Conv-LSTM paper, section 4.2)."""
    return (se + sp) / 2


def harmonic_score(se: float, sp: float) -> float:
    """HS = 2 Se Sp / (Se + Sp), 0 if both are 0 (BioCAS 2022 challenge; the Conv-LSTM paper, section 4.2)."""
    return 2 * se * sp / np.where(se + sp == 0, 1, se + sp)


def challenge_score(se: float, sp: float) -> float:
    """Score = (AS + HS) / 2 (BioCAS 2022 challenge)."""
    return (average_score(se, sp) + harmonic_score(se, sp)) / 2


def total_score(se: float, sp: float) -> float:
    """TS = (Se + Sp + AS + HS) / 4 (the Conv-LSTM paper, Eq. 1)."""
    return (se + sp + average_score(se, sp) + harmonic_score(se, sp)) / 4


def icbhi_scores(se: float, sp: float) -> dict[str, float]:
    """Sp, Se and Score, as RespireNet reports them."""
    return {"Sp": sp, "Se": se, "Score": icbhi_score(se, sp)}


def biocas_scores(se: float, sp: float) -> dict[str, float]:
    """Se, Sp, AS, HS, the challenge's Score, and TS by the Conv-LSTM paper's Eq. (1): two averages, two names."""
    named = {"Se": se, "Sp": sp, "AS": average_score(se, sp), "HS": harmonic_score(se, sp)}
    return named | {"Score": challenge_score(se, sp), "TS": total_score(se, sp)}


#: From Se and Sp to everything a paper reports.
Formulas = Callable[[float, float], dict[str, float]]


def scores(label: np.ndarray, predicted: np.ndarray, formulas: Formulas = icbhi_scores) -> dict[str, float]:
    """The scores of `formulas`, as fractions."""
    named = formulas(sensitivity(label, predicted), specificity(label, predicted))
    return {name: float(value) for name, value in named.items()}


def bootstrap_scores(
    predictions: pd.DataFrame, formulas: Formulas = icbhi_scores, seed: int = 0, n_resamples: int = 2000
) -> pd.DataFrame:
    """95 % percentile intervals of `scores` when whole patients are drawn anew: columns low, high; one row a score.

    predictions: columns patient, label, predicted. Cycles of one patient are alike, so drawing cycles would make the
    intervals far too narrow. A draw without a normal or an abnormal event counts for neither bound.
    """
    hit = predictions["label"] == predictions["predicted"]
    normal = predictions["label"] == 0
    counts = pd.DataFrame({"a": hit & ~normal, "b": ~normal, "c": hit & normal, "d": normal})
    per_patient = counts.groupby(predictions["patient"].to_numpy()).sum().to_numpy().T.astype(float)
    names = list(formulas(0.0, 0.0))
    if per_patient.shape[1] < 2:
        return pd.DataFrame({"low": np.nan, "high": np.nan}, index=names)

    def statistic(a, b, c, d, axis=-1):
        with np.errstate(invalid="ignore"):
            se, sp = a.sum(axis) / b.sum(axis), c.sum(axis) / d.sum(axis)
        return np.stack(list(formulas(se, sp).values()))

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DegenerateDataWarning
        )  # of few patients, or all right: the percentiles below stand
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
    return pd.DataFrame(bounds, columns=["low", "high"], index=names)


def _ratio(hits: int, of: int) -> float:
    return float(hits / of) if of else float("nan")


def score_rows(
    row: str, predictions: Sequence[pd.DataFrame], formulas: Formulas = icbhi_scores, unit: float = 100
) -> pd.DataFrame:
    """`scores` as rows of a comparison: one frame of predictions a seed -> row, metric, ours, sd, n_seeds, low, high.

    ours and sd are over seeds; low and high are the interval over patients with the seeds' predictions pooled. unit: 100 for
    percent, 1 for fractions.
    """
    each = pd.DataFrame([scores(p["label"], p["predicted"], formulas) for p in predictions]) * unit
    interval = bootstrap_scores(pd.concat(predictions), formulas) * unit
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


def patient_scores(patients: pd.DataFrame, seed: int = 0, n_resamples: int = 2000) -> pd.DataFrame:
    """Scores of a decision for each patient, with 95 % percentile intervals when the patients are drawn anew.

    patients: one row each, label (1: case) and p (of case; above 0.5 is called a case). Rows accuracy, balanced accuracy,
    sensitivity, specificity, AUROC; columns ours, low, high. A score that lacks one kind of patient is NaN.
    """
    case, p = patients["label"].to_numpy() == 1, patients["p"].to_numpy(float)
    hit, n = (p > 0.5) == case, len(patients)
    times = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), n_resamples)
    times = np.vstack([np.ones(n, dtype=int), times]).astype(float)  # first the patients as they are
    cases, controls = times[:, case], times[:, ~case]
    above = (p[case][:, None] > p[~case]) + 0.5 * (p[case][:, None] == p[~case])
    with np.errstate(invalid="ignore"):
        se, sp = cases @ hit[case] / cases.sum(1), controls @ hit[~case] / controls.sum(1)
        auroc = (cases @ above * controls).sum(1) / (cases.sum(1) * controls.sum(1))
    drawn = {
        "accuracy": times @ hit / n,
        "balanced accuracy": (se + sp) / 2,
        "sensitivity": se,
        "specificity": sp,
        "AUROC": auroc,
    }
    rows = {}
    for name, (value, *others) in drawn.items():
        finite = np.array(others)[np.isfinite(others)]
        rows[name] = (value, *(np.percentile(finite, [2.5, 97.5]) if len(finite) else (np.nan, np.nan)))
    return pd.DataFrame.from_dict(rows, orient="index", columns=["ours", "low", "high"])


def confusion(patients: pd.DataFrame) -> dict[str, float]:
    """TP, TN, FP, FN, accuracy and balanced accuracy of `patient_scores`' table."""
    case, called = patients["label"] == 1, patients["p"] > 0.5
    tp, tn, fp, fn = (int(x.sum()) for x in (case & called, ~case & ~called, ~case & called, case & ~called))
    balanced = (_ratio(tp, tp + fn) + _ratio(tn, tn + fp)) / 2
    counts = {"TP": tp, "TN": tn, "FP": fp, "FN": fn}
    return counts | {"accuracy": (tp + tn) / len(patients), "balanced accuracy": balanced}
