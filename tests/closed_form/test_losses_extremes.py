"""Losses in single precision where ratios vanish or explode and rows coincide: right wherever float32 holds them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tgdp_jax import losses
from tgdp_jax.density_ratio import pooled_log_weights
from tgdp_jax.registry import GUIDANCE_LOSSES

G = np.array([-1000.0, -100.0, -30.0, -1.0, 0.0, 1.0, 30.0, 60.0, 80.0, 100.0, 1000.0])
LOG_R = np.array([-np.inf, -200.0, -50.0, -1.0, 0.0, 1.0, 20.0, 40.0, 60.0, 80.0])
MOST = 1e38


def softplus(x):
    return np.logaddexp(0, x)


def sigmoid(x):
    return np.exp(-softplus(-x))


def times(factor, exponent):
    """factor e^exponent, with the factor's logarithm in the exponent: 0 e^inf is 0."""
    return np.sign(factor) * np.exp(np.clip(exponent + np.log(np.maximum(np.abs(factor), 1e-320)), -745, 709))


# (value, slope) at (g, log r, log w), in double precision and in logarithms.
TRUTH = {
    "logistic": lambda g, r, w: (
        times(softplus(g), w) + times(softplus(-g), w + r),
        times(sigmoid(g), w) - times(sigmoid(-g), w + r),
    ),
    "kl": lambda g, r, w: (times(1.0, w + g) - times(g, w + r), times(1.0, w + g) - times(1.0, w + r)),
    "mse": lambda g, r, w: (
        np.square(times(1.0, w / 2 + g) - times(1.0, w / 2 + r)),
        2 * times(1.0, w + 2 * g) - 2 * times(1.0, w + g + r),
    ),
    "log_mse": lambda g, r, w: (
        times(np.square(g - np.maximum(r, losses.LEAST_LOG_RATIO)), w),
        times(2 * (g - np.maximum(r, losses.LEAST_LOG_RATIO)), w),
    ),
}


@pytest.mark.parametrize("pooled", [False, True], ids=["plain", "pooled"])
@pytest.mark.parametrize("name", TRUTH)
def test_losses_and_their_slopes_are_right_wherever_single_precision_holds_them(name, pooled):
    g, log_r = (a.reshape(-1) for a in np.meshgrid(G, LOG_R))
    log_w = np.log(2) - softplus(log_r) if pooled else np.zeros_like(log_r)
    with np.errstate(over="ignore"):
        value, slope = TRUTH[name](g, log_r, log_w)
    single = jnp.asarray(g, jnp.float32), jnp.asarray(log_r, jnp.float32)
    weights = pooled_log_weights(single[1])[0] if pooled else jnp.zeros(len(g))
    fn = GUIDANCE_LOSSES[name]
    got = np.asarray(fn(*single, weights), np.float64)
    got_slope = np.asarray(jax.grad(lambda g: jnp.sum(fn(g, single[1], weights)))(single[0]), np.float64)
    assert not np.isnan(got).any()
    # A sum of terms is as exact as the larger one: e^g - r g, for example.
    scale = np.exp(np.minimum(np.maximum(log_w + np.maximum(g, log_r), -80), 80)) if name == "kl" else np.abs(value)
    for found, true in ((got, value), (got_slope, slope)):
        held = (np.abs(true) < MOST) & (np.abs(value) < MOST)
        assert held.mean() > 0.4 and np.isfinite(found[held]).all()
        error = np.abs(found[held] - true[held])
        assert (error <= 1e-4 * np.maximum(np.abs(true), scale)[held] + 1e-30).all()


def test_log_regression_on_a_ratio_of_zero_is_finite_and_pulls_down():
    value, slope = jax.value_and_grad(lambda g: losses.log_mse(g, -jnp.inf, 0.0))(jnp.asarray(0.5))
    assert value == pytest.approx((0.5 + 87.3365) ** 2, rel=1e-5) and slope == pytest.approx(2 * 87.8365, rel=1e-5)
    assert losses.log_mse(jnp.asarray(0.5), jnp.asarray(-3.0), 0.0) == 3.5**2


def test_contrastive_loss_leaves_rows_of_ratio_zero_out_and_a_batch_of_them_alike():
    g, log_r, log_w = jnp.array([0.3, -2.0, 1.0]), jnp.array([0.5, -jnp.inf, -1.0]), jnp.zeros(3)
    share = np.exp([0.5, -np.inf, -1.0]) / np.exp([0.5, -1.0]).sum()
    log_softmax = np.asarray(g) - np.log(np.exp(np.asarray(g, np.float64)).sum())
    np.testing.assert_allclose(losses.cep(g, log_r, log_w), -3 * share * log_softmax, rtol=1e-5, atol=1e-30)
    np.testing.assert_allclose(losses.cep(g, jnp.full(3, -jnp.inf), log_w), -log_softmax, rtol=1e-5)
    slope = jax.grad(lambda g: jnp.sum(losses.cep(g, jnp.full(3, -jnp.inf), log_w)))(g)
    np.testing.assert_allclose(slope, 3 * np.exp(log_softmax) - 1, rtol=1e-4, atol=1e-6)
    assert np.isfinite(losses.cep(1e3 * g, log_r, log_w)).all()


def test_cycle_and_classification_stay_finite():
    g, log_r = (a.reshape(-1) for a in np.meshgrid([-1e4, -1.0, 0.0, 1.0, 1e4], [-np.inf, -1e4, 0.0, 1e4, np.inf]))
    g, log_r = jnp.asarray(g, jnp.float32), jnp.asarray(log_r, jnp.float32)
    weight = sigmoid(np.asarray(log_r, np.float64))
    np.testing.assert_allclose(
        losses.cycle(g, log_r), weight * softplus(-np.asarray(g)) + (1 - weight) * softplus(np.asarray(g)), rtol=1e-5
    )
    assert np.isfinite(jax.grad(lambda g: jnp.sum(losses.cycle(g, log_r)))(g)).all()
    for label in (0.0, 0.3, 1.0):
        assert np.isfinite(losses.domain_classification(g, label)).all()


def test_energy_score_of_rows_that_coincide_has_a_slope():
    x, fake = jnp.array([[0.0, 0.0], [3.0, 4.0]]), jnp.array([[0.0, 0.0], [0.0, 0.0], [6.0, 8.0]])
    np.testing.assert_allclose(losses.distances(x, fake), [[0, 0, 10], [5, 5, 5]], atol=1e-5)
    assert np.isfinite(jax.grad(lambda a: jnp.sum(losses.energy_score(a, fake)))(x)).all()
    assert np.isfinite(jax.grad(lambda a: jnp.sum(losses.energy_score(x, a)))(fake)).all()
    # d |x - x'| / dx is the unit vector, and nought where they coincide.
    slope = jax.grad(lambda a: jnp.sum(losses.distances(a, fake)))(x)
    np.testing.assert_allclose(slope, [[-0.6, -0.8], [0.6, 0.8]], atol=1e-5)
