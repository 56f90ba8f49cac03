"""Where a network's decision lies on its own scale, told apart from how well that scale ranks.

AUROC asks only whether abnormal events are ranked above normal ones. AS also needs a threshold, and one that was right where a
network was trained may be wrong elsewhere, where other sounds are as frequent. Predictions are tables as in
`lungnb.metrics.classification`.
"""

import numpy as np
import pandas as pd

from lungnb.metrics import probability_columns
from lungnb.metrics.classification import average_score


def decided(table: pd.DataFrame, threshold: float | np.ndarray) -> pd.DataFrame:
    """`table` with its events called normal unless p(abnormal) = 1 - p0 is above `threshold`, one for all or one an event; then
    as the most probable abnormal class."""
    p = table[probability_columns(table)].to_numpy(float)
    return table.assign(predicted=np.where(1 - p[:, 0] > threshold, 1 + p[:, 1:].argmax(1), 0))


def best_threshold(table: pd.DataFrame) -> float:
    """The threshold of p(abnormal) with the highest AS on the events of `table`, half way between two of them."""
    p, label = 1 - table["p0"].to_numpy(float), table["label"].to_numpy(int)
    hit = decided(table, -1.0)["predicted"].to_numpy() == label  # a wrong name stays wrong at any threshold
    order = np.argsort(p)
    found = np.append(0, np.cumsum((hit & (label > 0))[order]))
    normal = np.append(0, np.cumsum((label == 0)[order]))
    score = average_score((found[-1] - found) / max((label > 0).sum(), 1), normal / max((label == 0).sum(), 1))
    ends = np.concatenate([[-1.0], p[order], [2.0]])
    middle = (ends[:-1] + ends[1:]) / 2
    score[1:-1][np.diff(p[order]) == 0] = -1.0  # no threshold tells two equal ones apart
    return float(middle[score.argmax()])


def reset_by_folds(table: pd.DataFrame) -> pd.DataFrame:
    """`table` decided anew: the events of each fold (column `fold`) by the threshold that is best on the patients of the others.

    No patient takes part in the choice of a threshold that it is tested at."""
    threshold = np.empty(len(table))
    for fold, own in table.groupby("fold"):
        others = table[(table["fold"] != fold) & ~table["patient"].isin(own["patient"])]
        threshold[(table["fold"] == fold).to_numpy()] = best_threshold(others)
    return decided(table, threshold)
