"""One set of scores for all classifiers, their intervals over patients, and the comparison of two on the same patients.

What a score needs of a patient is a table of counts and, for AUROC, a table of who is ranked above whom. So drawing patients
anew, which is what the intervals are about, is a product of matrices and not a loop over events.

Predictions: one row a scored event or patient, columns patient, label and predicted (class indices, 0 is normal), and p0, p1,
... Several tables are several seeds: a score is the mean over them, in each drawing too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lungnb.core import UserError
from lungnb.metrics.classification import biocas_scores

METRICS = ["Se", "Sp", "AS", "HS", "Score", "balanced accuracy", "macro F1", "AUROC"]


@dataclass(frozen=True)
class Tally:
    """patients: (P,) names. confusion: (P, C, C) by label and prediction. above: (P, P), how many pairs of an abnormal event
    of the one and a normal event of the other are in the right order of p(abnormal), a tie being half."""

    patients: np.ndarray
    confusion: np.ndarray
    above: np.ndarray


def tally(predictions: pd.DataFrame) -> Tally:
    """What `metrics` needs to know of `predictions`."""
    names, patient = np.unique(predictions["patient"].to_numpy(str), return_inverse=True)
    label, predicted = (predictions[c].to_numpy(int) for c in ("label", "predicted"))
    n_classes = len(_probabilities(predictions))
    confusion = np.zeros((len(names), n_classes, n_classes))
    np.add.at(confusion, (patient, label, predicted), 1)
    p = 1 - predictions["p0"].to_numpy(float)
    sick = label > 0
    pairs = (p[sick][:, None] > p[~sick]) + 0.5 * (p[sick][:, None] == p[~sick])
    of = np.eye(len(names))[patient]  # (N, P)
    return Tally(names, confusion, of[sick].T @ pairs @ of[~sick])


def metrics(tally: Tally, times: np.ndarray | None = None) -> np.ndarray:
    """METRICS (R, 8) where each patient counts `times` (R, P), else once (1, 8). What has no event to be of is NaN.

    Se is exact-class recall over all abnormal events, Score the BioCAS challenge's (AS + HS) / 2. Balanced accuracy and macro
    F1 are means over the classes that have an event. AUROC is of p(abnormal) = 1 - p0, normal against all else.
    """
    times = np.ones((1, len(tally.patients))) if times is None else times.astype(float)
    confusion = np.einsum("rp,pij->rij", times, tally.confusion)
    of_label, of_guess, hits = confusion.sum(2), confusion.sum(1), np.diagonal(confusion, axis1=1, axis2=2)
    normal, abnormal = of_label[:, 0], of_label[:, 1:].sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = biocas_scores(hits[:, 1:].sum(1) / abnormal, hits[:, 0] / normal)
        there = of_label > 0
        recall = np.where(there, hits / of_label, 0).sum(1) / there.sum(1)
        f1 = np.where(there, 2 * hits / (of_label + of_guess), 0).sum(1) / there.sum(1)
        auroc = np.einsum("rp,pq,rq->r", times, tally.above, times, optimize=True) / (abnormal * normal)
    return np.stack([*(scores[name] for name in METRICS[:5]), recall, f1, auroc], axis=1)


def evaluate(predictions: Sequence[pd.DataFrame], n_resamples: int = 1000) -> pd.DataFrame:
    """The scores of one model, one table of predictions a seed: metric, ours, sd, n_seeds, low, high.

    ours and sd are over seeds; low and high bound the middle 95 % of the means over seeds when patients are drawn anew.
    """
    tallies = [tally(p) for p in predictions]
    each = pd.DataFrame(np.concatenate([metrics(t) for t in tallies]), columns=METRICS)
    low, high = _bounds(_drawn(tallies, n_resamples))
    columns = {"ours": each.mean().to_numpy(), "sd": each.std().to_numpy(), "n_seeds": len(each)}
    return pd.DataFrame({"metric": METRICS, **columns, "low": low, "high": high})


def paired(one: Sequence[pd.DataFrame], other: Sequence[pd.DataFrame], n_resamples: int = 1000) -> pd.DataFrame:
    """How much better `one` is than `other` on the same events: metric, ours (the difference), low, high, ahead.

    The same patients are drawn for both, so that what is hard about a patient cancels; ahead is the share of drawings in
    which `one` is better, a tie being half. Raises UserError if the two were not asked about the same events.
    """
    first, second = ([tally(p) for p in side] for side in (one, other))
    asked = [(t.patients.tolist(), t.confusion.sum(2).tolist()) for t in (*first, *second)]
    if any(a != asked[0] for a in asked):
        raise UserError(
            "Two models can be compared on the same events only; give both the same task, fold, split and unit."
        )
    ours = np.mean([metrics(t)[0] for t in first], axis=0) - np.mean([metrics(t)[0] for t in second], axis=0)
    drawn = _drawn(first, n_resamples) - _drawn(second, n_resamples)
    low, high = _bounds(drawn)
    ahead = np.nanmean(np.where(np.isnan(drawn), np.nan, (drawn > 0) + 0.5 * (drawn == 0)), axis=0)
    return pd.DataFrame({"metric": METRICS, "ours": ours, "low": low, "high": high, "ahead": ahead})


def _drawn(tallies: Sequence[Tally], n_resamples: int) -> np.ndarray:
    """(R, 8): means over `tallies` of the scores when their patients are drawn anew, always in the same drawings."""
    n = len(tallies[0].patients)
    times = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), n_resamples)
    return np.mean([metrics(t, times) for t in tallies], axis=0)


def _bounds(drawn: np.ndarray) -> np.ndarray:
    """The 2.5th and 97.5th percentile (2, 8) of the drawings in which the score is a number."""
    finite = [column[np.isfinite(column)] for column in drawn.T]
    return np.array([np.percentile(x, [2.5, 97.5]) if len(x) else (np.nan, np.nan) for x in finite]).T


def _probabilities(predictions: pd.DataFrame) -> list[str]:
    return [c for c in predictions.columns if c[0] == "p" and c[1:].isdigit()]
