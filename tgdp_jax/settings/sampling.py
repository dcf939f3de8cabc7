"""How samples are drawn."""

from __future__ import annotations

import dataclasses
from typing import Self

from tgdp_jax.errors import UserError, check_finite, choose
from tgdp_jax.sampling import GRIDS, SOLVERS
from tgdp_jax.settings.checks import check_seed

# Launches are filled up to their size, so that a sample's bits do not depend on how many are drawn.
MAX_CHUNK = 2**20
MAX_STEPS = 100_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How samples are drawn.

    Attributes:
      num: samples drawn at the end of a run.
      solver: integrator of the reverse process.
      grid: time grid. Default: the one that suits the solver.
      steps: steps of the solver. Default: what suits it, 10 for centre_3m and 25 for most others.
      clip: clip the predicted clean data to [-clip, clip].
      chunk: samples a launch.
    """

    num: int = 10_000
    solver: str = "centre_3m"
    grid: str | None = None
    steps: int | None = None
    clip: float | None = None
    chunk: int = 1024

    def __post_init__(self):
        choose("solver", self.solver, SOLVERS)
        if self.grid is not None:
            choose("time grid", self.grid, GRIDS)
        if self.num < 1 or (self.steps is not None and self.steps < 1) or self.chunk < 1:
            raise UserError("sampling needs num, steps and chunk of at least 1")
        if self.steps is not None and self.steps > MAX_STEPS:
            raise UserError(f"sampling.steps is {self.steps}: give at most {MAX_STEPS}")
        if self.num >= 2**32:
            raise UserError(f"sampling.num is {self.num}: give fewer than 2^32 samples, which have an id each")
        if self.chunk > MAX_CHUNK:
            raise UserError(
                f"sampling.chunk is {self.chunk}: a launch takes memory for all its samples, give at most {MAX_CHUNK}"
            )
        if self.clip is not None and not self.clip > 0:
            raise UserError(f"clip is {self.clip}: it must be positive")

    @property
    def suited(self) -> Self:
        """The same with the grid and the number of steps that are taken where none is asked for."""
        own = SOLVERS[self.solver]
        return dataclasses.replace(self, grid=self.grid or own.grid, steps=self.steps or own.num_steps)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingChange:
    """What is different when a finished model is sampled again. None leaves a setting as the run had it.

    Attributes:
      solver: integrator of the reverse process. Default: the run's.
      steps: steps of the solver. Default: the run's, or what suits another solver.
      grid: time grid. Default: the run's, or what suits another solver.
      scale: weight of the guidance: of the learned log-ratio, of domain guidance, or by captions. Default: the run's.
      clip: clip the predicted clean data to [-clip, clip]. Default: the run's.
      seed: of the samples. Default: the run's, whose own samples come first then.
    """

    solver: str | None = None
    steps: int | None = None
    grid: str | None = None
    scale: float | None = None
    clip: float | None = None
    seed: int | None = None

    def __post_init__(self):
        check_finite(self)
        if self.steps is not None and self.steps < 1:
            raise UserError(f"steps is {self.steps}: give at least 1")
        if self.seed is not None:
            check_seed(self.seed)
        self.of_sampler(SamplingConfig())

    def of_sampler(self, sampling: SamplingConfig) -> SamplingConfig:
        """The sampler's settings with this change.

        Raises:
          UserError: a setting that there is not.
        """
        if self.solver not in (None, sampling.solver):  # the run's steps and grid were for its own
            sampling = dataclasses.replace(sampling, steps=None, grid=None)
        own = {name: getattr(self, name) for name in ("solver", "steps", "grid", "clip")}
        return dataclasses.replace(sampling, **{name: value for name, value in own.items() if value is not None})
