"""`scipy.stats` as far as intervals and audits use it: quantiles of the normal and of Student's t distribution."""

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from .special import betainc

__all__ = ["norm", "t"]


class norm:
    """The standard normal distribution."""

    @staticmethod
    def ppf(q: float) -> float:
        """The value below which a share `q` lies."""
        return NormalDist().inv_cdf(q)


class t:
    """Student's t distribution."""

    @staticmethod
    def isf(q, df):
        """The value above which a share `q` lies, with `df` degrees of freedom; numbers or arrays."""
        found = np.vectorize(_above, otypes=[float])(q, df)
        return found if found.ndim else float(found)


@lru_cache(maxsize=10_000)
def _above(q: float, df: float) -> float:
    if q == 0.5:
        return 0.0
    if q > 0.5:
        return -_above(1 - q, df)
    if q <= 0:
        return math.inf if q == 0 else math.nan
    low, high = 0.0, 1.0
    while _tail(high, df) > q:
        low, high = high, 2 * high
    while high - low > 1e-14 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if _tail(middle, df) > q else (low, middle)
    return (low + high) / 2


def _tail(value: float, df: float) -> float:
    """The share above `value`, not negative; near 0 by the share between the two, so that no digits are lost."""
    square = value * value
    if square < min(df, 1):
        return (1 - betainc(0.5, df / 2, square / (df + square))) / 2
    return betainc(df / 2, 0.5, df / (df + square)) / 2
