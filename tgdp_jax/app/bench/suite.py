"""Everything that one bench run measures, as one JSON-able record."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Callable
from typing import Any

import jax

from tgdp_jax.app.bench.against import against_torch
from tgdp_jax.app.bench.measure import MIB, device_memory, process_memory
from tgdp_jax.app.bench.models import Case, sampler
from tgdp_jax.app.bench.peaks import peak_flops
from tgdp_jax.app.bench.sampler import batch_scaling, cost_table, device_scaling
from tgdp_jax.app.bench.settings import BenchConfig, Effort
from tgdp_jax.app.bench.solvers import speed_quality
from tgdp_jax.app.bench.training import loop_overhead

CPU_MEMORY = 256 * MIB


def measure(
    config: BenchConfig, effort: Effort, *, cases: list[Case] | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """Runs all measurements.

    Args:
      config: what is asked.
      effort: how much of it is measured.
      cases: samplers of runs; None: the embedded ones, together with solvers, cost table and training loop.
      say: told what was found as it goes.

    Returns:
      Keys "machine", "samplers", "devices" and, for the embedded samplers, "solvers", "cost", "training" and, where
      asked, "against".

    Raises:
      UserError: the rival is not installed.
    """
    memory = _memory_bound(config)
    busy = os.getloadavg()[0]
    record: dict[str, Any] = {"machine": _machine(memory, busy)}
    samplers = [sampler(name, config.precision) for name in effort.networks] if cases is None else cases
    repeats = config.repeats
    record["samplers"] = [
        batch_scaling(c, effort, memory=memory, repeats=repeats, peak=_peak(config, c.precision), say=say)
        for c in samplers
    ]
    record["devices"] = device_scaling(samplers[-1], effort, repeats=repeats)
    if cases is None:
        record["solvers"] = speed_quality(effort, precision=config.precision, repeats=repeats, say=say)
        record["cost"] = cost_table(effort, precision=config.precision, repeats=repeats)
        record["training"] = loop_overhead(effort, repeats=repeats)
    if config.against is not None:
        needed = _rival_evaluations(record["solvers"])
        record["against"] = against_torch(effort, needed=needed, precision=config.precision, repeats=repeats, say=say)
    record["machine"] |= {"process_peak_bytes": process_memory(), "device_memory": device_memory()}
    return record


def _rival_evaluations(solvers: dict[str, Any]) -> int:
    """Evaluations of singlestep DPM-Solver-2 at our quality; as many as were tried where it did not reach it."""
    (found,) = [s for s in solvers["solvers"] if s["solver"] == "dpm_solver_2"]
    return found["evaluations_needed"] or found["curve"][-1][0]


def _memory_bound(config: BenchConfig) -> float:
    if config.memory is not None:
        return config.memory * 1024 * MIB
    stats = device_memory()
    return CPU_MEMORY if stats is None else stats["limit"]


def _peak(config: BenchConfig, precision: str) -> float | None:
    if config.peak is not None:
        return 1e12 * config.peak
    return peak_flops(jax.devices()[0].device_kind, precision)


def _machine(memory: float, busy: float) -> dict[str, Any]:
    device = jax.devices()[0]
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "cpus": os.cpu_count(),
        "load": busy,
        "jax": jax.__version__,
        "python": platform.python_version(),
        "memory_bound_bytes": memory,
    }
