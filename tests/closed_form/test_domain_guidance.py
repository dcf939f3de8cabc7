"""Domain guidance between densities that are known."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import PROCESSES, density, evaluate, mixture, scales, single_gaussian
from tgdp_jax.data.mixture import ExactScore
from tgdp_jax.guidance import domain_guidance

SDE = PROCESSES["vp"]
X = np.random.default_rng(0).normal(size=(20, 2))


def scores(source, target):
    return ExactScore(source, SDE), ExactScore(target, SDE)


def at(score, t):
    return np.asarray(evaluate(score, jnp.asarray(X, jnp.float32), jnp.full(len(X), t)))


@pytest.mark.parametrize("scale", [0.0, 1.0, 1.5, 3.0])
def test_between_gaussians_of_one_variance_the_mean_is_extrapolated(scale):
    """Scores are linear in the mean there: w = 0 is the source, 1 the fine-tuned model, 3 twice as far again."""
    here, there = np.array([1.0, 0.5]), np.array([-0.5, 1.0])
    source, target = scores(single_gaussian(here, 0.3), single_gaussian(there, 0.3))
    exact = ExactScore(single_gaussian(here + scale * (there - here), 0.3), SDE)
    guided = domain_guidance(target, scale=scale)(source)
    for t in (0.05, 0.4, 0.9):
        np.testing.assert_allclose(at(guided, t), at(exact, t), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_it_is_the_score_of_the_target_times_a_power_of_the_ratio(scale):
    """grad log [q_t (q_t/p_t)^(w - 1)], by differences of densities that are written out."""
    p, q = mixture([[1, 0.5], [-1, -0.5]], 0.2, [0.5, 0.5]), mixture([[0.5, -1], [0, 1]], 0.4, [0.3, 0.7])
    source, target = scores(p, q)
    for t in (0.2, 0.6):
        alpha, sigma = scales(SDE, t)

        def log_density(x, alpha=alpha, sigma=sigma):
            log_p, log_q = (np.log(density(m, x, alpha=alpha, sigma=sigma)) for m in (p, q))
            return log_q + (scale - 1) * (log_q - log_p)

        steps = 1e-4 * np.eye(2)
        exact = np.stack([(log_density(X + h) - log_density(X - h)) / 2e-4 for h in steps], -1)
        np.testing.assert_allclose(at(domain_guidance(target, scale=scale)(source), t), exact, rtol=1e-3, atol=1e-3)
