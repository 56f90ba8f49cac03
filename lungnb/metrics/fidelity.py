"""How far generated sound lies from real sound, in embeddings of any backbone (fact sheet of LungLDM, sections 4 and 5).

A set of embeddings is an array (n, dims), one row a window (Fréchet and kernel distance) or a clip (diversity, memorisation).
Every distance depends on the embedding and on n: show both beside it, and the real-against-real floor.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import pairwise_distances_argmin_min, pairwise_distances_chunked
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors

from lungnb.core import UserError


class Estimate(NamedTuple):
    """A value and the range that its function names."""

    value: float
    low: float
    high: float


class Moments(NamedTuple):
    """Mean (dims,) and covariance (dims, dims) of a set of embeddings."""

    mean: np.ndarray
    covariance: np.ndarray


def moments(embeddings: np.ndarray) -> Moments:
    """Over all windows of all clips; the covariance divides by n - 1."""
    x = np.asarray(embeddings, dtype=np.float64)
    return Moments(x.mean(axis=0), np.atleast_2d(np.cov(x, rowvar=False)))


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """FAD between two sets of embeddings: |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)).

    Biased upwards by about 1/n: two samples of the same sound are far apart when they are small (`bias_curve`).
    Raises UserError for sets that cannot be compared, as all functions here do.
    """
    _check(a, b)
    return frechet_of_moments(moments(a), moments(b))


def frechet_of_moments(a: Moments, b: Moments) -> float:
    """`frechet_distance` of sets whose moments are known.

    S1 S2 has the eigenvalues of the symmetric R' S2 R with S1 = R R', so no square root of a general matrix is needed.
    """
    value, vector = np.linalg.eigh(a.covariance)
    root = vector * np.sqrt(value.clip(min=0))
    cross = np.linalg.eigvalsh(root.T @ b.covariance @ root).clip(min=0)
    trace = np.trace(a.covariance) + np.trace(b.covariance) - 2 * np.sqrt(cross).sum()
    return float(np.square(a.mean - b.mean).sum() + trace)


def kernel_distance(a: np.ndarray, b: np.ndarray, n_subsets: int = 100, size: int = 500, seed: int = 0) -> Estimate:
    """Kernel distance (KID): the unbiased squared MMD with the kernel (x'y / dims + 1)^3; may be below zero.

    The mean over pairs of random subsets of `size` rows, or of half of the smaller set if that is less, so that subsets
    differ. low and high span 95 % of the subsets: the spread of one subset, wider than the error of the mean.
    """
    _check(a, b, least=4)
    size = min(size, len(a) // 2, len(b) // 2)
    rng = np.random.default_rng(seed)
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    drawn = [mmd(*(x[rng.choice(len(x), size, replace=False)] for x in (a, b))) for _ in range(n_subsets)]
    return Estimate(float(np.mean(drawn)), *(float(v) for v in np.percentile(drawn, [2.5, 97.5])))


def mmd(a: np.ndarray, b: np.ndarray) -> float:
    """The unbiased squared MMD of all rows: mean kernel within a and within b, without self-pairs, less twice between."""
    within = sum((k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in map(polynomial_kernel, (a, b)))
    return float(within - 2 * polynomial_kernel(a, b).mean())


def frechet_infinity(a: np.ndarray, b: np.ndarray, seed: int = 0) -> float:
    """FAD that `a` would have against `b` without end: the intercept of FAD over 1/n, for 15 subsets of `a` from half up.

    `b` stays whole, and its own bias stays with it. Too few rows overshoot below zero: warns under 4 times the dimension,
    raises UserError under the dimension.
    """
    _check(a, b)
    n, dims = np.shape(a)
    if n < dims:
        raise UserError(
            f"FAD-infinity cannot be fitted on {n} windows of {dims} dimensions; take at least {4 * dims}, or the kernel "
            "distance."
        )
    if n < 4 * dims:
        message = f"FAD-infinity overshoots with {n} windows of {dims} dimensions, fewer than 4 times as many"
        warnings.warn(message, stacklevel=2)
    rng, whole, a = np.random.default_rng(seed), moments(b), np.asarray(a)
    sizes = np.linspace(n / 2, n, 15).round().astype(int)
    values = [frechet_of_moments(moments(a[rng.choice(n, k, replace=False)]), whole) for k in sizes]
    return float(np.polyfit(1 / sizes, values, 1)[1])


def real_floor(
    real: np.ndarray,
    patient: np.ndarray,
    distance: Callable[[np.ndarray, np.ndarray], float] = frechet_distance,
    n_draws: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """The distance between two halves of real sound without a common patient: columns n_a, n_b, distance; a row a draw.

    patient (n,) says whose each row is. Compare with generated sets of the size of a half: smaller ones have more bias.
    """
    patient = np.asarray(patient)
    if len(patient) != len(real):
        raise UserError(f"There are {len(real)} windows but {len(patient)} patients; name the patient of each window.")
    names, counts = np.unique(patient, return_counts=True)
    if len(names) < 2:
        raise UserError("Real sound of one patient cannot be halved by patient; give that of two at least.")
    rng, rows = np.random.default_rng(seed), []
    for _ in range(n_draws):
        order = rng.permutation(len(names))
        half = 1 + np.abs(counts[order].cumsum()[:-1] - len(real) / 2).argmin()
        side = np.isin(patient, names[order[:half]])
        rows.append((side.sum(), (~side).sum(), distance(real[side], real[~side])))
    return pd.DataFrame(rows, columns=["n_a", "n_b", "distance"])


def bias_curve(a: np.ndarray, b: np.ndarray, sizes: Sequence[int], n_runs: int = 5, seed: int = 0) -> pd.DataFrame:
    """How the mean FAD of `n_runs` draws falls with their size: columns n, against_all, equal_sizes.

    against_all: n rows of `a` against all of `b`; equal_sizes: against n rows of `b`. With a and b two halves of real sound
    the true distance is nearly 0 and the curve is all bias.
    """
    _check(a, b)
    if not 2 <= min(sizes) <= max(sizes) <= min(len(a), len(b)):
        raise UserError(
            f"Sizes of a bias curve lie between 2 and {min(len(a), len(b))}, the smaller set; mend {sizes}."
        )
    rng, whole, rows = np.random.default_rng(seed), moments(b), []
    for n in sizes:
        runs = []
        for _ in range(n_runs):
            one, other = (moments(x[rng.choice(len(x), n, replace=False)]) for x in (a, b))
            runs.append((frechet_of_moments(one, whole), frechet_of_moments(one, other)))
        rows.append((n, *np.mean(runs, axis=0)))
    return pd.DataFrame(rows, columns=["n", "against_all", "equal_sizes"])


def diversity(
    generated: np.ndarray, prompt: Sequence[str], real: np.ndarray, real_prompt: Sequence[str]
) -> pd.DataFrame:
    """Mean Euclidean distance between clips of one prompt: a row a prompt; n, generated, n_real, real (NaN below two clips).

    Guidance sharpens a class and makes its clips alike, so adherence is read beside this.
    """
    _check(generated, real, least=1)
    columns = {}
    for name, n, clips, prompts in (("generated", "n", generated, prompt), ("real", "n_real", real, real_prompt)):
        prompts = np.asarray(prompts, dtype=object)
        if len(prompts) != len(clips):
            raise UserError(f"There are {len(clips)} {name} clips but {len(prompts)} prompts; give one a clip.")
        groups = {p: np.asarray(clips)[prompts == p] for p in pd.unique(prompts)}
        columns[n] = pd.Series({p: len(group) for p, group in groups.items()})
        columns[name] = pd.Series({p: _mean_distance(group) for p, group in groups.items()})
    table = pd.DataFrame(columns).loc[pd.unique(np.asarray(prompt, dtype=object))]
    return table.fillna({"n_real": 0}).astype({"n_real": int}).rename_axis("prompt")


def _mean_distance(x: np.ndarray) -> float:
    if len(x) < 2:
        return float("nan")
    sums = pairwise_distances_chunked(x, reduce_func=lambda block, start: block.sum(axis=1).tolist())
    return sum(map(sum, sums)) / (len(x) * (len(x) - 1))


def duplicates(mels: np.ndarray, tolerance: float = 1e-3) -> np.ndarray:
    """For each clip the index of the first that is the same within `tolerance` (RMS over mel cells), itself if none: (n,).

    mels: (n, ...) float, log-mels of one shape.
    """
    flat = _flat(mels)
    radius = tolerance * np.sqrt(flat.shape[1])
    search = NearestNeighbors(radius=radius, algorithm="brute").fit(flat)
    first = np.arange(len(flat))
    for start in range(0, len(flat), 1024):
        found = search.radius_neighbors(flat[start : start + 1024], return_distance=False)
        for i, same in enumerate(found, start):
            first[i] = first[min(same.min(initial=i), i)]
    return first


def nearest_training(
    training: np.ndarray, generated: np.ndarray, held_out: np.ndarray, tolerance: float = 1e-3
) -> pd.DataFrame:
    """Memorisation: how near each generated clip comes to the training set, beside real clips that were held out.

    All are log-mels (n, ...) of one shape; the distance is RMS over mel cells, in their unit (more reliable than embeddings,
    fact sheet, section 5; a copy that is shifted in time is not seen). held_out should share no patient with training.
    Columns: clips ("generated", "held-out"), distance, nearest (index in `training`), copies (how often that one stands in
    `training`: repeated clips are memorised first). Duplicates are set aside before the search.
    """
    distinct, copies = np.unique(duplicates(training, tolerance), return_counts=True)
    flat, parts = _flat(training)[distinct], []
    for name, mels in (("generated", generated), ("held-out", held_out)):
        if np.shape(mels)[1:] != np.shape(training)[1:]:
            raise UserError(
                f"The {name} log-mels have shape {np.shape(mels)[1:]} but those of training {np.shape(training)[1:]}; cut "
                "and lay out all alike."
            )
        clips = _flat(mels)
        _check(flat, clips, least=1)
        at, distance = pairwise_distances_argmin_min(clips, flat)
        columns = {"distance": distance / np.sqrt(flat.shape[1]), "nearest": distinct[at], "copies": copies[at]}
        parts.append(pd.DataFrame({"clips": name, **columns}))
    return pd.concat(parts, ignore_index=True)


def _flat(mels: np.ndarray) -> np.ndarray:
    mels = np.asarray(mels)
    return mels.reshape(len(mels), math.prod(mels.shape[1:]))


def _check(a: np.ndarray, b: np.ndarray, least: int = 2) -> None:
    """Two sets (n, dims) of the same embedding, finite, of at least `least` rows."""
    for x in (a, b):
        if np.ndim(x) != 2 or len(x) < least:
            raise UserError(
                f"A set of embeddings has shape (n, dims) with n at least {least}, not {np.shape(x)}; give more clips."
            )
        if not np.isfinite(x).all():
            raise UserError("A set of embeddings holds NaN or infinity; look for silent or broken clips.")
    if np.shape(a)[1] != np.shape(b)[1]:
        raise UserError(
            f"Sets of {np.shape(a)[1]} and {np.shape(b)[1]} dimensions cannot be compared; embed both alike."
        )
