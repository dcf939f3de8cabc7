"""The optimiser of every stage, composed with optax."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import optax

from tgdp_jax.errors import UserError, choose

SCHEDULES = ("constant", "cosine")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """Adam(W) with clipping, a learning-rate schedule, weight averaging and early stopping.

    Attributes:
      steps: optimiser steps at the most.
      batch_size: rows a step.
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
        for name in ("steps", "batch_size", "learning_rate", "clip_norm", "steps_per_launch", "validation_rows"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("weight_decay", "patience"):
            if not getattr(self, name) >= 0:
                raise UserError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.warmup < self.steps:
            raise UserError(f"warmup must lie in 0..{self.steps - 1}, below the steps, got {self.warmup}")
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


def as_config(given: Any, default: OptimiserConfig) -> OptimiserConfig:
    """An optimiser's settings as they are, or those of `default` with an optax optimiser in the place of Adam.

    Raises:
      UserError: neither.
    """
    if isinstance(given, OptimiserConfig):
        return given
    if isinstance(given, optax.GradientTransformation):
        return default.using(given)
    raise UserError(f"optimiser is {given!r}: give an OptimiserConfig or an optax optimiser such as optax.sgd(0.1)")


def make_optimiser(
    config: OptimiserConfig, *, weight_decay: jax.Array | None = None, b1: float = 0.9, b2: float = 0.999
) -> optax.GradientTransformation:
    """clip -> Adam -> decoupled weight decay -> learning rate.

    Args:
      config: settings.
      weight_decay: overrides the configured one; may be traced, so that the members of an ensemble differ in it.
      b1: Adam's decay of the gradients' average.
      b2: Adam's decay of the squared gradients' average.
    """
    decay = config.weight_decay if weight_decay is None else weight_decay
    decayed = optax.add_decayed_weights(decay, mask=lambda tree: jax.tree.map(lambda leaf: leaf.ndim > 1, tree))
    own = config if isinstance(config, OwnOptimiser) else None
    if own is not None and own.transform is not None:
        without = weight_decay is None and not config.weight_decay
        return own.transform if without else optax.chain(decayed, own.transform)
    if own is not None and own.rate is not None:
        rate = own.rate
    elif config.schedule == "cosine":
        rate = optax.warmup_cosine_decay_schedule(
            0.0 if config.warmup else config.learning_rate, config.learning_rate, config.warmup, config.steps
        )
    else:
        rate = optax.linear_schedule(
            0.0 if config.warmup else config.learning_rate, config.learning_rate, max(config.warmup, 1)
        )
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.scale_by_adam(b1, b2),
        decayed,
        optax.scale_by_learning_rate(rate),
    )
