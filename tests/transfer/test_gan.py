"""A GAN carried from source to target: what starts where, what stays, and what is said of a collapse."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from tests import tiny
from tests.e2e.tools import GAUSSIANS, call, strict_json
from tgdp_jax.app.commands.run import stage_warnings
from tgdp_jax.app.identity import problem_identity
from tgdp_jax.data import gaussians
from tgdp_jax.data.problem import Data, Problem
from tgdp_jax.errors import UserError
from tgdp_jax.settings.methods import GanConfig
from tgdp_jax.settings.networks import NetworkConfig
from tgdp_jax.train.checkpoint import Store
from tgdp_jax.transfer import gan
from tgdp_jax.transfer.stages import StageReport, silent, train_method

IDENTITY = problem_identity(tiny.GAUSSIANS)


def settings(**changes):
    return dataclasses.replace(tiny.TRAINING, gan=dataclasses.replace(tiny.TRAINING.gan, **changes))


def still(config):
    """A rate too small to move anything leaves each player where it started."""
    target = dataclasses.replace(config.gan.target, learning_rate=1e-20)
    return dataclasses.replace(config, gan=dataclasses.replace(config.gan, target=target))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


def train(store, config, problem=None, identity=IDENTITY):
    problem = tiny.problem() if problem is None else problem
    return train_method(config, problem, identity, "gan", 0, store, silent)


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_both_players_start_from_the_source(store):
    trees = train(store, still(settings())).trees
    # But for the rounding of the running average.
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-12)
    jax.tree.map(close, trees["gan_target"], trees["gan_source"])


def test_from_scratch_neither_does_and_no_source_is_trained(store):
    trees = train(store, still(settings(from_scratch=True))).trees
    assert set(trees) == {"gan_target"}
    source = train(store, settings()).trees["gan_source"]["params"]
    fresh = trees["gan_target"]["params"]
    assert jax.tree.structure(fresh) == jax.tree.structure(source)
    for player in ("generator", "discriminator"):
        moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), fresh[player], source[player])
        assert max(jax.tree.leaves(moved)) > 0.1


@pytest.mark.parametrize("freeze", [0, 1, 2])
def test_frozen_layers_keep_every_bit_and_the_others_learn(store, freeze):
    config = settings(freeze=freeze)
    trees = train(store, config).trees
    source, target = (trees[name]["params"]["discriminator"] for name in ("gan_source", "gan_target"))
    assert set(source) == set(target) == {"layer_0", "layer_1", "logit"}
    for i in range(2):
        same = [np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (source, target)), strict=True)]
        layer = [
            np.array_equal(a, b)
            for a, b in zip(*(jax.tree.leaves(d[f"layer_{i}"]) for d in (source, target)), strict=True)
        ]
        assert all(layer) == (i < freeze)
        assert not all(same)


def test_the_target_changes_no_source_and_the_source_knows_no_target(store):
    source = train(store, settings()).trees["gan_source"]
    before = len(list(store.root.glob("gan_source-*")))
    for change in ({"freeze": 1}, {"folds": 3}, {"target": dataclasses.replace(tiny.TRAINING.gan.target, steps=10)}):
        assert_equal(train(store, settings(**change)).trees["gan_source"], source)
    assert len(list(store.root.glob("gan_source-*"))) == before


def test_what_was_watched_is_kept(store):
    results = train(store, settings()).reports
    for name in ("gan_source", "gan_target"):
        watched = {"diversity", "coverage", "logit_of_training_rows", "logit_of_held_out_rows", "logit_of_samples"}
        assert {"step", "loss", "validation", "generator", "discriminator", "penalty", *watched} <= set(
            results[name].history
        )
        assert {"diversity", "coverage", "expected_coverage"} <= set(results[name].info)
    assert results["gan_source"].info["best_step"] in results["gan_source"].history["step"]
    assert results["gan_target"].info["steps"] in results["gan_target"].history["step"]


# Collapse


def reach(scale):
    """What is said of a generator whose weights are multiplied."""
    problem = tiny.problem()
    config = tiny.TRAINING
    pair = gan.gan_players(config, problem)
    task = gan._task(config, problem, config.gan.target)
    params = task.init(jax.random.key(0))
    params["generator"] = jax.tree.map(lambda leaf: scale * leaf, params["generator"])
    data = {"x": np.asarray(problem.source.x), "shown": np.arange(100)}
    return gan._reach("gan_target", pair, params, data)


def test_a_generator_that_is_constant_is_said_to_have_collapsed():
    facts = reach(0.0)
    assert facts["diversity"] == pytest.approx(0.0, abs=1e-3) and facts["coverage"] < 0.2
    (warning,) = facts["warnings"]
    assert "generator of gan_target has collapsed" in warning and "0.00 times" in warning and "--gan.penalty" in warning


def test_one_that_reaches_all_rows_is_not(monkeypatch):
    # Samples like rows: the source rows themselves, shuffled by a network that does not exist.
    problem = tiny.problem()
    fake = np.asarray(problem.exact.source.sample(jax.random.key(9), 256)[0])
    monkeypatch.setattr(gan, "shown_samples", lambda *args: (fake, None))
    assert "warnings" not in reach(1.0)


def test_warnings_of_all_stages_are_passed_on(store):
    trained = train(store, settings())
    quiet = [warning for result in trained.reports.values() for warning in result.info.get("warnings", [])]
    assert stage_warnings(trained, 8) == quiet
    results = {**trained.reports, "other": StageReport({}, {"warnings": ["one", "two"]})}
    assert stage_warnings(dataclasses.replace(trained, reports=results), 8) == [*quiet, "one", "two"]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run", "compare"])
def test_a_collapse_is_shown_by_every_command(tmp_path, monkeypatch, command):
    monkeypatch.setattr(gan, "LEAST", 1e9)  # whatever it reaches is too little
    monkeypatch.setattr(gaussians, "NUM_REFERENCE", 300)
    options = (*GAUSSIANS, "--method", "gan")
    if command == "compare":
        cells = ("--methods", "gan", "--n-targets", "8", "--seeds", "1")
        options = ("compare", "gaussians", "--num-source", "200", *tiny.OPTIONS, *cells)
    _, err = call(*options, "--out", tmp_path / "out")
    for name in ("gan_source", "gan_target"):
        said = f"the generator of {name} has collapsed"
        assert said in err and said in (tmp_path / "out" / "report.html").read_text()
        stored = strict_json(tmp_path / "out" / "metrics.json")
        assert said in str(stored["warnings"] if command == "run" else stored["cells"][0]["warnings"])


# Images


def test_images_are_carried_over_too(tmp_path):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    x = (rng.normal(size=(60, 5, 6, 1)) * 0.1 + (2 * y - 1)[:, None, None, None]).astype(np.float32)
    problem = Problem("tiny", Data(x, y), Data(0.5 * x[:8], y[:8]), None, num_classes=2)
    config = dataclasses.replace(
        settings(channels=(4, 8), freeze=1),
        network=NetworkConfig(kind="unet"),
        augment="shift",
        sampling=dataclasses.replace(tiny.TRAINING.sampling, clip=0.9),
    )
    trained = train(Store(tmp_path), config, problem, {"tiny": 2})
    x = trained.generator.draw(jax.random.key(0), np.arange(20), y[:20])
    assert x.shape == (20, 5, 6, 1) and np.isfinite(x).all() and np.abs(x).max() <= 0.9 and np.all(x.std(0) > 0)
    again = trained.generator.draw(jax.random.key(0), np.array([7, 3]), y[[7, 3]])
    np.testing.assert_array_equal(again, x[[7, 3]])
    source, target = (trained.trees[name]["params"]["discriminator"] for name in ("gan_source", "gan_target"))
    assert_equal(source["layer_0"], target["layer_0"])
    moved = jax.tree.map(np.array_equal, source["layer_1"], target["layer_1"])
    assert not any(jax.tree.leaves(moved))


def test_image_networks_are_refused_for_rows(tmp_path):
    config = dataclasses.replace(settings(), network=NetworkConfig(kind="unet"))
    with pytest.raises(UserError, match="for images"):
        train(Store(tmp_path), config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "hinge"}, "unknown adversarial loss 'hinge': choose one of non_saturating, wasserstein"),
        ({"latent": 0}, "at least one number"),
        ({"discriminator_steps": 0}, "at least one discriminator step"),
        ({"penalty": -1.0}, "penalty is -1.0"),
        ({"penalty": float("nan")}, "penalty is nan"),
        ({"features": ()}, "at least one width"),
        ({"channels": (0,)}, "at least one width"),
        ({"held_out": 1.0}, "held-out is 1.0"),
        ({"folds": 1}, "folds is 1"),
        ({"freeze": -1}, "freeze is -1"),
        ({"freeze": 1, "from_scratch": True}, "none with from-scratch"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        GanConfig(**changes)


def test_more_frozen_layers_than_there_are_are_refused(tmp_path):
    with pytest.raises(UserError, match="freeze is 3: the discriminator has 2 layers"):
        train(Store(tmp_path), settings(freeze=3))
