"""bfloat16: the hidden layers compute in it; parameters, inputs, outputs and everything else are float32."""

import contextlib
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tests.e2e.nursery import Nursery
from tests.e2e.tools import GAUSSIANS, read, refused, strict_json
from tests.helpers import spread_params
from tgdp_jax.errors import UserError
from tgdp_jax.nets import ClassifierMLP, EpsMLP, GuidanceMLP
from tgdp_jax.sde import VP
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.train import fit
from tgdp_jax.train.batches import all_rows
from tgdp_jax.train.denoising import denoising_task
from tgdp_jax.train.optimiser import course
from tgdp_jax.transfer.stages import silent, train_method

X, T = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2)), jnp.float32), jnp.linspace(0.1, 0.9, 6)
FEATURES = (16, 24, 32)
NETS = {
    "eps": lambda dtype: (EpsMLP(VP(), FEATURES, dtype=dtype), (X, T)),
    "guidance": lambda dtype: (GuidanceMLP(VP(), FEATURES, dtype=dtype), (X, T)),
    "classifier": lambda dtype: (ClassifierMLP(FEATURES, dtype=dtype), (X,)),
}


def products(jaxpr) -> list[tuple]:
    """(input dtypes, inner size, outer size) of every matrix product, in order."""
    out = []
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            (left, right) = (v.aval for v in eqn.invars)
            out.append(({str(left.dtype), str(right.dtype)}, *right.shape))
        for value in eqn.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                out += products(inner)
    return out


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_hidden_layers_compute_in_the_precision_asked_for_and_the_rest_in_float32(name, dtype):
    net, args = NETS[name](dtype)
    params = net.init(jax.random.key(0), *args)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert net.apply(params, *args).dtype == jnp.float32
    found = products(jax.make_jaxpr(lambda p, *a: net.apply(p, *a))(params, *args).jaxpr)
    assert [tuple(sizes)[:1] for _, *sizes in found][1:] == [(16,), (24,), (32,)]
    first, *hidden, last = [dtypes for dtypes, *_ in found]
    # The input would be blurred at small t, and both outer layers cost little.
    assert first == last == {"float32"}
    assert hidden == [{jnp.dtype(dtype).name}] * 2


@pytest.mark.parametrize("name", NETS)
def test_bfloat16_is_close_and_not_the_same(name):
    values = []
    for dtype in (jnp.float32, jnp.bfloat16):
        net, args = NETS[name](dtype)
        values.append(np.asarray(net.apply(spread_params(net.init, *args, scale=0.3), *args)))
    difference = np.abs(values[1] - values[0])
    assert 0 < difference.max() < 0.05 * np.abs(values[0]).max()


def test_optimiser_and_averages_stay_float32():
    net = EpsMLP(VP(), FEATURES, dtype=jnp.bfloat16)
    data = {"x": X, "train": all_rows(6), "held": all_rows(6)}
    task = denoising_task(net, VP(), "eps", 8, (2,))
    static = {"task": task, "config": tiny.OPTIMISER}
    state, best = fit.start(jax.random.key(0), None, None, course(tiny.OPTIMISER), **static, count=1, groups=1)

    def launched(state, best, data, held, key):
        out = fit.launch(state, None, data, held, None, key, course(tiny.OPTIMISER), **static, steps=2)
        return out, fit.keep_best(best, out[0].ema, out[0].step, out[2], out[1])

    held = fit.hold_out(data, None, task=task)
    (new, *rest), (kept, row) = jax.eval_shape(launched, state, best, data, held, jax.random.key(1))
    assert {leaf.dtype.name for leaf in jax.tree.leaves((new, rest, kept, row))} == {"float32", "int32"}
    assert jax.tree.map(lambda leaf: leaf.dtype, (new, kept)) == jax.tree.map(lambda leaf: leaf.dtype, (state, best))


def test_an_unknown_precision_is_refused_with_the_list():
    with pytest.raises(UserError, match="unknown precision 'float16': choose one of bfloat16, float32"):
        TrainingConfig(precision="float16")
    assert "unknown precision 'int8'" in refused("run", "gaussians", "--precision", "int8")


def test_the_precision_is_part_of_what_a_stage_depends_on(tmp_path):
    # Another precision is another network: nothing is found again.
    problem, marks = tiny.problem(), set()

    class Recording:
        root = tmp_path

        def load(self, name, mark):
            marks.add((name, mark))
            raise UserError("enough")

    for precision in ("float32", "bfloat16"):
        config = dataclasses.replace(tiny.TRAINING, precision=precision)
        with pytest.raises(UserError, match="enough"):
            train_method(config, problem, {}, "source", 0, Recording(), silent)
    assert len(marks) == 2


@pytest.mark.slow
def test_a_run_in_bfloat16(tmp_path):
    folder = tmp_path / "run"
    with contextlib.closing(Nursery(tmp_path)) as nursery:
        code, out, err = nursery.run(
            *GAUSSIANS, "--network.features", "16", "16", "--precision", "bfloat16", "--out", folder
        )
    assert code == 0 and "run folder" in out, err
    assert strict_json(folder / "config.json")["config"]["precision"] == "bfloat16"
    x = read(folder / "samples.npz")["x"]
    assert x.dtype == np.float32 and x.shape == (tiny.NUM, 2) and np.isfinite(x).all()
    # Everything that is kept is float32, and the samples are not on bfloat16's grid.
    assert (x != np.asarray(jnp.asarray(x, jnp.bfloat16), np.float32)).any()
    assert all(np.isfinite(row["loss"]) for row in map(json.loads, (folder / "train.jsonl").read_text().splitlines()))
