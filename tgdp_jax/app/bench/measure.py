"""How things are timed: warm, in turn, and against what the machine can do at that moment.

Other jobs share the machine, so seconds mean little and ratios are taken within one round of A B A B ... Every number
is a median with its quartiles over rounds.
"""

from __future__ import annotations

import contextlib
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

Array = jax.Array
MIB = 2**20
# Work of one probe on CPU and on accelerators: long against the launch, short against the patience.
_MATMUL_FLOPS = {"cpu": 4e9}
_COPY_BYTES = {"cpu": 2**28}
_SQUARE = {"cpu": 1536}


class Spread(NamedTuple):
    """Median and quartiles over rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Any) -> Spread:
        """Of numbers [R]."""
        low, median, high = np.quantile(np.asarray(values, np.float64), [0.25, 0.5, 0.75])
        return cls(float(median), float(low), float(high))


def interleaved(
    calls: Mapping[str, Callable[[], Any]], *, repeats: int, seconds: float = math.inf
) -> dict[str, np.ndarray]:
    """Seconds [R] of every call, R the same for all: one of each in turn, after one of each that is not timed.

    Args:
      calls: by name; what a call returns is waited for.
      repeats: rounds at most.
      seconds: after which no further round is begun; there are three in any case (`repeats` if that is fewer).
    """
    for call in calls.values():
        jax.block_until_ready(call())
    found: dict[str, list[float]] = {name: [] for name in calls}
    begin = time.perf_counter()
    for i in range(repeats):
        if i >= 3 and time.perf_counter() - begin > seconds:
            break
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            found[name].append(time.perf_counter() - start)
    return {name: np.asarray(values) for name, values in found.items()}


def matmul_probe(rows: int, width: int, precision: str) -> tuple[Callable[[], Array], float]:
    """(a chain of products [rows, width] x [width, width] in one program, its operations)."""
    dtype = jnp.dtype(precision)
    one = 2.0 * rows * width**2
    depth = max(1, math.ceil(_of_platform(_MATMUL_FLOPS, 2e12) / one))
    x_key, w_key = jax.random.split(jax.random.key(0))
    x = jax.random.normal(x_key, (rows, width)).astype(dtype)
    # The products keep their size however long the chain.
    w = (jax.random.normal(w_key, (width, width)) / math.sqrt(width)).astype(dtype)
    chain = jax.jit(lambda x, w: jax.lax.fori_loop(0, depth, lambda _, y: y @ w, x))
    return lambda: chain(x, w), depth * one


def copy_rate(repeats: int) -> float:
    """Bytes per second of reading and writing an array far larger than the caches, at best."""
    size = int(_of_platform(_COPY_BYTES, 2**31))
    x = jnp.ones(size // 4, jnp.float32)
    scale = jax.jit(lambda x: 1.5 * x)
    return 2.0 * size / interleaved({"copy": lambda: scale(x)}, repeats=repeats)["copy"].min()


def square_size() -> int:
    """Side of the large square product."""
    return int(_of_platform(_SQUARE, 8192))


def _of_platform(sizes: Mapping[str, float], accelerator: float) -> float:
    return sizes.get(jax.default_backend(), accelerator)


class Program(NamedTuple):
    """A compiled program, its arguments bound.

    Attributes:
      call: runs it.
      compile_seconds: tracing and compiling; without the cache of compiled programs where it was asked for.
      memory: bytes of arguments, results and intermediates.
      moved: bytes that it reads and writes by XLA's cost model, the body of a loop once; NaN where there is none.
    """

    call: Callable[[], Any]
    compile_seconds: float
    memory: int
    moved: float


def compiled(fn: Callable[..., Any], *args: Any, fresh: bool = False) -> Program:
    """Compiles fn(*args) and binds the arguments; with `fresh` whatever the cache of compiled programs holds."""
    with _no_program_cache() if fresh else contextlib.nullcontext():
        start = time.perf_counter()
        # A function object of its own, or jit would remember the last one's program.
        program = jax.jit(lambda *a: fn(*a)).lower(*args).compile()
        seconds = time.perf_counter() - start
    sizes, costs = program.memory_analysis(), program.cost_analysis()
    memory = sizes.argument_size_in_bytes + sizes.output_size_in_bytes + sizes.temp_size_in_bytes if sizes else 0
    return Program(lambda: program(*args), seconds, memory, float((costs or {}).get("bytes accessed", math.nan)))


@contextlib.contextmanager
def _no_program_cache() -> Iterator[None]:
    """Programs are compiled, not read from disk. Whether the cache is on is itself cached: hence the resets."""
    before = jax.config.jax_enable_compilation_cache  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()


def device_memory() -> dict[str, int] | None:
    """{"limit", "peak"} bytes of the first device; None where it does not tell (CPU)."""
    stats = jax.local_devices()[0].memory_stats()
    if not stats or "bytes_limit" not in stats:
        return None
    return {"limit": int(stats["bytes_limit"]), "peak": int(stats.get("peak_bytes_in_use", 0))}


def process_memory() -> int:
    """Peak resident bytes of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
