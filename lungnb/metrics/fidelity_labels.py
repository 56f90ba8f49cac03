"""What a classifier hears in generated sound: KL, IS and prompt adherence, from its logits or its answers.

KL and IS as the tool audioldm_eval defines them (fact sheet of LungLDM, section 4), for the logits of any classifier. Softmax
turns anything into probabilities: fed with hidden activations, both come out near "perfect" (`lungnb.metrics.fidelity_demo`).
"""

from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.special import expit, log_softmax, softmax
from scipy.stats import binomtest, bootstrap

from lungnb.core import UserError

EPSILON = 1e-6


def kl_paired(reference: pd.DataFrame, generated: pd.DataFrame) -> float:
    """Mean over pairs of KL(reference || generated) of the softmax, in nats; 1e-6 is added to the generated probability,
    so that equal clips come out below 0, by up to a millionth of the number of classes.

    Both have one row of logits a clip, indexed by its name; clips of the same name are a pair. Raises UserError unless more
    than 99 % of the names of either side stand on the other (the tool prints -1 then), and for a name that comes twice.
    """
    p, q = (softmax(x, axis=1) for x in _pairs(reference, generated))
    return float((p * (_log(p) - np.log(q + EPSILON))).sum(axis=1).mean())


def kl_sigmoid_not_a_divergence(reference: pd.DataFrame, generated: pd.DataFrame) -> float:
    """The tool's "sigmoid" KL: mean over pairs of the sum over classes of p log(p / q) with p, q the sigmoids.

    It leaves out (1 - p) log((1 - p) / (1 - q)), so it is no divergence: it can be negative, and unequal clips can give 0.
    Arguments and errors as `kl_paired`.
    """
    p, q = (expit(x) for x in _pairs(reference, generated))
    return float((p * (_log(p) - np.log(q + EPSILON))).sum(axis=1).mean())


def _pairs(reference: pd.DataFrame, generated: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    for side, table in (("reference", reference), ("generated", generated)):
        twice = table.index[table.index.duplicated()]
        if len(twice):
            raise UserError(
                f"The {side} clip {twice[0]!r} has more than one row of logits, so names do not make pairs; give one row a "
                "clip."
            )
    common = reference.index.intersection(generated.index)
    for side, table in (("reference", reference), ("generated", generated)):
        if not len(common) > 0.99 * len(table):
            raise UserError(
                f"Only {len(common)} of {len(table)} {side} clips have a partner of the same name, and KL needs more than "
                "99 %; name generated clips like their references."
            )
    if reference.shape[1] != generated.shape[1]:
        raise UserError(
            f"Logits of {reference.shape[1]} and {generated.shape[1]} classes; use one classifier for both."
        )
    return tuple(_finite(table.loc[common].to_numpy(np.float64)) for table in (reference, generated))


def inception_score(logits: np.ndarray, n_splits: int = 10, seed: int = 2020) -> tuple[float, float]:
    """Mean and (population) sd over splits of exp(mean KL(p(y|clip) || p(y))), p(y) the mean of the split.

    logits (clips, classes) are shuffled as the tool does it. Between 1 (the answer does not depend on the clip) and the
    number of classes or of clips in a split, whichever is smaller. Raises UserError for fewer clips than splits.
    """
    logits = _finite(np.asarray(logits, dtype=np.float64))
    if len(logits) < n_splits:
        raise UserError(f"IS needs at least {n_splits} clips, one a split, not {len(logits)}; generate more.")
    order = np.random.RandomState(seed).permutation(len(logits))
    edges = np.arange(n_splits + 1) * len(logits) // n_splits
    scores = []
    for low, high in pairwise(edges):
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
    n, n_hits = len(generated), int(_hit(generated).sum())
    interval = binomtest(n_hits, n).proportion_ci(method="wilson")
    rows = {
        "generated": (n_hits / n, interval.low, interval.high, n),
        "real": (*_of_patients(_hit(real), real["patient"], seed), len(real)),
        "shuffled prompts": (*_shuffled(generated, seed), n),
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["accuracy", "low", "high", "n"])


def _hit(table: pd.DataFrame) -> np.ndarray:
    return table["label"].to_numpy(object) == table["predicted"].to_numpy(object)


def _of_patients(hit: np.ndarray, patient: pd.Series, seed: int) -> tuple[float, float, float]:
    per_patient = pd.Series(hit).groupby(patient.to_numpy()).agg(["sum", "count"]).to_numpy(float).T
    if per_patient.shape[1] < 2:
        return hit.mean(), np.nan, np.nan

    def accuracy(hits, of, axis=-1):
        return hits.sum(axis) / of.sum(axis)

    options = {"paired": True, "vectorized": True, "n_resamples": 2000, "method": "percentile", "rng": seed}
    interval = bootstrap(tuple(per_patient), accuracy, **options).confidence_interval
    return hit.mean(), interval.low, interval.high


def _shuffled(generated: pd.DataFrame, seed: int) -> tuple[float, float, float]:
    both = np.concatenate([generated[c].to_numpy(object) for c in ("label", "predicted")])
    asked, answered = np.split(pd.factorize(both)[0], 2)
    counts = [np.bincount(codes, minlength=len(both)) / len(codes) for codes in (asked, answered)]
    rng = np.random.default_rng(seed)
    drawn = [(rng.permutation(asked) == answered).mean() for _ in range(2000)]
    return counts[0] @ counts[1], *np.percentile(drawn, [2.5, 97.5])
