"""Scores of generated sound: distances of embeddings, KL and IS of a classifier's logits, adherence to the prompt.

A set of embeddings is an array (n, dims), one row a window or a clip. Every distance depends on the embedding and on n: show both
beside it, and the distance of real sound to real sound. Embedders, and whether training clips were learnt by heart, are in
`lungnb.metrics.embedding`; what the definitions rest on in docs/papers/lungldm.md, sections 4 and 5.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist
from scipy.special import expit, log_softmax, softmax
from scipy.stats import binomtest
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestCentroid

from lungnb.core import UserError
from lungnb.metrics.classification import mean_over_patients

EPSILON = 1e-6


class Estimate(NamedTuple):
    """A value and its 95 % interval (or the range that its function names)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


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


def kernel_distance(a: np.ndarray, b: np.ndarray, n_subsets: int = 100, size: int = 500, seed: int = 0) -> Estimate:
    """Kernel distance (KID): the unbiased squared MMD with the kernel (x'y / dims + 1)^3; may be below zero.

    Unbiased for clips that were drawn independently. Where both sets hold the same number of each type by design, pairs of one
    type are rarer within a set than between the two, and the value is too low: below zero nearly always if there is no distance.
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


def diversity(
    generated: np.ndarray, prompt: Sequence[str], real: np.ndarray, real_prompt: Sequence[str]
) -> pd.DataFrame:
    """Mean Euclidean distance between clips of one prompt: a row a prompt; n, generated, n_real, real (NaN below two clips).

    Guidance sharpens a class and makes its clips alike, so adherence is read beside this.
    """
    _check(generated, real, least=1)
    columns = {}
    for name, n, clips, prompts in (("generated", "n", generated, prompt), ("real", "n_real", real, real_prompt)):
        groups = pd.DataFrame(clips).groupby(np.asarray(prompts, dtype=object))
        columns[n] = groups.size()
        columns[name] = pd.Series({p: pdist(x).mean() if len(x) > 1 else np.nan for p, x in groups})
    table = pd.DataFrame(columns).loc[pd.unique(np.asarray(prompt, dtype=object))]
    return table.fillna({"n_real": 0}).astype({"n_real": int}).rename_axis("prompt")


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


def adherence(generated: pd.DataFrame, real: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Accuracy of a classifier on generated clips against what was asked for: rows generated, real, shuffled prompts.

    generated: columns label (requested) and predicted; real: columns patient, label, predicted, of patients whom the
    classifier was not trained on. real is the ceiling, though guidance can exaggerate a class past it; shuffled prompts are
    the floor, exactly the mean over all orders. Columns: accuracy, low, high (95 %), n. The intervals are Wilson's for
    generated clips, over whole patients for real ones (NaN for one patient), and over 2,000 orders for the floor.
    """
    for name, table in (("generated", generated), ("real", real)):
        if table.empty or table[["label", "predicted"]].isna().any(axis=None):
            raise UserError(f"Adherence needs a label and an answer for each {name} clip, and one clip at least.")
    hit, real_hit = (t["label"].to_numpy(object) == t["predicted"].to_numpy(object) for t in (generated, real))
    both = pd.factorize(np.concatenate([generated[c].to_numpy(object) for c in ("label", "predicted")]))[0]
    label, predicted = np.split(both, 2)
    rng = np.random.default_rng(seed)
    orders = [(rng.permutation(label) == predicted).mean() for _ in range(2000)]
    floor = np.bincount(label, minlength=len(both)) @ np.bincount(predicted, minlength=len(both)) / len(label) ** 2
    rows = {
        "generated": (*wilson(hit), len(hit)),
        "real": (*mean_over_patients(real_hit.astype(float), real["patient"]).values(), len(real_hit)),
        "shuffled prompts": (floor, *np.percentile(orders, [2.5, 97.5]), len(hit)),
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["accuracy", "low", "high", "n"])


def wilson(hit: np.ndarray) -> Estimate:
    """Share of True in `hit` (n,) with Wilson's 95 % interval: for clips that belong to no patient."""
    interval = binomtest(int(hit.sum()), len(hit)).proportion_ci(method="wilson")
    return Estimate(float(hit.mean()), float(interval.low), float(interval.high))


# ---- a summary of synthetic augmentation


def effect(gain: Estimate) -> str:
    """helps, harms, or makes no difference that could be seen: an interval with 0 in it is no evidence either way."""
    return "helps" if gain.low > 0 else "harms" if gain.high < 0 else "makes no difference that could be seen"


def summary(
    origin: str, gains: Mapping[str, Estimate], leads: Mapping[str, Estimate], more: Mapping[str, Estimate]
) -> str:
    """What synthetic augmentation did, in words that follow the intervals, all of balanced accuracy unless they say otherwise.

    gains: over few recorded clips, of each thing that is added, generated clips first. leads: of generated clips over each other
    thing. more: "recall of rare types", gain of generated clips in it; "alone", gain of as many generated clips alone;
    "everything", gain of every recorded clip that the generator was trained on; "left", what the latter is ahead of generated.
    """
    (name, gain), *others = gains.items()
    ahead, behind = ([k for k, v in leads.items() if effect(v) == how] for how in ("helps", "harms"))
    alone = {"helps": "are better than", "harms": "are worse than"}.get(effect(more["alone"]), "cannot be told from")
    left = {"helps": "more than", "harms": "less than"}.get(effect(more["left"]), "not clearly more or less than")
    return (
        f"On {origin} clips, adding {name} to few recorded ones {effect(gain)} ({gain} in balanced accuracy, "
        f"{more['recall of rare types']} in recall of the rare types), while at the same budget "
        + " and ".join(f"{other} {effect(g)} ({g})" for other, g in others)
        + (f"; it is ahead of {' and '.join(ahead)} by more than chance" if ahead else "")
        + (f"; it is behind {' and '.join(behind)} by more than chance" if behind else "")
        + f". Alone, generated clips {alone} as many recorded ones ({more['alone']}), and the recorded clips that the generator "
        f"was trained on would give {more['everything']}, {left} what it passes on of them."
    )
