"""Residual network for series of xresnet1d type (He et al. 2019, "Bag of tricks"; Strodthoff et al. 2021 for ECG).

A stem of three convolutions instead of one wide, shortcuts that average before they project, residual branches that
start at zero. Group norms in the place of batch norms: no row looks at another.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tgdp_jax.nets.conv import Conv
from tgdp_jax.nets.norm import GroupNorm

Array = jax.Array
WINDOW = 5, 1  # places of a convolution
GROUP = 8  # channels that share a group norm


class XResNet1d(nn.Module):
    """Feature map [B, l, 1, channels[-1]] of series x [B, L, C]; l is about L / 2^(1 + stages).

    Attributes:
      channels: widths of the stages, of which each after the first halves the length.
      blocks: residual blocks a stage.
      dtype: what the layers compute in; the first layer and norms are float32.
    """

    channels: tuple[int, ...]
    blocks: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, known: Array | None = None) -> Array:
        """`known` [B, F], where given, shifts and scales the channels of every block (FiLM, Perez et al. 2018)."""
        inner = None if self.dtype == jnp.float32 else self.dtype
        h = x[:, :, None]
        for i in range(3):
            h = Conv(self.channels[0], WINDOW, (2, 1) if i == 0 else 1, dtype=inner if i else None)(h)
            h = nn.relu(self._norm(h))
        h = _largest_of_two(h)
        for stage, width in enumerate(self.channels):
            for block in range(self.blocks):
                h = self._block(h, width, known, inner, halve=stage > 0 and block == 0)
        return h

    def _block(self, h: Array, width: int, known: Array | None, inner: Any, *, halve: bool) -> Array:
        branch = nn.relu(self._norm(Conv(width, WINDOW, (2, 1) if halve else 1, dtype=inner)(h)))
        branch = self._norm(Conv(width, WINDOW, dtype=inner)(branch), zero=True)
        if known is not None:
            shift, scale = jnp.split(nn.Dense(2 * width)(known)[:, None, None], 2, -1)
            branch = (1.0 + scale) * branch + shift
        if halve:
            h = nn.avg_pool(h, (2, 1), (2, 1), padding="SAME", count_include_pad=False)
        if h.shape[-1] != width:
            h = self._norm(Conv(width, 1, dtype=inner)(h))
        return nn.relu(h + branch).astype(self.dtype)

    def _norm(self, h: Array, *, zero: bool = False) -> Array:
        start = nn.initializers.zeros if zero else nn.initializers.ones
        groups = h.shape[-1] // math.gcd(GROUP, h.shape[-1])
        return GroupNorm(groups, scale_init=start)(h.astype(jnp.float32)).astype(self.dtype)


def _largest_of_two(h: Array) -> Array:
    """[B, L, 1, C] -> [B, ceil(L / 2), 1, C]: pooling by reshaping, whose gradient is fast on CPU."""
    h = jnp.pad(h, ((0, 0), (0, h.shape[1] % 2), (0, 0), (0, 0)), mode="edge")
    pairs = h.reshape(h.shape[0], -1, 2, *h.shape[2:])
    first, second = pairs[:, :, 0], pairs[:, :, 1]
    return jnp.where(first >= second, first, second)  # see `layers.largest`
