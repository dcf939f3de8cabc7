"""What trainings can be told by name; looking names up imports no training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tgdp_jax.runtime.lazy import Registry

if TYPE_CHECKING:
    from jax import Array

    from tgdp_jax.sde import SDE

SCHEDULES = ("constant", "cosine")
OPTIMISERS = ("adam", "lion", "adafactor", "sgd")
# Self-supervised, see `train.representation`.
OBJECTIVES = ("contrastive", "masked")

# (x_t [B, *D], t [B], sde, data_std) -> positive weights of the squared error, [B, *D] or [B, 1...]; None: all alike.
WEIGHTINGS: Mapping[str, Callable[[Array, Array, SDE, Any], Array | None]] = Registry(
    {
        "eps": "tgdp_jax.train.denoising:even_weight",
        "edm": "tgdp_jax.nets.precondition:residual_weight",
    }
)


class Regulariser(NamedTuple):
    """One candidate: decoupled weight decay, mixup's Beta parameter, input noise (in units of the data's scale)."""

    weight_decay: float = 0.0
    mixup: float = 0.0
    noise: float = 0.0


REGULARISERS: dict[str, Regulariser] = {
    "weight_decay": Regulariser(weight_decay=1.0),
    "mixup": Regulariser(weight_decay=0.1, mixup=0.2),
    "noise_0.2": Regulariser(weight_decay=0.1, noise=0.2),
    "noise_0.3": Regulariser(weight_decay=0.1, noise=0.3),
    "noise_0.5": Regulariser(weight_decay=0.1, noise=0.5),
    "noise_0.8": Regulariser(weight_decay=0.1, noise=0.8),
    "weight_decay_noise": Regulariser(weight_decay=3.0, noise=0.3),
}
