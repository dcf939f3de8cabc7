"""Our sampler against a plain PyTorch loop, in turn and in one process: at equal evaluations, and at equal quality.

The rival draws all samples in one batch with as many threads as it likes, which is what a plain loop does. Where cores
are shared or caches small, it may be faster in chunks or with one thread, so both are timed too, and the ratio against
the fastest of its variants stands beside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from tgdp_jax.app.bench.against_torch import Level, TorchSampler, with_middles
from tgdp_jax.app.bench.measure import Spread, interleaved
from tgdp_jax.app.bench.models import Networks, embedded
from tgdp_jax.app.bench.settings import Effort
from tgdp_jax.app.bench.solvers import CURVES, REFERENCE
from tgdp_jax.sampling import sample
from tgdp_jax.sampling.grids import make_grid
from tgdp_jax.sampling.loop import CHUNK

Record = dict[str, Any]


def against_torch(effort: Effort, *, needed: int, precision: str, repeats: int, say: Callable[[str], None]) -> Record:
    """Comparisons at equal evaluations (small and the paper's networks) and at equal quality (the paper's).

    Args:
      effort: sizes.
      needed: evaluations that singlestep DPM-Solver-2 takes for the quality of ours, even.
      precision: of the networks.
      repeats: rounds at most.
      say: told of every comparison.

    Raises:
      UserError: PyTorch is not installed.
    """
    solver, evaluations = REFERENCE
    small, paper = embedded("small", precision), embedded("paper", precision)
    found = []
    for nets, num, steps, kind in (
        (small, 16, evaluations, "evaluations"),
        (small, CHUNK // 4, evaluations, "evaluations"),
        (small, effort.rival_samples, evaluations, "evaluations"),
        (paper, effort.rival_samples, effort.rival_steps, "evaluations"),
        (paper, effort.rival_quality_samples, evaluations, "quality"),
    ):
        sampler = TorchSampler(nets)
        if kind == "evaluations":
            loop, levels, theirs = (
                sampler.dpmpp_2m,
                sampler.levels(make_grid(CURVES[solver][1], sampler.sde, steps)),
                steps,
            )
        else:
            times = make_grid(CURVES["dpm_solver_2"][1], sampler.sde, needed // 2)
            loop, levels, theirs = sampler.dpm_solver_2, sampler.levels(with_middles(sampler.sde, times)), needed
        calls = {"ours": _ours(nets, steps, num), **_theirs(sampler, loop, levels, num)}
        seconds = interleaved(calls, repeats=repeats, seconds=2 * effort.seconds)
        found.append(_record(f"equal {kind}", nets.name, num, (steps, theirs), seconds))
        say(_sentence(found[-1]))
    return {
        "version": sampler.torch.__version__,
        "device": sampler.device,
        "threads": sampler.torch.get_num_threads(),
        "comparisons": found,
    }


def _ours(nets: Networks, steps: int, num: int) -> Callable[[], np.ndarray]:
    case, (solver, grid) = nets.case(), CURVES[REFERENCE[0]]
    settings: dict[str, Any] = {"solver": solver, "grid": grid, "num_steps": steps, "chunk": min(num, CHUNK)}
    return lambda: sample(jax.random.key(0), case.guided, case.sde, range(num), case.shape, **settings)


def _theirs(sampler: TorchSampler, loop: Any, levels: Sequence[Level], num: int) -> dict[str, Callable[[], Any]]:
    """The rival's variants."""
    torch = sampler.torch
    threads = torch.get_num_threads()

    def with_threads(count: int) -> Callable[[], np.ndarray]:
        def call() -> np.ndarray:
            torch.set_num_threads(count)
            try:
                return sampler.draw(loop, levels, num, num)
            finally:
                torch.set_num_threads(threads)

        return call

    calls: dict[str, Callable[[], Any]] = {"plain": lambda: sampler.draw(loop, levels, num, num)}
    if num > CHUNK:
        calls["chunked"] = lambda: sampler.draw(loop, levels, num, CHUNK)
    if sampler.device == "cpu" and threads > 1:
        calls["one_thread"] = with_threads(1)
    return calls


def _record(kind: str, networks: str, num: int, evaluations: tuple[int, int], seconds: dict[str, np.ndarray]) -> Record:
    """Ratios are the rival's time over ours, round by round: above 1 where ours is faster."""
    took = {name: Spread.of(values) for name, values in seconds.items()}
    rivals = [name for name in seconds if name != "ours"]
    best = min(rivals, key=lambda name: took[name].median)
    return {
        "kind": kind,
        "networks": networks,
        "samples": num,
        "evaluations": evaluations[0],
        "rival_evaluations": evaluations[1],
        "seconds": {name: spread._asdict() for name, spread in took.items()},
        "samples_per_s": num / took["ours"].median,
        "rival_samples_per_s": num / took["plain"].median,
        "ratio": Spread.of(seconds["plain"] / seconds["ours"])._asdict(),
        "best_variant": best,
        "ratio_to_best": Spread.of(seconds[best] / seconds["ours"])._asdict(),
        "rounds": len(seconds["ours"]),
    }


def _sentence(record: Record) -> str:
    r, best = record["ratio"], record["ratio_to_best"]["median"]
    return (
        f"{record['networks']}, {record['kind']}, {record['samples']} samples: {r['median']:.2f} times PyTorch's "
        f"samples/s (quartiles {r['low']:.2f} to {r['high']:.2f}), {best:.2f} times its best variant's"
    )
