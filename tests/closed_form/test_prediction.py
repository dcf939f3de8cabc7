"""Conversions between what a network predicts, against x_t = alpha x_0 + sigma eps itself."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import PROCESSES
from tgdp_jax.errors import UserError
from tgdp_jax.prediction import PREDICTIONS, convert, from_eps, network_score, to_eps

SDE_NAMES = pytest.mark.parametrize("name", ["vp", "subvp", "ve", "cosine"])


@pytest.fixture(autouse=True)
def double_precision():
    """A wrong formula must not hide behind rounding: 1/sigma is large at small t."""
    with jax.enable_x64(True):
        yield


def known_rows(name):
    """(process, x_t, t, {kind: value}) where every value follows from the same known x_0 and eps."""
    sde, rng = PROCESSES[name], np.random.default_rng(1)
    t = np.concatenate([[0.003, 1.0], rng.uniform(0.01, 1.0, 20)])
    x0, eps = rng.normal(size=(2, 22, 2, 3))
    alpha = np.asarray(sde.alpha(jnp.asarray(t)))[:, None, None]
    sigma = np.asarray(sde.sigma(jnp.asarray(t)))[:, None, None]
    known = {"eps": eps, "x0": x0, "v": alpha * eps - sigma * x0, "score": -eps / sigma}
    return sde, jnp.asarray(alpha * x0 + sigma * eps), jnp.asarray(t), known


@SDE_NAMES
@pytest.mark.parametrize("source", PREDICTIONS)
@pytest.mark.parametrize("target", PREDICTIONS)
def test_every_pair_converts_between_the_known_values(name, source, target):
    sde, x, t, known = known_rows(name)
    out = convert(jnp.asarray(known[source]), x, t, sde, source=source, target=target)
    np.testing.assert_allclose(out, known[target], rtol=1e-7, atol=1e-9 * np.abs(known[target]).max())


@SDE_NAMES
@pytest.mark.parametrize("kind", PREDICTIONS)
def test_conversions_round_trip_for_any_output(name, kind):
    # A network's output need not be consistent with x_t: the maps must invert each other all the same.
    sde, x, t, _ = known_rows(name)
    out = jnp.asarray(np.random.default_rng(2).normal(size=x.shape))
    back = from_eps(kind, to_eps(kind, out, x, t, sde), x, t, sde)
    np.testing.assert_allclose(back, out, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("call", [to_eps, from_eps])
def test_unknown_kind_is_refused_with_the_list_of_what_exists(call):
    sde, x, t, _ = known_rows("vp")
    with pytest.raises(UserError) as error:
        call("noise", x, x, t, sde)
    assert all(kind in str(error.value) for kind in PREDICTIONS)


COEFFICIENTS = {"a": 2.0, "b": 3.0, "c": 5.0}


class Affine(nn.Module):
    """A network whose output is known: a x + b t + c y."""

    @nn.compact
    def __call__(self, x, t, cond=None):
        a, b, c = (self.param(name, nn.initializers.constant(value), ()) for name, value in COEFFICIENTS.items())
        out = a * x + b * t[:, None]
        return out if cond is None else out + c * cond[:, None]


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("labelled", [False, True])
def test_network_score_is_the_converted_output(prediction, labelled):
    sde = PROCESSES["vp"]
    x = jnp.asarray(np.random.default_rng(3).normal(size=(7, 2)))
    t, y = jnp.linspace(0.1, 1.0, 7), jnp.arange(7) % 3 if labelled else None
    net = Affine()
    score = network_score(net, net.init(jax.random.key(0), x, t, y), sde, prediction=prediction)
    alpha, sigma = np.asarray(sde.alpha(t))[:, None], np.asarray(sde.sigma(t))[:, None]
    raw = 2 * np.asarray(x) + 3 * np.asarray(t)[:, None] + (5 * np.asarray(y)[:, None] if labelled else 0)
    # Written out per kind for a variance-preserving process, where alpha^2 + sigma^2 = 1.
    expected = {
        "eps": -raw / sigma,
        "x0": (alpha * raw - np.asarray(x)) / sigma**2,
        "v": -(alpha * raw + sigma * np.asarray(x)) / sigma,
        "score": raw,
    }[prediction]
    np.testing.assert_allclose(score(x, t, y), expected, rtol=1e-5)


def test_network_score_refuses_an_unknown_prediction():
    with pytest.raises(UserError, match="velocity"):
        network_score(Affine(), {}, PROCESSES["vp"], prediction="velocity")
