"""How the squared error of a denoising network is weighed over times.

For data N(0, s^2) a fresh network, which is its preconditioning alone, predicts E[eps | x_t] exactly. What is left is
the noise's own variance, alpha^2 s^2 / v with v = alpha^2 s^2 + sigma^2; as the error of the network's output it is one
at every time.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import PROCESSES
from tgdp_jax.errors import UserError
from tgdp_jax.nets import EpsMLP
from tgdp_jax.settings.training import DenoiserConfig
from tgdp_jax.train.batches import all_rows
from tgdp_jax.train.denoising import denoising_task

NUM, DIM = 3000, 4
TIMES = (0.02, 0.3, 0.95)


@pytest.mark.parametrize("name", ["vp", "ve"])
@pytest.mark.parametrize("std", [0.6, (0.3, 1.0, 2.5, 0.1)])
def test_losses_at_the_exact_prediction_are_those_of_the_closed_form(name, std):
    sde, s = PROCESSES[name], np.broadcast_to(np.asarray(std), DIM)
    net = EpsMLP(sde, (8,), data_std=std)
    x0, eps = np.random.default_rng(0).normal(size=(2, NUM, DIM))
    plain, edm = (denoising_task(net, sde, "eps", 8, (DIM,), weighting=kind) for kind in ("eps", "edm"))

    @jax.jit
    def measured(x0, eps, t):
        params, batch = plain.init(jax.random.key(0)), (sde.perturb(x0, eps, t), t, eps, None)
        return plain.evaluate(params, None, batch), edm.evaluate(params, None, batch)

    for at in TIMES:
        t = jnp.full(NUM, at)
        alpha, sigma = float(sde.alpha(t[0])), float(sde.sigma(t[0]))
        left = (alpha * s) ** 2 / ((alpha * s) ** 2 + sigma**2)
        for found, exact in zip(measured(jnp.asarray(s * x0), jnp.asarray(eps), t), (left.mean(), 1.0), strict=True):
            error = float(jnp.std(found)) / NUM**0.5
            assert abs(float(found.mean()) - exact) < 4 * error + 1e-4 * exact


def test_a_share_of_the_labels_is_left_out_and_nothing_else_changes():
    net, sde = EpsMLP(PROCESSES["vp"], (8,), num_classes=3), PROCESSES["vp"]
    whole, part = (denoising_task(net, sde, "eps", 2000, (DIM,), labelled=True, dropout=share) for share in (0.0, 0.25))
    data = {"x": jnp.ones((5, DIM)), "y": jnp.arange(5) % 3, "train": all_rows(5)}
    (*told, labels), (*also, some) = (task.draw(jax.random.key(0), data, None) for task in (whole, part))
    jax.tree.map(np.testing.assert_array_equal, told, also)
    left = np.asarray(some == net.num_classes)
    assert abs(left.mean() - 0.25) < 4 * (0.25 * 0.75 / 2000) ** 0.5
    np.testing.assert_array_equal(np.asarray(labels)[~left], np.asarray(some)[~left])
    assert {0, 1, 2} == set(np.asarray(labels)[left].tolist())


def test_a_weighting_that_is_unknown_or_not_that_of_the_representation_is_refused():
    with pytest.raises(UserError, match="unknown weighting 'snr': choose one of edm, eps"):
        DenoiserConfig(weighting="snr")
    with pytest.raises(UserError, match=r"not as edm: give --source\.weighting eps"):
        DenoiserConfig(weighting="edm", self_supervised=True)
