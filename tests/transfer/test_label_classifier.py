"""The classifier of the source's labels: what it learns, and what heads take from it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tests.helpers import spread_params
from tgdp_jax.data.problem import Data, Problem
from tgdp_jax.errors import UserError
from tgdp_jax.nets import ClassifierHead, LabelHead
from tgdp_jax.nets.heads import ConvBody, frozen
from tgdp_jax.nets.layers import pooled
from tgdp_jax.nets.xresnet import XResNet1d
from tgdp_jax.sde import VP
from tgdp_jax.settings.networks import HeadConfig, NetworkConfig
from tgdp_jax.settings.sssd import SSSDConfig
from tgdp_jax.train.reparam import carried_over, flat
from tgdp_jax.train.session import QUIET
from tgdp_jax.transfer import METHODS
from tgdp_jax.transfer.heads import guidance_net, label_net, shared_variables
from tgdp_jax.transfer.label_classifier import label_stage
from tgdp_jax.transfer.ratio import classifier_stage
from tgdp_jax.transfer.source import source_stage
from tgdp_jax.transfer.tgdp import guidance_stage

SDE, STD = VP(), 0.7
ROWS = {"images": (4, 4, 1), "series": (16, 2)}
BODIES = {"images": ConvBody((8, 8)), "series": XResNet1d((8, 8))}


def waves(num: int, seed: int, loud: float = 1.0) -> Data:
    """Series of one or two swings, which is their class."""
    rng, y = np.random.default_rng(seed), np.arange(num) % 2
    angles = (1 + y[:, None]) * np.linspace(0, 2 * np.pi, 16) + rng.uniform(0, 2 * np.pi, (num, 1))
    x = loud * np.stack([np.sin(angles), np.cos(angles)], -1) + 0.1 * rng.normal(size=(num, 16, 2))
    return Data(x.astype(np.float32), y.astype(np.int32))


PROBLEM = Problem("waves", waves(200, 0), waves(12, 1, loud=1.6), None)
CONDITIONAL = dataclasses.replace(PROBLEM, num_classes=2)
NETWORK = NetworkConfig(kind="sssd", sssd=SSSDConfig(layers=1, width=4, states=4, hidden=8, label_dim=4, patch=2))
TRAINING = dataclasses.replace(tiny.TRAINING, network=NETWORK, head=HeadConfig(channels=(4, 4)))
ON_LABELS = dataclasses.replace(TRAINING, head=dataclasses.replace(TRAINING.head, on="labels"))
PRETRAINED = dataclasses.replace(TRAINING, classifier=dataclasses.replace(TRAINING.classifier, pretrain=True))


def run(stage, trees):
    return stage.run(jax.random.key(0), trees, QUIET)


@pytest.fixture(scope="module")
def labels():
    return run(label_stage(TRAINING, PROBLEM), {})


def test_it_tells_the_classes_of_rows_that_it_has_not_seen(labels):
    assert labels.info["accuracy"] > 0.9
    fresh = waves(100, 5)
    _, logits = label_net(TRAINING, PROBLEM).apply(labels.artefact.to_tree()["params"], fresh.x)
    assert (np.argmax(logits, -1) == fresh.y).mean() > 0.9


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("num_classes", [0, 3])
def test_a_domain_classifier_that_starts_from_it_sees_what_it_sees(kind, num_classes):
    x = jax.random.normal(jax.random.key(1), (3, *ROWS[kind]))
    label = LabelHead(SDE, 5, (8, 8), (6,), STD)
    head = ClassifierHead((8, 8), (6,), num_classes, STD)
    cond = jnp.array([0, 1, 2]) if num_classes else None
    known = spread_params(label.init, x)["params"]
    own = spread_params(lambda key: head.init(key, x, cond), seed=3)["params"]
    start = carried_over(known, own)
    assert jax.tree.map(jnp.shape, start) == jax.tree.map(jnp.shape, own)
    body = next(name for name in own if name.startswith(type(BODIES[kind]).__name__))
    features = BODIES[kind].apply(
        {"params": start[body]}, x / STD, None if cond is None else jax.nn.one_hot(cond, num_classes)
    )
    features = features[-1] if kind == "images" else features
    np.testing.assert_allclose(features, label.apply({"params": known}, x)[0], rtol=1e-5, atol=1e-6)
    # The last layer is another: one logit in the place of five.
    last = "MLP_0/Dense_1/kernel"
    np.testing.assert_array_equal(flat(start)[last], flat(own)[last])


def test_noised_rows_are_brought_to_the_spread_of_clean_ones():
    x, t = jax.random.normal(jax.random.key(1), (3, *ROWS["images"])), jnp.array([1e-3, 0.2, 0.9])
    net = LabelHead(SDE, 2, (8,), (6,), STD)
    variables = spread_params(net.init, x)
    spread = jnp.sqrt((SDE.alpha(t) * STD) ** 2 + SDE.sigma(t) ** 2)[:, None, None, None]
    (seen,) = net.apply(variables, x * spread / STD, t, method="encode")
    np.testing.assert_allclose(seen, net.apply(variables, x)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", [PRETRAINED, ON_LABELS], ids=["pretrained", "on labels"])
def test_methods_train_it_first(config):
    for name in ("tgdp", "discriminator_guidance", "sir"):
        stages = METHODS[name].stages(config, PROBLEM)
        names = [stage.name for stage in stages]
        wanted = name != "discriminator_guidance" or config is ON_LABELS  # that has no clean classifier
        assert ("label_classifier" in names) == wanted
        for i, stage in enumerate(stages):
            assert set(stage.needs) <= set(names[:i]) and len(set(stage.needs)) == len(stage.needs)


def test_heads_on_it_train_and_leave_it_as_it_is(labels):
    before = jax.tree.map(np.array, labels.artefact.to_tree())
    source = run(source_stage(ON_LABELS, CONDITIONAL), {})
    trees = {"label_classifier": labels.artefact.to_tree(), "source": source.artefact.to_tree()}
    trees["classifier"] = run(classifier_stage(ON_LABELS, CONDITIONAL), trees).artefact.to_tree()
    guidance = run(guidance_stage(ON_LABELS, CONDITIONAL), trees)
    assert np.isfinite(guidance.history["loss"]).all()
    for tree in (trees["classifier"], guidance.artefact.to_tree()):
        assert not any("XResNet1d" in path for path in flat(tree["params"]))  # no layers of their own
    jax.tree.map(np.testing.assert_array_equal, labels.artefact.to_tree(), before)


def test_a_start_from_it_is_not_a_fresh_one(labels):
    optimiser = dataclasses.replace(tiny.OPTIMISER, steps=1, steps_per_launch=1, learning_rate=1e-9)
    classifiers = {}
    for name, config in (("fresh", TRAINING), ("pretrained", PRETRAINED)):
        still = dataclasses.replace(config, classifier=dataclasses.replace(config.classifier, optimiser=optimiser))
        found = run(classifier_stage(still, PROBLEM), {"label_classifier": labels.artefact.to_tree()})
        classifiers[name] = found.artefact.to_tree()["params"]["params"]["XResNet1d_0"]["Conv_0"]["kernel"]
    known = labels.artefact.to_tree()["params"]["params"]["XResNet1d_0"]["Conv_0"]["kernel"]
    np.testing.assert_allclose(classifiers["pretrained"][0], known, atol=1e-6)
    assert np.abs(classifiers["fresh"][0] - known).max() > 0.1


def test_guidance_on_its_features_takes_them_from_it(labels):
    net, x, t = guidance_net(ON_LABELS, PROBLEM), jnp.asarray(PROBLEM.source.x[:3]), jnp.full(3, 0.3)
    variables = spread_params(net.init, x, t)
    given = shared_variables(ON_LABELS, {"label_classifier": labels.artefact.to_tree()})
    assert jax.tree.structure(given["source"]) == jax.tree.structure(variables["source"])
    (seen,) = label_net(ON_LABELS, PROBLEM).apply(labels.artefact.to_tree()["params"], x, t, method="encode")
    # Constant features leave nothing but the time: a network that looked elsewhere would still see the rows.
    blank = frozen(jax.tree.map(jnp.zeros_like, labels.artefact.to_tree()["params"]))
    moved, still = (net.apply({"params": variables["params"], **part}, x, t) for part in (given, blank))
    assert np.ptp(still) < 1e-6 < np.ptp(moved) and pooled(seen).shape == (3, 8)


def test_rows_that_it_can_not_learn_from_are_refused():
    with pytest.raises(UserError, match="images and series"):
        label_net(ON_LABELS, tiny.problem())
    bare = dataclasses.replace(PROBLEM, source=Data(PROBLEM.source.x, None))
    with pytest.raises(UserError, match="no labels"):
        METHODS["tgdp"].stages(ON_LABELS, bare)
    # Where there are none to start from, a classifier starts as it would.
    assert [stage.name for stage in METHODS["tgdp"].stages(PRETRAINED, bare)] == ["source", "classifier", "guidance"]
    with pytest.raises(UserError, match="labels, own, source"):
        HeadConfig(on="lables")
