"""Scores of generated sound: distances of embeddings, KL and IS of a classifier's logits.

A set of embeddings is an array (n, dims), one row a window or a clip. Every distance depends on the embedding and on n: show both
beside it, and the distance of real sound to real sound. Embedders, and whether training clips were learnt by heart, are in
`lungnb.metrics.embedding`; what the definitions rest on in docs/papers/lungldm.md, sections 4 and 5.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist, pdist
from scipy.special import expit, log_softmax, softmax
from sklearn.neighbors import NearestCentroid

from lungnb.core import UserError

EPSILON = 1e-6


# ---- distances of embeddings


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
    """`frechet_distance` of sets whose moments are known."""
    # S1 S2 has the eigenvalues of the symmetric R' S2 R with S1 = R R', so no square root of a general matrix is needed.
    value, vector = np.linalg.eigh(a.covariance)
    root = vector * np.sqrt(value.clip(min=0))
    cross = np.linalg.eigvalsh(root.T @ b.covariance @ root).clip(min=0)
    trace = np.trace(a.covariance) + np.trace(b.covariance) - 2 * np.sqrt(cross).sum()
    return float(np.square(a.mean - b.mean).sum() + trace)


def bias_curve(a: np.ndarray, b: np.ndarray, sizes: Sequence[int], n_runs: int = 5, seed: int = 0) -> pd.DataFrame:
    """How the mean FAD of `n_runs` draws falls with their size: columns n, against_all (n rows of `a` against all of `b`) and
    equal_sizes (against n rows of `b`). With a and b two halves of real sound the true distance is nearly 0: all is bias."""
    _check(a, b, least=max(sizes))
    rng, whole, rows = np.random.default_rng(seed), moments(b), []
    for n in sizes:
        runs = []
        for _ in range(n_runs):
            one, other = (moments(x[rng.choice(len(x), n, replace=False)]) for x in (a, b))
            runs.append((frechet_of_moments(one, whole), frechet_of_moments(one, other)))
        rows.append((n, *np.mean(runs, axis=0)))
    return pd.DataFrame(rows, columns=["n", "against_all", "equal_sizes"])


def same_gaussian_demo(sizes: Sequence[int], n_runs: int = 5, n_reference: int = 20_000, seed: int = 0) -> pd.DataFrame:
    """`bias_curve` of two samples of one 128-d Gaussian of total variance 100: drawn numbers, whose true distance is 0.

    Eigenvalues falling as exp(-k / 25) were fitted to the table in docs/papers/lungldm.md, section 4, and meet all of it.
    """
    rng = np.random.default_rng(seed)
    return bias_curve(same_gaussian(n_reference, rng), same_gaussian(n_reference, rng), sizes, n_runs, seed)


def same_gaussian(n: int, rng: np.random.Generator) -> np.ndarray:
    """(n, 128), the Gaussian of `same_gaussian_demo`."""
    variance = np.exp(-np.arange(128) / 25)
    return rng.standard_normal((n, 128)) * np.sqrt(100 * variance / variance.sum())


def spread(embeddings: np.ndarray) -> float:
    """The mean Euclidean distance between two of the clips (n, dims): how different they are from each other."""
    return float(pdist(embeddings).mean())


def coverage(real: np.ndarray, generated: np.ndarray, k: int = 5) -> float:
    """Share of real clips (n, dims) within whose distance to their k-th nearest real neighbour a generated clip lies.

    Naeem et al. 2020, "Reliable fidelity and diversity metrics for generative models". Of two sets drawn alike and equally large
    it is about 1 - 2^-k; a generator that makes the same typical sound again and again leaves most real clips uncovered.
    """
    _check(real, generated, least=1)
    k = min(k, len(real) - 1)
    radius = np.sort(cdist(real, real), axis=1)[:, k]  # the nearest of all is the clip itself
    return float((cdist(real, generated).min(axis=1) <= radius).mean())


def _check(a: np.ndarray, b: np.ndarray, least: int = 2) -> None:
    """Two sets (n, dims) of the same embedding, finite, of at least `least` rows."""
    for x in (a, b):
        if np.ndim(x) != 2 or len(x) < least:
            raise UserError(
                f"A set of embeddings has shape (n, dims), n at least {least}, not {np.shape(x)}; give more."
            )
        if not np.isfinite(x).all():
            raise UserError("A set of embeddings holds NaN or infinity; look for silent or broken clips.")
    if np.shape(a)[1] != np.shape(b)[1]:
        raise UserError(
            f"Sets of {np.shape(a)[1]} and {np.shape(b)[1]} dimensions cannot be compared; embed both alike."
        )


# ---- a classifier's logits


def kl_paired(reference: pd.DataFrame, generated: pd.DataFrame) -> float:
    """Mean over pairs of KL(reference || generated) of the softmax, in nats, as the tool audioldm_eval defines it: 1e-6 is added
    to the generated probability, so that equal clips come out below 0, by up to a millionth of the number of classes.

    Both have one row of logits a clip, indexed by its name; clips of the same name are a pair. Raises UserError unless more than
    99 % of the names of either side stand on the other (the tool prints -1 then), and for a name that comes twice.
    """
    common = reference.index.intersection(generated.index)
    for name, table in (("reference", reference), ("generated", generated)):
        if len(twice := table.index[table.index.duplicated()]):
            raise UserError(f"The {name} clip {twice[0]!r} has more than one row of logits; give one row a clip.")
        if not len(common) > 0.99 * len(table):
            raise UserError(
                f"Only {len(common)} of {len(table)} {name} clips have a partner of the same name, and KL needs more than "
                "99 %; name generated clips like their references."
            )
    if reference.shape[1] != generated.shape[1]:
        raise UserError(
            f"Logits of {reference.shape[1]} and {generated.shape[1]} classes; use one classifier for both."
        )
    z, y = (_finite(table.loc[common].to_numpy(np.float64)) for table in (reference, generated))
    p, q = softmax(z, axis=1), softmax(y, axis=1)
    return float((p * (_log(p) - np.log(q + EPSILON))).sum(axis=1).mean())


def inception_score(logits: np.ndarray, n_splits: int = 10, seed: int = 2020) -> tuple[float, float]:
    """Mean and (population) sd over splits of exp(mean KL(p(y|clip) || p(y))), p(y) the mean of the split.

    logits (clips, classes) of any classifier are shuffled as audioldm_eval does it. Between 1 (the answer does not depend on the
    clip) and the number of classes or of clips in a split, whichever is smaller; splits of ten clips make it some 10 % too low.
    Softmax turns anything into probabilities, also what is no logit (`flat_softmax_demo`). NaN for fewer clips than splits.
    """
    logits = _finite(np.asarray(logits, dtype=np.float64))
    if len(logits) < n_splits:
        return float("nan"), float("nan")
    order = np.random.RandomState(seed).permutation(len(logits))
    scores = []
    for low, high in pairwise(np.arange(n_splits + 1) * len(logits) // n_splits):
        log_p = log_softmax(logits[order[low:high]], axis=1)
        p = np.exp(log_p)
        scores.append(np.exp((p * (log_p - _log(p.mean(axis=0)))).sum(axis=1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


def _log(p: np.ndarray) -> np.ndarray:
    """Finite at 0, so that 0 log 0 = 0."""
    return np.log(p.clip(min=np.finfo(float).tiny))


def _finite(logits: np.ndarray) -> np.ndarray:
    if logits.ndim != 2 or not np.isfinite(logits).all():
        raise UserError("Logits have shape (clips, classes) and are finite; look for silent or broken clips.")
    return logits


def flat_softmax_demo(seed: int = 0) -> pd.DataFrame:
    """How IS 1.01 and KL 0.01 arise from 13 types that are perfectly apart: rows by what enters the softmax, columns IS, KL
    (of random pairs of clips, most of them of different types) and accuracy (of the nearest type mean, on the second half).

    * logits of a good classifier of 527 classes: each clip raises the class of its type;
    * the sigmoids of the same logits, all between 0 and 1;
    * 768 hidden activations, in which a type shifts all a little.

    Drawn numbers, no sound. Their spreads were chosen to meet the example in docs/papers/lungldm.md, section 4: this shows that
    such numbers arise from types that are apart, not that any real backbone has these spreads.
    """
    n_types, n_clips = 13, 1300
    rng, label = np.random.default_rng(seed), np.arange(n_clips) % n_types
    logits = rng.normal(-6, 1, (n_clips, 527))
    logits[np.arange(n_clips), label] += 7.9
    hidden = rng.normal(0, 0.115, (n_types, 768))[label] + rng.normal(0, 0.1, (n_clips, 768))
    order, half, rows = rng.permutation(n_clips), n_clips // 2, {}
    for name, x in {"logits": logits, "sigmoid outputs": expit(logits), "hidden states": hidden}.items():
        accuracy = NearestCentroid().fit(x[:half], label[:half]).score(x[half:], label[half:])
        rows[name] = (inception_score(x)[0], kl_paired(pd.DataFrame(x), pd.DataFrame(x[order])), accuracy)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["IS", "KL", "accuracy"])
