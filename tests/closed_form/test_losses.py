"""Every loss is stationary exactly at the minimiser its docstring states, and rises on both sides of it.

Expectations over x_0 given x_t are integrated on a grid in one dimension, in double precision, so a wrong minimiser can
not hide in sampling noise.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import (
    PROCESSES,
    density,
    draw,
    evaluate,
    line_pair,
    paper_pair,
    plane,
    posterior_weights,
    scales,
    spread_params,
    standard_errors,
)
from tgdp_jax import density_ratio, losses
from tgdp_jax.data.mixture import ExactLogRatio, ExactScore
from tgdp_jax.guidance import grad_log_ratio
from tgdp_jax.nets import GuidanceMLP
from tgdp_jax.registry import GUIDANCE_LOSSES

SDE = PROCESSES["vp"]
AT = 0.25
XT = np.linspace(-1.2, 1.6, 9)[:, None]
NODES, _ = plane(-5.0, 5.0, 4001, 1)
UNBIASED = ("logistic", "kl", "mse")


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def line_densities():
    source, target = line_pair()
    return density(source, NODES), density(target, NODES)


def posterior_ratio(proposal="source"):
    """(posterior weights [B, N] of x_0 under the proposal, log r [N])."""
    p, q = line_densities()
    prior = {"source": p, "target": q, "pooled": 0.5 * (p + q)}[proposal]
    return posterior_weights(prior, NODES, XT, AT, SDE), np.log(q / p)


def exact_log_h():
    """log E_p[r | x_t] by quadrature."""
    weights, log_r = posterior_ratio()
    return np.log(weights @ np.exp(log_r))


def slopes(loss, points):
    """d loss(g)_b / d g_b [P, B] at each of the points g [P, B], for loss: [B] -> [B] that keeps rows apart."""
    total = jax.grad(lambda value: jnp.sum(loss(value)))
    return np.asarray(jax.jit(jax.vmap(total))(jnp.asarray(points)))


def expected_loss(name, weights, log_r, log_w):
    """g [B] -> E[loss | x_t] [B]."""
    fn = GUIDANCE_LOSSES[name]

    def expectation(g):
        per_node = fn(jnp.broadcast_to(g[:, None], weights.shape), jnp.asarray(log_r), jnp.asarray(log_w))
        return jnp.sum(weights * per_node, axis=1)

    return expectation


def assert_minimum(loss, g):
    """The slope of each row vanishes at g and points back to it from both sides."""
    below, at, above = slopes(loss, np.stack([g - 0.1, g, g + 0.1]))
    assert (below < 0).all() and (above > 0).all()
    np.testing.assert_array_less(np.abs(at), 1e-8 * np.minimum(-below, above))


@pytest.mark.parametrize("name", UNBIASED)
def test_ratio_losses_are_minimal_at_the_log_of_the_posterior_mean_ratio(name):
    weights, log_r = posterior_ratio()
    assert_minimum(expected_loss(name, weights, log_r, np.zeros_like(log_r)), exact_log_h())


def test_log_regression_has_a_smaller_minimiser():
    weights, log_r = posterior_ratio()
    mean_log = weights @ log_r
    assert_minimum(expected_loss("log_mse", weights, log_r, np.zeros_like(log_r)), mean_log)
    # Jensen: strictly below, and by more than rounding.
    assert (mean_log < exact_log_h() - 1e-3).all()


@pytest.mark.parametrize("name", [*UNBIASED, "log_mse"])
def test_pooled_weights_leave_the_minimiser_where_it_is(name):
    plain, log_r = posterior_ratio()
    pooled, _ = posterior_ratio("pooled")
    log_w, _ = density_ratio.pooled_log_weights(jnp.asarray(log_r))
    expected = plain @ log_r if name == "log_mse" else exact_log_h()
    assert_minimum(expected_loss(name, pooled, log_r, log_w), expected)


def test_guidance_losses_are_all_covered_here():
    assert set(GUIDANCE_LOSSES) == {*UNBIASED, "log_mse", "cep"}


@pytest.mark.parametrize("proposal", ["source", "pooled"])
def test_contrastive_loss_is_stationary_at_log_h_up_to_a_constant(proposal):
    """The batch is a grid of all (x_0, x_t) with quadrature weights as log_w: the limit of a large batch, exactly."""
    nodes, _ = plane(-4.0, 4.0, 401, 1)
    source, target = line_pair()
    p, q = density(source, nodes), density(target, nodes)
    prior = p if proposal == "source" else 0.5 * (p + q)
    alpha, sigma = scales(SDE, AT)
    xt = np.linspace(-4.0, 4.0, 101)
    kernel = np.exp(-0.5 * ((xt - alpha * nodes) / sigma) ** 2)  # [x_0, x_t]
    log_r = np.log(q / p)
    log_w = np.log(prior)[:, None] - 0.5 * ((xt - alpha * nodes) / sigma) ** 2
    if proposal == "pooled":
        log_w = log_w + np.asarray(density_ratio.pooled_log_weights(jnp.asarray(log_r))[0])[:, None]
    log_h = np.log((q @ kernel) / (p @ kernel))

    def total(g):
        spread = jnp.broadcast_to(g, kernel.shape).ravel()
        ratios = jnp.broadcast_to(jnp.asarray(log_r)[:, None], kernel.shape).ravel()
        return jnp.mean(losses.cep(spread, ratios, jnp.asarray(log_w).ravel()))

    slope = jax.jit(jax.grad(total))
    for constant in (0.0, 1.7):
        np.testing.assert_allclose(slope(jnp.asarray(log_h + constant)), 0.0, atol=1e-12)
    mean_log = (kernel * p[:, None] * log_r[:, None]).sum(0) / (p @ kernel)
    assert np.abs(slope(jnp.asarray(mean_log))).max() > 1e-4
    assert total(jnp.asarray(log_h)) < total(jnp.asarray(mean_log))


def test_cycle_is_minimal_at_the_noisy_classifiers_log_ratio():
    log_h = exact_log_h()
    assert_minimum(lambda g: losses.cycle(g, jnp.asarray(log_h)), log_h)


def test_cycle_target_is_the_inverse_posterior_mean_of_the_inverse_ratio():
    """E_q[1/r | x_t] = 1/h: both sides of the cycle describe one function."""
    weights, log_r = posterior_ratio("target")
    np.testing.assert_allclose(-np.log(weights @ np.exp(-log_r)), exact_log_h(), atol=1e-9)


@pytest.mark.parametrize("odds", [0.25, 1.0, 4.0])
def test_classification_is_minimal_at_the_log_ratio_plus_the_prior_odds(odds):
    p, q = line_densities()
    keep = (NODES[:, 0] > -1.5) & (NODES[:, 0] < 2.0)
    p, q = jnp.asarray(p[keep]), jnp.asarray(q[keep])

    def loss(logit):
        as_target = losses.domain_classification(logit, jnp.ones_like(logit))
        as_source = losses.domain_classification(logit, jnp.zeros_like(logit))
        return (odds * q * as_target + p * as_source) / (odds * q + p)

    assert_minimum(loss, np.log(q / p) + np.log(odds))


def test_classification_takes_mixed_labels_linearly():
    logit = jnp.linspace(-3.0, 3.0, 7)
    pure = [losses.domain_classification(logit, jnp.full(7, label)) for label in (0.0, 1.0)]
    mixed = losses.domain_classification(logit, jnp.full(7, 0.3))
    np.testing.assert_allclose(mixed, 0.7 * pure[0] + 0.3 * pure[1], rtol=1e-12)


def test_denoising_is_minimal_at_the_posterior_mean_noise():
    weights, _ = posterior_ratio()
    alpha, sigma = scales(SDE, AT)
    noise = (XT - alpha * NODES[:, 0]) / sigma  # [B, N]
    mean_noise = (weights * noise).sum(1)

    def loss(g):
        guess = jnp.broadcast_to(g[:, None], noise.shape).reshape(-1, 1)
        return jnp.sum(weights * losses.denoising(guess, jnp.asarray(noise).reshape(-1, 1)).reshape(noise.shape), 1)

    assert_minimum(loss, mean_noise)
    source, _ = line_pair()
    score = evaluate(ExactScore(source, SDE), jnp.asarray(XT), jnp.full(len(XT), AT))
    np.testing.assert_allclose(mean_noise, -sigma * np.asarray(score)[:, 0], atol=1e-8)


def test_denoising_averages_over_coordinates():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 4, 3, 5))
    expected = ((a - b) ** 2).sum((1, 2)) / 15
    np.testing.assert_allclose(losses.denoising(jnp.asarray(a), jnp.asarray(b)), expected, rtol=1e-12)
    weight = rng.uniform(0.5, 2.0, (3, 5))
    weighed = (weight * (a - b) ** 2).sum((1, 2)) / 15
    np.testing.assert_allclose(losses.denoising(*map(jnp.asarray, (a, b, weight))), weighed, rtol=1e-12)


def test_consistency_is_minimal_where_source_score_and_guidance_make_the_target_score():
    weights, _ = posterior_ratio("target")
    source, target = line_pair()
    alpha, sigma = scales(SDE, AT)
    noise = (XT - alpha * NODES[:, 0]) / sigma
    t = jnp.full(len(XT), AT)
    p_score, q_score = (np.asarray(evaluate(ExactScore(m, SDE), jnp.asarray(XT), t))[:, 0] for m in (source, target))

    def loss(guidance):
        def column(value):
            return jnp.broadcast_to(jnp.asarray(value)[:, None], noise.shape).reshape(-1, 1)

        per_node = losses.consistency(
            column(p_score), column(guidance), jnp.asarray(noise).reshape(-1, 1), jnp.full(noise.size, sigma)
        )
        return jnp.sum(weights * per_node.reshape(noise.shape), 1)

    assert_minimum(loss, q_score - p_score)


def guidance_net():
    """A GuidanceMLP and its parameters away from every symmetric point."""
    net = GuidanceMLP(SDE, features=(8, 8))
    return net, spread_params(net.init, jnp.zeros((1, 2)), jnp.ones(1))


def network_gradient(net):
    """(params, x, t) -> grad_x of the network, [B, D]."""
    return lambda params, x, t: grad_log_ratio(lambda *args: net.apply(params, *args), x, t)


def target_rows(num):
    """(x_t, t, eps, source score) for x_0 from the paper's target."""
    source, target = paper_pair()
    rng = np.random.default_rng(2)
    t = jnp.asarray(0.02 + 0.98 * rng.uniform(size=num) ** 2)
    eps = jnp.asarray(rng.normal(size=(num, 2)))
    xt = jax.jit(SDE.perturb)(jnp.asarray(draw(target, num, seed=3)[0]), eps, t)
    return xt, t, eps, evaluate(ExactScore(source, SDE), xt, t)


