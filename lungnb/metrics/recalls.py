"""Recall by class, with intervals over patients, beside the scores of `lungnb.metrics.evaluate`: predictions are the same tables."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lungnb.metrics.evaluate import Tally, tally

#: Row of a table -> the classes whose mean recall it is.
Groups = Mapping[str, Sequence[int]]


def recalls(predictions: Sequence[pd.DataFrame], groups: Groups, n_resamples: int = 1000) -> pd.DataFrame:
    """Mean recall of each group of classes, one table of predictions a seed: row, ours, sd, n_seeds, low, high.

    ours and sd are over seeds; low and high bound the middle 95 % when patients are drawn anew.
    """
    tallies = [tally(p) for p in predictions]
    each = np.concatenate([recall(t, groups) for t in tallies])
    low, high = _bounds(_drawn(tallies, groups, n_resamples))
    columns = {"ours": each.mean(0), "sd": pd.DataFrame(each).std().to_numpy(), "n_seeds": len(each)}
    return pd.DataFrame({"row": list(groups), **columns, "low": low, "high": high})


def recall_gains(
    one: Sequence[pd.DataFrame], other: Sequence[pd.DataFrame], groups: Groups, n_resamples: int = 1000
) -> pd.DataFrame:
    """How much more `one` finds of each group than `other`, of the same events: row, ours (the difference), low, high.

    The same patients are drawn for both.
    """
    first, second = ([tally(p) for p in side] for side in (one, other))
    ours = np.mean([recall(t, groups)[0] for t in first], axis=0) - np.mean(
        [recall(t, groups)[0] for t in second], axis=0
    )
    low, high = _bounds(_drawn(first, groups, n_resamples) - _drawn(second, groups, n_resamples))
    return pd.DataFrame({"row": list(groups), "ours": ours, "low": low, "high": high})


def recall(tally: Tally, groups: Groups, times: np.ndarray | None = None) -> np.ndarray:
    """(R, G): of each group the mean recall over its classes that have an event, where each patient counts `times` (R, P)."""
    times = np.ones((1, len(tally.patients))) if times is None else times.astype(float)
    confusion = np.einsum("rp,pij->rij", times, tally.confusion)
    of_label = confusion.sum(2)
    there = of_label > 0
    share = np.divide(np.diagonal(confusion, axis1=1, axis2=2), of_label, out=np.zeros_like(of_label), where=there)
    chosen = [list(classes) for classes in groups.values()]
    with np.errstate(invalid="ignore"):
        return np.stack([share[:, k].sum(1) / there[:, k].sum(1) for k in chosen], axis=1)


def _drawn(tallies: Sequence[Tally], groups: Groups, n_resamples: int) -> np.ndarray:
    """(R, G): means over `tallies` when their patients are drawn anew, always in the same drawings."""
    n = len(tallies[0].patients)
    times = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), n_resamples)
    return np.mean([recall(t, groups, times) for t in tallies], axis=0)


def _bounds(drawn: np.ndarray) -> np.ndarray:
    """(2, G), over the drawings in which the group has an event."""
    return np.nanpercentile(drawn, [2.5, 97.5], axis=0)
