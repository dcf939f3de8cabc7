"""Solver by solver at equal quality: sliced W2 against evaluations, with the exact score and guidance.

The closed form leaves the solver's own error, and that of finitely many samples, which `floor` shows: fresh target
samples in the same number. The time at equal quality is that of the small networks, whose cost does not hide the
solver's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.app.bench.measure import Spread, interleaved
from tgdp_jax.app.bench.models import embedded
from tgdp_jax.app.bench.settings import Effort
from tgdp_jax.data.gaussians import GaussiansConfig, mixtures
from tgdp_jax.data.mixture import ExactLogRatio, ExactScore
from tgdp_jax.guidance import log_ratio_guidance
from tgdp_jax.metrics.two_sample import sliced_wasserstein2
from tgdp_jax.sampling import SOLVERS, sample
from tgdp_jax.sampling.loop import CHUNK
from tgdp_jax.sampling.solver import Solver
from tgdp_jax.sde import VP

Record = dict[str, Any]


def _dpm_solver_2(sde, predict, point, x, memory, noise):
    """Singlestep DPM-Solver-2 (Lu et al. 2022, Algorithm 1 with r = 1/2): what the paper samples with."""
    middle = sde.t_of_log_snr(0.5 * (sde.log_snr(point.t) + sde.log_snr(point.s)))

    def to(s: jax.Array, eps: jax.Array) -> jax.Array:
        h = 0.5 * (sde.log_snr(s) - sde.log_snr(point.t))
        return sde.alpha(s) / sde.alpha(point.t) * x - sde.sigma(s) * jnp.expm1(h) * eps

    _, first = predict(x, point.t)
    _, second = predict(to(middle, first), middle)
    return to(point.s, second), memory


DPM_SOLVER_2 = Solver(_dpm_solver_2, 2)
# name: (solver, the time grid that suits it best)
CURVES: dict[str, tuple[Solver, str]] = {
    "centre_3m": (SOLVERS["centre_3m"], "blend"),
    "dpmpp_2m": (SOLVERS["dpmpp_2m"], "log_snr"),
    "residual_2m": (SOLVERS["residual_2m"], "blend"),
    "dpmpp_2m_sde": (SOLVERS["dpmpp_2m_sde"], "log_snr"),
    "heun": (SOLVERS["heun"], "quadratic"),
    "ddim": (SOLVERS["ddim"], "uniform"),
    "euler_maruyama": (SOLVERS["euler_maruyama"], "quadratic"),
    "dpm_solver_2": (DPM_SOLVER_2, "uniform"),
}
REFERENCE = ("dpmpp_2m", 25)
# What counts as the reference's quality: between draws of so many samples sliced W2 scatters by about as much.
TOLERANCE = 1.25


class Quality:
    """Sliced W2 to the target of `num` samples by a solver, in units of the data.

    The target is symmetric about zero, and so is the sampler: from mirrored noise it draws the mirrored sample. Half of
    the samples are drawn and mirrored, those that they are compared with too; the share of the two modes then is exact,
    whose chance deviations would drown the error of a solver.
    """

    def __init__(self, num: int) -> None:
        self.half, self.vp, exact = num // 2, VP(), mixtures(GaussiansConfig())
        guide = log_ratio_guidance(ExactLogRatio(exact.source, exact.target, self.vp))
        self.score = guide(ExactScore(exact.source, self.vp))
        keys = jax.random.split(jax.random.key(1))
        self.reference = _mirrored(exact.target.sample(keys[0], self.half)[0])
        self.floor = self._distance(exact.target.sample(keys[1], self.half)[0])

    def __call__(self, solver: Solver, grid: str, evaluations: int) -> float:
        x = sample(
            jax.random.key(0),
            self.score,
            self.vp,
            range(self.half),
            (2,),
            solver=solver,
            grid=grid,
            num_steps=evaluations // solver.evaluations,
            chunk=self.half,
        )
        return self._distance(x)

    def _distance(self, x: Any) -> float:
        return sliced_wasserstein2(_mirrored(x), self.reference)


def _mirrored(x: Any) -> np.ndarray:
    return np.concatenate([np.asarray(x), -np.asarray(x)])


def evaluations_needed(curve: list[tuple[int, float]], goal: float, multiple: int) -> int | None:
    """Evaluations at which a curve of (evaluations, sliced W2) reaches the goal, interpolated in logarithms.

    Args:
      curve: with evaluations increasing.
      goal: sliced W2.
      multiple: of which the result is one, rounded up.

    Returns:
      None where the whole curve lies above the goal.
    """
    for i, (n, value) in enumerate(curve):
        if value <= goal:
            if i == 0:
                return n
            before, worse = curve[i - 1]
            share = math.log(worse / goal) / math.log(worse / value)
            return math.ceil(before * (n / before) ** share / multiple) * multiple
    return None


def speed_quality(effort: Effort, *, precision: str, repeats: int, say: Callable[[str], None]) -> Record:
    """Curves of all solvers, evaluations needed for the reference's quality, and samples per second there."""
    quality = Quality(effort.quality_samples)
    name, evaluations = REFERENCE
    goal = TOLERANCE * quality(*CURVES[name], evaluations)
    case = embedded("small", precision).case()
    found: list[Record] = []
    calls: dict[str, Callable[[], Any]] = {}
    num = min(effort.quality_samples, 8 * CHUNK)
    for solver_name in effort.solvers:
        solver, grid = CURVES[solver_name]
        ladder = [n for n in effort.ladder if n % solver.evaluations == 0]
        curve = [(n, quality(solver, grid, n)) for n in ladder]
        needed = evaluations if solver_name == name else evaluations_needed(curve, goal, solver.evaluations)
        record: Record = {"solver": solver_name, "grid": grid, "curve": [list(point) for point in curve]}
        found.append(record | {"evaluations_needed": needed, "samples_per_s": math.nan})
        say(f"{solver_name} on {grid}: {needed or 'more'} evaluations for sliced W2 {goal:.4f}")
        if needed is not None:
            calls[solver_name] = _draw(case, solver, grid, needed // solver.evaluations, num)
    seconds = interleaved(calls, repeats=repeats, seconds=effort.seconds)
    for record in found:
        if record["solver"] in seconds:
            record["samples_per_s"] = num / Spread.of(seconds[record["solver"]]).median
    return {
        "samples": 2 * quality.half,
        "floor": quality.floor,
        "goal": goal,
        "goal_of": f"{name} with {evaluations} evaluations, {TOLERANCE - 1:.0%} allowed",
        "networks": case.name,
        "solvers": found,
    }


def _draw(case: Any, solver: Solver, grid: str, steps: int, num: int) -> Callable[[], np.ndarray]:
    def call() -> np.ndarray:
        key = jax.random.key(0)
        return sample(key, case.guided, case.sde, range(num), case.shape, solver=solver, grid=grid, num_steps=steps)

    return call
