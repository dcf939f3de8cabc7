"""Transformers on the places of an image that also look at a text, as diffusers' `Transformer2DModel` has them.

Names of parameters are diffusers' own, see `blocks`.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tgdp_jax.errors import UserError
from tgdp_jax.nets.attention import attend_in_parts
from tgdp_jax.nets.conv import Conv
from tgdp_jax.nets.norm import GroupNorm

Array = jax.Array


class Attention(nn.Module):
    """Attention of tokens [B, N, C] to a context [B, M, D], or to themselves where there is none; [B, N, C].

    Attributes:
      heads: how many; they must divide C.
      bias: whether queries, keys and values have one.
      upcast: whether it is computed in float32, whatever the other layers compute in.
      dtype: of the computation; the softmax is float32.
    """

    heads: int
    bias: bool = False
    upcast: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, h: Array, context: Array | None = None) -> Array:
        channels = h.shape[-1]
        if channels % self.heads:
            raise UserError(f"{self.heads} attention heads do not fit {channels} channels: choose a divisor of them")
        query, key, value = (
            nn.Dense(channels, self.bias, dtype=self.dtype, name=name)(source)
            for name, source in (("to_q", h), *((name, h if context is None else context) for name in ("to_k", "to_v")))
        )
        parts = (z.reshape(*z.shape[:2], self.heads, -1) for z in (query, key, value))
        if self.upcast:
            parts = (z.astype(jnp.float32) for z in parts)
        out = attend_in_parts(*parts).astype(query.dtype).reshape(query.shape)
        return nn.Dense(channels, dtype=self.dtype, name="to_out_0")(out)


class GatedProjection(nn.Module):
    """A dense layer gated by another, a GELU(b) (Shazeer 2020), [..., C] -> [..., features]."""

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, h: Array) -> Array:
        h, gate = jnp.split(nn.Dense(2 * self.features, dtype=self.dtype, name="proj")(h), 2, -1)
        return h * nn.gelu(gate, approximate=False)


class SmoothProjection(nn.Module):
    """A dense layer and GELU in its approximation by tanh, [..., C] -> [..., features]."""

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, h: Array) -> Array:
        return nn.gelu(nn.Dense(self.features, dtype=self.dtype, name="proj")(h), approximate=True)


class FeedForward(nn.Module):
    """Two layers of four times the width, the first one gated or not; [..., C] -> the same."""

    gated: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, h: Array) -> Array:
        first = GatedProjection if self.gated else SmoothProjection
        z = first(4 * h.shape[-1], self.dtype, name="net_0")(h)
        return nn.Dense(h.shape[-1], dtype=self.dtype, name="net_2")(z)


class TransformerBlock(nn.Module):
    """Attention to the image, to the text, and a feed-forward layer, each behind its norm; tokens [B, N, C].

    Attributes:
      heads: of both attentions.
      own: whether the first attention looks at the image; else it looks at the text as well.
      upcast: see `Attention`.
      dtype: of the computation; the norms' statistics are float32.
    """

    heads: int
    own: bool = True
    upcast: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, h: Array, text: Array) -> Array:
        def attention(name: str) -> Attention:
            return Attention(self.heads, upcast=self.upcast, dtype=self.dtype, name=name)

        def norm(name: str) -> nn.LayerNorm:
            return nn.LayerNorm(1e-5, dtype=self.dtype, use_fast_variance=False, name=name)

        h = h + attention("attn1")(norm("norm1")(h), None if self.own else text)
        h = h + attention("attn2")(norm("norm2")(h), text)
        return h + FeedForward(dtype=self.dtype, name="ff")(norm("norm3")(h))


class TextTransformer(nn.Module):
    """Transformer blocks on the places of an image [B, H, W, C], with a residual around them.

    The output layer starts at zero: a fresh layer is the identity.

    Attributes:
      depth: blocks.
      groups: of the group norm before them.
      linear: whether tokens are made by dense layers, and not by convolutions of one pixel: the same function with
        weights of another shape.
      heads, own, upcast, dtype: of the blocks.
    """

    depth: int
    groups: int
    heads: int
    linear: bool = False
    own: bool = True
    upcast: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, text: Array) -> Array:
        channels = x.shape[-1]

        def projection(h: Array, name: str, init: Any) -> Array:
            if self.linear:
                return nn.Dense(channels, dtype=self.dtype, kernel_init=init, name=name)(h)
            return Conv(channels, size=1, dtype=self.dtype, kernel_init=init, name=name)(h)

        h = GroupNorm(self.groups, 1e-6, dtype=self.dtype, name="norm")(x)
        h = projection(h, "proj_in", nn.initializers.lecun_normal())
        h = h.reshape(len(x), -1, channels)
        for i in range(self.depth):
            h = TransformerBlock(self.heads, self.own, self.upcast, self.dtype, name=f"transformer_blocks_{i}")(h, text)
        return x + projection(h.reshape(x.shape), "proj_out", nn.initializers.zeros)
