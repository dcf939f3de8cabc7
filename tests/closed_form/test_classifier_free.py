"""Classifier-free guidance against its formulas, with a network whose outputs are known."""

import dataclasses
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import assert_moments
from tgdp_jax import sampling
from tgdp_jax.errors import UserError
from tgdp_jax.guidance import classifier_free
from tgdp_jax.prediction import PREDICTIONS, convert, network_score
from tgdp_jax.sde import VP, DiscreteVP

SDE = VP()
ROWS, SHAPE = 3, (2, 2)


class Cond(NamedTuple):
    mean: Any  # [B, 2]
    more: Any = None  # [B]


class Affine(nn.Module):
    """x times a parameter, and what the condition says."""

    @nn.compact
    def __call__(self, x, t, cond):
        gain = self.param("gain", nn.initializers.constant(0.5), ())
        more = 0.0 if cond.more is None else cond.more[:, None, None]
        return gain * x + (t[:, None] * cond.mean)[:, None] + more


NET = Affine()
PARAMS = {"params": {"gain": jnp.float32(0.5)}}


def rows(seed=0):
    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.normal(size=(ROWS, *SHAPE)), jnp.float32)
    cond, other = (Cond(*(jnp.asarray(rng.normal(size=(ROWS, *s)), jnp.float32) for s in ((2,), ()))) for _ in "ab")
    return x, jnp.array([0.1, 0.5, 1.0]), cond, other


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_it_is_the_formula_in_the_networks_own_prediction(prediction):
    x, t, cond, other = rows()
    out, no = (np.asarray(NET.apply(PARAMS, x, t, c)) for c in (cond, other))
    guided = no + 3.0 * (out - no)
    # Equations 15 and 16 of Lin et al., a row at a time.
    expected = np.stack([0.3 * g + 0.7 * g * o.std() / g.std() for g, o in zip(guided, out, strict=True)])
    score = classifier_free(NET, PARAMS, SDE, prediction=prediction, uncond=other, scale=3.0, rescale=0.7)
    for target, found in zip(("x0", "eps"), jax.jit(score.x0_and_eps)(x, t, cond), strict=True):
        right = convert(jnp.asarray(expected), x, t, SDE, source=prediction, target=target)
        np.testing.assert_allclose(found, right, rtol=1e-3, atol=1e-4)
    right = convert(jnp.asarray(expected), x, t, SDE, source=prediction, target="score")
    np.testing.assert_allclose(jax.jit(lambda *row: score(*row))(x, t, cond), right, rtol=1e-4, atol=1e-5)


def test_without_guidance_it_is_the_networks_score():
    x, t, cond, other = rows()
    plain = network_score(NET, PARAMS, SDE, prediction="v")(x, t, cond)
    for options in ({}, {"uncond": other, "scale": 1.0, "rescale": 0.5}):
        score = classifier_free(NET, PARAMS, SDE, prediction="v", **options)
        np.testing.assert_allclose(score(x, t, cond), plain, rtol=1e-5, atol=1e-5)


def test_one_condition_serves_all_rows_and_one_without_is_that_which_was_closed_over():
    x, t, cond, other = rows()
    first, every = (jax.tree.map(lambda leaf: leaf[:1], tree) for tree in (cond, other))
    spread = jax.tree.map(lambda leaf: jnp.repeat(leaf, ROWS, 0), (first, every))
    score = classifier_free(NET, PARAMS, SDE, uncond=every, cond=first)
    all_rows = classifier_free(NET, PARAMS, SDE, uncond=spread[1])
    np.testing.assert_array_equal(score(x, t), all_rows(x, t, spread[0]))


def test_a_silent_network_stays_silent():
    x, t, cond, other = rows()
    silent = jax.tree.map(jnp.zeros_like, (PARAMS, cond, other))
    score = classifier_free(NET, silent[0], SDE, uncond=silent[2], rescale=1.0)
    np.testing.assert_array_equal(score(x, t, silent[1]), jnp.zeros_like(x))


