"""What must hold on several devices; run by test_devices.py in a process that has eight virtual ones."""

from __future__ import annotations

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tests.helpers import paper_pair, spread_params
from tgdp_jax.app import cli
from tgdp_jax.app.commands.dry_run import estimates
from tgdp_jax.errors import UserError
from tgdp_jax.guidance import log_ratio_guidance
from tgdp_jax.metrics.closed_form import path_kl
from tgdp_jax.nets import ClassifierMLP, DiscriminatorMLP, EpsMLP, GeneratorMLP, GuidanceMLP
from tgdp_jax.prediction import as_pytree, network_score
from tgdp_jax.runtime import parallel, sharding
from tgdp_jax.sampling import SOLVERS, log_likelihood, sample
from tgdp_jax.sampling.grids import make_grid
from tgdp_jax.sampling.loop import sample_chunk
from tgdp_jax.sde import VP
from tgdp_jax.settings.networks import NetworkConfig
from tgdp_jax.settings.run import RunConfig
from tgdp_jax.train import fit
from tgdp_jax.train.batches import Rows, all_rows, fold_rows
from tgdp_jax.train.classifier import classifier_task, fit_log_ratio
from tgdp_jax.train.denoising import denoising_task
from tgdp_jax.train.ensemble import EnsembleLogRatio
from tgdp_jax.train.gan import Game, Players, gan_task, shown_rows
from tgdp_jax.train.guidance import GuidanceLoss, guidance_task
from tgdp_jax.train.optimiser import OptimiserConfig, course, form

COUNTS = (1, 3, 8)
# Programs of rows are compiled for every device: fewer of them where all eight would only repeat it.
FEW = (1, 3)
KEY = jax.random.key(0)
SDE = VP()
SOURCE, TARGET = paper_pair()
# No clipping: with it, as with Adam alone, gradients of n times the size would train all the same.
# A low rate: Adam makes steps of its size from gradients that are nothing but rounding, such as that of a constant in
# the softmax of "cep".
CONFIG = OptimiserConfig(steps=20, batch_size=32, learning_rate=1e-5, clip_norm=1e9)
COURSE = course(CONFIG)
STEPS = 3
# Which arguments of a launch are a member's own.
AXES = (0, None, None, 0, 0, 0, None)


@pytest.fixture(autouse=True)
def all_devices():
    yield
    parallel.use_devices(None)


@pytest.fixture
def split(monkeypatch):
    """All weights are split, however small they are."""
    monkeypatch.setattr(sharding, "LEAST", 1)
    parallel.use_devices(None, shard=True)


def test_there_are_eight_devices():
    assert jax.device_count() == 8 and len(parallel.devices()) == len(parallel.local_devices()) == 8


# Training


def held_out(task, data, ensemble):
    one = functools.partial(fit.hold_out, task=task)
    return jax.jit(one if ensemble is None else parallel.over_members(one, (None, 0)))(data, ensemble)


def points(num: int, seed: int) -> jnp.ndarray:
    return jnp.asarray(np.random.default_rng(seed).normal(size=(num, 2)), jnp.float32)


def labels(num: int) -> jnp.ndarray:
    return jnp.arange(num) % 3


def denoiser(batch_size: int, num_classes: int = 0):
    data = {"x": points(40, 0), "train": all_rows(40), "held": all_rows(40)}
    if num_classes:
        data["y"] = labels(40)
    return denoising_task(EpsMLP(SDE, (16,), num_classes=num_classes), SDE, "eps", batch_size, (2,)), data, None, None


def members(num: int, count: int) -> tuple[Rows, Rows]:
    return fold_rows(np.arange(num), count, seed=0)


