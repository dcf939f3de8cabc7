"""What the layers of a denoising network see: the representation that a diffusion model learns on the way.

A network tells of its layers by sowing a dict of them, name to [B, ..., C] in the order of computation, into Linen's
collection "intermediates" under the name `LAYERS`. That costs nothing where nobody asks.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from tgdp_jax.errors import UserError

Array = jax.Array
LAYERS = "layers"


def with_layers(net: Any, params: Any, x: Array, t: Array, cond: Any = None) -> tuple[Array, dict[str, Array]]:
    """(what the network predicts [B, *D], its layers by name) in one pass.

    Raises:
      UserError: the network does not tell of its layers.
    """
    out, state = net.apply(params, x, t, cond, mutable="intermediates")
    found = _layers(state.get("intermediates", {}))
    if not found:
        raise UserError(
            f"network {type(net).__name__} does not show its layers: use an mlp, unet or dit, or sow them "
            "as nets.layers says"
        )
    return out, found


def _layers(tree: Any) -> dict[str, Array]:
    for name, part in tree.items():
        found = part[0] if name == LAYERS else _layers(part) if isinstance(part, dict) else {}
        if found:
            return found
    return {}


def middle(layers: dict[str, Array]) -> Array:
    """The layer halfway through the network, [B, ..., C]: a U-Net's middle, half of the others' depth."""
    return list(layers.values())[(len(layers) - 1) // 2]


def pooled(h: Array) -> Array:
    """Mean and largest value over all places, [B, 2 C] float32, of h [B, ..., C]; h itself where it is [B, C]."""
    h = h.astype(jnp.float32)
    if h.ndim == 2:
        return h
    h = h.reshape(h.shape[0], -1, h.shape[-1])
    return jnp.concatenate([h.mean(1), largest(h)], -1)


def largest(h: Array) -> Array:
    """Largest value over the places, [B, C], of h [B, N, C].

    Picked by its index: the gradient of `max` divides by the number of values that equal the maximum, which is zero
    where the compiler computes them twice and rounds differently, and the gradient then NaN.
    """
    place = jnp.argmax(h, 1, keepdims=True)
    return jnp.where(jnp.arange(h.shape[1])[:, None] == place, h, 0.0).sum(1)
