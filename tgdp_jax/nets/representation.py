"""What a self-supervised objective puts on a denoising network while it trains, and takes away afterwards.

Both stand on the network's middle layer, so that what they ask for has to be known halfway.
"""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from tgdp_jax.nets.layers import pooled
from tgdp_jax.nets.mlp import MLP

Array = jax.Array


class ProjectionHead(nn.Module):
    """Features [B, out] for a contrastive loss from a layer [B, ..., C] (Chen et al. 2020, section 2).

    Attributes:
      width: of the hidden layer.
      out: features.
    """

    width: int
    out: int = 32

    @nn.compact
    def __call__(self, h: Array) -> Array:
        return MLP((self.width,), self.out)(nn.LayerNorm()(pooled(h)))


class MaskedDecoder(nn.Module):
    """Puts a learned value in the place of what is hidden, and predicts it from a layer (He et al. 2022).

    Attributes:
      shape: *D of a row, channels last.
      width: of the hidden layer.
    """

    shape: tuple[int, ...]
    width: int

    def setup(self):
        self.token = self.param("token", nn.initializers.zeros, self.shape[-1:])

    def hide(self, x: Array, hidden: Array) -> Array:
        """x [B, *D] with the token, one number a channel (or coordinate), where `hidden` is true."""
        return jnp.where(hidden, self.token, x)

    @nn.compact
    def __call__(self, h: Array) -> Array:
        """Clean rows [B, *D] from a layer h [B, *places, C]: every place predicts the part of the row it stands for.

        Where places do not divide the row all of it is predicted at once.
        """
        h = h.astype(jnp.float32)
        places, sides = h.shape[1:-1], self.shape[:-1]
        if len(places) != len(sides) or any(side % place for side, place in zip(sides, places, strict=True)):
            return MLP((self.width,), math.prod(self.shape))(h.reshape(len(h), -1)).reshape(-1, *self.shape)
        parts = tuple(side // place for side, place in zip(sides, places, strict=True))
        out = MLP((self.width,), math.prod(parts) * self.shape[-1])(nn.LayerNorm()(h))
        out = out.reshape(len(h), *places, *parts, self.shape[-1])
        order = [axis for i in range(len(places)) for axis in (1 + i, 1 + i + len(places))]
        return out.transpose(0, *order, out.ndim - 1).reshape(-1, *self.shape)
