"""What a run would take: the arithmetic of known networks, and no file that is written."""

import dataclasses

import jax
import pytest

from tests import tiny
from tests.e2e.tools import call, refused
from tgdp_jax.app.bench.flops import matmul_flops
from tgdp_jax.app.commands.dry_run import estimates
from tgdp_jax.settings.networks import NetworkConfig
from tgdp_jax.settings.run import RunConfig
from tgdp_jax.train.batches import num_folds
from tgdp_jax.transfer.heads import guidance_net
from tgdp_jax.transfer.networks import denoiser, denoiser_shapes

WIDE = dataclasses.replace(tiny.TRAINING, network=NetworkConfig(features=(256, 256)))


@pytest.mark.parametrize("method", ["finetune", "lora"])
def test_operations_and_memory_are_those_of_the_network(method):
    config, problem = RunConfig(**vars(WIDE), problem=tiny.GAUSSIANS, method=method), tiny.problem()
    found = estimates(config, problem)
    shapes = denoiser_shapes(config, problem)
    weights = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert found["parameters of the denoiser"] == weights
    trained = found["parameters that are trained"]
    assert trained == weights if method == "finetune" else 0 < trained < weights / 10

    def row(params, x, t):
        return denoiser(config, problem).apply(params, x[None], t[None])[0]

    one = matmul_flops(row, shapes, jax.ShapeDtypeStruct((2,), float), jax.ShapeDtypeStruct((), float))
    step, drawn = (found[name] for name in ("a step of training, 32 rows", "a sample, 4 passes"))
    # A pass back costs twice as much as one forth, but for weights that stand still; other work is little beside it.
    assert (2.7 if method == "finetune" else 1.8) < step.flops / (32 * one) < 4.5
    assert 1 <= drawn.flops / (4 * one) < 1.3
    # Weights, Adam's two moments and the average; and what a batch leaves for the way back.
    assert (4 if method == "finetune" else 1) * 4 * weights < step.memory < 40 * weights


@pytest.mark.parametrize("method", ["tgdp", "discriminator_guidance"])
def test_networks_of_the_ratio_count_as_often_as_there_are_members(method):
    config, problem = RunConfig(**vars(tiny.TRAINING), problem=tiny.GAUSSIANS, method=method), tiny.problem()
    found, plain = (estimates(dataclasses.replace(config, method=name), problem) for name in (method, "source"))
    last = "guidance" if method == "tgdp" else "the classifier of noised rows"
    net = guidance_net(config, problem, classifies=method != "tgdp")
    shapes = jax.eval_shape(net.init, jax.random.key(0), problem.target.x[:1], problem.target.x[:1, 0])
    assert found[f"parameters of {last}, each of an ensemble"] == sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert ("a step of training the classifier of clean rows, all of the ensemble" in found) == (method == "tgdp")

    def row(params, x, t):
        return net.apply(params, x[None], t[None])[0]

    one = matmul_flops(row, shapes, jax.ShapeDtypeStruct((2,), float), jax.ShapeDtypeStruct((), float))
    folds = num_folds(config.guidance.folds, len(problem.target))
    members = folds * (len(config.guidance.consistency) if method == "tgdp" else 1)
    batch = config.guidance.optimiser.batch_size
    step = found[f"a step of training {last}, all of the ensemble"]
    assert 2.5 < step.flops / (members * batch * one) < 40  # the network itself, and the gradient of its gradient
    # Guidance is the gradient of every member at every pass.
    drawn, without = (each["a sample, 4 passes"].flops / 4 for each in (found, plain))
    assert 1.5 < (drawn - without) / (members * one) < 6


def test_a_batch_in_parts_has_as_many_operations():
    whole = RunConfig(**vars(WIDE), problem=tiny.GAUSSIANS, method="finetune")
    rival = dataclasses.replace(whole.rival, optimiser=dataclasses.replace(whole.rival.optimiser, parts=4))
    steps = [
        estimates(config, tiny.problem())["a step of training, 32 rows"]
        for config in (whole, dataclasses.replace(whole, rival=rival))
    ]
    assert steps[0].flops == steps[1].flops and steps[0].memory != steps[1].memory


def test_a_dry_run_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said, _ = call("run", "gaussians", "--num-source", 200, "--method", "source", *tiny.OPTIONS, "--dry-run")
    assert "parameters of the denoiser: " in said and "a sample, 4 passes: " in said and "FLOP, " in said
    said = refused("run", "gaussians", "--num-source", 200, "--method", "kde", *tiny.OPTIONS, "--dry-run")
    assert said.startswith("--dry-run can not tell what kde takes: it can of finetune, lora")
    assert not list(tmp_path.iterdir())
