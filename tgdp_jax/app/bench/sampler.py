"""The guided sampler: rates by batch, what guidance costs, devices, and a table of costs.

One evaluation is one call of the guided score on one row: both networks forward, and the guidance network's gradient by
its input. The batch scaling times the program of one chunk on one device; the scaling with devices the public `sample`,
keys, copies and all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.app.bench.flops import matmul_flops
from tgdp_jax.app.bench.measure import (
    Program,
    Spread,
    compiled,
    copy_rate,
    device_memory,
    interleaved,
    matmul_probe,
    square_size,
)
from tgdp_jax.app.bench.models import Case, networks
from tgdp_jax.app.bench.settings import Effort
from tgdp_jax.prediction import ScoreFn
from tgdp_jax.runtime import parallel
from tgdp_jax.sampling import sample
from tgdp_jax.sampling.grids import make_grid
from tgdp_jax.sampling.loop import CHUNK, sample_chunk
from tgdp_jax.settings.networks import NetworkConfig
from tgdp_jax.settings.training import GuidanceConfig

Record = dict[str, Any]


def sampler_program(case: Case, score: ScoreFn, batch: int, steps: int, *, fresh: bool = False) -> Program:
    """One chunk of `batch` samples of a score, compiled (anew with `fresh`)."""
    ids = jnp.arange(batch, dtype=jnp.uint32)
    times = make_grid(case.grid, case.sde, steps)

    def draw(rows: Any, key: jax.Array, score: ScoreFn, times: jax.Array) -> jax.Array:
        return sample_chunk(rows, key, score, times, sde=case.sde, shape=case.shape, solver=case.solver, clip=case.clip)

    return compiled(draw, (ids, case.cond(batch)), jax.random.key(0), score, times, fresh=fresh)


def evaluation_flops(case: Case, score: ScoreFn, batch: int = 1) -> float:
    """Operations of one evaluation of one row."""
    x, t = jax.ShapeDtypeStruct((batch, *case.shape), jnp.float32), jax.ShapeDtypeStruct((batch,), jnp.float32)
    return matmul_flops(score, x, t, case.cond(batch)) / batch


def evaluation_bytes(case: Case, score: ScoreFn, batch: int) -> float:
    """Bytes that one evaluation of a batch moves, see `Program.moved`."""
    x, t = jnp.zeros((batch, *case.shape)), jnp.ones(batch)
    return compiled(lambda s, *a: s(*a), score, x, t, case.cond(batch)).moved


def batch_scaling(
    case: Case,
    effort: Effort,
    *,
    memory: float,
    repeats: int,
    say: Callable[[str], None],
    peak: float | None = None,
) -> Record:
    """Rates at growing batches, up to the largest that fits.

    Args:
      case: the sampler.
      effort: sizes.
      memory: bytes that one program may take.
      repeats: rounds at most.
      say: told of every batch.
      peak: operations per second of one device at best; None: not known.
    """
    flops = evaluation_flops(case, case.guided)
    floor = math.nan if case.unguided is None else flops / evaluation_flops(case, case.unguided)
    copy = copy_rate(min(repeats, 3))
    rows: list[Record] = []
    for batch in _batches(effort):
        try:
            guided = sampler_program(case, case.guided, batch, effort.steps, fresh=True)
            if guided.memory > memory:
                stop = f"memory bound of {memory / 2**30:.3g} GiB"
                break
            row = _at_batch(case, guided, batch, flops, floor, copy, effort, repeats)
            rows.append(row | {"utilisation": None if peak is None else row["flops_per_s"] / peak})
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            stop = "memory of the device"
            break
        say(f"{case.name}: batch {batch}, {rows[-1]['samples_per_s']:,.0f} samples/s")
    else:
        stop = f"limit of {effort.max_batch} rows"
    return {
        "name": case.name,
        "shape": list(case.shape),
        "parameters": case.parameters,
        "precision": case.precision,
        "steps": effort.steps,
        "evaluations": effort.steps * case.solver.evaluations,
        "flops_per_evaluation": flops,
        "guidance_floor": floor,
        "peak_flops_per_s": peak,
        "batches": rows,
        "largest_batch": rows[-1]["batch"] if rows else 0,
        "stopped_by": stop,
    }


def _batches(effort: Effort) -> Iterator[int]:
    batch = 0
    for batch in effort.first_batches:
        yield batch
    while effort.max_batch is None or batch * effort.growth <= effort.max_batch:
        batch *= effort.growth
        yield batch


def _at_batch(
    case: Case, guided: Program, batch: int, flops: float, floor: float, copy: float, effort: Effort, repeats: int
) -> Record:
    evaluations = effort.steps * case.solver.evaluations
    probes = {
        "square": matmul_probe(square_size(), square_size(), case.precision),
        "layer": matmul_probe(batch, case.width, case.precision),
    }
    calls: dict[str, Callable[[], Any]] = {"guided": guided.call}
    if case.unguided is not None:
        calls["unguided"] = sampler_program(case, case.unguided, batch, effort.steps).call
    calls |= {name: call for name, (call, _) in probes.items()}
    seconds = interleaved(calls, repeats=repeats, seconds=effort.seconds)
    rates = {name: work / Spread.of(seconds[name]).median for name, (_, work) in probes.items()}
    took = Spread.of(seconds["guided"])
    matmul = max(rates.values())
    work = flops * batch * evaluations
    moved = evaluation_bytes(case, case.guided, batch) * evaluations
    over = Spread.of(seconds["guided"] / seconds["unguided"]) if case.unguided is not None else None
    return {
        "batch": batch,
        "seconds": took._asdict(),
        "samples_per_s": batch / took.median,
        "evaluations_per_s": batch * evaluations / took.median,
        "flops_per_s": work / took.median,
        "matmul_flops_per_s": matmul,
        "layer_matmul_flops_per_s": rates["layer"],
        "fraction_of_peak": work / took.median / matmul,
        "bytes_per_s": moved / took.median,
        "copy_bytes_per_s": copy,
        # Which of the two would take longer at full speed; caches, which the count does not know, may hide it.
        "memory_bound": bool(moved / copy > work / matmul),
        "guided_over_unguided": None if over is None else over._asdict(),
        "guidance_over_floor": math.nan if over is None else over.median / floor,
        "compile_seconds": guided.compile_seconds,
        "program_bytes": guided.memory,
        "device_memory": device_memory(),
        "rounds": len(seconds["guided"]),
    }


def device_scaling(case: Case, effort: Effort, *, repeats: int) -> list[Record]:
    """Samples per second of the public sampler on 1, 2, 4, ... devices, with four chunks a device."""
    have, share = jax.local_device_count(), 4 * CHUNK
    found: list[Record] = []
    counts = sorted({2**i for i in range(have.bit_length())} | {have})

    def drawn(devices: int) -> Callable[[], np.ndarray]:
        num = devices * share

        def call() -> np.ndarray:
            parallel.use_devices(devices)
            return sample(
                jax.random.key(0),
                case.guided,
                case.sde,
                range(num),
                case.shape,
                solver=case.solver,
                grid=case.grid,
                num_steps=effort.steps,
                cond=case.cond(num),
                clip=case.clip,
            )

        return call

    try:
        seconds = interleaved({str(n): drawn(n) for n in counts}, repeats=repeats, seconds=effort.seconds)
    finally:
        parallel.use_devices(None)
    for n in counts:
        # Work grows with the devices, so perfect scaling takes the same time.
        gain = Spread.of(n * seconds[str(counts[0])] / seconds[str(n)])
        rate = n * share / Spread.of(seconds[str(n)]).median
        found.append({"name": case.name, "devices": n, "samples_per_s": rate, "speedup": gain._asdict()})
    return found


def cost_table(effort: Effort, *, precision: str, repeats: int) -> list[Record]:
    """Seconds of the library's default networks by dimension, batch and evaluations."""
    found = []
    for dim in effort.cost_dims:
        widths = NetworkConfig().features, GuidanceConfig().features
        case = networks(dim, *widths, name=f"d={dim}", precision=precision).case()
        for batch in effort.cost_batches:
            calls = {
                str(n): sampler_program(case, case.guided, batch, n // case.solver.evaluations).call
                for n in effort.cost_evaluations
            }
            seconds = interleaved(calls, repeats=repeats, seconds=effort.seconds / 2)
            for n in effort.cost_evaluations:
                took = Spread.of(seconds[str(n)])
                found.append(
                    {
                        "dim": dim,
                        "batch": batch,
                        "evaluations": n,
                        "seconds": took._asdict(),
                        "microseconds_per_evaluation": 1e6 * took.median / (batch * n),
                    }
                )
    return found
