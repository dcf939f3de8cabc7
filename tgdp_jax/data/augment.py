"""Augmentation of batches on the device: small shifts, and mirror images where left and right do not matter."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from tgdp_jax.errors import UserError, choose

Array = jax.Array
AUGMENTATIONS = ("none", "shift", "shift_flip")


def augment(key: Array, x: Array, *, kind: str) -> Array:
    """Images x [B, H, W, C], each shifted at random by up to a pixel in every 8, also mirrored with probability 1/2;
    or series x [B, L, C], shifted likewise.

    Row i depends on (key, i, x[i]) alone. Values at the border are repeated into what a shift uncovers, so that none
    appears that the row does not have.

    Args:
      key: typed PRNG key.
      x: images or series.
      kind: "none", "shift", or "shift_flip" to mirror as well (not for digits or writing, nor for series).

    Raises:
      UserError: `kind` is unknown, or not for such rows.
    """
    choose("augmentation", kind, AUGMENTATIONS)
    if kind == "none":
        return x
    if x.ndim != 4 and (x.ndim != 3 or kind != "shift"):
        fit = "images [H, W, C]" + (" or series [L, C]" if kind == "shift" else "")
        raise UserError(f"augmentation {kind!r} is for {fit} but a row has shape {x.shape[1:]}: use none")
    pad = [(size // 8, size // 8) for size in x.shape[1:-1]]
    most = jnp.array([*(before for before, _ in pad), 0])

    def one(row: Array, image: Array) -> Array:
        shift_key, flip_key = jax.random.split(jax.random.fold_in(key, row))
        start = jax.random.randint(shift_key, most.shape, 0, 2 * most + 1)
        out = jax.lax.dynamic_slice(jnp.pad(image, [*pad, (0, 0)], mode="edge"), start, image.shape)
        if kind == "shift_flip":
            out = jnp.where(jax.random.bernoulli(flip_key), out[:, ::-1], out)
        return out

    return jax.vmap(one)(jnp.arange(x.shape[0]), x)
