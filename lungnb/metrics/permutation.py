"""Whether two sets differ at all: a distance beside what it is when their rows are mixed."""

import numpy as np
from sklearn.metrics.pairwise import polynomial_kernel


def mmd_with_null(a: np.ndarray, b: np.ndarray, n_orders: int = 200) -> tuple[float, np.ndarray]:
    """`lungnb.metrics.generation.mmd`, and what it is (n_orders,) when the rows of both sets are mixed and dealt
    anew, as if there were no difference. Sets (n, dims) and (m, dims)."""
    k, rng = polynomial_kernel(np.concatenate([a, b])), np.random.default_rng(0)
    first = np.arange(len(k)) < len(a)
    x = np.stack([first, *(rng.permutation(first) for _ in range(n_orders))]).astype(float)
    y = 1 - x
    within = sum((((s @ k) * s).sum(1) - s @ np.diag(k)) / (n * (n - 1)) for s, n in ((x, len(a)), (y, len(b))))
    values = within - 2 * ((x @ k) * y).sum(1) / (len(a) * len(b))
    return float(values[0]), values[1:]