def classifier(batch_size: int):
    data = {"source": {"x": points(40, 0)}, "target": {"x": points(9, 1) + 1}, "noise_scale": jnp.asarray(0.5)}
    target, source = members(9, 2), members(40, 2)
    ensemble = {
        **{"target_train": target[0], "target_held": target[1]},
        **{"source_train": source[0], "source_held": source[1]},
        "weight_decay": jnp.asarray([0.0, 1.0]),
        "noise": jnp.asarray([0.3, 0.0]),
        "mixup_shares": jnp.asarray([[1.0, 1.0], [0.8, 0.6]]),
    }
    return classifier_task(ClassifierMLP((16,)), batch_size, (2,)), data, None, ensemble


def _first_coordinate(x, t, cond=None):
    return x[:, 0]


def guidance(batch_size: int, **terms):
    data = {
        "source": {"x": points(40, 0), "log_r": 0.3 * points(40, 2)[:, 0]},
        "target": {"x": points(9, 1) + 1, "log_r": 0.3 * points(9, 3)[:, 0]},
    }
    frozen = {"source": network(0), "variables": {}, "noisy_ratio": as_pytree(_first_coordinate)}
    train, held = members(9, 2)
    ensemble = {
        "target_train": train,
        "target_held": held,
        "source_train": Rows(jnp.broadcast_to(jnp.arange(40), (2, 40)), jnp.full((2,), 40)),
        "eta2": jnp.asarray([0.1, 1.0]),
        "eta1": jnp.asarray([0.5, 0.5]),
    }
    task = guidance_task(GuidanceMLP(SDE, (16,)), SDE, GuidanceLoss(**terms), batch_size, (2,))
    return task, data, frozen, ensemble


def network(num_classes: int, seed: int = 0):
    """A score with weights of some size."""
    net = EpsMLP(SDE, (16,), num_classes=num_classes)
    y = jnp.zeros((1,), jnp.int32) if num_classes else None
    return network_score(net, spread_params(net.init, jnp.zeros((1, 2)), jnp.ones(1), y, seed=seed), SDE)


def gan(batch_size: int):
    pair = Players(GeneratorMLP((2,), 3, (16,), 3), DiscriminatorMLP((16, 16), 3))
    task = gan_task(pair, Game(discriminator_steps=2), batch_size, (2,))
    split = {"train": all_rows(40), "held": Rows(jnp.arange(5), jnp.asarray(5)), "shown": shown_rows(40)}
    layer = {"layer_0": spread_params(pair.discriminator.init, jnp.zeros((1, 2)), labels(1))["params"]["layer_0"]}
    return task, {"x": points(40, 0), "y": labels(40), **split}, layer, None


# Batches that no count of devices divides, too; the softmax of "cep" compares rows that must stay on one device.
TASKS = {
    "denoiser, labels": functools.partial(denoiser, 29, 3),
    "denoiser, fewer rows than devices": functools.partial(denoiser, 5),
    "classifier": functools.partial(classifier, 22),
    "guidance": functools.partial(guidance, 26, use_cycle=True),
    "guidance, two draws": functools.partial(guidance, 28, draws=2, loss="kl", pooled=False),
    "guidance, cep in 3 groups of 4": functools.partial(guidance, 24, loss="cep"),
    "two players, labels and a frozen layer": functools.partial(gan, 29),
    "classification of noised rows": functools.partial(guidance, 26, loss="classification", use_consistency=False),
}

# One of each kind; the others take their compiling time once.
ON_ALL_COUNTS = ("denoiser, labels", "classifier", "guidance")


@functools.cache
def launched(name):
    """(a launch over the devices in use, the same on one device)."""
    task, data, frozen, ensemble = TASKS[name]()
    static = {"task": task, "config": form(CONFIG)}
    key = KEY if ensemble is None else jax.random.split(KEY, 2)
    state, _ = jax.jit(functools.partial(fit.start, **static, count=2, groups=1))(KEY, ensemble, None, COURSE)
    held = held_out(task, data, ensemble)
    steps = functools.partial(fit.launch, **static, steps=STEPS)
    args = state, frozen, data, held, ensemble, key, COURSE
    plain = jax.jit(steps if ensemble is None else parallel.over_members(steps, AXES))(*args)
    assert np.isfinite(plain[1]["loss"]).all() and (plain[1]["loss"] != 0).all()
    axes = () if ensemble is None else AXES
    several = functools.partial(parallel.mapped, fit.launch, *args, static={**static, "steps": STEPS}, in_axes=axes)
    return lambda: several().out, plain


