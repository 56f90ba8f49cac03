"""Metrics of generated sound against slow implementations of their definitions and against samples whose truth is known."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from lungnb.core import UserError
from lungnb.metrics.generation import (
    Moments,
    bias_curve,
    coverage,
    flat_softmax_demo,
    frechet_distance,
    frechet_of_moments,
    inception_score,
    kl_paired,
    same_gaussian,
    same_gaussian_demo,
    spread,
)
from lungnb.published import wide


def cloud(seed, n, dims, shift=0.0):
    """Correlated, with eigenvalues that fall."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1 / np.arange(1, dims + 1), (n, dims)) @ rng.normal(0, 1, (dims, dims)) + shift


def refuses(sentence, function, *given, **named):
    with pytest.raises(UserError, match=sentence) as caught:
        function(*given, **named)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


# Coverage and spread


def test_two_sets_drawn_alike_cover_each_other_as_the_formula_says():
    rng = np.random.default_rng(0)
    found = [coverage(rng.normal(size=(200, 3)), rng.normal(size=(200, 3)), k) for k in (1, 3, 5) for _ in range(20)]
    assert np.reshape(found, (3, 20)).mean(axis=1) == pytest.approx([1 / 2, 7 / 8, 31 / 32], abs=0.02)


def test_one_sound_again_and_again_covers_little_and_a_far_one_nothing():
    real = cloud(1, 100, 4)
    same = np.repeat(real[:1], 100, axis=0)
    assert coverage(real, real) == 1
    assert coverage(real, same) < 0.3
    assert coverage(real, real + 1000) == 0
    assert spread(same) == 0
    assert spread(3 * real) == pytest.approx(3 * spread(real))
    assert spread(np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]])) == pytest.approx(10 / 3)
    refuses("shape", coverage, real, np.empty((0, 4)))


# Fréchet distance


def by_sqrtm(a, b):
    s1, s2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    return np.square(a.mean(0) - b.mean(0)).sum() + np.trace(s1 + s2 - 2 * sqrtm(s1 @ s2).real)


@pytest.mark.parametrize("dims", [2, 16, 64])
def test_frechet_distance_is_that_of_sqrtm(dims):
    a, b = cloud(0, 3 * dims, dims), cloud(1, 5 * dims, dims, shift=0.3)
    assert frechet_distance(a, b) == pytest.approx(by_sqrtm(a, b), rel=1e-8)


def test_frechet_distance_of_fewer_windows_than_dimensions():
    """The trace of the root is the sum of the singular values of one centred sample times the other."""
    a, b = cloud(0, 10, 64), cloud(1, 20, 64)
    left, right = ((x - x.mean(0)) / math.sqrt(len(x) - 1) for x in (a, b))
    cross = np.linalg.svd(left @ right.T, compute_uv=False).sum()
    expected = np.square(a.mean(0) - b.mean(0)).sum() + (left**2).sum() + (right**2).sum() - 2 * cross
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_of_known_gaussians():
    """Independent dimensions: the sum of (m1 - m2)^2 + (sd1 - sd2)^2."""
    rng = np.random.default_rng(0)
    (m1, m2), (s1, s2) = rng.normal(size=(2, 9)), rng.uniform(0.1, 3, (2, 9))
    got = frechet_of_moments(Moments(m1, np.diag(s1**2)), Moments(m2, np.diag(s2**2)))
    assert got == pytest.approx(((m1 - m2) ** 2 + (s1 - s2) ** 2).sum())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(2, 40), st.floats(-3, 3))
def test_frechet_distance_is_a_distance(seed, dims, n, shift):
    a, b = cloud(seed, n, dims), cloud(seed + 1, n + 3, dims)
    d, scale = frechet_distance(a, b), 1 + a.var() + b.var()
    assert d >= -1e-6 * scale
    assert frechet_distance(b, a) == pytest.approx(d, rel=1e-5, abs=1e-6 * scale)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6 * scale)
    assert frechet_distance(a, a + shift) == pytest.approx(dims * shift**2, abs=1e-6 * scale)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(dims, dims)))[0]
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(d, rel=1e-5, abs=1e-6 * scale)


def test_sets_that_cannot_be_compared():
    good = cloud(0, 20, 4)
    refuses("20 windows|shape .n, dims.", frechet_distance, good[:, 0], good)
    refuses("n at least 2, not .1, 4.", frechet_distance, good[:1], good)
    refuses("of 4 and 3 dimensions", frechet_distance, good, good[:, :3])
    refuses("NaN or infinity", frechet_distance, good, np.where(good > 1, np.nan, good))


# Small samples


def test_the_bias_table_of_the_paper_sheet():
    """Every entry within 8 %: the two means of five runs have standard errors of about 2 % each, and more at 13."""
    known = wide("lungldm", "reference").filter(regex=r"^same Gaussian \| ", axis=0).set_index("N")
    got = same_gaussian_demo([int(n) for n in known.index], seed=1).set_index("n")
    assert got.index.tolist() == [13, 39, 100, 250, 500, 1000, 5000]
    assert np.allclose(got["against_all"], known["FAD against 20,000"].astype(float), rtol=0.08)
    assert np.allclose(got["equal_sizes"], known["FAD of equal sizes"].astype(float), rtol=0.08)


def test_the_gaussian_of_the_table():
    sample = same_gaussian(20_000, np.random.default_rng(0))
    assert sample.shape == (20_000, 128)
    assert sample.var(axis=0).sum() == pytest.approx(100, rel=0.02)


