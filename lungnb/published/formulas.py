"""What the sheets of claims compute with, beyond arithmetic.

Printed numbers are rounded: the true value lies within half a unit of the last printed digit. A printed result agrees with a
formula of printed inputs when some true values behind the prints make them equal.
"""

import math
import operator
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from scipy.signal import butter
from scipy.stats import norm

from lungnb.metrics.classification import challenge_score, total_score

_ROUNDING = 1e-9  # of binary floating point, at the edge of a rounding interval


def reachable(published: float, formula: Callable, values: Sequence[float], half: float) -> bool:
    """Whether `published` can be `formula(*values)`, all rounded to `2 * half`; for formulas monotone in each value."""
    corners = [formula(*corner) for corner in product(*((v - half, v + half) for v in values))]
    return bool(min(corners) - half - _ROUNDING <= published <= max(corners) + half + _ROUNDING)


def near(published: float, recomputed: float, half: float | None) -> bool:
    """A printed number against one known to more digits; without `half` they have to be equal, as counts are."""
    return bool(published == recomputed if half is None else abs(published - recomputed) <= half + _ROUNDING)


def mean(*values: float) -> float:
    return sum(values) / len(values)


def harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b)


difference = operator.sub


def fits(rates: Sequence[float], total: int, half: float) -> bool:
    """Whether every rate is a whole number out of `total`, rounded to `2 * half`."""
    rates = np.asarray(rates, dtype=float)
    return bool((np.abs(np.round(rates * total) / total - rates) <= half + _ROUNDING).all())


# ---- RespireNet


def class_rates(hits: np.ndarray, totals: np.ndarray) -> dict[str, float]:
    """In percent, from right and all windows by class, normal first."""
    sp, se = 100 * hits[0] / totals[0], 100 * hits[1:].sum() / totals[1:].sum()
    return {"Sp": sp, "Se": se, "Score": mean(sp, se), "accuracy": 100 * hits.sum() / totals.sum()}


def can_be_designed(order: int, low_hz: float, high_hz: float, rate_hz: float) -> bool:
    """Whether scipy designs a band-pass with these edges."""
    try:
        butter(order, [low_hz, high_hz], btype="bandpass", fs=rate_hz)
    except ValueError:
        return False
    return True


# ---- the Conv-LSTM paper


def formulas_of_ts(row, half: float = 0.5e-4) -> list[str]:
    """Which formulas give the printed TS of a row, of its printed Se and Sp or of the AS and HS printed beside them."""
    again = {
        "Eq. (1)": reachable(row["TS"], mean, row[["Se", "Sp", "AS", "HS"]], half),
        "(AS+HS)/2": reachable(row["TS"], mean, row[["AS", "HS"]], half),
    }
    return [name for name in again if again[name] or name in _direct(row, half)]


def misprinted_hs(row, half: float = 0.5e-4) -> str:
    """What to add where the printed TS follows a formula only with the HS that is printed, and misprinted, beside it."""
    return ", but only with the misprinted HS" if formulas_of_ts(row, half) and not _direct(row, half) else ""


def _direct(row, half: float) -> list[str]:
    formulas = {"Eq. (1)": total_score, "(AS+HS)/2": challenge_score}
    return [name for name, formula in formulas.items() if reachable(row["TS"], formula, (row["Se"], row["Sp"]), half)]


# ---- the paediatric paper


def percent_right(row) -> float:
    """Accuracy in percent, from the counts TP, TN, FP, FN of a row."""
    return float(100 * (row["TP"] + row["TN"]) / row[["TP", "TN", "FP", "FN"]].sum())


def inverse_loss(losses) -> np.ndarray:
    """The weights by which the paper aggregates positions."""
    inverse = 1 / np.asarray(losses, dtype=float)
    return inverse / inverse.sum()


def band_edge(n_bands: float, band: float, rate_hz: float) -> float:
    """Upper edge in Hz of one of `n_bands` mel bands, counted from 1, that lie between 0 and half the sample rate.

    On Slaney's scale, the library's default, as it is above 1000 Hz.
    """
    top = 15 + 27 * math.log(rate_hz / 2 / 1000) / math.log(6.4)
    return 1000 * 6.4 ** (((band + 1) / (n_bands + 1) * top - 15) / 27)


# ---- LungLDM


def largest_sd(gain: float, n: float) -> float:
    """The sd of two samples of n at which the difference of their means is as large as its two-sided 95 % interval."""
    return gain / norm.ppf(0.975) * math.sqrt(n / 2)


def cut(value: float, digits: int) -> float:
    """`value` with the digits after that many left out."""
    return math.floor(value * 10**digits) / 10**digits