@pytest.mark.parametrize("name", TASKS)
def test_training_is_that_of_one_device(name):
    several, plain = launched(name)
    for count in COUNTS if name in ON_ALL_COUNTS else COUNTS[-1:]:
        parallel.use_devices(count)
        # Everything: the gradients' averages in the optimiser's state would show a gradient of another size.
        chex.assert_trees_all_close(several(), plain, rtol=2e-3, atol=5e-5)


@pytest.mark.parametrize("name", [*ON_ALL_COUNTS, "denoiser, fewer rows than devices"])
def test_training_of_split_weights_is_that_of_one_device(name, split):
    several, plain = launched(name)
    out = several()
    chex.assert_trees_all_close(out, plain, rtol=2e-3, atol=5e-5)
    # What weighs most are the moments and averages of layers; all of them are kept once, not once a device.
    whole = [leaf for leaf in jax.tree.leaves(out[0]) if any(length % 8 == 0 for length in leaf.shape)]
    assert len(whole) > 8
    for leaf in whole:
        assert [8 * shard.data.size for shard in leaf.addressable_shards] == 8 * [leaf.size]


def test_rows_of_split_weights_are_those_of_one_device(split):
    score = network(0)
    together = sample(KEY, score, SDE, np.arange(13), (2,), num_steps=4, chunk=6)
    parallel.use_devices(1)
    np.testing.assert_allclose(together, sample(KEY, score, SDE, np.arange(13), (2,), num_steps=4, chunk=6), rtol=1e-4)


def test_the_whole_loop_of_split_weights_is_that_of_one_device(split):
    task, data, frozen, ensemble = TASKS["guidance"]()
    config = OptimiserConfig(steps=8, batch_size=26, learning_rate=1e-3, steps_per_launch=4)
    together = fit.fit(KEY, task, config, data=data, frozen=frozen, members=ensemble)
    parallel.use_devices(1)
    alone = fit.fit(KEY, task, config, data=data, frozen=frozen, members=ensemble)
    chex.assert_trees_all_close(together, alone, rtol=2e-3, atol=2e-4)


def test_the_whole_loop_is_that_of_one_device():
    task, data, frozen, ensemble = TASKS["guidance"]()
    fits = []
    for count in COUNTS:
        parallel.use_devices(count)
        config = OptimiserConfig(steps=10, batch_size=26, learning_rate=1e-3, steps_per_launch=4)
        fits.append(fit.fit(KEY, task, config, data=data, frozen=frozen, members=ensemble))
    for other in fits[1:]:
        assert other.history["step"].tolist() == [4, 8, 10]
        chex.assert_trees_all_close(other, fits[0], rtol=2e-3, atol=2e-4)


def test_the_log_ratio_of_all_rows_is_that_of_one_device():
    ratios = []
    for count in (1, 8):
        parallel.use_devices(count)
        ratios.append(
            fit_log_ratio(
                KEY,
                {"x": points(40, 0)},
                {"x": points(9, 1) + 1},
                net=ClassifierMLP((16,)),
                folds=2,
                regularisers=("weight_decay",),
                optimiser=tiny.OPTIMISER,
            )
        )
    for name in ("source_log_r", "target_log_r"):
        np.testing.assert_allclose(getattr(ratios[1], name), getattr(ratios[0], name), rtol=1e-2, atol=1e-3)


# Rows on their own: the same bits