def test_the_bias_curve_is_of_the_subsets_it_names():
    a, b = cloud(0, 60, 3), cloud(0, 60, 3)
    row = bias_curve(a, b, [60], n_runs=2).loc[0]  # all rows: nothing is left to chance
    assert row["against_all"] == pytest.approx(0, abs=1e-9)
    assert row["equal_sizes"] == pytest.approx(0, abs=1e-9)
    refuses("n at least 61, not .60, 3.", bias_curve, a, b, [10, 61])


# KL and IS


def softmax_row(z):
    e = [math.exp(v - max(z)) for v in z]
    return [v / sum(e) for v in e]


def logits_of(seed, names, classes=5):
    return pd.DataFrame(np.random.default_rng(seed).normal(0, 3, (len(names), classes)), index=names)


def test_kl_is_the_mean_over_pairs_of_the_same_name():
    names = [f"clip{i}" for i in range(12)]
    reference, generated = logits_of(0, names), logits_of(1, names)
    expected = []
    for name in names:
        p, q = softmax_row(reference.loc[name]), softmax_row(generated.loc[name])
        expected.append(sum(a * (math.log(a) - math.log(b + 1e-6)) for a, b in zip(p, q, strict=True)))
    shuffled = generated.sample(frac=1, random_state=0)
    assert kl_paired(reference, shuffled) == pytest.approx(np.mean(expected))
    assert kl_paired(reference, generated.set_axis(names[1:] + names[:1])) != pytest.approx(np.mean(expected))


def test_kl_is_a_divergence_but_for_epsilon():
    names = range(50)
    one, other = logits_of(0, names), logits_of(1, names)
    assert -5e-6 <= kl_paired(one, one) <= 0
    assert kl_paired(one, other) > 0
    below, above = one - 2, one + 2  # softmax is blind to a common shift
    assert kl_paired(below, above) == pytest.approx(0, abs=1e-5)


def test_kl_of_certain_answers_is_finite():
    sure = pd.DataFrame(1e4 * np.eye(4))
    assert kl_paired(sure, sure.iloc[::-1].reset_index(drop=True)) == pytest.approx(-math.log(1e-6))


def test_the_overlap_rule_of_the_tool():
    """More than 99 %, both ways."""
    names = [f"clip{i}" for i in range(201)]
    full = logits_of(0, names)
    assert kl_paired(full, full.iloc[:200]) == pytest.approx(0, abs=1e-5)
    assert kl_paired(full.iloc[:200], full) == pytest.approx(0, abs=1e-5)
    refuses("Only 99 of 100 reference", kl_paired, full[:100], full[:99])
    refuses("Only 99 of 100 generated", kl_paired, full[:99], full[:100])
    refuses("Only 0 of 5", kl_paired, full[:5], full[5:10])
    refuses("Only 0 of 0", kl_paired, full[:0], full[:0])


def test_kl_of_rows_that_are_no_pairs():
    table = logits_of(0, ["a", "b"])
    layers = pd.concat([table] * 13)  # a row a layer, as the tool's default backbone gives them
    refuses("'a' has more than one row", kl_paired, table, layers)
    refuses("of 5 and 4 classes", kl_paired, table, table.iloc[:, :4])
    refuses("finite", kl_paired, table, table.where(table > 0))


def test_is_is_the_mean_over_ten_shuffled_splits():
    logits = np.random.default_rng(0).normal(0, 2, (57, 6))
    order = np.random.RandomState(2020).permutation(57)
    scores = []
    for k in range(10):
        part = [softmax_row(logits[i]) for i in order[k * 57 // 10 : (k + 1) * 57 // 10]]
        mean = [sum(p[c] for p in part) / len(part) for c in range(6)]
        kl = [sum(p[c] * math.log(p[c] / mean[c]) for c in range(6)) for p in part]
        scores.append(math.exp(sum(kl) / len(kl)))
    assert inception_score(logits) == pytest.approx((np.mean(scores), np.std(scores)))


def test_bounds_of_is():
    assert inception_score(np.tile(np.arange(7.0), (100, 1))) == pytest.approx((1, 0))
    apart = 1e3 * np.eye(13)[np.random.default_rng(0).permutation(np.arange(13_000) % 13)]
    assert inception_score(apart)[0] == pytest.approx(13, rel=0.01)
    # A split of few clips cannot show many types.
    assert inception_score(apart[:20])[0] <= 2
    assert np.isnan(inception_score(apart[:9])).all()  # one clip a split at least
    assert np.isfinite(inception_score(apart[:10])).all()
    refuses("finite", inception_score, np.full((20, 3), np.nan))
    refuses("shape", inception_score, np.zeros(20))


def test_a_flat_softmax_looks_perfect():
    """IS near 1 and KL near 0 of types that are perfectly apart."""
    known = wide("lungldm", "reference").filter(like="softmax over", axis=0)[["IS", "KL"]].astype(float)
    for seed in (0, 5):
        got = flat_softmax_demo(seed)
        assert (got["accuracy"] == 1).all()
        assert got.index.tolist() == [row.removeprefix("softmax over ") for row in known.index]
        assert got.loc["logits", "IS"] == pytest.approx(known["IS"].iloc[0], rel=0.1)
        assert np.allclose(got["IS"].iloc[1:], known["IS"].iloc[1:], atol=5e-4)
        assert np.allclose(got["KL"], known["KL"], rtol=0.1)
    assert flat_softmax_demo(3).equals(flat_softmax_demo(3))
