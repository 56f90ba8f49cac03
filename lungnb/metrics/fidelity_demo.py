"""Two simulated demonstrations of how far the metrics of generated sound can be trusted (fact sheet of LungLDM, section 4).

Nothing here is sound or a result: both draw numbers whose truth is known.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import expit

from lungnb.metrics.fidelity import bias_curve
from lungnb.metrics.fidelity_labels import inception_score, kl_paired

N_TYPES, N_CLIPS = 13, 1300


def flat_softmax_demo(seed: int = 0) -> pd.DataFrame:
    """How IS 1.01 and KL 0.01 arise from 13 types that are perfectly apart: rows by what enters the softmax, columns IS, KL
    (of random pairs of clips, most of them of different types) and told_apart (accuracy of the nearest type mean).

    * logits of a good classifier of 527 classes: each clip raises the class of its type;
    * the sigmoids of the same logits, all between 0 and 1;
    * 768 hidden activations, in which a type shifts all a little.

    The fact sheet gives the results of its simulation but not its constants: the spreads below were chosen to meet them. So this
    shows that such numbers arise from types that are apart, not that any real backbone has these spreads.
    """
    rng = np.random.default_rng(seed)
    label = np.arange(N_CLIPS) % N_TYPES
    logits = rng.normal(-6, 1, (N_CLIPS, 527))
    logits[np.arange(N_CLIPS), label] += 7.9
    hidden = rng.normal(0, 0.115, (N_TYPES, 768))[label] + rng.normal(0, 0.1, (N_CLIPS, 768))
    inputs = {"logits": logits, "sigmoid outputs": expit(logits), "hidden states": hidden}
    order = rng.permutation(N_CLIPS)
    rows = {}
    for name, x in inputs.items():
        kl = kl_paired(pd.DataFrame(x), pd.DataFrame(x[order]))
        rows[name] = (inception_score(x)[0], kl, _told_apart(x, label))
    return pd.DataFrame.from_dict(rows, orient="index", columns=["IS", "KL", "told_apart"])


def _told_apart(x: np.ndarray, label: np.ndarray) -> float:
    """The means are of the first half of the clips, the accuracy of the second."""
    half = len(x) // 2
    means = np.stack([x[:half][label[:half] == k].mean(axis=0) for k in range(N_TYPES)])
    distance = np.square(x[half:, None] - means).sum(axis=2)
    return float((distance.argmin(axis=1) == label[half:]).mean())


def same_gaussian_demo(sizes: Sequence[int], n_runs: int = 5, n_reference: int = 20_000, seed: int = 0) -> pd.DataFrame:
    """`bias_curve` of two samples of one 128-d Gaussian of total variance 100: the true distance is 0.

    The fact sheet does not give the spectrum: eigenvalues falling as exp(-k / 25) were fitted to its table, and meet all of it.
    """
    rng = np.random.default_rng(seed)
    return bias_curve(same_gaussian(n_reference, rng), same_gaussian(n_reference, rng), sizes, n_runs, seed)


def same_gaussian(n: int, rng: np.random.Generator) -> np.ndarray:
    """(n, 128), the Gaussian of `same_gaussian_demo`."""
    variance = np.exp(-np.arange(128) / 25)
    return rng.standard_normal((n, 128)) * np.sqrt(100 * variance / variance.sum())
