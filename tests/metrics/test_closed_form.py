"""Mixture metrics against Gaussian closed forms."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import density, mixture, paper_pair, plane, scales, single_gaussian
from tgdp_jax.data.mixture import ExactScore
from tgdp_jax.errors import UserError
from tgdp_jax.metrics.closed_form import densities, expected_density, imbalance, path_kl, responsibilities
from tgdp_jax.sde import VE, VP, CosineVP, SubVP

PROCESSES = {"vp": VP(), "short vp": VP(beta_max=2.0), "subvp": SubVP(), "cosine": CosineVP(), "ve": VE()}


def gaussian_kl(first, second, sde, t):
    """KL(q_t || p_t) of two single Gaussians diffused to t."""
    alpha, sigma = scales(sde, t)
    v, w = (alpha**2 * float(m.variance) + sigma**2 for m in (first, second))
    gap = alpha**2 * float(jnp.sum((first.means - second.means) ** 2))
    return first.dim / 2 * (v / w - 1 - math.log(v / w)) + gap / (2 * w)


def samples(target, num=4000, seed=0):
    return np.asarray(target.sample(jax.random.key(seed), num)[0])


# Average density


def test_expected_density_equals_quadrature():
    for target in (paper_pair()[1], mixture([[0.0, 0.3], [0.4, -0.2]], 0.2, [0.3, 0.7])):
        nodes, weight = plane(-4, 4, 201, 2)
        assert expected_density(target) == pytest.approx((density(target, nodes) ** 2).sum() * weight, rel=1e-6)


def test_average_density_of_the_paper():
    source, target = paper_pair()
    assert expected_density(target) == pytest.approx(0.4006, abs=1e-4)
    assert densities(samples(target), target).mean() == pytest.approx(0.4006, abs=0.015)
    assert densities(samples(source), target).mean() == pytest.approx(0.0653, abs=0.008)
    # Collapse is rewarded, as the docstring warns.
    assert densities(np.asarray(target.means), target).mean() == pytest.approx(0.8, abs=0.01)


# Mode balance


def test_mode_balance_of_separate_modes_is_the_difference_of_shares():
    target = mixture([[10.0, 0.0], [-10.0, 0.0], [0.0, 10.0]], 0.1, [0.5, 0.3, 0.2])
    x = np.repeat(np.asarray(target.means), [60, 30, 10], axis=0)
    assert imbalance(responsibilities(x, target), target) == pytest.approx(0.1, abs=1e-6)
    assert imbalance(responsibilities(x[:60], target), target) == pytest.approx(0.5, abs=1e-6)


def test_mode_balance_of_true_samples_is_zero_even_where_unequal_components_overlap():
    # Given to the nearer mean, the light component would get far more than its tenth.
    target = mixture([[0.5], [-0.5]], 1.0, [0.9, 0.1])
    x = samples(target, 40_000)
    assert imbalance(responsibilities(x, target), target) < 0.01
    assert abs((x[:, 0] > 0).mean() - 0.9) > 0.2


# Path KL


def test_path_kl_of_the_exact_score_is_zero():
    _, target = paper_pair()
    sde = VP()
    value, error = path_kl(jax.random.key(0), ExactScore(target, sde), target, sde)
    assert value == error == 0


@pytest.mark.parametrize("sde", PROCESSES.values(), ids=PROCESSES)
def test_path_kl_of_gaussians_is_the_divergence_lost_along_the_path(sde):
    target, model = single_gaussian([0.3, -0.5, 0.1], 0.2), single_gaussian([0.0, 0.4, 0.0], 0.35)
    expected = gaussian_kl(target, model, sde, sde.t_min) - gaussian_kl(target, model, sde, 1.0)
    got = path_kl(jax.random.key(1), ExactScore(model, sde), target, sde)
    assert abs(got.value - expected) < 4 * got.spread
    assert got.spread < 0.02 * expected


def test_path_kl_leaves_out_the_divergence_at_the_end():
    sde = PROCESSES["short vp"]  # still far from its prior at t = 1
    target, model = single_gaussian([0.8], 0.2), single_gaussian([-0.8], 0.2)
    start, end = (gaussian_kl(target, model, sde, t) for t in (sde.t_min, 1.0))
    got = path_kl(jax.random.key(8), ExactScore(model, sde), target, sde)
    assert abs(got.value - (start - end)) < 4 * got.spread
    assert end > 8 * got.spread


def test_path_kl_of_the_paper_equals_its_divergence():
    source, target = paper_pair()
    sde = VP()
    nodes, weight = plane(-4, 4, 201, 2)
    q, p = density(target, nodes), density(source, nodes)
    divergence = (q * np.log(q / p)).sum() * weight
    assert divergence == pytest.approx(3.11, abs=0.01)
    got = path_kl(jax.random.key(2), ExactScore(source, sde), target, sde)
    assert abs(got.value - divergence) < 4 * got.spread + 0.02  # t_min and the prior take a little away
    assert got.spread < 0.03


def test_conditional_path_kl_compares_class_by_class():
    source, target = paper_pair()
    sde = VP()
    got = path_kl(jax.random.key(3), ExactScore(source, sde), target, sde, conditional=True)
    pairs = [
        (single_gaussian(q, 0.1), single_gaussian(p, 0.1)) for q, p in zip(target.means, source.means, strict=True)
    ]
    expected = np.mean([gaussian_kl(q, p, sde, sde.t_min) - gaussian_kl(q, p, sde, 1.0) for q, p in pairs])
    assert abs(got.value - expected) < 4 * got.spread
    assert got.spread < 0.02 * expected
    exact = path_kl(jax.random.key(3), ExactScore(target, sde), target, sde, conditional=True)
    assert exact.value == 0
    # A score that ignores its label is not the conditional score.
    marginal = ExactScore(target, sde)
    ignoring = path_kl(jax.random.key(3), lambda x, t, cond: marginal(x, t), target, sde, conditional=True)
    assert ignoring.value > 0.3


def test_path_kl_error_is_that_of_fresh_keys():
    source, target = paper_pair()
    sde = VP()
    score = ExactScore(source, sde)
    found = [path_kl(jax.random.key(i), score, target, sde, num=1000, chunk=1000) for i in range(60)]
    scatter = np.std([v.value for v in found], ddof=1)
    assert np.sqrt(np.mean([v.spread**2 for v in found])) == pytest.approx(scatter, rel=0.3)


def test_path_kl_does_not_depend_on_the_chunk():
    source, target = paper_pair()
    sde = VP()
    score = ExactScore(source, sde)
    whole = path_kl(jax.random.key(4), score, target, sde, num=999, chunk=4096)
    parts = path_kl(jax.random.key(4), score, target, sde, num=999, chunk=300)
    assert parts.value == pytest.approx(whole.value, rel=1e-5)
    assert parts.spread == pytest.approx(whole.spread, rel=1e-4)


def test_path_kl_compiles_once_for_all_parameters():
    traces = []

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True)
    class Scaled:
        scale: jax.Array

        def __call__(self, x, t, cond=None):
            traces.append(x.shape)
            return self.scale * x

    _, target = paper_pair()
    first, second = (
        path_kl(jax.random.key(0), Scaled(jnp.float32(s)), target, VP(), num=1000, chunk=300).value for s in (0.0, -1.0)
    )
    assert first != second
    assert traces == [(300, 2)]


# Bad inputs


def test_bad_samples_are_refused():
    _, target = paper_pair()
    for metric in (densities, responsibilities):
        with pytest.raises(UserError, match="dimension 2"):
            metric(np.zeros((5, 3)), target)
        with pytest.raises(UserError, match="NaN or infinity in 2 of 5"):
            metric(np.array([[0, 0]] * 3 + [[np.nan, 0], [0, np.inf]]), target)
    assert (densities(np.full((3, 2), 1e25), target) == 0).all()
    with pytest.raises(UserError, match="too far from the target"):
        responsibilities(np.full((3, 2), 1e25), target)


def test_bad_scores_are_refused():
    _, target = paper_pair()
    key, sde = jax.random.key(0), VP()
    with pytest.raises(UserError, match="returned shape"):
        path_kl(key, lambda x, t, cond: x[:, :1], target, sde, num=10)
    with pytest.raises(UserError, match="not finite at 10 of 10"):
        path_kl(key, lambda x, t, cond: x / 0, target, sde, num=10)
    with pytest.raises(UserError, match="num"):
        path_kl(key, ExactScore(target, sde), target, sde, num=2)
