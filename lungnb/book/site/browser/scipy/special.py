"""`scipy.special` as far as calibration uses it, and the incomplete beta function that `stats` stands on."""

import math

import numpy as np

__all__ = ["betainc", "log_softmax", "softmax"]


def log_softmax(x, axis=None):
    """The logarithm of `softmax`, without leaving the range of floating point."""
    x = np.asarray(x, dtype=float)
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def softmax(x, axis=None):
    """exp(x) over its sum along `axis`."""
    return np.exp(log_softmax(x, axis))


def betainc(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function of numbers, by its continued fraction (Abramowitz and Stegun, 26.5.8)."""
    if x in (0, 1):
        return float(x)
    if x > (a + 1) / (a + b + 2):  # beyond it the fraction of the other tail converges faster
        return 1 - betainc(b, a, 1 - x)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(front) / a * _fraction(a, b, x)


def _fraction(a: float, b: float, x: float) -> float:
    """1 / (1 + d1 / (1 + d2 / ...)), from the front on, until another term changes nothing (the method of Lentz)."""
    tiny = 1e-300
    value = above = 1.0
    below = 0.0
    for k in range(1, 10_000):
        m = k // 2
        if k % 2:
            d = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            d = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        below = 1 / (1 + d * below or tiny)
        above = 1 + d / above or tiny
        value *= above * below
        if abs(above * below - 1) < 1e-16:
            break
    return 1 / value
