"""`scipy.optimize` as far as intervals and calibration use it: a root and a minimum of a function of one number."""

import math
from collections.abc import Callable
from types import SimpleNamespace

__all__ = ["brentq", "minimize_scalar"]

_GOLDEN = (math.sqrt(5) - 1) / 2


def brentq(f: Callable[[float], float], a: float, b: float, xtol: float = 2e-12, maxiter: int = 200) -> float:
    """A root of `f` between `a` and `b`, where its sign differs, by halving. Raises ValueError where it does not.

    The name is that of scipy's function, which gets there in fewer steps; the root is the same to `xtol`.
    """
    at_a, at_b = f(a), f(b)
    if at_a * at_b > 0:
        raise ValueError("f(a) and f(b) must have different signs")
    for _ in range(maxiter):
        middle = (a + b) / 2
        if abs(b - a) < xtol or middle in (a, b):
            break
        at_middle = f(middle)
        if (at_middle > 0) == (at_b > 0) and at_middle != 0:
            b, at_b = middle, at_middle
        else:
            a, at_a = middle, at_middle
    return a if at_a == 0 else b if at_b == 0 else (a + b) / 2


def minimize_scalar(fun: Callable[[float], float], bounds: tuple[float, float], method: str) -> SimpleNamespace:
    """`x`, where `fun`, which has one minimum between `bounds`, is smallest, and its value `fun`, by the golden section.

    Raises ValueError for another method than "bounded".
    """
    if method != "bounded":
        raise ValueError(f"the stand-in for scipy has no method {method!r}")
    low, high = bounds
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = fun(left), fun(right)
    while high - low > 1e-7:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = fun(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = fun(right)
    x = (low + high) / 2
    return SimpleNamespace(x=x, fun=fun(x), success=True)
