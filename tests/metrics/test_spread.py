"""Standard errors against known ones."""

import math

import numpy as np
import pytest

from tests.helpers import single_gaussian
from tgdp_jax.errors import UserError
from tgdp_jax.metrics.closed_form import densities
from tgdp_jax.metrics.coverage import density_coverage
from tgdp_jax.metrics.spread import bootstrap, mean_value, subsample_spread


@pytest.mark.parametrize("spread", [bootstrap, subsample_spread])
@pytest.mark.parametrize("size", [400, 6000])  # the larger is cut down to max_rows
def test_error_of_a_mean(spread, size):
    x = 3 * np.random.default_rng(0).normal(size=size)
    assert spread(np.mean, x, num=600) == pytest.approx(3 / math.sqrt(size), rel=0.12)


@pytest.mark.parametrize("spread", [bootstrap, subsample_spread])
def test_arrays_are_resampled_independently(spread):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=300), rng.normal(size=100)
    got = spread(lambda a, b: a.mean() - b.mean(), x, y, num=600)
    assert got == pytest.approx(math.sqrt(1 / 300 + 1 / 100), rel=0.15)


@pytest.mark.parametrize("spread", [bootstrap, subsample_spread])
def test_rows_stay_whole_and_several_numbers_are_allowed(spread):
    x = np.random.default_rng(2).normal(size=(500, 1)) * [1.0, -1.0]
    got = spread(lambda a: np.array([a[:, 0].mean(), a.sum(1).mean()]), x, num=200)
    assert got.shape == (2,)
    assert got[0] == pytest.approx(1 / math.sqrt(500), rel=0.2)
    assert got[1] == 0


def test_error_of_the_average_density():
    # E q^j under N(0, v I) in the plane is c^j / (j + 1) with c = 1/(2 pi v): variance c^2 (1/3 - 1/4).
    target = single_gaussian([0.0, 0.0], 0.1)
    x = math.sqrt(0.1) * np.random.default_rng(3).normal(size=(2000, 2))
    got = bootstrap(lambda a: densities(a, target).mean(), x, num=100)
    assert got == pytest.approx(math.sqrt(1 / 12) / (0.2 * math.pi) / math.sqrt(2000), rel=0.25)


def test_subsamples_suit_neighbours_where_the_bootstrap_does_not():
    rng = np.random.default_rng(4)
    draws = [(rng.normal(size=(300, 2)), 0.5 * rng.normal(size=(300, 2))) for _ in range(40)]
    scatter = np.std([density_coverage(a, b)[1] for a, b in draws], ddof=1)
    subsampled = np.mean([subsample_spread(density_coverage, a, b)[1] for a, b in draws])
    assert subsampled == pytest.approx(scatter, rel=0.35)


def test_repeated_rows_appear_in_the_bootstrap_alone():
    x = np.arange(50)
    assert bootstrap(lambda a: len(np.unique(a)), x) > 0
    assert subsample_spread(lambda a: len(np.unique(a)), x) == 0


def test_rows_drawn_within_their_strata():
    rng = np.random.default_rng(6)
    strata = rng.permutation(np.repeat([3, 0, 7], [1, 300, 100]))
    x = rng.normal(size=401) * np.choose(strata // 3, [1.0, 5.0, 3.0]) + 1000 * strata
    within = sum((strata == k).sum() * x[strata == k].var() for k in (0, 3, 7))
    # What lies between the numbers does not vary.
    assert bootstrap(np.mean, x, num=600, strata=strata) == pytest.approx(math.sqrt(within) / 401, rel=0.1)
    assert bootstrap(lambda a: np.bincount(a, minlength=8), strata, strata=strata).tolist() == [0.0] * 8


def test_seeds():
    x = np.random.default_rng(5).normal(size=50)
    assert bootstrap(np.mean, x, seed=1) == bootstrap(np.mean, x, seed=1) != bootstrap(np.mean, x, seed=2)


def test_mean_value():
    value, spread = mean_value([1.0, 2.0, 3.0])
    assert value == 2
    assert spread == pytest.approx(1 / math.sqrt(3))
    assert math.isnan(mean_value([1.0]).spread)


@pytest.mark.parametrize("spread", [bootstrap, subsample_spread])
def test_bad_inputs_are_refused(spread):
    with pytest.raises(UserError, match="num"):
        spread(np.mean, np.ones(3), num=1)
    with pytest.raises(UserError, match="rows"):
        spread(np.mean, np.ones(0))
    with pytest.raises(UserError, match="array"):
        spread(np.mean)


def test_a_single_row_has_no_subsamples():
    with pytest.raises(UserError, match="two rows"):
        subsample_spread(np.mean, np.ones(1))
