"""Settings of trainings, which can be made and checked without JAX."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from tgdp_jax.errors import UserError, choose
from tgdp_jax.train.registry import OBJECTIVES, OPTIMISERS, SCHEDULES

if TYPE_CHECKING:
    import optax


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """An optimiser with clipping, a learning-rate schedule, weight averaging and early stopping.

    Attributes:
      steps: optimiser steps at the most.
      batch_size: rows a step.
      parts: that the rows of a step are computed in, one after the other, where all at once do not fit into memory;
        their gradients are summed, so that the step is the same but for rounding.
      kind: adam, lion (which keeps one moment a weight in the place of two), adafactor (next to none of a kernel) or
        sgd.
      learning_rate: peak learning rate.
      schedule: "cosine" (to zero at `steps`) or "constant".
      warmup: steps of linear warm-up, fewer than `steps`.
      weight_decay: decoupled weight decay (AdamW).
      clip_norm: clip gradients to this global norm.
      ema: decay of the running average of the weights, which is what is kept.
      steps_per_launch: steps between two looks at the validation loss.
      patience: stop after this many steps without a better validation loss; 0: never.
      validation_rows: noised rows behind the validation loss of networks that see noised rows, at least.
    """

    steps: int = 2400
    batch_size: int = 512
    parts: int = 1
    kind: str = "adam"
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    warmup: int = 0
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    ema: float = 0.99
    steps_per_launch: int = 100
    patience: int = 0
    validation_rows: int = 4096

    def __post_init__(self):
        choose("learning-rate schedule", self.schedule, SCHEDULES)
        choose("optimiser", self.kind, OPTIMISERS)
        for name in ("steps", "batch_size", "learning_rate", "clip_norm", "steps_per_launch", "validation_rows"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("weight_decay", "patience"):
            if not getattr(self, name) >= 0:
                raise UserError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.warmup < self.steps:
            raise UserError(f"warmup must lie in 0..{self.steps - 1}, below the steps, got {self.warmup}")
        if self.parts < 1 or self.batch_size % self.parts:
            raise UserError(f"parts is {self.parts}: give a divisor of the batch size, {self.batch_size}")
        if not 0 <= self.ema < 1:
            raise UserError(f"ema must lie in [0, 1), got {self.ema}")

    def shortened(self, steps: int) -> OptimiserConfig:
        """The same for so many steps, with a warm-up that ends within them."""
        return dataclasses.replace(self, steps=steps, warmup=min(self.warmup, steps - 1))

    def using(
        self, transform: optax.GradientTransformation | None = None, *, schedule: optax.Schedule | None = None
    ) -> OwnOptimiser:
        """The same lengths, batches and averages with an optimiser, or a learning-rate schedule, of one's own.

        Args:
          transform: any optax optimiser, in the place of clipping, Adam and schedule. Weight decay, where there is any,
            is added to the gradients that it sees.
          schedule: step -> learning rate, of the Adam that stays.
        """
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(OptimiserConfig)}
        return OwnOptimiser(**own, transform=transform, rate=schedule)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnOptimiser(OptimiserConfig):
    """What `OptimiserConfig.using` makes; only for training from Python, for functions have no form on disk."""

    transform: optax.GradientTransformation | None = None
    rate: optax.Schedule | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class RepresentationConfig:
    """A representation learned without labels beside the diffusion loss.

    Attributes:
      objective: contrastive (two views of a row find each other) or masked (hidden parts are predicted).
      weight: of the objective beside the denoising loss.
      temperature: contrastive: of the softmax over cosines.
      hidden: masked: share of patches or coordinates that is hidden.
      patches: masked: patches along each side of an image; of vectors every coordinate is one.
      width: of the head's hidden layer.
    """

    objective: str = "contrastive"
    weight: float = 0.1
    temperature: float = 0.2
    hidden: float = 0.5
    patches: int = 4
    width: int = 64

    def __post_init__(self):
        choose("representation objective", self.objective, OBJECTIVES)
        if not (self.weight > 0 and self.temperature > 0):
            raise UserError(
                f"representation weight is {self.weight} and temperature {self.temperature}: both must be positive"
            )
        if not 0 < self.hidden < 1:
            raise UserError(f"representation hidden is {self.hidden}: it must lie between 0 and 1")
        if self.patches < 2 or self.width < 1:
            raise UserError(
                f"representation needs at least 2 patches a side and a width of 1, not {self.patches} and {self.width}"
            )
