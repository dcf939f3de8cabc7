"""Augmentation of batches on the device: small shifts, and mirror images where left and right do not matter."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from tgdp_jax.data.augmentations import AUGMENTATIONS
from tgdp_jax.errors import UserError, named_or_own

Array = jax.Array
Augmentation = Callable[[Array, Array], Array]  # (key, x [B, *D]) -> [B, *D]


def augment(key: Array, x: Array, *, kind: str | Augmentation) -> Array:
    """Rows x [B, *D], each changed at random in a way that leaves it a row of the same data.

    Args:
      key: typed PRNG key.
      x: rows.
      kind: "none"; "shift", of images [H, W, C] or series [L, C] by up to a pixel in every 8; "shift_flip", of images
        that are mirrored as well with probability 1/2 (not for digits or writing); or a function (key, x) -> x.

    Raises:
      UserError: `kind` is unknown, not for such rows, or does not return rows of their shape.
    """
    out = named_or_own("augmentation", kind, AUGMENTATIONS, "(key, x)")(key, x)
    if jnp.shape(out) != x.shape:
        raise UserError(f"an augmentation of rows {x.shape} returned {jnp.shape(out)}: it must keep their shape")
    return out


def unchanged(key: Array, x: Array) -> Array:
    """The rows as they are."""
    return x


def _shifted(key: Array, x: Array, *, flip: bool) -> Array:
    """Row i depends on (key, i, x[i]) alone. Values at the border are repeated into what a shift uncovers, so that none
    appears that the row does not have."""
    if x.ndim != 4 and (x.ndim != 3 or flip):
        name, fit = ("shift_flip", "images [H, W, C]") if flip else ("shift", "images [H, W, C] or series [L, C]")
        raise UserError(f"augmentation {name!r} is for {fit} but a row has shape {x.shape[1:]}: use none")
    pad = [(size // 8, size // 8) for size in x.shape[1:-1]]
    most = jnp.array([*(before for before, _ in pad), 0])

    def one(row: Array, image: Array) -> Array:
        shift_key, flip_key = jax.random.split(jax.random.fold_in(key, row))
        start = jax.random.randint(shift_key, most.shape, 0, 2 * most + 1)
        out = jax.lax.dynamic_slice(jnp.pad(image, [*pad, (0, 0)], mode="edge"), start, image.shape)
        if flip:
            out = jnp.where(jax.random.bernoulli(flip_key), out[:, ::-1], out)
        return out

    return jax.vmap(one)(jnp.arange(x.shape[0]), x)


shift: Augmentation = partial(_shifted, flip=False)
shift_flip: Augmentation = partial(_shifted, flip=True)
