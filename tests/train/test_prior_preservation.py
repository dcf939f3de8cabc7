"""DreamBooth's loss where its minimiser is known: Gaussian rows with the token, others without."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import standard_errors
from tgdp_jax.nets.embedding import Prompt
from tgdp_jax.sde import VP
from tgdp_jax.train.batches import all_rows
from tgdp_jax.train.denoising import denoising_task, prior_preservation_task

NUM, WEIGHT = 4000, 0.5
MEANS, VARIANCE = {"new": (1.0, -0.5), "class": (-1.0, 0.5)}, 0.3
ROWS: list[int] = []


@dataclasses.dataclass(frozen=True)
class Exact:
    """E[eps | x_t] of either Gaussian, plus an error of its own for each."""

    sde: Any = VP()
    num_classes: int = 0

    def apply(self, params, x, t, cond):
        ROWS.append(len(x))
        assert isinstance(cond, Prompt) and cond.labels is None
        marked = cond.token[:, None]
        mean = jnp.where(marked, *(jnp.asarray(MEANS[name]) for name in ("new", "class")))
        alpha, sigma = self.sde.alpha(t)[:, None], self.sde.sigma(t)[:, None]
        exact = sigma * (x - alpha * mean) / (alpha**2 * VARIANCE + sigma**2)
        return exact + jnp.where(marked, params["new"], params["class"])


def rows(name, seed):
    noise = np.random.default_rng(seed).normal(size=(20_000, 2))
    x = jnp.asarray(np.asarray(MEANS[name]) + np.sqrt(VARIANCE) * noise, jnp.float32)
    return {"x": x, "train": all_rows(len(x))}


@pytest.fixture(scope="module")
def slopes():
    """params -> {term: {error: derivative of the term by that error, [NUM, 2]}}."""
    task = prior_preservation_task(denoising_task(Exact(), VP(), "eps", NUM, (2,)), WEIGHT)
    data = {**rows("new", 0), "prior": rows("class", 1)}
    key = jax.random.key(0, impl="rbg")  # compiles in a fraction of the time
    ROWS.clear()

    def slopes(params, data):
        batch = task.draw(key, data, None)
        return jax.jacfwd(lambda errors: task.loss(errors, None, batch, 0, None))(params)

    slopes = jax.jit(slopes)
    return lambda params: slopes(params, data)


def errors(new=0.0, kept=0.0):
    return {"new": jnp.full(2, new), "class": jnp.full(2, kept)}


def test_it_is_least_at_the_targets_noise_with_the_token_and_the_sources_without(slopes):
    found = slopes(errors())
    assert ROWS == [2 * NUM]  # one pass for both kinds
    for term, error in (("denoising", "new"), ("prior", "class")):
        assert found[term][error].shape == (NUM, 2)
        assert standard_errors(found[term][error], 0.0).max() < 4.5


def test_away_from_there_either_term_pulls_back_by_its_weight(slopes):
    found = slopes(errors(new=0.2, kept=-0.2))
    # The mean over coordinates of (e + noise)^2 has slope e in each of the two.
    assert standard_errors(found["denoising"]["new"], 0.2).max() < 4.5
    assert standard_errors(found["prior"]["class"], -0.2 * WEIGHT).max() < 4.5
    assert standard_errors(found["denoising"]["new"], 0.0).min() > 10


def test_rows_of_one_kind_say_nothing_of_the_other(slopes):
    found = slopes(errors(new=0.2, kept=-0.2))
    np.testing.assert_array_equal(found["denoising"]["class"], 0.0)
    np.testing.assert_array_equal(found["prior"]["new"], 0.0)
