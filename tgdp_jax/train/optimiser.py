"""The optimiser of every stage, composed with optax."""

from __future__ import annotations

from typing import Any

import jax
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
