"""The kinds of check of an audit; each returns (claim, published, recomputed, agrees, comment).

Printed numbers are rounded: the true value lies within half a unit of the last printed digit. A printed result agrees with
a formula of printed inputs when some true values behind the prints make them equal.
"""

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np

Check = tuple[str, float, float, bool, str]
Checks = Iterator[Check]

_ROUNDING = 1e-9  # of binary floating point, at the edge of a rounding interval


def reachable(published: float, formula: Callable, values, half: float) -> bool:
    """Whether `published` can be `formula(*values)`, all rounded to `2 * half`; for formulas monotone in each value."""
    corners = [formula(*corner) for corner in product(*((v - half, v + half) for v in values))]
    return bool(min(corners) - half - _ROUNDING <= published <= max(corners) + half + _ROUNDING)


def printed(claim, published, formula, values, half, comment, otherwise=None) -> Check:
    """A printed number against a formula of other printed numbers; `otherwise` is the comment when they differ."""
    agrees = reachable(published, formula, values, half)
    return claim, published, round(formula(*values), 4), agrees, comment if agrees or not otherwise else otherwise


def exact(claim, published, recomputed, comment) -> Check:
    """A count, which has to agree exactly."""
    return claim, published, recomputed, bool(published == recomputed), comment


def near(claim, published, recomputed, half, comment) -> Check:
    """A printed number against one known to more digits: they agree within half a unit of the printed digit."""
    return claim, published, round(recomputed, 4), bool(abs(published - recomputed) <= half + _ROUNDING), comment


def mean(a, b):
    return (a + b) / 2


def harmonic(a, b):
    return 2 * a * b / (a + b)


def fits(rates, total: int, half: float) -> bool:
    """Whether every rate is a whole number out of `total`, rounded to `2 * half`."""
    rates = np.asarray(rates, dtype=float)
    return bool((np.abs(np.round(rates * total) / total - rates) <= half + _ROUNDING).all())
