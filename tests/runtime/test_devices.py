"""Any number of devices gives the same results; chunks of rows are cut, padded and put together in order."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.conftest import QUICK_COMPILER
from tgdp_jax.runtime import parallel

ROOT = Path(__file__).parents[2]
INSIDE = "tests/runtime/inside_eight.py"


@pytest.mark.slow
@pytest.mark.parametrize("what, compiler", [("bits", ""), ("not bits", QUICK_COMPILER)])
def test_everything_holds_on_eight_devices(what, compiler):
    # Their number is fixed once a process has touched one: another process, with eight virtual devices. Which bits come
    # out is the compiler's affair: that is the users'.
    flags = f"--xla_force_host_platform_device_count=8 {compiler}"
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "-k", what, INSIDE]
    env = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# Chunks, on however many devices there are.


def _twice(rows, shift, *, factor):
    x, y = rows
    return jnp.stack([factor * x + shift, jnp.zeros_like(x) if y is None else y], -1)


def _sum_of_chunk(rows):
    return jnp.full(rows.shape, jnp.sum(rows))


@functools.partial(functools.partial, chunk=4, static={"factor": 2})
def in_fours(rows, *args, **kwargs):
    return parallel.in_chunks(_twice, rows, *args, **kwargs)


@pytest.mark.parametrize("num", [1, 3, 4, 5, 11])
def test_rows_come_back_in_order_whatever_their_number(num):
    x = np.arange(num, dtype=np.float32)
    out = in_fours((x, 10 * x), 0.5)
    assert isinstance(out, np.ndarray) and out.shape == (num, 2)
    np.testing.assert_array_equal(out, np.stack([2 * x + 0.5, 10 * x], -1))
    np.testing.assert_array_equal(in_fours((x, None), 0.5)[:, 1], 0.0)


def test_the_last_chunk_is_filled_up_with_the_last_row():
    one = parallel.in_chunks(_sum_of_chunk, np.arange(1.0, 7.0, dtype=np.float32), chunk=4, static={})
    np.testing.assert_array_equal(one, [10, 10, 10, 10, 5 + 6 + 6 + 6, 5 + 6 + 6 + 6])


def test_progress_counts_rows_and_not_their_fill(monkeypatch):
    monkeypatch.setattr(parallel, "local_devices", lambda: tuple(jax.devices()[:1]))
    heard = []
    in_fours((np.zeros(11, np.float32), None), 0.0, progress=heard.append)
    assert heard == [4, 8, 11]


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_a_batch_is_split_evenly_and_every_row_counts_once(count):
    batch = {"x": jnp.arange(7), "y": 10 * jnp.arange(7)}
    seen = []
    for index in range(count):
        own, real = parallel.own_rows(batch, parallel.Shard(index, count, None))
        assert own["x"].shape == real.shape == (-(-7 // count),)
        np.testing.assert_array_equal(own["y"], 10 * own["x"])
        seen += np.asarray(own["x"])[np.asarray(real)].tolist()
    assert seen == list(range(7))


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_members_are_computed_each_with_its_own_arguments_and_the_shared_ones(monkeypatch, backend):
    def fn(own, shared, other):
        return {"sum": own["w"] @ shared + other, "first": shared[0]}

    w, shared, other = np.arange(6.0).reshape(3, 2), np.array([10.0, 1.0]), np.array([0.5, 1.5, 2.5])
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    over = parallel.over_members(fn, (0, None, 0))
    # At once on accelerators, one after the other on CPU: one loop in the program.
    assert ("scan" in str(jax.make_jaxpr(over)({"w": w}, shared, other))) == (backend == "cpu")
    out = over({"w": w}, shared, other)
    np.testing.assert_allclose(out["sum"], w @ shared + other, rtol=1e-6)
    np.testing.assert_array_equal(out["first"], np.full(3, 10.0))


def _descend(state, shared, own, *, steps, shard):
    def step(w, _):
        return w - 0.1 * parallel.total(jax.grad(lambda w: jnp.mean(jnp.tanh(shared @ w + own) ** 2))(w), shard), None

    w, _ = jax.lax.scan(step, state["w"], None, length=steps)
    return {"w": w}, jnp.sum(w)


@pytest.mark.parametrize("cores", [1, 2, 5])
def test_members_in_threads_have_the_bits_of_those_one_after_the_other(monkeypatch, cores):
    w, shared, own = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(((3, 7), (20, 7), (3,))))
    call = {"static": {"steps": 9}, "in_axes": (0, None, 0)}
    member = parallel._of_all_members(_descend, call["in_axes"])
    expected = parallel.mapped(member, {"w": w}, shared, own, static=call["static"]).out
    monkeypatch.setattr(parallel, "_cores", lambda: cores)
    state = {"w": w}
    for donate in (False, True):
        assert not state["w"].is_deleted()
        out, stop = parallel.mapped(_descend, state, shared, own, **call, donate=donate, stop=lambda: True)
        jax.tree.map(np.testing.assert_array_equal, out, expected)
        assert stop and len({float(s) for s in out[1]}) == 3
    assert state["w"].is_deleted() and not shared.is_deleted()


def test_a_member_that_fails_ends_the_call(monkeypatch):
    # Compiled code that fails, on a thread of its own: no member's result is taken for another's.
    def fails(own, *, shard):
        return jax.pure_callback(lambda _: 1 / 0, jax.ShapeDtypeStruct((), jnp.float32), own)

    monkeypatch.setattr(parallel, "_cores", lambda: 2)
    with pytest.raises(jax.errors.JaxRuntimeError, match="ZeroDivisionError"):
        parallel.mapped(fails, jnp.arange(4.0), static={}, in_axes=(0,))


def test_a_device_alone_has_the_whole_batch():
    batch = {"x": jnp.arange(7)}
    own, real = parallel.own_rows(batch, parallel.ALONE)
    assert own is batch and real.all()