@pytest.fixture(scope="module")
def guided():
    """A score with all parts of a guided one."""
    net = GuidanceMLP(SDE, (16,))
    params = [spread_params(net.init, jnp.zeros((1, 2)), jnp.ones(1), seed=seed) for seed in (1, 2)]
    ensemble = EnsembleLogRatio(jax.tree.map(lambda *a: jnp.stack(a), *params), jnp.asarray([0.3, 0.7]), net)
    return log_ratio_guidance(ensemble)(network(0))


@pytest.mark.parametrize("kind", ["unconditional", "conditional", "guided"])
def test_samples_have_the_same_bits_however_many_devices_and_samples(kind, guided):
    score = {"unconditional": network(0), "conditional": network(3), "guided": guided}[kind]

    def draw(num: int) -> np.ndarray:
        cond = np.arange(num) % 3 if kind == "conditional" else None
        return sample(KEY, score, SDE, np.arange(num), (2,), cond=cond, num_steps=4, chunk=4)

    whole = None
    for count in COUNTS if kind == "guided" else FEW:
        parallel.use_devices(count)
        for num in (1, 6, 37):
            x = draw(num)
            assert x.shape == (num, 2) and np.isfinite(x).all()
            if num == 37:
                whole = x if whole is None else whole
                np.testing.assert_array_equal(x, whole)
        for num in (1, 6):
            np.testing.assert_array_equal(draw(num), whole[:num])
    assert len(np.unique(whole[:, 0])) == 37


@pytest.mark.parametrize("num_classes", [0, 3])
@pytest.mark.parametrize("divergence", ["exact", "hutchinson"])
def test_likelihoods_have_the_same_bits(num_classes, divergence):
    x, score, results = np.asarray(points(19, 0)), network(num_classes), []
    for count in FEW:
        parallel.use_devices(count)
        for num in (19, 3):
            cond = np.asarray(labels(num)) if num_classes else None
            results.append(log_likelihood(x[:num], score, SDE, cond=cond, num_steps=4, divergence=divergence, chunk=4))
    assert np.isfinite(results[0]).all() and results[0].shape == (19,)
    for result in results:
        np.testing.assert_array_equal(result, results[0][: len(result)])


@pytest.mark.parametrize("conditional", [False, True])
def test_path_divergences_have_the_same_bits(conditional):
    values = []
    for count in FEW:
        parallel.use_devices(count)
        score = network(len(TARGET.weights) if conditional else 0)
        values.append(path_kl(KEY, score, TARGET, SDE, num=50, conditional=conditional, chunk=8))
    assert np.isfinite(values[0]).all() and values[0].value > 0
    assert values[0] == values[1]


def test_progress_counts_rows():
    heard: list[int] = []
    sample(KEY, network(0), SDE, np.arange(70), (2,), num_steps=4, chunk=4, progress=heard.append)
    assert heard == [*range(4, 70, 4), 70]


def test_weights_on_another_device_are_brought_along():
    score = network(0)
    here = sample(KEY, score, SDE, 4, (2,), num_steps=3, chunk=4)
    there = sample(KEY, jax.device_put(score, jax.devices()[5]), SDE, 4, (2,), num_steps=3, chunk=4)
    np.testing.assert_array_equal(there, here)


# How many devices


@pytest.mark.parametrize("num", [0, -1, 9])
def test_a_number_of_devices_that_is_not_there_is_refused(num):
    parallel.use_devices(3)
    with pytest.raises(UserError, match=rf"{num} devices were asked for, but there are 8 \(cpu\): ask for 1 to 8"):
        parallel.use_devices(num)
    assert len(parallel.devices()) == 3


def test_a_dry_run_tells_the_memory_of_a_device_that_keeps_its_share():
    wide = dataclasses.replace(tiny.TRAINING, network=NetworkConfig(features=(512, 512)))
    config = RunConfig(**vars(wide), problem=tiny.GAUSSIANS, method="finetune")
    whole = estimates(config, tiny.problem())["a step of training, 32 rows"]
    parallel.use_devices(None, shard=True)
    share = estimates(config, tiny.problem())["a step of training, 32 rows"]
    assert share.memory < whole.memory / 2 and share.flops == pytest.approx(whole.flops, rel=0.1)


