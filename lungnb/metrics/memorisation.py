"""Whether generated clips were learnt by heart: how near they come to training clips, against clips of strangers."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from scipy.stats import binomtest
from sklearn.neighbors import NearestNeighbors
from torch import nn

from lungnb.metrics.fidelity import duplicates

HELD_OUT = "held-out"
PERCENTILES = (1, 5)
STANDS_OUT = "stands out more than 5 % of held-out"


def coarse(log_mel: torch.Tensor) -> np.ndarray:
    """Log-mels (N, 1, frames, 64) averaged over 4 x 4 cells, so that the grain of noise does not count: (N, frames * 4)."""
    return np.concatenate([nn.functional.avg_pool2d(x.float(), 4).flatten(1).numpy() for x in log_mel.split(256)])


def near_training(training: np.ndarray, held_out: np.ndarray, sets: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """How near each clip of `sets` comes to the training clips, and each held-out clip, all embedded alike (n, dims).

    Columns clips (the name of its set, or "held-out"), place (its row there), nearest (the row in training), distance (to
    that, RMS over dims) and ratio, the distance over that to the next nearest. Whatever moves a clip as a whole away from all
    others, such as blur, makes the distance of a copy large, but leaves it one clip to which it is much nearer than to any other.
    Duplicates among the training clips are set aside; held_out shares no patient with training.
    """
    distinct = np.unique(duplicates(training))
    search = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(training[distinct])
    parts = []
    for name, clips in {**sets, HELD_OUT: held_out}.items():
        distance, at = search.kneighbors(clips)
        columns = {"distance": distance[:, 0] / np.sqrt(clips.shape[1]), "ratio": distance[:, 0] / distance[:, 1]}
        parts.append(
            pd.DataFrame({"clips": name, "place": np.arange(len(clips)), "nearest": distinct[at[:, 0]], **columns})
        )
    return pd.concat(parts, ignore_index=True)


def nearer(near: pd.DataFrame) -> pd.DataFrame:
    """Of each set the median distance, and which share lies nearer to training, or stands out more, than held-out clips do.

    row (the set), metric, ours, low, high: Wilson's 95 % interval of a share. Clips that are no copies have shares of about
    PERCENTILES (nearer: smaller distance; STANDS_OUT: smaller ratio than 5 % of held-out clips have); copies have about 1.
    """
    held_out, rows = near[near["clips"] == HELD_OUT], []
    tests = {f"nearer than {p} % of held-out": ("distance", p) for p in PERCENTILES} | {STANDS_OUT: ("ratio", 5)}
    for name, group in near.groupby("clips", sort=False):
        rows.append({"row": name, "metric": "median distance", "ours": group["distance"].median()})
        for metric, (column, percentile) in tests.items():
            n = int((group[column] < np.percentile(held_out[column], percentile)).sum())
            interval = binomtest(n, len(group)).proportion_ci(method="wilson")
            share = {"ours": n / len(group), "low": interval.low, "high": interval.high}
            rows.append({"row": name, "metric": metric, **share})
    return pd.DataFrame(rows)
