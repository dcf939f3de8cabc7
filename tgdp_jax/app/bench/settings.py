"""What is asked of a bench run, and how much of it is measured."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tgdp_jax.errors import UserError, choose
from tgdp_jax.nets.registry import PRECISIONS
from tgdp_jax.settings.stored import name_where_given

RIVALS = ("torch",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """Throughput of guided sampling and of the training loop.

    Attributes:
      run: folder of a finished run whose sampler is measured, instead of the embedded networks.
      against: torch: measure the same sampler as a plain PyTorch loop too, in turn with ours.
      quick: fewer sizes and repeats, in seconds instead of minutes.
      precision: that networks compute in: float32 or bfloat16.
      memory: GiB that one program may take; the batch grows up to it. Default: 0.25 on CPU, else what the device has.
      repeats: how often each thing is timed, at most.
      peak: TFLOP/s of one device at best in this precision, by its data sheet, of which model FLOPs utilisation is a
        share. Default: what is known of the device; of other devices utilisation is left out.
    """

    run: Path | None = None
    against: str | None = None
    quick: bool = False
    precision: str = "float32"
    memory: float | None = None
    repeats: int = 7
    peak: float | None = None

    def __post_init__(self):
        choose("precision", self.precision, PRECISIONS)
        if self.against is not None:
            choose("rival of --against", self.against, RIVALS)
        if self.against is not None and self.run is not None:
            raise UserError("--against compares the embedded networks: leave out either --run or --against")
        if self.run is not None and self.precision != "float32":
            raise UserError("--precision is for the embedded networks: a run computes in what it was trained in")
        if self.memory is not None and not self.memory > 0:
            raise UserError(f"memory is {self.memory} GiB: it must be positive")
        if self.peak is not None and not self.peak > 0:
            raise UserError(f"peak is {self.peak} TFLOP/s: it must be positive")
        if self.repeats < 1:
            raise UserError(f"repeats is {self.repeats}: at least 1 is needed")


name_where_given(BenchConfig, "peak")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Effort:
    """How much is measured.

    Attributes:
      seconds: spent on one comparison, after which no further round is begun.
      first_batches: the batches that are tried first, increasing.
      growth: factor between two batches after them.
      max_batch: largest batch tried, whatever the memory; None: no limit.
      networks: names of the embedded networks, see `models.EMBEDDED` and `models.IMAGES`.
      steps: solver steps of the batch scaling (time is proportional to them).
      ladder: numbers of evaluations of the speed-quality curve.
      solvers: whose curve is drawn, see `solvers.CURVES`.
      quality_samples: samples of which the sliced W2 is taken.
      cost_dims: dimensions of the cost table.
      cost_batches: its batches.
      cost_evaluations: its evaluations.
      train_steps: optimiser steps of the training comparison.
      rival_samples: samples drawn in the comparison with another library.
      rival_steps: solver steps there with the paper's networks.
      rival_quality_samples: samples drawn at equal quality.
    """

    seconds: float = 2.0
    first_batches: tuple[int, ...] = (1, 16, 256)
    growth: int = 4
    max_batch: int | None = None
    networks: tuple[str, ...] = ("paper", "small", "unet16", "default32")
    steps: int = 5
    ladder: tuple[int, ...] = (10, 24, 50, 100, 200)
    solvers: tuple[str, ...] = (
        "centre_3m",
        "dpmpp_2m",
        "dpmpp_2m_sde",
        "heun",
        "ddim",
        "euler_maruyama",
        "dpm_solver_2",
    )
    quality_samples: int = 40_000
    cost_dims: tuple[int, ...] = (2, 8, 32)
    cost_batches: tuple[int, ...] = (64, 1024, 8192)
    cost_evaluations: tuple[int, ...] = (10, 50)
    train_steps: int = 1000
    rival_samples: int = 4096
    rival_steps: int = 5
    rival_quality_samples: int = 1024


DEFAULT = Effort()
QUICK = Effort(
    seconds=0.3,
    first_batches=(1,),
    growth=1024,
    max_batch=1024,
    networks=("paper", "small"),
    steps=2,
    ladder=(10, 24),
    solvers=("dpmpp_2m", "dpm_solver_2"),
    quality_samples=2000,
    cost_dims=(2,),
    cost_batches=(64, 1024),
    cost_evaluations=(10,),
    train_steps=300,
    rival_samples=2048,
    rival_steps=2,
    rival_quality_samples=64,
)
