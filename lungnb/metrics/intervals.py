"""How sure a score is: one interval that knows training seeds and patients, for every notebook.

A score of S trained networks on P patients varies for two reasons: other seeds would have been trained, and other patients would
have come. With s_k the score of seed k and s its mean over the seeds, the two standard errors of s are

    e_patients² = P / (P - 1) · var_b(s_b),   e_seeds² = var_k(s_k) / S

where s_b is s when patients are drawn anew with replacement, the same for all seeds. Each is stretched by Student's t of its own
degrees of freedom and the two are added in squares (Graybill and Wang 1980, Journal of the American Statistical Association 75),

    s ± √((t_(P-1) · e_patients)² + (t_(S-1) · e_seeds)²)

for three seeds know little of how seeds vary, and their t of 4.3 says so. What a seed and a patient do together is counted in
both parts, so the interval is a little wide rather than narrow. A test plants the effects and counts how often the truth is
covered.

Of one seed nothing is known about seeds: its interval is of patients alone, and `n_seeds` stands beside it.
"""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.optimize import brentq

N_RESAMPLES = 2000
#: Fewer patients than this have values and no interval: a t interval of five is half a guess.
FEWEST_PATIENTS = 6


@functools.lru_cache(16)  # the same patients are drawn for every score of them
def draw(n: int, n_resamples: int = N_RESAMPLES, seed: int = 0) -> np.ndarray:
    """How often each of `n` patients counts (1 + n_resamples, n): first each once, then as drawn with replacement."""
    times = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), n_resamples)
    times = np.vstack([np.ones((1, n)), times])
    times.flags.writeable = False
    return times


def standard_errors(drawn: np.ndarray, n_patients: ArrayLike) -> np.ndarray:
    """e_patients and e_seeds (2, M) of M scores that are means over seeds; see the head of this module.

    drawn: (seeds, 1 + drawings, M), the first drawing being each patient once, as `draw` gives them. n_patients: how many of them
    have what is scored, for all scores or for each (M,): a recall is as sure as the patients of its class are many. A drawing in
    which a score is NaN, for want of a class, does not count. NaN below FEWEST_PATIENTS patients or two drawings.
    """
    n_seeds, mean = len(drawn), drawn.mean(axis=0)[1:]
    n_patients = np.broadcast_to(n_patients, mean.shape[1])
    enough = (n_patients >= FEWEST_PATIENTS) & (np.isfinite(mean).sum(0) > 1)
    patients, n = np.full(len(enough), np.nan), n_patients[enough]
    patients[enough] = np.nanstd(mean[:, enough], axis=0) * np.sqrt(n / (n - 1))
    seeds = drawn[:, 0].std(axis=0, ddof=1) / np.sqrt(n_seeds) if n_seeds > 1 else np.zeros(len(enough))
    return np.stack([patients, seeds])


def interval(drawn: np.ndarray, n_patients: ArrayLike, bounds: tuple[float, float] = (-np.inf, np.inf)) -> np.ndarray:
    """Ends (2, M) of the 95 % intervals of M scores, from their values (seeds, 1 + drawings, M).

    bounds: what a score cannot leave, (0, 1) of a share, (-1, 1) of a difference of two. Else as `standard_errors`.
    """
    middle, half = drawn[:, 0].mean(axis=0), _half_width(standard_errors(drawn, n_patients), len(drawn), n_patients)
    return np.clip([middle - half, middle + half], *bounds)


def p_value(drawn: np.ndarray, n_patients: ArrayLike) -> np.ndarray:
    """Two-sided p (M,) that M differences are 0: one less the confidence at which the interval just reaches 0. NaN as above."""
    errors, middle = standard_errors(drawn, n_patients), np.abs(drawn[:, 0].mean(axis=0))

    def p(of: float, error: np.ndarray, n: int) -> float:
        if np.isnan(error).any():
            return np.nan
        if of == 0 or of >= _half_width(error, len(drawn), n, 1e-12):
            return float(of == 0)
        return brentq(lambda p: of - _half_width(error, len(drawn), n, p), 1e-12, 1.0)

    return np.array([p(*of) for of in zip(middle, errors.T, np.broadcast_to(n_patients, len(middle)), strict=True)])


def _half_width(errors: np.ndarray, n_seeds: int, n_patients: ArrayLike, p: float = 0.05) -> np.ndarray:
    of_patients = stats.t.isf(p / 2, np.maximum(np.asarray(n_patients) - 1, 1)) * errors[0]
    return np.hypot(of_patients, stats.t.isf(p / 2, max(n_seeds - 1, 1)) * errors[1])


def unpaired(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    """ours, low and high of the score `one` less the score `other` of *other* patients: their half widths add up in squares.

    Each has ours, low and high. Of the same patients a difference is drawn patient by patient instead, for it is far surer.
    """
    half = np.hypot(*(max(of["high"] - of["ours"], of["ours"] - of["low"]) for of in (one, other)))
    difference = one["ours"] - other["ours"]
    return {"ours": difference, "low": difference - half, "high": difference + half}


def holm(p: Sequence[float]) -> np.ndarray:
    """p values corrected for how many there are, so that no false alarm among all of them is promised at 95 % (Holm 1979).

    The k-th smallest of m is multiplied by m - k + 1, and none is below one before it. NaN stays NaN and is not counted.
    """
    p = np.asarray(p, dtype=float)
    order = np.argsort(p)[: np.isfinite(p).sum()]
    corrected = np.full(len(p), np.nan)
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return corrected