def test_another_text_scale_or_rescale_compiles_nothing_anew():
    x, t, cond, other = rows()
    call = jax.jit(chex.assert_max_traces(lambda score, x, t, cond: score(x, t, cond), n=1))
    score = classifier_free(NET, PARAMS, SDE, uncond=other)
    found = [call(score, x, t, cond)]
    for options in ({"scale": 1.5}, {"rescale": 0.5}, {"uncond": cond}, {"uncond": other, "scale": 2}):
        found.append(call(classifier_free(NET, PARAMS, SDE, **{"uncond": other} | options), x, t, cond))
    found.append(call(score, x, t, other))
    assert all(np.abs(a - b).max() > 1e-3 for i, a in enumerate(found) for b in found[:i])


def test_conditions_of_different_kinds_are_refused():
    x, t, cond, other = rows()
    for wrong in (other._replace(more=None), other._replace(mean=jnp.zeros((ROWS, 3)))):
        with pytest.raises(UserError, match="both conditions in one batch, so that they must be alike"):
            classifier_free(NET, PARAMS, SDE, uncond=wrong)(x, t, cond)


class GaussianV(nn.Module):
    """The v-prediction of data N(mean, 0.3^2), exact."""

    sde: DiscreteVP

    def __call__(self, x, t, cond):
        alpha, sigma = self.sde.alpha(t)[:, None], self.sde.sigma(t)[:, None]
        x0 = cond + 0.09 * alpha / (0.09 * alpha**2 + sigma**2) * (x - alpha * cond)
        return (alpha * x - x0) / sigma


@pytest.mark.parametrize("solver", ["ddim", "dpmpp_2m"])
def test_a_chain_that_leaves_no_signal_gives_the_data(solver):
    """Without its last step, the mean of the data shows in the prior; with it, the mean is drawn from none."""
    sde = DiscreteVP("scaled_linear", 0.00085, 0.012, zero_snr=True)
    score = classifier_free(GaussianV(sde), {}, sde, prediction="v")
    cond = jnp.full((4000, 2), 5.0)
    x0, eps = score.x0_and_eps(jnp.ones((2, 2)), jnp.ones(2), cond[:2])
    np.testing.assert_allclose(x0, 5.0, rtol=1e-4)
    np.testing.assert_allclose(eps, 1.0, rtol=2e-3)
    x = sampling.sample(
        jax.random.key(0), score, sde, 4000, (2,), cond=cond, solver=solver, grid="trailing", num_steps=50, chunk=4000
    )
    assert_moments(x, np.full(2, 5.0), 0.09 * np.eye(2), errors=4.5, bias=0.02)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KnowsBoth:
    """Knows its clean data, and no score."""

    x0: Any

    def __call__(self, x, t, cond):
        return jnp.full_like(x, jnp.nan)

    def x0_and_eps(self, x, t, cond):
        return jnp.broadcast_to(self.x0, x.shape), (x - SDE.alpha(t)[:, None] * self.x0) / SDE.sigma(t)[:, None]


def test_a_score_that_knows_both_predictions_is_asked_for_them():
    x = sampling.sample(jax.random.key(0), KnowsBoth(jnp.array([1.0, -2.0])), SDE, 4, (2,), num_steps=5, chunk=4)
    np.testing.assert_allclose(x, np.tile([1.0, -2.0], (4, 1)), atol=5 * float(SDE.sigma(jnp.float32(SDE.t_min))))


def test_a_prediction_of_ones_own_needs_no_way_to_clean_data():
    x, t, cond, other = rows()
    mine = PREDICTIONS["v"]._replace(to_x0=None)
    found = [
        classifier_free(NET, PARAMS, SDE, prediction=kind, uncond=other).x0_and_eps(x, t, cond) for kind in (mine, "v")
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=2e-3), *found)
