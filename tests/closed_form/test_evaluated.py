"""Guidance and members of a stack are not evaluated at times at which they do not count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import PROCESSES, single_gaussian
from tgdp_jax.data.mixture import ExactScore
from tgdp_jax.guidance import combine_scores, log_ratio_guidance, stacking
from tgdp_jax.sampling import sample
from tgdp_jax.sampling.grids import make_grid

SDE = PROCESSES["vp"]
SCORE = ExactScore(single_gaussian([0.5, -0.5], 0.3), SDE)
STEPS = 12
TIMES = np.asarray(make_grid("quadratic", SDE, STEPS))[:-1]


def draw(score):
    out = sample(jax.random.key(0), score, SDE, 16, (2,), solver="ddim", grid="quadratic", num_steps=STEPS, chunk=16)
    jax.effects_barrier()
    return out


@pytest.fixture
def seen():
    """(times at which a function was evaluated, that which makes a function say so)."""
    times = []

    def telling(function):
        def told(x, t, cond=None):
            jax.debug.callback(lambda t: times.append(float(t)), t[0])
            return function(x, t)

        return told

    return times, telling


def test_guidance_is_evaluated_inside_its_interval_alone(seen):
    times, telling = seen
    low, high = 0.2, 0.6

    def log_h(x, t, cond=None):
        return jnp.sum(jnp.sin(x), -1) * (1 - t)

    def masked(x, t, cond=None):
        return jnp.where((t >= low) & (t <= high), log_h(x, t), 0.0)

    out = draw(log_ratio_guidance(telling(log_h), scale=1.5, interval=(low, high))(SCORE))
    inside = TIMES[(TIMES >= low) & (TIMES <= high)]
    assert 0 < len(inside) < STEPS
    np.testing.assert_allclose(sorted(times), sorted(inside), rtol=1e-6)
    np.testing.assert_allclose(out, draw(log_ratio_guidance(masked, scale=1.5)(SCORE)), atol=1e-5)
    assert np.abs(out - draw(SCORE)).max() > 0.01


def test_a_member_is_evaluated_where_it_has_a_weight_alone(seen):
    times, telling = seen
    member = ExactScore(single_gaussian([1.0, 0.3], 0.3), SDE)
    weights = np.array([[0.0, 0.0, 0.0, 0.7, 0.4, 0.0]])  # at sqrt(t) = 0, 0.2, ..., 1
    out = draw(stacking([telling(member)], weights)(SCORE))
    np.testing.assert_allclose(sorted(times), sorted(t for t in TIMES if 0.4 < t**0.5 < 1), rtol=1e-6)
    # The least weight that there is: evaluated everywhere, and the same samples.
    everywhere = draw(stacking([member], np.maximum(weights, 1e-30))(SCORE))
    np.testing.assert_allclose(out, everywhere, atol=1e-5)
    assert np.abs(out - draw(SCORE)).max() > 0.01


@pytest.mark.parametrize("weights", [[[0.0]], [[0.0] * 6]])
def test_a_member_without_any_weight_is_never_evaluated(seen, weights):
    times, telling = seen
    np.testing.assert_allclose(draw(stacking([telling(SCORE)], weights)(SCORE)), draw(SCORE), atol=1e-6)
    assert not times


def test_the_second_of_two_scores_is_not_evaluated_at_weight_zero(seen):
    times, telling = seen
    np.testing.assert_array_equal(draw(combine_scores(SCORE, telling(SCORE), scale=0.0)), draw(SCORE))
    assert not times
    draw(combine_scores(SCORE, telling(SCORE), scale=0.5))
    assert len(times) == STEPS


def test_rows_of_one_batch_are_on_or_off_by_their_own_times():
    """As in training, where every row has a time of its own."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2)), jnp.float32)
    t = jnp.linspace(0.1, 0.9, 6)
    guided = log_ratio_guidance(lambda x, t, cond: x[:, 0], interval=(0.4, 0.6))(lambda x, t, cond: 0.0 * x)
    np.testing.assert_array_equal(guided(x, t, None)[:, 0], (t >= 0.4) & (t <= 0.6))