def test_consistency_sends_the_right_gradient_to_the_guidance_parameters():
    """The loss holds a gradient with respect to x: its parameter gradient is compared with central differences."""
    net, params = guidance_net()
    xt, t, eps, score = target_rows(64)

    @jax.jit
    def total(params):
        grad_g = network_gradient(net)(params, xt, t)
        return jnp.mean(losses.consistency(score, grad_g, eps, SDE.sigma(t)))

    gradient = jax.jit(jax.grad(total))(params)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradient)) > 1e-3
    for seed in range(4):
        direction = spread_params(net.init, xt[:1], t[:1], scale=1.0, seed=10 + seed)
        step = 1e-5
        plus, minus = (
            total(jax.tree.map(lambda p, d, move=move: p + move * d, params, direction)) for move in (step, -step)
        )
        along = sum(np.vdot(a, b) for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True))
        np.testing.assert_allclose(along, (plus - minus) / (2 * step), rtol=1e-5, atol=1e-7)


def test_consistency_gradient_vanishes_at_the_exact_guidance_in_every_direction_of_a_network():
    """At grad g = grad log h the slope towards any other gradient field is zero in expectation over target rows."""
    net, params = guidance_net()
    xt, t, eps, score = target_rows(50_000)
    source, target = paper_pair()
    exact = jax.jit(lambda x, t: grad_log_ratio(ExactLogRatio(source, target, SDE), x, t))(xt, t)
    direction = jax.jit(network_gradient(net))(params, xt, t)

    @jax.jit
    def slope(scale):
        """d/da of the loss of each row at grad g = scale * exact + a * direction, a = 0."""

        def along(a):
            return losses.consistency(score, scale * exact + a * direction, eps, SDE.sigma(t))

        return jax.jvp(along, (0.0,), (1.0,))[1]

    assert standard_errors(slope(1.0), 0.0) < 4.5
    assert standard_errors(slope(0.0), 0.0) > 10  # the same direction does see guidance that is missing
