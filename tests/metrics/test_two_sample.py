"""Distances against closed forms and against the plainest possible computation."""

import itertools
import math

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from tgdp_jax.errors import UserError
from tgdp_jax.metrics.two_sample import (
    BLOCK,
    median_bandwidth,
    mmd2_value,
    sliced_wasserstein2,
    sliced_wasserstein2_value,
    wasserstein2_value,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def wasserstein2(x, y, **settings):
    return wasserstein2_value(x, y, num=2, **settings).value


def mmd2(x, y, **settings):
    return mmd2_value(x, y, num=2, **settings).value


def kernel(x, y, bandwidth):
    return np.exp(-((x[:, None] - y) ** 2).sum(-1) / (2 * bandwidth**2))


def gaussian_kernel_mean(gap, variance, bandwidth, dim):
    """E k(x, y) where x - y ~ N(gap, variance I)."""
    total = bandwidth**2 + variance
    return (bandwidth**2 / total) ** (dim / 2) * math.exp(-(gap**2) / (2 * total))


# Sliced Wasserstein


@pytest.mark.parametrize("dim", [1, 2, 7])
def test_sliced_distance_of_a_shift_is_its_length_over_root_dimension(rng, dim):
    x, shift = rng.normal(size=(200, dim)), rng.normal(size=dim)
    got = sliced_wasserstein2(x, x + shift, projections=8000)
    assert got == pytest.approx(np.linalg.norm(shift) / math.sqrt(dim), rel=0.03)


def test_sliced_distance_of_a_scaling(rng):
    # On every line W2 between N(0, s^2) and N(0, 1) is |s - 1|.
    x = rng.normal(size=(40_000, 3))
    assert sliced_wasserstein2(x, 1.5 * x) == pytest.approx(0.5, rel=0.02)
    assert sliced_wasserstein2(x, 1.5 * rng.normal(size=(20_000, 3))) == pytest.approx(0.5, rel=0.04)


@pytest.mark.parametrize(("n", "m"), [(12, 12), (12, 18), (7, 5), (1, 9)])
def test_sliced_distance_of_unequal_sizes_equals_that_of_replicated_rows(rng, n, m):
    x, y = rng.normal(size=(n, 3)), rng.normal(size=(m, 3)) + 0.3
    common = math.lcm(n, m)
    directions = np.random.default_rng(5).normal(size=(64, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    squares = []
    for theta in directions:
        a = np.repeat(np.sort(x @ theta), common // n)
        b = np.repeat(np.sort(y @ theta), common // m)
        squares.append(((a - b) ** 2).mean())
    assert sliced_wasserstein2(x, y, seed=5) == pytest.approx(math.sqrt(np.mean(squares)), rel=1e-12)
    assert sliced_wasserstein2(y, x, seed=5) == pytest.approx(math.sqrt(np.mean(squares)), rel=1e-12)


def test_sliced_distance_flattens_and_is_zero_for_a_permutation(rng):
    x = rng.normal(size=(50, 2, 3))
    assert sliced_wasserstein2(x, x[::-1]) == 0
    y = rng.normal(size=(50, 2, 3))
    assert sliced_wasserstein2(x, y) == sliced_wasserstein2(x.reshape(50, 6), y.reshape(50, 6)) > 0


def test_directions_depend_on_the_seed_alone(rng):
    x, y = rng.normal(size=(50, 4)), rng.normal(size=(60, 4))
    assert sliced_wasserstein2(x, y, seed=1) == sliced_wasserstein2(x, y, seed=1)
    assert sliced_wasserstein2(x, y, seed=1) != sliced_wasserstein2(x, y, seed=2)


def test_sliced_value_agrees_and_its_spread_is_that_of_fresh_draws(rng):
    shift = np.array([0.5, 0.0])
    found = [
        sliced_wasserstein2_value(rng.normal(size=(300, 2)), rng.normal(size=(400, 2)) + shift, projections=32)
        for _ in range(40)
    ]
    scatter = np.std([v.value for v in found], ddof=1)
    assert np.mean([v.spread for v in found]) == pytest.approx(scatter, rel=0.4)
    x, y = rng.normal(size=(30, 2)), rng.normal(size=(20, 2))
    assert sliced_wasserstein2_value(x, y, seed=3).value == sliced_wasserstein2(x, y, seed=3)


# Exact Wasserstein


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_exact_distance_of_a_shift_and_of_a_scaling(rng, dim):
    # Both maps are gradients of convex functions, hence optimal even between finite sets.
    x, shift = rng.normal(size=(150, dim)), rng.normal(size=dim)
    assert wasserstein2(x, (x + shift)[::-1]) == pytest.approx(np.linalg.norm(shift), rel=1e-9)
    assert wasserstein2(x, 1.7 * x) == pytest.approx(0.7 * math.sqrt((x**2).sum(1).mean()), rel=1e-9)


def test_exact_distance_equals_the_best_permutation(rng):
    x, y = rng.normal(size=(6, 2)), rng.normal(size=(6, 2))
    best = min(((x - y[list(p)]) ** 2).sum(1).mean() for p in itertools.permutations(range(6)))
    assert wasserstein2(x, y) == pytest.approx(math.sqrt(best), rel=1e-12)


def test_exact_distance_between_gaussians(rng):
    # W2^2 = |shift|^2 + (s - 1)^2 d for N(0, I) and N(shift, s^2 I).
    x, y = rng.normal(size=(3000, 2)), 2 * rng.normal(size=(2500, 2)) + [3.0, 0.0]
    assert wasserstein2(x, y) == pytest.approx(math.sqrt(9 + 2), rel=0.04)


def test_exact_distance_draws_subsets_of_equal_size(rng):
    x, y = rng.normal(size=(500, 2)), rng.normal(size=(300, 2))
    full = wasserstein2(x, y)
    assert wasserstein2(x, y, max_points=100, seed=0) != wasserstein2(x, y, max_points=100, seed=1)
    # The bias of finite sets: fewer points lie farther apart.
    assert wasserstein2(x, y, max_points=30) > full > 0


def test_exact_spread_is_that_of_fresh_draws(rng):
    shift = np.array([1.0, 0.0])
    found = [
        wasserstein2_value(rng.normal(size=(200, 2)), rng.normal(size=(250, 2)) + shift, max_points=150)
        for _ in range(40)
    ]
    scatter = np.std([v.value for v in found], ddof=1)
    assert np.mean([v.spread for v in found]) == pytest.approx(scatter, rel=0.4)


# Maximum mean discrepancy


@pytest.mark.parametrize("dim", [2, 6])  # summed term by term, and as a matrix product
@pytest.mark.parametrize(("n", "m"), [(3, 40), (BLOCK + 100, 700)])  # one block, and several with filling
def test_mmd_equals_the_sum_over_all_pairs(rng, dim, n, m):
    x, y = rng.normal(size=(n, dim)) + 20, 1.3 * rng.normal(size=(m, dim)) + 20.4
    xx, yy, xy = kernel(x, x, 1.1), kernel(y, y, 1.1), kernel(x, y, 1.1)
    expected = (xx.sum() - n) / (n * (n - 1)) + (yy.sum() - m) / (m * (m - 1)) - 2 * xy.mean()
    assert mmd2(x, y, bandwidth=1.1) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("dim", [2, 6])
def test_mmd_of_gaussians_has_its_closed_form(rng, dim):
    shift, scale, bandwidth = 0.8, 1.4, 1.2
    x = rng.normal(size=(4000, dim))
    y = scale * rng.normal(size=(4000, dim)) + shift / math.sqrt(dim)
    expected = (
        gaussian_kernel_mean(0, 2, bandwidth, dim)
        + gaussian_kernel_mean(0, 2 * scale**2, bandwidth, dim)
        - 2 * gaussian_kernel_mean(shift, 1 + scale**2, bandwidth, dim)
    )
    got = mmd2_value(x, y, bandwidth=bandwidth)
    assert abs(got.value - expected) < 4 * got.spread
    assert got.spread < 0.1 * expected


def test_mmd_is_unbiased_for_equal_distributions(rng):
    values = np.array([mmd2(rng.normal(size=(10, 2)), rng.normal(size=(12, 2)), bandwidth=1.0) for _ in range(600)])
    error = values.std() / math.sqrt(len(values))
    assert abs(values.mean()) < 4 * error
    # The estimate that counts a row with itself is off by (1 - E k)(1/n + 1/m).
    assert 4 * error < 0.25 * (1 - gaussian_kernel_mean(0, 2, 1.0, 2)) * (1 / 10 + 1 / 12)


def test_mmd_bootstrap_is_the_statistic_on_resampled_rows(rng):
    x, y = rng.normal(size=(70, 2)), rng.normal(size=(50, 2)) + 0.5
    spread = mmd2_value(x, y, bandwidth=1.0, num=7, seed=4).spread
    draws = np.random.default_rng(4)
    counts_x, counts_y = (draws.multinomial(n, np.full(n, 1 / n), size=7) for n in (70, 50))
    copies = [
        mmd2(np.repeat(x, a, axis=0), np.repeat(y, b, axis=0), bandwidth=1.0)
        for a, b in zip(counts_x, counts_y, strict=True)
    ]
    assert spread == pytest.approx(np.std(copies, ddof=1), rel=1e-3)


def test_mmd_spread_is_that_of_fresh_draws(rng):
    found = [
        mmd2_value(rng.normal(size=(200, 2)), rng.normal(size=(200, 2)) + 0.7, bandwidth=1.0, seed=i) for i in range(60)
    ]
    scatter = np.std([v.value for v in found], ddof=1)
    assert np.mean([v.spread for v in found]) == pytest.approx(scatter, rel=0.35)


@pytest.mark.parametrize("dim", [2, 6])
def test_mmd_stays_finite_with_diverged_rows(rng, dim):
    x, y = rng.normal(size=(100, dim)), rng.normal(size=(100, dim))
    x[0] = 1e30
    plain, hit = mmd2(x[1:], y, bandwidth=1.0), mmd2(x, y, bandwidth=1.0)
    assert abs(hit - plain) < 0.05


def test_median_bandwidth(rng):
    x = rng.normal(size=(300, 2))
    # |x - x'|^2 / 2 of unit Gaussians in the plane is chi-squared / 1 with two degrees: median distance sqrt(4 log 2).
    assert median_bandwidth(x, rng.normal(size=(5000, 2))) == pytest.approx(math.sqrt(4 * math.log(2)), rel=0.05)
    assert median_bandwidth(10 * x) == pytest.approx(10 * median_bandwidth(x))
    assert median_bandwidth(np.ones((5, 2))) == 1.0
    # A long set does not decide: with equal shares of three far clusters two thirds of the distances are large.
    assert median_bandwidth(rng.normal(size=(5000, 2)), x + 100, x - 100) > 100
    y = rng.normal(size=(300, 2)) + 1
    assert mmd2(x, y) == mmd2(x, y, bandwidth=median_bandwidth(x, y))


def test_median_bandwidth_leaves_pairs_that_coincide_out(rng):
    x = rng.normal(size=(400, 2))
    x[:320] = 0  # 64 % of the pairs
    assert median_bandwidth(x) == pytest.approx(np.median(pdist(x)[pdist(x) > 0])) and median_bandwidth(x) > 0.5
    y = rng.normal(size=(400, 2))
    y[rng.permutation(400)[:320]] = 0
    assert abs(mmd2_value(x, y).value) < 4 * mmd2_value(x, y).spread
    assert mmd2_value(x, rng.normal(size=(400, 2))).value > 0.1


# Bad inputs


@pytest.mark.parametrize("metric", [sliced_wasserstein2, wasserstein2, mmd2])
def test_bad_arrays_are_refused(metric):
    good = np.zeros((4, 2))
    bad = good.copy()
    bad[1, 1] = np.nan
    with pytest.raises(UserError, match="NaN or infinity in 1 of 4 rows"):
        metric(good, bad)
    with pytest.raises(UserError, match="2 numbers a row and y 3"):
        metric(good, np.zeros((4, 3)))
    with pytest.raises(UserError, match="0 rows"):
        metric(np.zeros((0, 2)), good)
    with pytest.raises(UserError, match="real numbers"):
        metric([["a"], ["b"]], good)


def test_bad_settings_are_refused():
    x = np.zeros((4, 2))
    with pytest.raises(UserError, match="projections"):
        sliced_wasserstein2(x, x, projections=0)
    with pytest.raises(UserError, match="max_points"):
        wasserstein2(x, x, max_points=0)
    for bandwidth in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UserError, match="bandwidth"):
            mmd2(x, x, bandwidth=bandwidth)
    with pytest.raises(UserError, match="at least 2"):
        mmd2(x[:1], x)
    with pytest.raises(UserError, match="num"):
        mmd2_value(x, x, bandwidth=1.0, num=1)
