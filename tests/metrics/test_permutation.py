import numpy as np
import pytest

from lungnb.metrics.generation import mmd
from lungnb.metrics.permutation import mmd_with_null


def test_the_null_of_the_kernel_distance_begins_with_the_distance_itself():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(12, 3)), rng.normal(0.8, 1, size=(9, 3))
    value, null = mmd_with_null(a, b)
    assert value == pytest.approx(mmd(a, b), rel=1e-9)
    assert abs(null.mean()) < 0.2 * null.std() + 0.05
    assert value > np.percentile(null, 95)
    assert mmd_with_null(a, rng.normal(size=(9, 3)))[0] < np.percentile(null, 99)
