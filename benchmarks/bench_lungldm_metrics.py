"""Speed of the Fréchet distance, as ratios measured in one run (`make bench`).

The trace of (S1 S2)^(1/2) by two symmetric eigenproblems against scipy's square root of the general matrix S1 S2, from the same
moments, at the sizes of VGGish (128) and of a larger embedding (512), with enough windows and with too few of them.
"""

import time
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.linalg import sqrtm

from lungnb.metrics.generation import Moments, frechet_of_moments, moments
from lungnb.training.experiment import device_name

console = Console(width=120)


def main() -> None:
    console.print(f"{device_name('cpu')}\n")
    columns = (
        "dimensions",
        "windows",
        "sqrtm, ms",
        "eigenproblem, ms",
        "ratio",
        "sqrtm, off by",
        "eigenproblem, off by",
    )
    table = Table(*columns, title="Fréchet distance from known moments, two samples of one Gaussian")
    for dims in (128, 512):
        for n in (4 * dims, dims // 2):
            rng = np.random.default_rng(0)
            scale = np.exp(-np.arange(dims) * 5 / dims)
            a, b = (rng.standard_normal((n, dims)) * scale for _ in range(2))
            one, other = moments(a), moments(b)
            slow, fast = (fastest(f, one, other) for f in (by_sqrtm, frechet_of_moments))
            truth = by_singular_values(a, b)
            off = (f"{abs(f(one, other) / truth - 1):.0e}" for f in (by_sqrtm, frechet_of_moments))
            table.add_row(str(dims), str(n), f"{1000 * slow:,.1f}", f"{1000 * fast:,.1f}", f"{slow / fast:.1f}", *off)
    console.print(
        table,
        "Processor time, the fastest of three after one more. off by: relative, against the sum of the singular values of one\n"
        "centred sample times the other, which needs the samples.",
    )


def by_sqrtm(a: Moments, b: Moments) -> float:
    """As it is mostly written."""
    root = sqrtm(a.covariance @ b.covariance).real
    return np.square(a.mean - b.mean).sum() + np.trace(a.covariance + b.covariance - 2 * root)


def by_singular_values(a: np.ndarray, b: np.ndarray) -> float:
    one, other = ((x - x.mean(axis=0)) / np.sqrt(len(x) - 1) for x in (a, b))
    cross = np.linalg.svd(one @ other.T, compute_uv=False).sum()
    return np.square(a.mean(axis=0) - b.mean(axis=0)).sum() + np.square(one).sum() + np.square(other).sum() - 2 * cross


def fastest(distance: Callable[[Moments, Moments], float], a: Moments, b: Moments, times: int = 3) -> float:
    """Processor seconds of `distance` at its best, after a warm-up."""
    seconds = []
    for _ in range(times + 1):
        start = time.process_time()
        distance(a, b)
        seconds.append(time.process_time() - start)
    return min(seconds[1:])


if __name__ == "__main__":
    main()
