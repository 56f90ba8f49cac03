"""Whether a probability means what it says: reliability, its error, a temperature that mends it, and what abstaining gains.

Predictions are tables as in `lungnb.metrics.classification`, one a training seed, with probabilities p0, p1, ...; the
confidence of an event is the largest of its probabilities.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from lungnb.metrics import columns_of, probability_columns


def reliability(table: pd.DataFrame, n_bins: int = 10) -> pd.DataFrame:
    """Of equally wide bins of confidence that hold an event: n, confidence and accuracy, the means over its events."""
    p = columns_of(table)
    right = p.argmax(1) == table["label"].to_numpy()
    frame = pd.DataFrame({"confidence": p.max(1), "accuracy": right.astype(float)})
    number = np.minimum((frame["confidence"] * n_bins).astype(int), n_bins - 1)
    bins = frame.groupby(number.to_numpy())
    return bins.mean().assign(n=bins.size()).reset_index(drop=True)


def calibration_error(table: pd.DataFrame, n_bins: int = 10) -> float:
    """Expected calibration error: the mean distance of confidence and accuracy over the bins, weighted by their events (Guo et
    al. 2017, On Calibration of Modern Neural Networks, Eq. 3)."""
    bins = reliability(table, n_bins)
    return float(np.average((bins["confidence"] - bins["accuracy"]).abs(), weights=bins["n"]))


def temperature(tables: Sequence[pd.DataFrame]) -> float:
    """The T by which logits are to be divided so that the events of `tables` are most likely (Guo et al. 2017, section 4.2).

    It has to be found on other patients than it is judged on.
    """
    logits = np.log(np.concatenate([columns_of(t) for t in tables]).clip(1e-7))
    label = np.concatenate([t["label"].to_numpy(int) for t in tables])

    def loss(log_t: float) -> float:
        return -log_softmax(logits / np.exp(log_t), axis=1)[np.arange(len(label)), label].mean()

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def tempered(table: pd.DataFrame, t: float) -> pd.DataFrame:
    """`table` with its logits divided by `t`; the most probable class stays."""
    p = softmax(np.log(columns_of(table).clip(1e-7)) / t, axis=1)
    return table.assign(**{f"p{k}": p[:, k] for k in range(p.shape[1])})


def least_probabilities(table: pd.DataFrame, missed: float = 0.1) -> np.ndarray:
    """What each class (C,) has to have at least to be in a conformal set that leaves out the true class of a share `missed` of
    the events: one number for the first class, one for all others (Dunn et al. 2022, Distribution-Free Prediction Sets for
    Two-Layer Hierarchical Models).

    table: predictions of events of children left out, `patient`, `label`, p0, p1, ... Each child has one vote, shared by its
    events, and the child to come a vote for anything at all; 0 where the children are too few to exclude a class.
    """
    found = []
    for own in (table[table["label"] == 0], table[table["label"] > 0]):
        p, n_votes = (
            own[probability_columns(own)].to_numpy()[range(len(own)), own["label"]],
            own["patient"].nunique() + 1,
        )
        vote = 1 / own.groupby("patient")["patient"].transform("size").to_numpy() / n_votes
        order = np.argsort(p)
        below = 1 / n_votes + vote[order].cumsum() - vote[order]
        found.append(p[order][below <= missed].max(initial=0.0))
    return np.array([found[0], *[found[1]] * (len(probability_columns(table)) - 1)])
