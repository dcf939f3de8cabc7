"""Any Linen module will do: without attributes of ours, and with labels wherever the rows have them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import paper_pair
from tgdp_jax.data.mixture import ExactScore
from tgdp_jax.errors import UserError
from tgdp_jax.nets import GuidanceHead
from tgdp_jax.nets.protocols import HasClasses, HasFeatures, HasLatent, HasModalities, HasToken, require
from tgdp_jax.prediction import network_score
from tgdp_jax.sde import VP
from tgdp_jax.train.batches import all_rows
from tgdp_jax.train.classifier import fit_log_ratio
from tgdp_jax.train.denoising import denoising_task
from tgdp_jax.train.fit import fit
from tgdp_jax.train.gan import Game, Players, gan_task
from tgdp_jax.train.guidance import fit_guidance
from tgdp_jax.train.optimiser import OptimiserConfig

SDE = VP()
SOURCE, TARGET = paper_pair()
SHORT = OptimiserConfig(steps=400, batch_size=256, learning_rate=1e-2, steps_per_launch=50, validation_rows=1024)


class Plain(nn.Module):
    """A network as anybody writes it: labels, where there are any, through an embedding."""

    out: int = 2

    @nn.compact
    def __call__(self, x, t, cond):
        h = nn.Dense(32)(jnp.concatenate([x, t[:, None]], -1))
        h = h if cond is None else h + nn.Embed(2, 32)(cond)
        h = nn.Dense(self.out)(nn.silu(nn.Dense(32)(nn.silu(h))))
        return h[:, 0] if self.out == 1 else h


class PlainClassifier(nn.Module):
    @nn.compact
    def __call__(self, x, cond):
        h = nn.Dense(32)(x)
        h = h if cond is None else h + nn.Embed(2, 32)(cond)
        return nn.Dense(1)(nn.silu(nn.Dense(32)(nn.silu(h))))[:, 0]


class TwoArguments(nn.Module):
    @nn.compact
    def __call__(self, x, t):
        return nn.Dense(2)(x)


def rows(mixture, num, seed, labelled):
    x, y = (np.asarray(a) for a in mixture.sample(jax.random.key(seed), num))
    return {"x": x, "y": y} if labelled else x


@pytest.mark.parametrize("labelled", [False, True])
def test_a_plain_denoiser_learns_and_sees_the_labels_that_there_are(labelled):
    num = 4000
    x = rows(SOURCE, num, 0, True)
    data = {name: jnp.asarray(x[name]) for name in (("x", "y") if labelled else ("x",))}
    task = denoising_task(Plain(), SDE, "eps", 256, (2,), 1024, labelled=labelled)
    fitted = fit(
        jax.random.key(0), task, SHORT, data={**data, "train": all_rows(num), "held": all_rows(num)}, keep="last"
    )
    score = network_score(Plain(), fitted.params, SDE)
    t, cond = jnp.full(2, 0.3), jnp.array([0, 1]) if labelled else None
    found = score(jnp.zeros((2, 2)), t, cond)
    # At the middle between the classes' means the label alone says where to go.
    expected = ExactScore(SOURCE, SDE)(jnp.zeros((2, 2)), t, cond)
    assert np.abs(found - expected).max() < 0.2
    assert np.abs(expected).max() > 0.45 if labelled else np.abs(expected).max() < 0.1


@pytest.mark.parametrize("labelled", [False, True])
def test_a_plain_classifier_and_a_plain_guidance_network_learn(labelled):
    source, target = rows(SOURCE, 2000, 1, labelled), rows(TARGET, 400, 2, labelled)
    ratio = fit_log_ratio(
        jax.random.key(0), source, target, net=PlainClassifier(), regularisers=("mixup",), folds=2, optimiser=SHORT
    )
    assert ratio.calibration.auc > 0.75
    fitted = fit_guidance(
        jax.random.key(1),
        Plain(out=1),
        SDE,
        ExactScore(SOURCE, SDE),
        source,
        target,
        source_log_r=ratio.source_log_r,
        target_log_r=ratio.target_log_r,
        consistency=(0.1,),
        folds=2,
        optimiser=SHORT,
    )
    # From the source's modes to the target's: log h is larger at the latter.
    modes = jnp.concatenate([TARGET.means, SOURCE.means])
    cond = jnp.array([0, 1, 0, 1]) if labelled else None
    log_h = fitted.log_h(modes, jnp.full(4, 0.1), cond)
    assert log_h[:2].min() > log_h[2:].max()


MISFITS = [
    (lambda: denoising_task(TwoArguments(), SDE, "eps", 8, (2,)), r"a denoising network takes \(x, t, cond\), but Two"),
    (
        lambda: fit_log_ratio(jax.random.key(0), np.ones((4, 2)), np.ones((4, 2)), net=Plain()),
        r"takes \(x, cond\), but",
    ),
    (
        lambda: network_score(Plain(), {}, SDE)(jnp.zeros((3, 2)), jnp.zeros((3, 2))),
        "a network with modalities, as nets.protocols.HasModalities says, and Plain has none",
    ),
    (
        lambda: GuidanceHead(SDE, source=Plain(), free=False).init(
            jax.random.key(0), jnp.zeros((1, 8, 8, 1)), jnp.ones(1)
        ),
        "a network with encode, as nets.protocols.HasFeatures says, and Plain has none",
    ),
    (lambda: gan_task(Players(Plain(), Plain()), Game(), 8, (2,)), "with latent, as nets.protocols.HasLatent says"),
    (lambda: fit_log_ratio(jax.random.key(0), {"y": [1]}, np.ones((4, 2))), r"must be an array \[N, \*D\]"),
    (lambda: fit_log_ratio(jax.random.key(0), {"x": np.ones((3, 2)), "y": np.ones(2)}, np.ones((4, 2))), "one label a"),
]


@pytest.mark.parametrize(("act", "message"), MISFITS)
def test_what_is_missing_is_named(act, message):
    with pytest.raises(UserError, match=message):
        act()


@pytest.mark.parametrize("protocol", [HasFeatures, HasModalities, HasToken, HasClasses, HasLatent])
def test_every_protocol_is_lacked_by_a_plain_network(protocol):
    with pytest.raises(UserError, match=f"nets.protocols.{protocol.__name__} says"):
        require(Plain(), protocol, "a test")