def test_weights_are_not_split_over_one_device():
    with pytest.raises(UserError, match="there is one device, and no other to split weights over: leave out --shard"):
        parallel.use_devices(1, shard=True)


def test_the_command_says_what_is_used(capsys):
    cli.main(["devices"])
    assert capsys.readouterr().out.startswith("8 x cpu (cpu, jax ")
    cli.main(["devices", "--shard"])
    assert capsys.readouterr().out.startswith("8 x cpu, weights split over them (cpu, jax ")
    cli.main(["devices", "--devices", "3"])
    assert capsys.readouterr().out.startswith("3 x cpu of 8 (cpu, jax ")
    assert len(parallel.devices()) == 8
    with pytest.raises(SystemExit) as caught:
        cli.main(["devices", "--devices", "9"])
    assert caught.value.code == 2
    assert capsys.readouterr().err == "tgdp: 9 devices were asked for, but there are 8 (cpu): ask for 1 to 8\n"


# Compiled once, memory used once


def test_launches_are_traced_once():
    task, data, frozen, ensemble = TASKS["guidance"]()
    static = {"task": task, "config": form(CONFIG)}
    keys = jax.random.split(KEY, 2)
    chex.clear_trace_counter()
    launch = chex.assert_max_traces(fit.launch, n=1)
    state, _ = parallel.mapped(fit.start, KEY, ensemble, None, COURSE, static={**static, "count": 2, "groups": 1}).out
    for i in range(4):
        # Other weights, data, keys, rates, lengths and frozen functions: values alone.
        moved = {**data, "target": {**data["target"], "x": data["target"]["x"] + i}}
        held = held_out(task, moved, ensemble)
        along = COURSE._replace(learning_rate=0.1 * (i + 1), steps=30 + i)
        shared = parallel.placed((frozen | {"source": network(0, seed=i)}, moved, held, ensemble, keys, along))
        how = {"in_axes": AXES, "donate": True}
        state, *_ = parallel.mapped(launch, state, *shared, static={**static, "steps": STEPS}, **how).out
    with pytest.raises(AssertionError, match="traced"):
        parallel.mapped(launch, state, *shared, static={**static, "steps": STEPS + 1}, **how)


def test_chunks_are_traced_once():
    chex.clear_trace_counter()
    chunk = chex.assert_max_traces(sample_chunk, n=1)
    static = {"sde": SDE, "shape": (2,), "solver": SOLVERS["dpmpp_2m"], "clip": None}
    times = make_grid("log_snr", SDE, 4)
    for seed, num in enumerate((32, 40, 100)):
        rows = np.arange(num, dtype=np.uint32), None
        parallel.in_chunks(chunk, rows, jax.random.key(seed), network(0, seed=seed), times, chunk=4, static=static)


@pytest.mark.parametrize("count", COUNTS)
def test_the_memory_of_the_state_is_given_to_the_next_one(count):
    parallel.use_devices(count)
    task, data, frozen, ensemble = TASKS["guidance"]()
    static = {"task": task, "config": form(CONFIG)}
    keys = jax.random.split(KEY, 2)
    state, _ = parallel.mapped(fit.start, KEY, ensemble, None, COURSE, static={**static, "count": 2, "groups": 1}).out
    shared = parallel.placed((frozen, data, held_out(task, data, ensemble), ensemble, keys, COURSE))
    static = {**static, "steps": STEPS}
    for donate in (False, True):
        new, *_ = parallel.mapped(fit.launch, state, *shared, static=static, in_axes=AXES, donate=donate).out
        assert {leaf.is_deleted() for leaf in jax.tree.leaves(state)} == {donate}
        state = new
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(shared))
