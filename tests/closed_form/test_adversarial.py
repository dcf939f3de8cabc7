"""Adversarial losses at the discriminators and critics that are known for Gaussians, and the score of held-out rows.

Expectations are integrated on a grid in one dimension, in double precision.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist

from tgdp_jax import losses

NODES = np.linspace(-12.0, 12.0, 4801)
WEIGHT = NODES[1] - NODES[0]
# Equal scales, for which log q/g is linear, and unequal ones; far apart and close.
PAIRS = {"shifted": ((1.0, 1.0), (-1.0, 1.0)), "wide": ((0.3, 0.7), (0.0, 1.5)), "far": ((2.5, 1.0), (-2.5, 1.0))}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def densities(name):
    return tuple(stats.norm(mean, scale).pdf(NODES) for mean, scale in PAIRS[name])


def log_ratio(name):
    """log q/g, in closed form."""
    (m, s), (n, r) = PAIRS[name]
    return 0.5 * ((NODES - n) / r) ** 2 - 0.5 * ((NODES - m) / s) ** 2 + math.log(r / s)


def expected(q, g, logit):
    """E of the discriminator's loss for a logit at the nodes: its two halves see q and g."""
    absent = jnp.full_like(logit, -jnp.inf)  # softplus(-inf) = 0: one half alone
    of_q = losses.logistic_discriminator(logit, absent)
    of_g = losses.logistic_discriminator(-absent, logit)
    return WEIGHT * jnp.sum(q * of_q + g * of_g)


@pytest.mark.parametrize("name", PAIRS)
def test_the_best_discriminator_is_the_log_ratio_and_its_value_tells_the_divergence(name):
    q, g = densities(name)
    best = jnp.asarray(log_ratio(name))
    slope = jax.grad(lambda logit: expected(q, g, logit))
    # Stationary at every node, not on the whole only; and each node pulls back to it.
    np.testing.assert_allclose(slope(best), 0.0, atol=1e-12)
    seen = q + g > 1e-6
    assert np.all(slope(best - 0.1)[seen] < 0) and np.all(slope(best + 0.1)[seen] > 0)
    middle = 0.5 * (q + g)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(p > 0, p * np.log(p / middle), 0.0) for p in (q, g)]
    divergence = 0.5 * WEIGHT * sum(part.sum() for part in parts)
    assert 0.01 < divergence < math.log(2)
    np.testing.assert_allclose(expected(q, g, best), 2 * math.log(2) - 2 * divergence, rtol=1e-8)


def test_a_discriminator_that_knows_nothing_pays_two_bits():
    q, _ = densities("shifted")
    np.testing.assert_allclose(expected(q, q, jnp.zeros(len(NODES))), 2 * math.log(2), rtol=1e-10)


@pytest.mark.parametrize("shift", [-1.5, 0.0, 0.4])
def test_the_generators_slope_at_the_best_discriminator(shift):
    """g = N(shift, 1) against q = N(0, 1): D = shift^2/2 - shift x, d/dshift E softplus(-D) = shift E_g[g/(q + g)]."""
    q, g = stats.norm(0, 1).pdf(NODES), stats.norm(shift, 1).pdf(NODES)
    noise = stats.norm(0, 1).pdf(NODES)

    def loss(at, rule):
        logit = 0.5 * shift**2 - shift * (at + jnp.asarray(NODES))  # the discriminator stands still
        return WEIGHT * jnp.sum(noise * rule(logit))

    expected_slope = shift * WEIGHT * np.sum(g * g / (q + g))
    np.testing.assert_allclose(jax.grad(loss)(shift, losses.non_saturating), expected_slope, atol=1e-10)
    # The critic of the same direction: its slope is -(-shift) whatever the distance.
    np.testing.assert_allclose(jax.grad(loss)(shift, losses.wasserstein_generator), shift, atol=1e-10)


def test_the_best_critic_of_a_shift_gives_minus_the_distance():
    rng = np.random.default_rng(0)
    fake, shift = rng.normal(size=(1000, 3)), np.array([1.0, -2.0, 2.0])
    direction = shift / 3.0

    def critic(x):
        return jnp.asarray(x @ direction)

    np.testing.assert_allclose(losses.wasserstein_critic(critic(fake + shift), critic(fake)), -3.0, rtol=1e-12)


SLOPE = np.array([[3.0, 0.0, 4.0, 0.0], [0.6, -0.8, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])


def test_penalties_of_linear_discriminators():
    np.testing.assert_allclose(losses.r1(jnp.asarray(SLOPE)), [12.5, 0.5, 0.0])
    np.testing.assert_allclose(losses.gradient_penalty(jnp.asarray(SLOPE)), [16.0, 0.0, 1.0], atol=1e-5)
    # Of images: over all pixels.
    np.testing.assert_allclose(losses.r1(jnp.asarray(SLOPE).reshape(3, 2, 2, 1)), [12.5, 0.5, 0.0])


def test_penalties_have_a_slope_where_the_discriminator_is_flat():
    for penalty in (losses.r1, losses.gradient_penalty):
        assert np.isfinite(jax.grad(lambda s, penalty=penalty: penalty(s).sum())(jnp.zeros((1, 3)))).all()


# The energy score


def quantiles(mean, scale, num):
    """Samples that stand for a Gaussian as evenly as so many can."""
    return stats.norm(mean, scale).ppf((np.arange(num) + 0.5) / num)[:, None]


def test_the_energy_score_of_a_gaussian_is_the_known_one():
    """In one dimension it is the CRPS: scale (z (2 Phi(z) - 1) + 2 phi(z) - 1/sqrt(pi)), z = (x - mean)/scale."""
    x, mean, scale = np.linspace(-4.0, 5.0, 13), 0.7, 1.3
    z = (x - mean) / scale
    known = scale * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / math.sqrt(math.pi))
    found = losses.energy_score(jnp.asarray(x)[:, None], jnp.asarray(quantiles(mean, scale, 2000)))
    np.testing.assert_allclose(found, known, atol=2e-3)


def test_the_energy_score_is_least_for_the_datas_own_distribution():
    """And elsewhere larger by half the energy distance, for a shift m of N(0, 1) known in closed form."""
    rows = jnp.asarray(quantiles(0.0, 1.0, 1000))

    def mean_score(mean, scale):
        return float(losses.energy_score(rows, jnp.asarray(quantiles(mean, scale, 1000))).mean())

    best = mean_score(0.0, 1.0)
    assert all(mean_score(m, s) > best + 1e-3 for m, s in ((0.2, 1.0), (-0.2, 1.0), (0.0, 0.8), (0.0, 1.25)))

    def absolute(m):  # E |N(m, 2)|
        return 2 / math.sqrt(math.pi) * math.exp(-(m**2) / 4) + m * math.erf(m / 2)

    shift = 0.9
    np.testing.assert_allclose(mean_score(shift, 1.0) - best, absolute(shift) - absolute(0.0), rtol=0.01)


def test_distances_are_those_of_scipy():
    rng = np.random.default_rng(1)
    # Far from the origin, where squares cancel.
    x, y = (1000.0 + rng.normal(size=(n, 2, 3)) for n in (5, 7))
    known = cdist(x.reshape(5, -1), y.reshape(7, -1))
    np.testing.assert_allclose(losses.distances(jnp.asarray(x), jnp.asarray(y)), known, rtol=1e-9)
    single = losses.distances(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32))
    np.testing.assert_allclose(single, known, rtol=1e-3)
