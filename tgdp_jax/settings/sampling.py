"""How samples are drawn."""

from __future__ import annotations

import dataclasses

from tgdp_jax.errors import UserError, choose
from tgdp_jax.sampling import GRIDS, SOLVERS

# Launches are filled up to their size, so that a sample's bits do not depend on how many are drawn.
MAX_CHUNK = 2**20
MAX_STEPS = 100_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How samples are drawn.

    Attributes:
      num: samples drawn at the end of a run.
      solver: integrator of the reverse process.
      grid: time grid.
      steps: steps of the solver.
      clip: clip the predicted clean data to [-clip, clip].
      chunk: samples a launch.
    """

    num: int = 10_000
    solver: str = "dpmpp_2m"
    grid: str = "log_snr"
    steps: int = 25
    clip: float | None = None
    chunk: int = 1024

    def __post_init__(self):
        choose("solver", self.solver, SOLVERS)
        choose("time grid", self.grid, GRIDS)
        if self.num < 1 or self.steps < 1 or self.chunk < 1:
            raise UserError("sampling needs num, steps and chunk of at least 1")
        if self.steps > MAX_STEPS:
            raise UserError(f"sampling.steps is {self.steps}: give at most {MAX_STEPS}")
        if self.num >= 2**32:
            raise UserError(f"sampling.num is {self.num}: give fewer than 2^32 samples, which have an id each")
        if self.chunk > MAX_CHUNK:
            raise UserError(
                f"sampling.chunk is {self.chunk}: a launch takes memory for all its samples, give at most {MAX_CHUNK}"
            )
        if self.clip is not None and not self.clip > 0:
            raise UserError(f"clip is {self.clip}: it must be positive")
