"""Reparametrisations: where they start, what they leave alone, and low-rank changes that are known."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import spread_params
from tgdp_jax.errors import UserError
from tgdp_jax.nets import EpsDiT, EpsMLP, EpsUNet
from tgdp_jax.nets.conv import Conv
from tgdp_jax.sde import VP
from tgdp_jax.settings.methods import LoraConfig
from tgdp_jax.train.fit import Task, fit
from tgdp_jax.train.optimiser import OptimiserConfig
from tgdp_jax.train.reparam import (
    Chosen,
    Joint,
    LastRow,
    LowRank,
    averaged,
    carried_over,
    flat,
    matrix_shape,
    merged,
    started,
)

KEY = jax.random.key(0, impl="rbg")  # compiles in a fraction of the time
T = jnp.linspace(0.1, 0.9, 2)
NETS = {
    "mlp": (EpsMLP(VP(), (16, 8), num_classes=3), jnp.zeros((2, 3))),
    "unet": (EpsUNet(VP(), (8, 16), attention=(1,), num_classes=3), jnp.zeros((2, 4, 4, 1))),
    "dit": (EpsDiT(VP(), width=8, depth=1, heads=2, num_classes=3), jnp.zeros((2, 4, 4, 1))),
}
LORA = LowRank(rank=3, alpha=6.0)


@functools.cache
def base(name):
    net, x = NETS[name]
    return spread_params(net.init, x, T, jnp.zeros(2, jnp.int32))


def spread(reparam, params, scale=0.3):
    """A trainable tree away from its start."""
    return spread_params(reparam.init, params, scale=scale, seed=1)


def shapes(reparam, name):
    """Of a trainable tree, by path."""
    return flat(jax.eval_shape(reparam.init, KEY, base(name)))


BOTH = Joint((LORA, Chosen("bias$")))


@pytest.mark.parametrize(
    ("name", "reparam"),
    [("mlp", LORA), ("unet", LORA), ("dit", LORA), ("mlp", Chosen("bias$")), ("mlp", BOTH)],
    ids=str,
)
def test_training_starts_at_the_base_and_moves_only_what_it_trains(name, reparam):
    params = base(name)
    start = started(reparam, KEY, params)
    after = merged(reparam, params, start)
    assert jax.tree.structure(after) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, after, params)
    moved = flat(merged(reparam, params, spread(reparam, params)))
    trained = {"LowRank": "kernel", "Chosen": "bias", "Joint": ("kernel", "bias")}[type(reparam).__name__]
    for path, leaf in flat(params).items():
        assert (moved[path] != leaf).any() == path.endswith(trained), path


def test_of_a_table_only_the_last_row_moves_under_weight_decay():
    """Decay shrinks whatever an optimiser is given; it is given one row."""
    table = jnp.arange(12.0).reshape(4, 3)
    reparam, frozen = LastRow("table$"), {"params": {"table": table, "other": jnp.ones(2)}}
    task = Task(
        init=lambda key: None,
        draw=lambda key, data, member: jnp.zeros(2),
        loss=lambda row, base, batch, step, member: {
            "pull": batch + jnp.sum(reparam.merge(base, row)["params"]["table"])
        },
        held_out=lambda data, member: (jnp.zeros(1), jnp.ones(1)),
        evaluate=lambda row, base, batch: batch,
    )
    config = OptimiserConfig(steps=5, steps_per_launch=5, weight_decay=0.5, learning_rate=0.1, schedule="constant")
    start = reparam.init(KEY, frozen)
    np.testing.assert_array_equal(start["params"]["table"]["row"], table[-1])
    found = fit(KEY, task, config, data={}, frozen=frozen, initial=start, keep="last").params
    params = merged(reparam, frozen, jax.tree.map(jnp.asarray, found))["params"]
    np.testing.assert_array_equal(params["table"][:-1], table[:-1])
    np.testing.assert_array_equal(params["other"], 1.0)
    assert (params["table"][-1] < table[-1] - 0.1).all()
    both = reparam.average(jax.tree.map(lambda row: jnp.stack([row, row + 2]), start))
    np.testing.assert_allclose(both["params"]["table"]["row"], table[-1] + 1)


def test_unmerging_gives_the_base_back():
    params, adapters = base("dit"), spread(LORA, base("dit"))
    back = LORA.unmerge(merged(LORA, params, adapters), adapters)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), back, params)


@pytest.mark.parametrize(
    ("name", "reparam"),
    [("mlp", LORA), ("unet", LORA), ("dit", LORA), ("mlp", Chosen("bias$")), ("mlp", BOTH), ("mlp", None)],
    ids=str,
)
def test_the_average_of_members_gives_the_mean_of_their_parameters(name, reparam):
    params = base(name)
    if reparam is None:
        members = [jax.tree.map(lambda leaf, i=i: (1 + i) * leaf, params) for i in range(3)]
        each = members
    else:
        members = [spread_params(reparam.init, params, scale=0.3, seed=seed) for seed in range(3)]
        each = [merged(reparam, params, member) for member in members]
    average = averaged(reparam, jax.tree.map(lambda *leaves: jnp.stack(leaves), *members))
    found = average if reparam is None else merged(reparam, params, average)
    mean = jax.tree.map(lambda *leaves: sum(leaves) / 3, *each)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, mean)


def test_the_average_of_adapters_is_adapters_of_a_higher_rank():
    members = [spread_params(LORA.init, base("unet"), seed=seed) for seed in range(2)]
    average = averaged(LORA, jax.tree.map(lambda *leaves: jnp.stack(leaves), *members))
    wider = shapes(LowRank(rank=2 * LORA.rank, alpha=2 * LORA.alpha), "unet")
    assert {path: leaf.shape for path, leaf in flat(average).items()} == {p: leaf.shape for p, leaf in wider.items()}


def test_a_dense_layers_change_is_two_small_layers():
    """x (W_0 + alpha/rank A B) = x W_0 + alpha/rank (x A) B."""
    rng = np.random.default_rng(0)
    kernel, a, b, x = (rng.normal(size=shape) for shape in ((5, 4), (5, 2), (2, 4), (7, 5)))
    lora = LowRank(rank=2, alpha=5.0)
    params = lora.merge({"layer": {"kernel": jnp.asarray(kernel)}}, {"layer": {"kernel": {"a": a, "b": b}}})
    np.testing.assert_allclose(x @ params["layer"]["kernel"], x @ kernel + 2.5 * (x @ a) @ b, rtol=1e-4, atol=1e-5)


def test_a_convolutions_change_is_a_convolution_to_few_channels_and_one_of_single_pixels():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 5, 3)), jnp.float32)
    wide, narrow, point = Conv(4), Conv(2), Conv(4, size=1)
    params = spread_params(wide.init, x)
    lora = LowRank(rank=2, alpha=1.0)
    adapters = spread(lora, params)
    factors = adapters["params"]["kernel"]
    before = narrow.apply({"params": {"kernel": factors["a"].reshape(3, 3, 3, 2), "bias": jnp.zeros(2)}}, x)
    change = point.apply({"params": {"kernel": factors["b"].reshape(1, 1, 2, 4), "bias": jnp.zeros(4)}}, before)
    after = wide.apply(lora.merge(params, adapters), x)
    np.testing.assert_allclose(after, wide.apply(params, x) + 0.5 * change, rtol=1e-4, atol=1e-5)


def test_attention_projections_are_matrices_over_all_heads():
    own = {path: leaf.shape for path, leaf in flat(base("dit")).items() if "MultiHead" in path}
    found = {path.split("/")[-2]: (shape, matrix_shape(path, shape)) for path, shape in own.items() if "kernel" in path}
    assert {name: found[name] for name in ("query", "key", "value")} == dict.fromkeys(
        ("query", "key", "value"), ((8, 2, 4), (8, 8))
    )
    assert found["out"] == ((2, 4, 8), (8, 8))


def test_adapters_are_small_and_no_wider_than_the_kernel():
    adapters = shapes(LORA, "unet")
    kernels = {path: leaf for path, leaf in flat(base("unet")).items() if path.endswith("kernel")}
    assert len(adapters) == 2 * len(kernels)
    for path, kernel in kernels.items():
        inputs, outputs = math.prod(kernel.shape[:-1]), kernel.shape[-1]
        rank = min(3, inputs, outputs)
        assert adapters[f"{path}/a"].shape == (inputs, rank) and adapters[f"{path}/b"].shape == (rank, outputs)
    assert {path: v.shape[1] for path, v in adapters.items() if "conv_out" in path and path.endswith("a")} == {
        "params/unet/conv_out/kernel/a": 1
    }


def test_adapters_start_with_the_variance_of_their_inputs_each_with_numbers_of_its_own():
    params = {"params": {"layer": {"kernel": jnp.zeros((400, 50))}}}
    lora = LowRank(rank=40, alpha=1.0)
    both = Joint((lora, lora)).init(KEY, params)
    first, second = (both[part]["params"]["layer"]["kernel"]["a"] for part in ("0", "1"))
    assert 400 * float(jnp.var(first)) == pytest.approx(1.0, abs=0.05)  # 4.5 standard errors of 16,000 squares
    assert (first != second).mean() > 0.99


def test_targets_are_chosen_by_their_paths():
    attention = LowRank(2, 2.0, "to_(q|v)/kernel")
    chosen = {path.rsplit("/", 1)[0] for path in shapes(attention, "unet")}
    assert len(chosen) > 2 and all(path.endswith(("to_q/kernel", "to_v/kernel")) for path in chosen)
    with pytest.raises(UserError, match="no parameters match 'nothing': choose among params/MLP_0/Dense_0/kernel"):
        shapes(LowRank(2, 2.0, "nothing"), "mlp")
    with pytest.raises(UserError, match="no parameters match"):  # vectors have no rank
        shapes(LowRank(2, 2.0, "bias$"), "mlp")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rank": 0}, "rank is 0"),
        ({"alpha": 0.0}, "alpha 0.0"),
        ({"targets": "("}, "not a regular expression"),
        ({"learning_rates": ()}, "at least one positive rate"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        LoraConfig(**changes)


# A linear layer whose best weights are known: the base and a change of rank 2.

INPUTS, OUTPUTS = 6, 5
WEIGHTS = np.random.default_rng(3).normal(size=(INPUTS, OUTPUTS)).astype(np.float32)
CHANGE = (lambda rng: rng.normal(size=(INPUTS, 2)) @ rng.normal(size=(2, OUTPUTS)))(np.random.default_rng(4))


def regression(reparam):
    def predict(trainable, frozen, x):
        return x @ reparam.merge(frozen, trainable)["params"]["kernel"]

    def loss(trainable, frozen, x, step, member):
        return {"square": jnp.mean((predict(trainable, frozen, x) - x @ (WEIGHTS + CHANGE)) ** 2, -1)}

    return Task(
        init=lambda key: None,
        draw=lambda key, data, member: jax.random.normal(key, (64, INPUTS)),
        loss=loss,
        held_out=lambda data, member: (jnp.eye(INPUTS), jnp.full(INPUTS, 1 / INPUTS)),
        evaluate=lambda trainable, frozen, x: loss(trainable, frozen, x, 0, None)["square"],
    )


def test_training_finds_a_change_of_its_rank():
    reparam = LowRank(rank=2, alpha=2.0)
    frozen = {"params": {"kernel": jnp.asarray(WEIGHTS)}}
    config = OptimiserConfig(steps=1500, learning_rate=3e-2, clip_norm=1e9, ema=0.0, steps_per_launch=1500)
    start = reparam.init(KEY, frozen)
    fitted = fit(KEY, regression(reparam), config, data={}, frozen=frozen, initial=start, keep="last")
    found = reparam.merge(frozen, fitted.params)["params"]["kernel"] - WEIGHTS
    np.testing.assert_allclose(found, CHANGE, atol=0.01 * np.abs(CHANGE).max())
    np.testing.assert_array_equal(frozen["params"]["kernel"], WEIGHTS)


def test_numbers_are_carried_over_where_they_fit():
    known = {"a": {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}, "gone": jnp.ones(1)}
    fresh = {"a": {"w": jnp.full((2, 3), 2.0), "b": jnp.full(4, 2.0)}, "new": jnp.full(2, 2.0)}
    found = carried_over(known, fresh)
    assert set(flat(found)) == set(flat(fresh))
    np.testing.assert_array_equal(found["a"]["w"], 1.0)
    np.testing.assert_array_equal(found["a"]["b"], np.full(4, 2.0))
    np.testing.assert_array_equal(found["new"], np.zeros(2))
