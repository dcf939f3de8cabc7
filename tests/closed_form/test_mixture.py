"""The exact mixture problem and guidance on it, against other ways to the same number.

The tests of losses, solvers and transfer all lean on these classes, so they are checked here against SciPy, automatic
differentiation and quadrature, none of which shares a formula with them.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests.helpers import (
    PROCESSES,
    density,
    draw,
    evaluate,
    line_pair,
    mixture,
    paper_pair,
    plane,
    posterior_weights,
    scales,
    single_gaussian,
    standard_errors,
)
from tgdp_jax.data.mixture import ExactLogRatio, ExactScore, GaussianMixture
from tgdp_jax.errors import UserError
from tgdp_jax.guidance import GuidedScore, combine_scores, grad_log_ratio, log_ratio_guidance
from tgdp_jax.sampling.grids import make_grid
from tgdp_jax.sde import DiscreteVP

# One process that keeps the variance and one that does not: the mixture sees them through alpha and sigma alone.
NAMES = pytest.mark.parametrize("name", ["vp", "ve"])
SKEWED = functools.partial(mixture, [[0.9, -0.2, 0.4], [-0.7, 0.5, 0.1], [0.0, 1.2, -0.9]], 0.2, [0.2, 0.5, 0.3])
LABELS = pytest.mark.parametrize("labelled", [False, True])


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


@functools.partial(jax.jit, static_argnums=3)
def log_prob(m, x, t=None, sde=None, y=None):
    return m.log_prob(x, t, sde, y)


def rows(name, *, dim, num=24, seed=0):
    """(process, x_t, t, labels) spread over where the mixtures have mass at that time."""
    sde, rng = PROCESSES[name], np.random.default_rng(seed)
    t = jnp.asarray(rng.uniform(0.05, 1.0, num))
    spread = 0.8 * np.asarray(sde.alpha(t)) + np.asarray(sde.sigma(t))
    x = jnp.asarray(rng.normal(size=(num, dim)) * spread[:, None])
    return sde, x, t, jnp.asarray(rng.integers(0, 2, num))


@NAMES
def test_log_prob_is_the_density_of_the_convolved_components(name):
    sde, x, t, _ = rows(name, dim=3)
    m = SKEWED()
    y = jnp.arange(len(t)) % 3
    joint = np.empty((len(t), 3))
    for i, (point, at) in enumerate(zip(np.asarray(x), np.asarray(t), strict=True)):
        alpha, sigma = scales(sde, at)
        cov = (alpha**2 * float(m.variance) + sigma**2) * np.eye(3)
        for k in range(3):
            component = stats.multivariate_normal(alpha * np.asarray(m.means[k]), cov)
            joint[i, k] = np.log(float(m.weights[k])) + component.logpdf(point)
    np.testing.assert_allclose(log_prob(m, x, t, sde), np.logaddexp.reduce(joint, axis=1), rtol=1e-9)
    np.testing.assert_allclose(log_prob(m, x, t, sde, y), joint[np.arange(len(t)), np.asarray(y)], rtol=1e-9)


def test_clean_log_prob_matches_the_written_out_density():
    m = SKEWED()
    x = np.random.default_rng(1).normal(size=(20, 3))
    np.testing.assert_allclose(log_prob(m, x), np.log(density(m, x)), rtol=1e-10)
    labels = jnp.full(20, 2)
    np.testing.assert_allclose(log_prob(m, x, y=labels), np.log(density(m, x, 2)), rtol=1e-10)


def test_log_prob_of_noised_data_is_the_average_transition_density():
    """p_t(x) = E_{x_0}[ N(x; alpha x_0, sigma^2) ], by Monte Carlo over x_0."""
    sde, m, at = PROCESSES["vp"], SKEWED(), 0.4
    alpha, sigma = scales(sde, at)
    x0, _ = draw(m, 100_000, seed=0)
    x = np.array([[0.1, 0.2, -0.3], [0.8, -0.6, 0.5], [-1.0, 0.4, 0.0]])
    exact = np.exp(log_prob(m, x, np.full(3, at), sde))
    for point, expected in zip(x, exact, strict=True):
        kernel = stats.multivariate_normal(np.zeros(3), sigma**2 * np.eye(3)).pdf(point - alpha * x0)
        assert standard_errors(kernel, expected) < 4.5


def test_samples_follow_the_weights_and_components():
    m, num = SKEWED(), 60_000
    x, y = (np.asarray(a) for a in m.sample(jax.random.key(5), num))
    for k in range(3):
        assert standard_errors(y == k, float(m.weights[k])) < 4.5
        inside = x[y == k] - np.asarray(m.means[k])
        assert standard_errors(inside, 0.0).max() < 4.5
        assert standard_errors(inside**2, float(m.variance)).max() < 4.5


def test_responsibilities_are_bayes_rule():
    m = SKEWED()
    x = np.random.default_rng(2).normal(size=(15, 3))
    joint = np.stack([density(m, x, k) for k in range(3)], 1)
    np.testing.assert_allclose(
        jax.jit(m.responsibilities)(jnp.asarray(x)), joint / joint.sum(1, keepdims=True), rtol=1e-9
    )


@NAMES
@LABELS
def test_score_is_the_gradient_of_the_log_density(name, labelled):
    sde, x, t, _ = rows(name, dim=3)
    m = SKEWED()
    y = jnp.arange(len(t)) % 3 if labelled else None
    gradient = jax.jit(jax.grad(lambda z: jnp.sum(m.log_prob(z, t, sde, y))))(x)
    np.testing.assert_allclose(evaluate(ExactScore(m, sde), x, t, y), gradient, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", ["vp", "subvp"])
@pytest.mark.parametrize("label", [None, 0, 1])
@pytest.mark.parametrize("at", [0.1, 0.3, 0.8])
def test_noised_ratio_is_the_posterior_mean_of_the_clean_ratio(name, label, at):
    """h(x, t) = E_p[ r(x_0) | x_t ], and its class-conditional form, by integrating over x_0 on the plane."""
    sde = PROCESSES[name]
    source, target = paper_pair()
    alpha, sigma = scales(sde, at)
    x = np.random.default_rng(3).normal(size=(6, 2)) * (0.6 * alpha + sigma)
    nodes, _ = plane(-3.0, 3.0, 241, 2)
    prior = density(source, nodes, label)
    ratio = density(target, nodes, label) / prior
    expected = posterior_weights(prior, nodes, x, at, sde) @ ratio
    labels = None if label is None else jnp.full(6, label)
    log_h = ExactLogRatio(source, target, sde)
    np.testing.assert_allclose(evaluate(log_h, jnp.asarray(x), jnp.full(6, at), labels), np.log(expected), atol=1e-6)
    some = nodes[::97]
    clean = jax.jit(log_h.clean)(jnp.asarray(some), None if label is None else jnp.full(len(some), label))
    np.testing.assert_allclose(clean, np.log(ratio[::97]), atol=1e-8)


def test_noised_ratio_for_unequal_weights_on_the_line():
    sde, at = PROCESSES["ve"], 0.45
    source, target = line_pair()
    x = np.linspace(-2.0, 2.5, 12)[:, None]
    nodes, _ = plane(-5.0, 5.0, 6001, 1)
    expected = posterior_weights(density(source, nodes), nodes, x, at, sde) @ (
        density(target, nodes) / density(source, nodes)
    )
    log_h = ExactLogRatio(source, target, sde)
    np.testing.assert_allclose(evaluate(log_h, jnp.asarray(x), jnp.full(12, at), None), np.log(expected), atol=1e-7)


def test_a_class_that_the_target_lacks_leaves_finite_guidance():
    source, _ = paper_pair()
    target = mixture([[0.5, -0.5], [-0.5, 0.5]], 0.1, [1.0, 0.0])
    sde, x, t, _ = rows("vp", dim=2)
    guided = log_ratio_guidance(ExactLogRatio(source, target, sde))(ExactScore(source, sde))
    only = single_gaussian([0.5, -0.5], 0.1)
    np.testing.assert_allclose(
        evaluate(guided, x, t, None), evaluate(ExactScore(only, sde), x, t), rtol=1e-7, atol=1e-7
    )


@NAMES
@LABELS
def test_guided_source_score_is_the_target_score(name, labelled):
    sde, x, t, y = rows(name, dim=2)
    y = y if labelled else None
    source, target = paper_pair()
    guided = log_ratio_guidance(ExactLogRatio(source, target, sde))(ExactScore(source, sde))
    np.testing.assert_allclose(
        evaluate(guided, x, t, y), evaluate(ExactScore(target, sde), x, t, y), rtol=1e-7, atol=1e-8
    )
    # The test would be empty if source and target had the same score here.
    assert np.abs(evaluate(ExactScore(source, sde), x, t, y) - evaluate(ExactScore(target, sde), x, t, y)).max() > 0.1


def test_gradient_of_the_log_ratio_keeps_rows_apart_for_any_sample_shape():
    def log_h(x, t, cond):
        return t * jnp.sum(jnp.square(x), axis=(1, 2)) + cond * jnp.sum(x, axis=(1, 2))

    x = jnp.asarray(np.random.default_rng(4).normal(size=(5, 2, 3)))
    t, cond = jnp.linspace(0.1, 1.0, 5), jnp.arange(5.0)
    expected = 2 * t[:, None, None] * x + cond[:, None, None]
    np.testing.assert_allclose(grad_log_ratio(log_h, x, t, cond), expected, rtol=1e-12)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0])
def test_scale_multiplies_the_guidance_alone(scale):
    sde, x, t, _ = rows("vp", dim=2)
    source, target = paper_pair()
    base, goal = evaluate(ExactScore(source, sde), x, t), evaluate(ExactScore(target, sde), x, t)
    guided = log_ratio_guidance(ExactLogRatio(source, target, sde), scale=scale)(ExactScore(source, sde))
    np.testing.assert_allclose(evaluate(guided, x, t), base + scale * (goal - base), rtol=1e-7, atol=1e-8)


def test_interval_switches_guidance_off_outside_and_includes_its_ends():
    sde = PROCESSES["vp"]
    source, target = paper_pair()
    t = jnp.array([0.1, 0.199, 0.2, 0.4, 0.5, 0.501, 0.9])
    x = jnp.asarray(np.random.default_rng(5).normal(size=(7, 2)))
    transform = log_ratio_guidance(ExactLogRatio(source, target, sde), interval=(0.2, 0.5))
    guided = evaluate(transform(ExactScore(source, sde)), x, t)
    inside = np.array([0, 0, 1, 1, 1, 0, 0], bool)
    expected = np.where(
        inside[:, None], evaluate(ExactScore(target, sde), x, t), evaluate(ExactScore(source, sde), x, t)
    )
    np.testing.assert_allclose(guided, expected, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("steps", [50, 200, 1000])
def test_guidance_acts_at_the_ends_of_its_interval_whatever_their_rounding(steps):
    with jax.enable_x64(False):
        times = make_grid("uniform", DiscreteVP(num_steps=steps), steps - 1)  # the multiples of 1/steps, downwards
    numbers = np.arange(steps, 0, -1)
    for low, high in ((0.1, 0.5), (0.3, 0.7), (0.14, 0.58)):
        guided = log_ratio_guidance(lambda x, t, cond: x[:, 0], interval=(low, high))(lambda x, t, cond: 0.0 * x)
        with jax.enable_x64(False):
            on = np.asarray(guided(jnp.zeros((steps, 1)), times))[:, 0]
        inside = (numbers >= round(low * steps)) & (numbers <= round(high * steps))
        np.testing.assert_array_equal(on, inside)


@pytest.mark.parametrize("interval", [(0.5, 0.2), (0.3, 0.3)])
def test_an_interval_that_does_not_increase_is_refused(interval):
    with pytest.raises(UserError, match="interval"):
        log_ratio_guidance(lambda x, t, cond: t, interval=interval)


@pytest.mark.parametrize("scale", [-0.5, 0.0, 1.0, 2.5])
def test_combined_gaussian_scores_are_the_score_of_the_extrapolated_gaussian(scale):
    """For equal covariances s_1 + w (s_2 - s_1) is exactly the score of the Gaussian with mean m_1 + w (m_2 - m_1)."""
    sde, x, t, _ = rows("cosine", dim=2)
    first, second = np.array([0.4, -0.3]), np.array([1.0, 0.7])
    scores = [ExactScore(single_gaussian(m, 0.3), sde) for m in (first, second, first + scale * (second - first))]
    combined = combine_scores(scores[0], scores[1], scale=scale)
    np.testing.assert_allclose(evaluate(combined, x, t), evaluate(scores[2], x, t), rtol=1e-9, atol=1e-10)


def test_guided_score_is_a_jit_argument_compiled_once_for_all_parameters():
    sde, x, t, _ = rows("vp", dim=2)

    @jax.jit
    @functools.partial(chex.assert_max_traces, n=1)
    def guided_by(score, x, t):
        return score(x, t, None)

    def shifted(by):
        source, target = (GaussianMixture(m.means + by, m.variance, m.weights) for m in paper_pair())
        return source, target

    chex.clear_trace_counter()
    for shift, scale in ((0.0, 1.0), (0.3, 1.0), (-0.2, 2.0)):
        source, target = shifted(shift)
        score = GuidedScore(ExactScore(source, sde), ExactLogRatio(source, target, sde), jnp.asarray(scale))
        base, goal = evaluate(ExactScore(source, sde), x, t), evaluate(ExactScore(target, sde), x, t)
        np.testing.assert_allclose(guided_by(score, x, t), base + scale * (goal - base), rtol=1e-7, atol=1e-8)


def test_a_plain_closure_is_guided_like_a_pytree():
    sde, x, t, _ = rows("vp", dim=2)
    source, target = paper_pair()
    exact_score, exact_ratio = ExactScore(source, sde), ExactLogRatio(source, target, sde)
    guided = log_ratio_guidance(lambda *args: exact_ratio(*args))(lambda *args: exact_score(*args))
    out = jax.jit(lambda score, x, t: score(x, t, None))(guided, x, t)
    np.testing.assert_allclose(out, evaluate(ExactScore(target, sde), x, t), rtol=1e-7, atol=1e-8)
