"""The classifier two-sample test where the best classifier is known."""

import numpy as np
import pytest
from scipy.stats import norm

from tests.metrics.tied import KINDS
from tgdp_jax.errors import UserError
from tgdp_jax.metrics.two_sample_classifier import c2st


def test_equal_distributions_read_a_half_within_the_spread():
    rng = np.random.default_rng(0)
    found = [c2st(*rng.normal(size=(2, 100, 3)), num=4, seed=i) for i in range(25)]
    for values in zip(*found, strict=True):
        value, spread = np.array(values).T
        assert value.mean() == pytest.approx(0.5, abs=3.5 * value.std() / 5)
        # On the careful side, like every spread by subsamples.
        assert 0.7 < spread.mean() / value.std(ddof=1) < 2


def test_a_shift_is_told_apart_as_well_as_can_be():
    # N(0, I) against N(m, I): the best accuracy is Phi(|m|/2), the best AUC Phi(|m|/sqrt(2)).
    rng = np.random.default_rng(0)
    shift = np.array([0.8, -0.6, 0.0])
    found = c2st(rng.normal(size=(4000, 3)), shift + rng.normal(size=(4000, 3)))
    assert found.accuracy.value == pytest.approx(norm.cdf(0.5), abs=0.02)
    assert found.auc.value == pytest.approx(norm.cdf(np.sqrt(0.5)), abs=0.02)
    assert found.accuracy.spread == pytest.approx(np.sqrt(0.69 * 0.31 / 8000), rel=0.6)


def test_sets_apart_are_told_apart():
    x, y = np.random.default_rng(0).normal(size=(2, 100, 5))
    assert c2st(x, y + 20) == ((1.0, 0.0), (1.0, 0.0))


def test_units_do_not_matter():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 3)), 0.3 + rng.normal(size=(80, 3))
    plain = c2st(x, y, seed=1)
    scale = np.array([1e-6, 1.0, 1e6])
    scaled = c2st(5 + scale * x, 5 + scale * y, seed=1)
    np.testing.assert_allclose(scaled, plain, atol=1e-3)
    assert c2st(x, y, seed=1) == plain


def test_a_long_set_does_not_make_guessing_easy():
    x, y = np.random.default_rng(0).normal(size=(2000, 2)), np.random.default_rng(1).normal(size=(100, 2))
    for pair in ((x, y), (y, x)):
        found = c2st(*pair)
        assert found.accuracy.value == pytest.approx(0.5, abs=4 * found.accuracy.spread)


def test_few_rows_give_no_spread_rather_than_a_wrong_one():
    x, y = np.random.default_rng(0).normal(size=(2, 15, 2))
    found = c2st(x, y)
    assert 0 < found.accuracy.value < 1
    assert np.isnan(found.accuracy.spread) and np.isnan(found.auc.spread)


def test_what_the_features_do_not_spell_out_is_not_seen():
    x, y = np.random.default_rng(0).normal(size=(2, 1000, 1))
    assert c2st(x, 3 * y).auc.value == pytest.approx(0.5, abs=0.06)
    features = [np.hstack([a, a**2]) for a in (x, 3 * y)]
    assert c2st(*features).auc.value > 0.7


@pytest.mark.parametrize("kind", KINDS)
def test_fresh_data_read_a_half_however_they_tie(kind):
    rng = np.random.default_rng(0)
    x, y = (KINDS[kind](rng, 300, 4) for _ in range(2))
    for value, spread in c2st(x, y):
        assert abs(value - 0.5) < 4 * spread
    # Nothing to go by at all.
    assert c2st(np.full((40, 2), 0.1), np.full((40, 2), 0.1)) == ((0.5, 0.0), (0.5, 0.0))


def test_bad_inputs_are_refused():
    with pytest.raises(UserError, match="x has 9 rows"):
        c2st(np.zeros((9, 2)), np.zeros((20, 2)))
    with pytest.raises(UserError, match="num"):
        c2st(np.zeros((20, 2)), np.zeros((20, 2)), num=1)
    with pytest.raises(UserError, match="same shape"):
        c2st(np.zeros((20, 2)), np.zeros((20, 3)))
