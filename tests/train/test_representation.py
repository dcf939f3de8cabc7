"""Source models that learn a representation beside: what they learn, and what they leave."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tests.helpers import PROCESSES
from tgdp_jax.errors import UserError
from tgdp_jax.nets import EpsMLP
from tgdp_jax.nets.layers import middle, with_layers
from tgdp_jax.nets.precondition import signal_share
from tgdp_jax.nets.representation import MaskedDecoder
from tgdp_jax.train.batches import Rows, all_rows, stratified_times
from tgdp_jax.train.denoising import denoising_task
from tgdp_jax.train.fit import fit
from tgdp_jax.train.optimiser import OptimiserConfig
from tgdp_jax.train.representation import RepresentationConfig, representation_task
from tgdp_jax.train.session import QUIET
from tgdp_jax.transfer import METHODS
from tgdp_jax.transfer.heads import classifier_net, shared_variables
from tgdp_jax.transfer.self_supervised import self_supervised
from tgdp_jax.transfer.source import source_stage

SDE = PROCESSES["vp"]
NET = EpsMLP(SDE, (32, 32))


def task(objective: str, batch_size: int, *, dim: int = 2, **settings):
    plain = denoising_task(NET, SDE, "eps", batch_size, (dim,), 512)
    return representation_task(
        plain, RepresentationConfig(objective=objective, **settings), NET, SDE, "eps", batch_size, (dim,)
    )


@pytest.fixture(scope="module")
def trained():
    """(training settings, problem, what the source stage leaves) of masked prediction; every method's test has the
    contrastive objective."""
    problem = tiny.problem()
    learned = RepresentationConfig(objective="masked", width=8)
    config = self_supervised(dataclasses.replace(tiny.TRAINING, representation=learned))
    return config, problem, source_stage(config, problem).run(jax.random.key(0), {}, QUIET)


def test_what_is_left_is_a_plain_network_that_learned_the_objective_too(trained):
    _, _, result = trained
    plain = denoising_task(EpsMLP(SDE, (16,)), SDE, "eps", 32, (2,))
    fresh = jax.eval_shape(plain.init, jax.random.key(0))
    shapes = jax.tree.map(lambda a: a.shape, result.artefact.to_tree()["params"])
    assert shapes == jax.tree.map(lambda a: a.shape, fresh)
    assert {"denoising", "masked", "validation"} <= set(result.history) and np.all(result.history["masked"] > 0)


def test_the_objective_is_part_of_what_identifies_a_source(trained):
    config, problem, _ = trained
    plain, uses = source_stage(tiny.TRAINING, problem).uses, source_stage(config, problem).uses
    assert uses != plain
    other = dataclasses.replace(config, representation=dataclasses.replace(config.representation, weight=0.7))
    assert source_stage(other, problem).uses != uses
    # A plain source does not depend on it.
    unused = dataclasses.replace(tiny.TRAINING, representation=config.representation)
    assert source_stage(unused, problem).uses == plain


def test_classifiers_can_stand_on_such_a_source(trained):
    config, problem, result = trained
    on_source = dataclasses.replace(config, head=dataclasses.replace(config.head, on="source"))
    for name in ("sir", "tgdp"):
        names = [stage.name for stage in METHODS[name].stages(on_source, problem)]
        (classifier,) = [s for s in METHODS[name].stages(on_source, problem) if s.name == "classifier"]
        assert names[0] == "source" and classifier.needs == ("source",)
    given = shared_variables(on_source, {"source": result.artefact.to_tree()})
    net = classifier_net(on_source, problem)
    shapes = jax.eval_shape(net.init, jax.random.key(0), problem.source.x[:3])
    assert jax.tree.map(jnp.shape, given["source"]) == jax.tree.map(jnp.shape, shapes["source"])


def test_hidden_coordinates_come_out_as_their_conditional_mean():
    rho, steps, batch = 0.9, 400, 256
    rng = np.random.default_rng(0)
    a = rng.normal(size=(4000, 1))
    x = np.concatenate([a, rho * a + np.sqrt(1 - rho**2) * rng.normal(size=a.shape)], 1).astype(np.float32)
    data = {"x": x, "train": all_rows(3800), "held": Rows(jnp.arange(3800, 4000), jnp.asarray(200))}
    optimiser = OptimiserConfig(steps=steps, batch_size=batch, learning_rate=5e-3, steps_per_launch=200)
    fitted = fit(jax.random.key(0), task("masked", batch, weight=1.0, width=32), optimiser, data=data, keep="last")
    head = MaskedDecoder((2,), 32)
    seen = jnp.linspace(-1.5, 1.5, 9)
    alpha, sigma = SDE.alpha(jnp.array(0.2)), SDE.sigma(jnp.array(0.2))

    def guessed(hide: int) -> jax.Array:
        hidden = jnp.arange(2)[None] == hide
        xt = jnp.repeat(seen[:, None], 2, 1)
        xt = head.apply(fitted.params["head"], xt, jnp.broadcast_to(hidden, xt.shape), method="hide")
        _, layers = with_layers(NET, fitted.params["net"], xt, jnp.full(9, 0.2))
        return head.apply(fitted.params["head"], middle(layers))[:, hide]

    for hide in (0, 1):
        exact = alpha * rho * seen / (alpha**2 + sigma**2)
        np.testing.assert_allclose(jax.jit(guessed, static_argnums=0)(hide), exact, atol=0.2)


def test_groups_of_rows_do_not_see_each_other():
    # So that training does not depend on which device has which group.
    made = task("contrastive", 64)
    data = {"x": np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32), "train": all_rows(100)}
    params = jax.jit(made.init)(jax.random.key(0))
    batch = jax.jit(functools.partial(made.draw, member=None))(jax.random.key(1), data)

    @jax.jit
    def loss(batch):
        return made.loss(params, None, batch, jnp.zeros((), jnp.int32), None)

    other = jax.tree.map(lambda leaf: leaf.at[0].set(leaf[1]), batch)
    before, after = loss(batch), loss(other)
    for name, values in before.items():
        assert values.shape == (2,) and values[0] != after[name][0], name
        np.testing.assert_allclose(values[1], after[name][1], rtol=1e-5)


def test_views_of_a_row_find_each_other_with_training():
    x = np.random.default_rng(0).normal(size=(1000, 16)).astype(np.float32)
    data = {"x": x, "train": all_rows(900), "held": Rows(jnp.arange(900, 1000), jnp.asarray(100))}
    optimiser = OptimiserConfig(steps=60, batch_size=64, learning_rate=1e-2, steps_per_launch=20)
    history = fit(jax.random.key(0), task("contrastive", 64, dim=16, weight=0.5), optimiser, data=data).history
    share = signal_share(stratified_times(jax.random.key(1), 1000, SDE), SDE).mean()
    guessing = 0.5 * np.log(63) * share**2
    assert history["contrastive"][-1] < 0.65 * guessing


def test_a_pretrained_model_is_not_trained_again(tmp_path):
    pretrained = dataclasses.replace(tiny.TRAINING, pretrained=tmp_path)
    with pytest.raises(UserError, match="trains its own"):
        self_supervised(pretrained)
    with pytest.raises(UserError, match="not trained again"):
        dataclasses.replace(pretrained, source=dataclasses.replace(tiny.TRAINING.source, self_supervised=True))
