"""Adaptation of image networks, as far as training reaches into them: everything else is the same for all networks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tests.helpers import spread_params
from tgdp_jax.data.problem import Data, Problem
from tgdp_jax.settings.networks import NetworkConfig
from tgdp_jax.train.batches import all_rows
from tgdp_jax.train.denoising import fresh_params, prior_preservation_task
from tgdp_jax.train.reparam import Joint, flat
from tgdp_jax.transfer.adaptation import Adaptation
from tgdp_jax.transfer.networks import denoiser, with_token
from tgdp_jax.transfer.textual_inversion import TOKEN

NETWORKS = {
    "unet": NetworkConfig(kind="unet", channels=(16,), attention=(0,)),
    "dit": NetworkConfig(kind="dit", width=8, depth=1, heads=2),
    "multimodal": NetworkConfig(kind="multimodal", channels=(8,), attention=(), width=8, depth=1),
}


def images(num, seed):
    rng = np.random.default_rng(seed)
    return Data(rng.uniform(-1, 1, (num, 4, 4, 1)).astype(np.float32), rng.integers(0, 2, num).astype(np.int32))


@pytest.mark.parametrize("kind", NETWORKS)
def test_gradients_reach_every_adapter_and_the_token(kind):
    """DreamBooth by adapters has all parts at once: convolutions, attention and dense layers, a token, a prior."""
    optimiser = dataclasses.replace(tiny.TRAINING.rival.optimiser, batch_size=4)
    rival = dataclasses.replace(tiny.TRAINING.rival, optimiser=optimiser)
    training = dataclasses.replace(tiny.TRAINING, rival=rival, network=NETWORKS[kind])
    problem = Problem("pictures", images(8, 0), images(4, 1), None, num_classes=2)
    net = denoiser(training, problem)
    base = with_token(training, problem, spread_params(lambda key: fresh_params(key, net, problem.shape), scale=0.2))
    reparam = Joint((training.lora.make(), TOKEN))
    how = Adaptation(training, problem, training.rival, reparam, new_token=True)
    task = prior_preservation_task(how.task(), 1.0)
    rows = {"x": jnp.asarray(problem.target.x), "y": jnp.asarray(problem.target.y), "train": all_rows(4)}
    key = jax.random.key(0, impl="rbg")

    @jax.jit
    def slopes(trainable, base):
        batch = task.draw(key, {**rows, "prior": rows}, None)
        return jax.grad(lambda p: sum(jnp.mean(term) for term in task.loss(p, base, batch, 0, None).values()))(
            trainable
        )

    found = flat(slopes(spread_params(reparam.init, base, scale=0.2), base))
    kernels = [name for name in flat(base) if name.endswith("kernel")]
    assert len(found) == 2 * len(kernels) + 1
    for name, slope in found.items():
        assert np.isfinite(slope).all() and np.abs(slope).max() > 1e-7, name
