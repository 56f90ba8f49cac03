"""Whether two sets differ at all: a distance beside what it is when their patients are mixed."""

import numpy as np
from sklearn.metrics.pairwise import polynomial_kernel


def mmd_with_null(
    a: np.ndarray, b: np.ndarray, units_a: np.ndarray, units_b: np.ndarray, n_orders: int = 200
) -> tuple[float, np.ndarray]:
    """The unbiased squared MMD, and what it is (n_orders,) when the units of both sets are mixed and dealt anew.

    The MMD is the mean kernel within a and within b, without pairs of a row with itself, less twice the mean between them.
    Sets (n, dims) and (m, dims); units (n,) and (m,): the patient of each row. Clips of one patient are alike, so they stay
    together: each time whole units are dealt, in random order, until the first set is as near to its n rows as they allow.
    """
    unit = np.unique(np.concatenate([units_a, units_b]), return_inverse=True)[1]
    k, rng, size = polynomial_kernel(np.concatenate([a, b])), np.random.default_rng(0), np.bincount(unit)
    first = [np.arange(len(unit)) < len(a)]
    for _ in range(n_orders):
        order = rng.permutation(len(size))
        # Rows of the first set if it ends with this unit; the second has at least one unit.
        n = size[order].cumsum()[:-1]
        wrong = np.abs(n - len(a)) + len(unit) * ((n < 2) | (n > len(unit) - 2))
        first.append(np.isin(unit, order[: wrong.argmin() + 1]))
    x = np.array(first, float)
    y, n, m = 1 - x, x.sum(1), len(unit) - x.sum(1)
    within = sum((((s @ k) * s).sum(1) - s @ np.diag(k)) / (n * (n - 1)) for s, n in ((x, n), (y, m)))
    values = within - 2 * ((x @ k) * y).sum(1) / (n * m)
    return float(values[0]), values[1:]
