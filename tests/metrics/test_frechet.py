"""The Fréchet distance against the closed form for Gaussians."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.stats import ortho_group

from tgdp_jax.errors import UserError
from tgdp_jax.metrics.frechet import frechet_value


def frechet(x, y):
    return frechet_value(x, y, num=2).value


def with_moments(mean, covariance, num, seed=0):
    """Rows whose mean and unbiased covariance are exactly the given ones."""
    x = np.random.default_rng(seed).normal(size=(num, len(mean)))
    x -= x.mean(0)
    x = np.linalg.solve(np.linalg.cholesky(np.cov(x.T)), x.T).T
    return mean + x @ np.linalg.cholesky(covariance).T


def covariance(dim, seed):
    a = np.random.default_rng(seed).normal(size=(dim, dim))
    return a @ a.T / dim + 0.1 * np.eye(dim)


def test_commuting_covariances():
    # d^2 = |m|^2 + sum_i (s_i - t_i)^2 with standard deviations s, t along shared axes.
    s, t, m = np.array([1.0, 2.0, 0.5]), np.array([1.5, 0.1, 0.5]), np.array([0.3, -1.0, 2.0])
    x, y = with_moments(np.zeros(3), np.diag(s**2), 50), with_moments(m, np.diag(t**2), 80, seed=1)
    assert frechet(x, y) == pytest.approx((m**2).sum() + ((s - t) ** 2).sum(), rel=1e-10)


def test_any_covariances():
    a, b = covariance(6, 0), covariance(6, 1)
    x, y = with_moments(np.zeros(6), a, 50), with_moments(np.ones(6), b, 40, seed=1)
    expected = 6 + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet(x, y) == pytest.approx(expected, rel=1e-9)
    assert frechet(y, x) == pytest.approx(expected, rel=1e-9)


def test_samples_of_gaussians_approach_the_closed_form():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20_000, 3)), 1 + 2 * rng.normal(size=(20_000, 3))
    value, spread = frechet_value(x, y)
    assert value == pytest.approx(3 + 3, abs=4 * spread)
    assert spread < 0.2


def test_rotation_and_offset_change_nothing():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 8)), rng.normal(size=(90, 8)) * np.arange(1, 9)
    turn = ortho_group.rvs(8, random_state=0)
    assert frechet(x @ turn + 1e4, y @ turn + 1e4) == pytest.approx(frechet(x, y), rel=1e-9)
    assert frechet(3 * x, 3 * y) == pytest.approx(9 * frechet(x, y), rel=1e-9)


@pytest.mark.parametrize("num", [10, 500])  # fewer and more rows than features
def test_equal_sets_are_no_distance_apart(num):
    # Scales from 1 to 1e-6: a root of the product of covariances would err by about 1e-8.
    x = np.random.default_rng(0).normal(size=(num, 40)) * np.logspace(0, -6, 40)
    assert frechet(x, x) < 1e-13
    assert frechet(x, np.random.default_rng(1).permutation(x)) < 1e-13


def test_fewer_rows_than_features():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(7, 30))
    trace = np.trace(np.cov(x.T))
    # Twice the vectors: standard deviations differ by one of theirs along every axis.
    assert frechet(x, 2 * x) == pytest.approx((x.mean(0) ** 2).sum() + trace, rel=1e-9)
    # In subspaces at right angles the covariances' product is zero.
    apart = [np.hstack(pair) for pair in ((x, 0 * x), (0 * x, x))]
    assert frechet(*apart) == pytest.approx(2 * (x.mean(0) ** 2).sum() + 2 * trace, rel=1e-9)


def test_bias_is_upwards_and_falls_as_one_over_n():
    rng = np.random.default_rng(0)
    few, many = (np.mean([frechet(*rng.normal(size=(2, n, 10))) for _ in range(20)]) for n in (200, 800))
    assert few / many == pytest.approx(4, rel=0.2)
    # Means alone contribute 2 F / N.
    assert many > 2 * 10 / 800


def test_spread_is_the_scatter_over_draws():
    rng = np.random.default_rng(0)
    found = [frechet_value(rng.normal(size=(300, 4)), 1 + rng.normal(size=(300, 4))) for _ in range(40)]
    scatter = np.std([f.value for f in found], ddof=1)
    assert np.mean([f.spread for f in found]) == pytest.approx(scatter, rel=0.35)


def test_bad_inputs_are_refused():
    with pytest.raises(UserError, match="x has 1 rows"):
        frechet(np.zeros((1, 3)), np.zeros((5, 3)))
    with pytest.raises(UserError, match="same shape"):
        frechet(np.zeros((5, 3)), np.zeros((5, 4)))
    with pytest.raises(UserError, match="y has NaN"):
        frechet_value(np.zeros((5, 3)), np.full((5, 3), np.nan))


def test_constant_columns_and_blank_rows_have_covariances_without_an_inverse():
    s, t, m = np.array([1.0, 0.0, 0.5]), np.array([1.5, 2.0, 0.0]), np.array([0.3, -1.0, 2.0])
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(60, 3)) for _ in range(2))
    x, y = ((a - a.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(a.T))).T for a in (x, y))
    expected = (m**2).sum() + ((s - t) ** 2).sum()
    assert frechet(0.1 + x * s, 0.1 + m + y * t) == pytest.approx(expected, rel=1e-7)
    # Two points: all that is left is the distance of the means.
    assert frechet(np.full((5, 3), 0.1), np.full((4, 3), 0.4)) == pytest.approx(3 * 0.3**2, rel=1e-9)
    # Blank with probability one half: the variance of a coin, and one axis.
    blank = np.repeat([[-1.0] * 3, [1.0] * 3], 50, axis=0)
    assert frechet(blank, np.zeros((5, 3))) == pytest.approx(3 * 100 / 99, rel=1e-9)
