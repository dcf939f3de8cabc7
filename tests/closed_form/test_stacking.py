"""Stacks of scores: weights of combinations that are known, and what they may never do."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import PROCESSES, draw, evaluate, single_gaussian
from tgdp_jax.data.mixture import ExactScore
from tgdp_jax.guidance import hat_functions, stacking
from tgdp_jax.train.batches import fold_rows
from tgdp_jax.train.stacking import HeldOut, held_out_changes, held_out_gain, stacking_weights

SDE = PROCESSES["vp"]
T = np.random.default_rng(0).uniform(1e-3, 1, 3000).astype(np.float32)
KNOTS = np.linspace(0, 1, 6)


def at_times(weights):
    """[N] of weights [6]: linear in sqrt(t) between the knots."""
    return np.interp(np.sqrt(T), KNOTS, weights)


def combined(weights, changes):
    """sum_j w_j(t) d_j."""
    return np.sum([at_times(w)[:, None] * d for w, d in zip(weights, changes, strict=True)], 0)


def held_out(changes, residual):
    return HeldOut(np.asarray(changes), np.asarray(residual), T, np.full(len(T), 1 / len(T)))


def noise(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("knots", [1, 2, 6])
def test_hat_functions_interpolate_in_the_root_of_time(knots):
    values = noise(1, knots)
    expected = np.interp(np.sqrt(T), np.linspace(0, 1, knots), values) if knots > 1 else np.full(len(T), values[0])
    hats = np.asarray(hat_functions(jnp.asarray(T), knots))
    np.testing.assert_allclose(hats.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(hats @ values, expected, atol=1e-5)


def test_weights_of_a_known_combination_are_found():
    changes, weights = noise(1, 2, len(T), 3), np.array([[0.2, 1.3, 0.9, 0.0, 0.4, 0.4], [0.8, 0, 0, 0.6, 1, 2]])
    residual = combined(weights, changes)
    np.testing.assert_allclose(stacking_weights(held_out(changes, residual), smoothness=0.0), weights, atol=1e-4)
    # Held together, they go to the middle; with one knot they are one number.
    smooth = stacking_weights(held_out(changes, residual), smoothness=1000.0)
    assert smooth.std(1).max() < 0.1 * weights.std(1).min()
    assert stacking_weights(held_out(changes, residual), knots=1).shape == (2, 1)


def test_noise_that_no_member_explains_has_no_say():
    changes, weights = noise(1, 2, len(T), 3), np.array([[0.2, 1.3, 0.9, 0.3, 0.4, 0.4], [0.8, 0, 0, 0.6, 1, 2]])
    residual = combined(weights, changes)
    found = stacking_weights(held_out(changes, residual + 0.3 * noise(2, *residual.shape)), smoothness=0.0)
    np.testing.assert_allclose(found, weights, atol=0.2)


def test_members_that_carry_nothing_or_are_wrong_have_no_weight():
    right, weight = noise(1, len(T), 3), np.full(6, 0.7)
    members = [np.zeros_like(right), right, -right]
    weights = stacking_weights(held_out(members, at_times(weight)[:, None] * right), smoothness=0.0)
    np.testing.assert_allclose(weights[1] - weights[2], weight, atol=1e-4)
    np.testing.assert_array_equal(weights[0], 0)
    alone = held_out([-right], at_times(weight)[:, None] * right)
    np.testing.assert_array_equal(stacking_weights(alone), 0)
    assert held_out_gain(alone, stacking_weights(alone)) == 0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("smoothness", [0.0, 0.05, 1.0])
def test_a_stack_is_never_worse_than_the_source_at_the_rows_that_chose_it(seed, smoothness):
    """Whatever the members do: weights are not negative, and zero is among the choices."""
    rng = np.random.default_rng(seed)
    changes = rng.normal(size=(3, len(T), 2)) * rng.uniform(0, 5, (3, 1, 1)) * at_times(rng.normal(size=6))[:, None]
    found = held_out(changes, rng.normal(size=(len(T), 2)) + 0.1 * rng.normal() * changes[0])
    weights = stacking_weights(found, smoothness=smoothness)
    assert weights.shape == (3, 6) and weights.min() >= 0
    assert held_out_gain(found, weights) >= 0
    assert held_out_gain(found, np.zeros((3, 6))) == 0


def test_between_gaussians_the_stack_that_rows_choose_is_the_targets_score():
    """Of one variance their scores are linear in the mean: the target's lies between the source's and the members'."""
    means = {"source": np.array([1.0, 0.5]), "a": np.array([-1.0, 0.5]), "b": np.array([1.0, -2.0])}
    goal = means["source"] + 0.6 * (means["a"] - means["source"]) + 0.3 * (means["b"] - means["source"])
    source, a, b = (ExactScore(single_gaussian(mean, 0.3), SDE) for mean in means.values())
    rows, _ = draw(single_gaussian(goal, 0.3), 2000, seed=0)
    _, held = fold_rows(np.arange(len(rows)), 2, seed=0)
    found = held_out_changes(
        source, [[a, a], [b, b]], {"x": jnp.asarray(rows, jnp.float32)}, held, SDE, num=4000, data_std=1.0
    )
    np.testing.assert_allclose(found.share.sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(found.share[: len(found.t) // 2].sum(), 0.5, rtol=1e-5)
    weights = stacking_weights(found)
    np.testing.assert_allclose(weights[:, :4], [[0.6] * 4, [0.3] * 4], atol=0.06)
    exact, x = ExactScore(single_gaussian(goal, 0.3), SDE), jnp.asarray(noise(3, 20, 2), jnp.float32)
    known = stacking([a, b], jnp.asarray([[0.6] * 6, [0.3] * 6]))(source)
    for t in (0.01, 0.1, 0.3):
        t = jnp.full(20, t)
        np.testing.assert_allclose(evaluate(known, x, t), evaluate(exact, x, t), rtol=1e-4, atol=1e-4)
        chosen = stacking([a, b], weights)(source)
        before, after = (np.asarray(evaluate(score, x, t) - evaluate(exact, x, t)) for score in (source, chosen))
        assert (after**2).mean() < 0.01 * (before**2).mean()


def test_without_weights_it_is_the_source():
    source, member = (ExactScore(single_gaussian(mean, 0.3), SDE) for mean in ([0.0, 1.0], [1.0, 0.0]))
    x, t = jnp.asarray(noise(3, 20, 2), jnp.float32), jnp.linspace(0.01, 1, 20)
    stack = stacking([member], jnp.zeros((1, 6)))(source)
    np.testing.assert_array_equal(evaluate(stack, x, t), evaluate(source, x, t))


def test_every_row_counts_alike_however_large_its_fold():
    score = ExactScore(single_gaussian([0.0, 1.0], 0.3), SDE)
    _, held = fold_rows(np.arange(10), 6, seed=0)  # of two rows, and of one
    found = held_out_changes(score, [[score] * 6], {"x": jnp.zeros((10, 2))}, held, SDE, num=20, data_std=1.0)
    np.testing.assert_allclose(found.share.reshape(6, -1).sum(1), [0.2] * 4 + [0.1] * 2, rtol=1e-5)
    assert not found.changes.any() and not stacking_weights(found).any()
