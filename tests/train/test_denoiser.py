"""A denoiser trained by itself, on Gaussian data N(mean, s^2), of which score and posterior are known.

eps given x_t is normal with mean -sigma score(x_t) and variance alpha^2 s^2 / (alpha^2 s^2 + sigma^2), in each
coordinate. So a quantile loss has a minimiser that differs from the score's by a known amount.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from tests.helpers import single_gaussian
from tgdp_jax.data.mixture import ExactScore
from tgdp_jax.errors import UserError
from tgdp_jax.nets import EpsMLP
from tgdp_jax.sampling import sample
from tgdp_jax.sde import VP
from tgdp_jax.train.denoiser import fit_denoiser
from tgdp_jax.train.optimiser import OptimiserConfig
from tgdp_jax.train.representation import RepresentationConfig

SDE, KEY = VP(), jax.random.key(0)
MEAN, VARIANCE = 0.8, 0.25
TARGET = single_gaussian([MEAN, -MEAN], VARIANCE)
X = np.random.default_rng(0).normal([MEAN, -MEAN], VARIANCE**0.5, (4000, 2)).astype(np.float32)
OPTIMISER = OptimiserConfig(steps=1000, batch_size=256, learning_rate=5e-3, validation_rows=1024)
AT = jnp.array([[0.3, -0.2], [0.8, -0.8], [1.2, 0.0]])
TIMES = (0.15, 0.4, 0.8)


class Plain(nn.Module):
    @nn.compact
    def __call__(self, x, t, cond):
        h = nn.silu(nn.Dense(64)(jnp.concatenate([x, t[:, None], SDE.log_snr(t)[:, None] / 5], -1)))
        return nn.Dense(x.shape[-1])(nn.silu(nn.Dense(64)(h)))


def noise(score, t):
    """eps_hat [N, 2] that a score implies."""
    return -SDE.sigma(t) * score(AT, jnp.full(len(AT), t), None)


def largest_error(score, shift=lambda t: 0.0):
    exact = ExactScore(TARGET, SDE)
    return max(float(np.abs(noise(score, t) - noise(exact, t) - shift(t)).max()) for t in TIMES)


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_the_score_approaches_the_exact_one(prediction):
    fitted = fit_denoiser(KEY, Plain(), SDE, X, prediction=prediction, optimiser=OPTIMISER)
    assert largest_error(fitted.score) < 0.12
    assert fitted.best_step in fitted.history["step"]
    assert fitted.history["validation"].min() == fitted.history["validation"][fitted.best_step // 100 - 1]


def test_an_own_loss_and_an_own_optimiser_are_used():
    level = 0.8

    def pinball(eps_hat, eps):
        under = eps - eps_hat
        return jnp.mean(jnp.maximum(level * under, (level - 1) * under), -1)

    def quantile(t):
        alpha, sigma = SDE.alpha(jnp.asarray(t)), SDE.sigma(jnp.asarray(t))
        variance = alpha**2 * VARIANCE / (alpha**2 * VARIANCE + sigma**2)
        return float(stats.norm.ppf(level) * variance**0.5)

    adam = optax.adam(optax.cosine_decay_schedule(5e-3, 1000))
    fitted = fit_denoiser(KEY, Plain(), SDE, X, loss=pinball, optimiser=OPTIMISER.using(adam))
    assert largest_error(fitted.score, quantile) < 0.15 < largest_error(fitted.score)


def test_a_run_is_one_line_after_the_other():
    fitted = fit_denoiser(KEY, Plain(), SDE, X, optimiser=OPTIMISER)
    x = sample(KEY, fitted.score, SDE, 2000, (2,))
    np.testing.assert_allclose(x.mean(0), [MEAN, -MEAN], atol=0.1)
    np.testing.assert_allclose(x.std(0), VARIANCE**0.5, atol=0.1)


SHORT = OptimiserConfig(steps=20, batch_size=32, steps_per_launch=10, validation_rows=64)
LABELLED = {"x": X[:100], "y": np.arange(100) % 2}


def test_labels_and_representations_are_trained_with():
    net = EpsMLP(SDE, (16,), num_classes=2)
    fitted = fit_denoiser(KEY, net, SDE, LABELLED, representation=RepresentationConfig(width=8), optimiser=SHORT)
    assert "contrastive" in fitted.history and np.isfinite(fitted.history["loss"]).all()
    assert fitted.score(AT, jnp.full(3, 0.3), jnp.array([0, 1, 0])).shape == (3, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": X[:1]}, "1 rows have nothing to hold out"),
        ({"data": np.ones(5)}, r"rows must be an array \[N, \*D\]"),
        ({"data": {"x": X, "y": np.ones(len(X))}}, "labels are float"),
        ({"held_out": 1.0}, "held_out is 1.0"),
        ({"loss": lambda eps_hat, eps: jnp.mean(eps)}, r"must be \[B\], not reduced"),
        ({"loss": lambda eps: eps}, r"a denoising loss takes \(eps_hat, eps\)"),
        ({"net": nn.Dense(3)}, r"a denoising network takes \(x, t, cond\)"),
        ({"weighting": "edm", "representation": RepresentationConfig()}, "leave out loss and weighting"),
        ({"optimiser": 1e-3}, "give an OptimiserConfig or an optax optimiser"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(change, message):
    given = {"net": Plain(), "data": X, "optimiser": SHORT, **change}
    with pytest.raises(UserError, match=message) as error:
        fit_denoiser(KEY, given.pop("net"), SDE, given.pop("data"), **given)
    assert "\n" not in str(error.value)
