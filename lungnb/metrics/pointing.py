"""Is a map right? Scores of maps against true places, and against what the network does when its pixels are taken away."""

from collections.abc import Callable

import numpy as np
import torch
from scipy.ndimage import binary_dilation
from scipy.stats import rankdata

from lungnb.metrics.explain import energy_inside
from lungnb.metrics.looking import BATCH, CELL, Clips

#: How far, Hz and s, a maximum may lie beside a box and still be a hit.
TOLERANCE = (50.0, 0.1)


def near(masks: np.ndarray) -> np.ndarray:
    """Masks (B, H, W) on the common grid, each box wider by TOLERANCE on all sides."""
    rows, frames = (round(far / cell) for far, cell in zip(TOLERANCE, CELL, strict=True))
    rows = rows if masks.shape[1] > 1 else 0
    return binary_dilation(masks, np.ones((1, 2 * rows + 1, 2 * frames + 1)))


def pointing_game(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Pointing game (Zhang et al. 2016): hit = 1 if argmax M lies in a box or within TOLERANCE of it, else 0; (B,).

    Where several cells are the greatest, their mean; so a map that is the same everywhere scores `chance`.
    """
    greatest = maps == maps.max(axis=(1, 2), keepdims=True)
    return (greatest & near(masks)).sum(axis=(1, 2)) / greatest.sum(axis=(1, 2))


def chance(masks: np.ndarray) -> np.ndarray:
    """What a point thrown at random scores in the pointing game: the share of cells that are hits (B,)."""
    return near(masks).mean(axis=(1, 2))


def energy(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """E = sum of M in the boxes / sum of M (Wang et al. 2020, Score-CAM); (B,). A map of zeros says nothing: the area's share.

    `masks.mean((1, 2))`, the share of the cells that the boxes cover, is what a map scores that looks everywhere alike.
    """
    inside = energy_inside(maps, masks)
    return np.where(np.isnan(inside), masks.mean(axis=(1, 2)), inside)


def in_time(array: np.ndarray) -> np.ndarray:
    """Maps (B, H, W) -> means over frequency (B, 1, W); masks -> frames in which there is a sound."""
    return array.any(axis=1, keepdims=True) if array.dtype == bool else array.mean(axis=1, keepdims=True)


def likeness(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of two maps (B,), as Adebayo et al. (2018) compare maps; NaN if one is constant."""
    ranks = [rankdata(m.reshape(len(m), -1), axis=1) for m in (maps, others)]
    a, b = (r - r.mean(axis=1, keepdims=True) for r in ranks)
    with np.errstate(invalid="ignore"):
        return (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))


@torch.no_grad()
def deletion(
    network: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    clips: Clips,
    importance: np.ndarray,
    steps: int,
    seed: int = 0,
) -> np.ndarray:
    """Deletion curves (Petsiuk et al. 2018): p(label) after the most important k / steps of the pixels are gone (N, steps + 1).

    network: maps and about -> logits. A pixel that is gone holds, in all channels, its row's mean over the clip: the background
    goes on, the sound is missing. Pixels of the same importance (N, rows, frames) go in random order, so an importance that is
    constant is the control. The better the map, the smaller the area under the curve, `auc`.
    """
    flat = importance.reshape(len(importance), -1)
    order = np.lexsort((np.random.default_rng(seed).random(flat.shape), -flat), axis=1)
    rank = torch.from_numpy(order.argsort(axis=1).reshape(importance.shape))[:, None]
    blank = clips.maps.float().mean(dim=3, keepdim=True)
    blank = (blank.round() if clips.maps.dtype == torch.uint8 else blank).to(clips.maps.dtype)
    curves = []
    for k in range(steps + 1):
        left = torch.where(rank < k / steps * flat.shape[1], blank, clips.maps)
        parts = [network(m, a) for m, a in zip(left.split(BATCH), clips.about.split(BATCH), strict=True)]
        curves.append(torch.cat(parts).float().softmax(1).gather(1, clips.label[:, None])[:, 0].numpy())
    return np.stack(curves, axis=1)


def auc(curves: np.ndarray) -> np.ndarray:
    """Area under curves (B, steps + 1) over 0..1 by trapezoids (B,)."""
    return np.trapezoid(curves, dx=1 / (curves.shape[1] - 1), axis=1)


def over_patients(values: np.ndarray, patient: np.ndarray, n_resamples: int = 2000) -> dict[str, float]:
    """ours, the mean over sounds (N,), and low, high, its 95 % interval when whole patients are drawn anew. NaN is left out."""
    known = np.isfinite(values)
    _, of = np.unique(np.asarray(patient, dtype=str)[known], return_inverse=True)
    total, count = np.bincount(of, values[known]), np.bincount(of)
    times = np.random.default_rng(0).multinomial(len(count), np.full(len(count), 1 / len(count)), n_resamples)
    low, high = np.percentile(times @ total / (times @ count), [2.5, 97.5])
    return {"ours": float(values[known].mean()), "low": float(low), "high": float(high)}
