"""The optimiser of every stage, composed with optax."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tgdp_jax.errors import UserError
from tgdp_jax.train.settings import OptimiserConfig as OptimiserConfig
from tgdp_jax.train.settings import OwnOptimiser


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


class Course(NamedTuple):
    """How far and how fast a training goes. As arrays they may be others without compiling anew."""

    learning_rate: Any
    steps: Any
    warmup: Any

    def shortened(self, steps: Any) -> Course:
        """The same for so many steps, with a warm-up that ends within them."""
        return self._replace(steps=steps, warmup=jnp.minimum(self.warmup, steps - 1))

    def rate(self, step: Any, schedule: str) -> jax.Array:
        """Learning rate at a step. optax has these schedules too, of lengths that can not be arrays."""
        peak = jnp.asarray(self.learning_rate, jnp.float32)
        late = peak
        if schedule == "cosine":
            passed = jnp.minimum(step - self.warmup, self.steps - self.warmup)
            late = peak * (0.5 * (1.0 + jnp.cos(math.pi * passed / (self.steps - self.warmup))))
        return jnp.where(step < self.warmup, peak * step / jnp.maximum(self.warmup, 1), late)


def course(config: OptimiserConfig) -> Course:
    """What of an optimiser's settings a program takes as arrays."""
    return Course(config.learning_rate, config.steps, config.warmup)


def form(config: OptimiserConfig) -> OptimiserConfig:
    """What of an optimiser's settings a program is compiled for; the rest has a value of no meaning."""
    rest = {"batch_size": config.parts, "steps_per_launch": 1, "patience": 0, "validation_rows": 1}
    return dataclasses.replace(config, learning_rate=1.0, steps=1, warmup=0, **rest)


def _scaled(kind: str, b1: float, b2: float) -> optax.GradientTransformation:
    """What makes a step of unit rate of a gradient."""
    match kind:
        case "adam":
            return optax.scale_by_adam(b1, b2)
        case "lion":
            return optax.scale_by_lion()
        case "adafactor":
            return optax.scale_by_factored_rms()
        case "sgd":
            return optax.identity()
        case unknown:
            raise AssertionError(f"optimiser {unknown!r} has no transformation")


def make_optimiser(
    config: OptimiserConfig,
    along: Course | None = None,
    *,
    weight_decay: jax.Array | None = None,
    b1: float = 0.9,
    b2: float = 0.999,
) -> optax.GradientTransformation:
    """clip -> Adam, or what the settings name -> decoupled weight decay -> learning rate.

    Args:
      config: settings.
      along: overrides the configured learning rate and lengths; may be traced.
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
    else:
        rate = functools.partial((along or course(config)).rate, schedule=config.schedule)
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        _scaled(config.kind, b1, b2),
        decayed,
        optax.scale_by_learning_rate(rate),
    )
