"""Augmentations by name; looking names up imports none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tgdp_jax.runtime.lazy import Registry

if TYPE_CHECKING:
    from jax import Array

# (key, x [B, *D]) -> [B, *D].
AUGMENTATIONS: Mapping[str, Callable[[Array, Array], Array]] = Registry(
    {
        "none": "tgdp_jax.data.augment:unchanged",
        "shift": "tgdp_jax.data.augment:shift",
        "shift_flip": "tgdp_jax.data.augment:shift_flip",
    }
)
