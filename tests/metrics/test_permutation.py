import numpy as np
import pytest

from lungnb.metrics.permutation import mmd_with_null


def double_sum(a, b):
    def mean_kernel(x, y, pairs):
        return np.mean([(x[i] @ y[j] / x.shape[1] + 1) ** 3 for i, j in pairs])

    within = [mean_kernel(x, x, [(i, j) for i in range(len(x)) for j in range(len(x)) if i != j]) for x in (a, b)]
    return sum(within) - 2 * mean_kernel(a, b, [(i, j) for i in range(len(a)) for j in range(len(b))])


def test_the_null_of_the_kernel_distance_begins_with_the_distance_itself():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(12, 3)), rng.normal(0.8, 1, size=(9, 3))
    units = np.arange(12), 12 + np.arange(9)
    value, null = mmd_with_null(a, b, *units)
    assert value == pytest.approx(double_sum(a, b), rel=1e-9)
    assert abs(null.mean()) < 0.2 * null.std() + 0.05
    assert value > np.percentile(null, 95)
    assert mmd_with_null(a, rng.normal(size=(9, 3)), *units)[0] < np.percentile(null, 99)


def test_sets_of_a_few_patients_are_not_told_apart_by_their_patients():
    """Two sets of the same population, five patients each, eight clips alike a patient: an interval that forgot the patients
    would find nearly every pair of sets different."""
    rng, found = np.random.default_rng(0), {"patients": [], "clips": []}
    units = np.repeat(np.arange(5), 8), 5 + np.repeat(np.arange(5), 8)
    for _ in range(40):
        a, b = ((rng.normal(size=(5, 1, 3)) + 0.3 * rng.normal(size=(5, 8, 3))).reshape(40, 3) for _ in range(2))
        for name, of in {"patients": units, "clips": (np.arange(40), 40 + np.arange(40))}.items():
            value, null = mmd_with_null(a, b, *of)
            found[name].append(value > np.percentile(null, 95))
    assert np.mean(found["clips"]) > 0.6
    assert np.mean(found["patients"]) < 0.2


def test_two_patients_tell_nothing():
    rng = np.random.default_rng(0)
    value, null = mmd_with_null(rng.normal(size=(6, 2)), rng.normal(9, 1, size=(6, 2)), np.zeros(6), np.ones(6))
    assert null == pytest.approx(np.full(200, value))
