"""Held-out likelihood against entropies."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import PROCESSES, density, draw, paper_pair, scales, single_gaussian
from tgdp_jax.data.mixture import ExactScore
from tgdp_jax.errors import UserError
from tgdp_jax.metrics.likelihood import nll
from tgdp_jax.sde import VE, VP


@pytest.mark.parametrize("sde", [VP(), VE()])
def test_nll_under_the_true_model_is_the_entropy(sde):
    target = single_gaussian([0.3, -0.5, 0.2], 0.2)
    alpha, sigma = scales(sde, sde.t_min)
    rng = np.random.default_rng(0)
    variance = alpha**2 * 0.2 + sigma**2
    x = alpha * np.asarray(target.means) + math.sqrt(variance) * rng.normal(size=(1000, 3))
    got = nll(x, ExactScore(target, sde), sde)
    entropy = 1.5 * math.log(2 * math.pi * math.e * variance)
    assert abs(got.value - entropy) < 4 * got.spread
    # -log density is a constant plus half a chi-squared with three degrees of freedom.
    assert got.spread == pytest.approx(math.sqrt(1.5 / 1000), rel=0.15)


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_the_default_number_of_steps_is_enough_for_every_process(name):
    sde, (_, target) = PROCESSES[name], paper_pair()
    x, _ = draw(target, 200, seed=3)
    got = nll(x, ExactScore(target, sde), sde)
    alpha, sigma = scales(sde, sde.t_min)
    # What is left of the data's mean at t = 1 is the process's own error, which more steps do not mend.
    many = nll(x, ExactScore(target, sde), sde, num_steps=200)
    assert got.value == pytest.approx(many.value, abs=1e-3)
    assert got.value == pytest.approx(-np.log(density(target, x, alpha=alpha, sigma=sigma)).mean(), abs=5e-3)


def test_nll_under_another_model_is_larger_by_the_divergence():
    sde = VP()
    target, model = single_gaussian([0.5, 0.0], 0.2), single_gaussian([-0.3, 0.0], 0.2)
    x, _ = target.sample(jax.random.key(1), 1000)
    right, wrong = (nll(x, ExactScore(m, sde), sde) for m in (target, model))
    assert wrong.value - right.value == pytest.approx(0.8**2 / (2 * 0.2), abs=4 * 0.8 / math.sqrt(0.2 * 1000))


def test_nll_given_labels_is_lower_by_their_information():
    # The components hardly overlap, so that a label is worth log 2.
    sde = VP()
    _, target = paper_pair()
    x, y = target.sample(jax.random.key(2), 500)
    score = ExactScore(target, sde)
    gain = nll(x, score, sde).value - nll(x, score, sde, cond=y).value
    assert gain == pytest.approx(math.log(2), abs=0.05)


def test_shape_of_a_sample_is_kept():
    target = single_gaussian([0.0] * 4, 0.5)
    sde = VP()
    flat = ExactScore(target, sde)
    x = np.random.default_rng(3).normal(size=(20, 4))

    def on_images(z, t, cond):
        assert z.shape[1:] == (2, 2)
        return flat(z.reshape(-1, 4), t).reshape(z.shape)

    assert nll(x.reshape(20, 2, 2), on_images, sde).value == pytest.approx(nll(x, flat, sde).value, rel=1e-5)


def test_bad_inputs_are_refused():
    sde = VP()
    score = ExactScore(single_gaussian([0.0, 0.0], 0.5), sde)
    x = np.zeros((5, 2))
    with pytest.raises(UserError, match="x_test has NaN"):
        nll(x * np.nan, score, sde)
    with pytest.raises(UserError, match="at least 2"):
        nll(x[:1], score, sde)
    with pytest.raises(UserError, match="cond has leading shape"):
        nll(x, score, sde, cond=np.zeros(4, int))
    with pytest.raises(UserError, match="num_steps"):
        nll(x, score, sde, num_steps=0)
    with pytest.raises(UserError, match="likelihood is not finite at 5 of 5"):
        nll(x, lambda x, t, cond: x * jnp.inf, sde, num_steps=2)
