"""What is timed, in which order, and that the tools leave no trace. Never how long anything takes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tgdp_jax.app.bench import measure
from tgdp_jax.app.bench.measure import Spread, compiled, interleaved, matmul_probe


def test_calls_take_turns_after_a_warm_up():
    order = []
    seconds = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=3)
    assert order == ["a", "b"] * 4
    assert {name: values.shape for name, values in seconds.items()} == {"a": (3,), "b": (3,)}
    assert all((values >= 0).all() for values in seconds.values())


@pytest.mark.parametrize(("repeats", "rounds"), [(1, 1), (9, 3)])
def test_without_time_there_are_still_three_rounds(repeats, rounds):
    assert interleaved({"a": lambda: None}, repeats=repeats, seconds=0.0)["a"].shape == (rounds,)


def test_spread_is_median_and_quartiles():
    assert Spread.of([5.0, 1.0, 4.0, 2.0, 3.0]) == (3.0, 2.0, 4.0)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_probe_does_the_work_it_states(monkeypatch, precision):
    monkeypatch.setattr(measure, "_MATMUL_FLOPS", {jax.default_backend(): 1e6})
    call, work = matmul_probe(16, 32, precision)
    assert work >= 1e6 and work % (2 * 16 * 32**2) == 0
    out = np.asarray(call(), np.float32)
    # A chain that grew or vanished would be multiplying infinities or zeros.
    assert out.shape == (16, 32) and 0.1 < out.std() < 10


@pytest.mark.parametrize("fresh", [True, False])
def test_compiled_programs_run_and_are_measured(fresh):
    before = jax.config.jax_enable_compilation_cache
    program = compiled(lambda a, b: a @ b, jnp.ones((8, 4)), jnp.ones((4, 2)), fresh=fresh)
    np.testing.assert_array_equal(program.call(), np.full((8, 2), 4.0))
    assert program.memory >= 4 * (32 + 8 + 16)
    assert program.moved >= 4 * (32 + 8 + 16)
    assert jax.config.jax_enable_compilation_cache == before


def test_memory_of_the_process_is_told():
    assert measure.process_memory() > 10 * measure.MIB
