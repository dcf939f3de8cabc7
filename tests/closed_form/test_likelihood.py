"""Exact likelihood under a score model against the density that the score belongs to."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests.helpers import PROCESSES, density, draw, mixture, paper_pair, scales, single_gaussian, standard_errors
from tgdp_jax.data.mixture import ExactLogRatio, ExactScore
from tgdp_jax.errors import UserError
from tgdp_jax.guidance import log_ratio_guidance
from tgdp_jax.metrics.likelihood import NUM_STEPS
from tgdp_jax.sampling import log_likelihood
from tgdp_jax.sde import VP

# Of the data's mean, exp(-7.5) is left at t = 1: the standard normal prior is then the marginal to well below the
# tolerances, also in eight dimensions. The default process keeps exp(-5), which costs about 0.01 nats there.
LONG = VP(beta_max=30.0)


@functools.cache
def wide_mixture():
    """Three components in eight dimensions, none of them symmetric."""
    means = np.random.default_rng(0).normal(size=(3, 8)) * 0.6
    return mixture(means, 0.2, [0.2, 0.5, 0.3])


def points(m, num=64):
    return draw(m, num, seed=1)[0].astype(np.float32)


def exact_at_t_min(m, sde, x, y=None):
    """log density at t_min, where the points are taken to be."""
    alpha, sigma = scales(sde, sde.t_min)
    return np.log(density(m, np.asarray(x, np.float64), y, alpha=alpha, sigma=sigma))


@pytest.mark.parametrize("name", ["vp", "subvp", "ve"])
def test_likelihood_is_the_density_in_two_dimensions(name):
    sde, (_, target) = PROCESSES[name], paper_pair()
    x = points(target)
    got = log_likelihood(x, ExactScore(target, sde), sde)
    np.testing.assert_allclose(got, exact_at_t_min(target, sde, x), atol=1e-2)
    # At t_min the data is as good as clean.
    np.testing.assert_allclose(got, np.log(density(target, x)), atol=2e-2)


def test_likelihood_is_the_density_in_eight_dimensions():
    sde, m = LONG, wide_mixture()
    x = points(m)
    got = log_likelihood(x, ExactScore(m, sde), sde)
    np.testing.assert_allclose(got, exact_at_t_min(m, sde, x), atol=1e-2)


def test_likelihood_of_a_guided_source_is_the_targets():
    sde, (source, target) = PROCESSES["vp"], paper_pair()
    x = points(target)
    guided = log_ratio_guidance(ExactLogRatio(source, target, sde))(ExactScore(source, sde))
    got = log_likelihood(x, guided, sde)
    np.testing.assert_allclose(got, exact_at_t_min(target, sde, x), atol=1e-2)
    # Where the two densities differ by nats.
    assert np.abs(exact_at_t_min(source, sde, x) - got).max() > 2


def test_conditional_likelihood_is_the_components_density():
    sde, (_, target) = PROCESSES["vp"], paper_pair()
    x, y = draw(target, 40, seed=4)
    got = log_likelihood(x, ExactScore(target, sde), sde, cond=jnp.asarray(y), chunk=16)
    joint = np.stack([exact_at_t_min(target, sde, x, label) for label in (0, 1)], 1)[np.arange(40), y]
    np.testing.assert_allclose(got, joint - np.log(0.5), atol=1e-2)


def test_images_are_measured_like_their_flattened_vectors():
    sde, (_, target) = PROCESSES["vp"], paper_pair()
    x = points(target)

    def on_images(x, t, cond):
        return ExactScore(target, sde)(x.reshape(len(x), 2), t).reshape(x.shape)

    got = log_likelihood(x.reshape(64, 1, 2, 1), on_images, sde)
    np.testing.assert_allclose(got, exact_at_t_min(target, sde, x), atol=1e-2)


@pytest.mark.parametrize("name", PROCESSES)
def test_one_step_is_enough_for_gaussian_data_of_the_deviation_that_is_said(name):
    sde = PROCESSES[name]
    x = np.random.default_rng(3).normal(size=(32, 3)).astype(np.float32) * 0.4
    got = log_likelihood(x, ExactScore(single_gaussian(np.zeros(3), 0.16), sde), sde, num_steps=1, data_std=0.4)
    # The model's density is the prior's, pulled back by the flow map x_1 = c x.
    begin, end = (alpha**2 * 0.16 + sigma**2 for alpha, sigma in (scales(sde, sde.t_min), scales(sde, 1.0)))
    stretch = np.sqrt(end / begin)
    exact = stats.norm(0, sde.prior_scale).logpdf(stretch * x).sum(1) + 3 * np.log(stretch)
    np.testing.assert_allclose(got, exact, atol=5e-4)


@pytest.mark.parametrize("name", PROCESSES)
def test_the_steps_that_judge_models_are_enough_with_any_process(name):
    sde, m = PROCESSES[name], wide_mixture()
    x = points(m)
    score = ExactScore(m, sde)
    few, many = (log_likelihood(x, score, sde, num_steps=n) for n in (NUM_STEPS, 4 * NUM_STEPS))
    assert np.abs(few - many).mean() < 3e-4


def test_the_integration_converges_at_fourth_order():
    """For one Gaussian the model's density is the prior's, pulled back by the flow map x_1 = m_1 + c (x - m_0)."""
    sde, mean, variance = PROCESSES["vp"], np.array([0.8, -0.5]), 0.1
    x = np.random.default_rng(2).normal(size=(32, 2)) * 0.3 + mean
    (alpha_0, sigma_0), (alpha_1, sigma_1) = scales(sde, sde.t_min), scales(sde, 1.0)
    stretch = np.sqrt((alpha_1**2 * variance + sigma_1**2) / (alpha_0**2 * variance + sigma_0**2))
    prior = stats.multivariate_normal(np.zeros(2), np.eye(2))
    exact = prior.logpdf(alpha_1 * mean + stretch * (x - alpha_0 * mean)) + 2 * np.log(stretch)
    score = ExactScore(single_gaussian(mean, variance), sde)
    # So few steps that the error stands far above single precision.
    errors = [np.abs(log_likelihood(x, score, sde, num_steps=n) - exact).mean() for n in (6, 12)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(4, abs=1.0)


def test_hutchinson_is_unbiased():
    """Many probes of one point: each row draws its own, and they differ because the divergence is not isotropic."""
    sde, m = LONG, wide_mixture()
    for i, point in enumerate(points(m, 2)):
        x = np.repeat(point[None], 1024, 0)
        score = ExactScore(m, sde)
        got = log_likelihood(x, score, sde, divergence="hutchinson", key=jax.random.key(i))
        assert got.std() > 0.05
        assert standard_errors(got, exact_at_t_min(m, sde, x[:1])[0]) < 4.5


def test_chunks_and_their_remainder_change_nothing():
    sde, (_, target) = PROCESSES["vp"], paper_pair()
    x, score = points(target, 25), ExactScore(target, sde)
    whole = log_likelihood(x, score, sde)
    np.testing.assert_allclose(log_likelihood(x, score, sde, chunk=10), whole, atol=1e-4)
    assert np.std(whole) > 0.1


def test_an_unknown_divergence_is_refused_with_the_list_of_what_exists():
    sde, (_, target) = PROCESSES["vp"], paper_pair()
    with pytest.raises(UserError, match=r"exact.*hutchinson"):
        log_likelihood(points(target, 2), ExactScore(target, sde), sde, divergence="trace")


@pytest.mark.parametrize("labels", [1, 3, 6])
def test_labels_that_do_not_match_the_points_are_refused(labels):
    # Indexing past the end of a JAX array repeats its last row: without a check the result is silently wrong.
    sde, (_, target) = PROCESSES["vp"], paper_pair()
    with pytest.raises(UserError, match="cond"):
        log_likelihood(points(target, 5), ExactScore(target, sde), sde, cond=jnp.zeros(labels, jnp.int32))


@pytest.mark.parametrize("change", [{"num_steps": 0}, {"chunk": 0}])
def test_counts_below_one_are_refused(change):
    sde, (_, target) = PROCESSES["vp"], paper_pair()
    with pytest.raises(UserError, match=next(iter(change))):
        log_likelihood(points(target, 5), ExactScore(target, sde), sde, **change)
