"""Building blocks of convolutional networks on images [B, H, W, C], as diffusers' `UNet2DModel` has them.

Names of parameters are diffusers' own, so that its weights are carried over by renaming alone (`interop`). Every block
takes `dtype`, what its layers compute in (None: the type of inputs and parameters); parameters and the statistics of
group norms are float32.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tgdp_jax.errors import UserError
from tgdp_jax.nets.attention import attend
from tgdp_jax.nets.conv import Conv
from tgdp_jax.nets.norm import GroupNorm

Array = jax.Array
TIME_NORMS = ("default", "scale_shift")
# By diffusers' names.
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "silu": nn.silu,
    "swish": nn.silu,
    "mish": jax.nn.mish,
    "gelu": functools.partial(nn.gelu, approximate=False),
    "relu": nn.relu,
}


def double(h: Array) -> Array:
    """Nearest-neighbour upsampling [B, H, W, C] -> [B, 2 H, 2 W, C]."""
    return jnp.repeat(jnp.repeat(h, 2, axis=1), 2, axis=2)


class ResnetBlock(nn.Module):
    """Residual block of two convolutions, [B, H, W, C] -> [B, H', W', features] (He et al. 2016; Ho et al. 2020).

    The second convolution starts at zero, so that a fresh block is its shortcut.

    Attributes:
      features: channels that come out.
      groups: of both group norms; must divide the channels.
      eps: added to their variances.
      time_norm: how an embedding of the time enters: "default" adds it between the convolutions, "scale_shift" scales
        and shifts the second norm's output.
      resample: "none", "down" (half the resolution, by averages) or "up" (twice, by nearest neighbours).
      dtype: of the computation.
      act: the activation, a name in `ACTIVATIONS`.
    """

    features: int
    groups: int
    eps: float = 1e-5
    time_norm: str = "default"
    resample: str = "none"
    dtype: Any = None
    act: str = "silu"

    @nn.compact
    def __call__(self, x: Array, embedded: Array | None = None) -> Array:
        """`embedded` [B, F] is what is known of time and label, before its activation; None: nothing."""
        act = ACTIVATIONS[self.act]
        h = act(GroupNorm(self.groups, self.eps, dtype=self.dtype, name="norm1")(x))
        if self.resample == "down":
            x, h = (nn.avg_pool(z, (2, 2), (2, 2)) for z in (x, h))
        elif self.resample == "up":
            x, h = double(x), double(h)
        h = Conv(self.features, dtype=self.dtype, name="conv1")(h)
        norm2 = GroupNorm(self.groups, self.eps, dtype=self.dtype, name="norm2")
        if embedded is None:
            h = norm2(h)
        elif self.time_norm == "default":
            h = norm2(h + self._time(embedded, self.features))
        else:
            scale, shift = jnp.split(self._time(embedded, 2 * self.features), 2, -1)
            h = norm2(h) * (1.0 + scale) + shift
        zeros = nn.initializers.zeros
        h = Conv(self.features, dtype=self.dtype, kernel_init=zeros, name="conv2")(act(h))
        if x.shape[-1] != self.features:
            x = Conv(self.features, size=1, dtype=self.dtype, name="conv_shortcut")(x)
        return x + h

    def _time(self, embedded: Array, features: int) -> Array:
        embedded = ACTIVATIONS[self.act](embedded)
        return nn.Dense(features, dtype=self.dtype, name="time_emb_proj")(embedded)[:, None, None]


class SelfAttention(nn.Module):
    """Self-attention over the H * W places of an image, with its residual; [B, H, W, C] -> the same.

    The output layer starts at zero: a fresh layer is the identity.

    Attributes:
      head_dim: channels of a head; must divide C. None: one head.
      groups: of the group norm before it; None: no norm.
      eps: added to its variance.
      dtype: of the computation; the softmax is float32.
    """

    head_dim: int | None = None
    groups: int | None = None
    eps: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        batch, height, width, channels = x.shape
        head_dim = channels if self.head_dim is None else self.head_dim
        if channels % head_dim:
            raise UserError(f"attention heads of {head_dim} channels do not fit {channels}: choose a divisor of them")
        h = x if self.groups is None else GroupNorm(self.groups, self.eps, dtype=self.dtype, name="group_norm")(x)
        h = h.reshape(batch, height * width, channels)
        query, key, value = (
            nn.Dense(channels, dtype=self.dtype, name=name)(h).reshape(batch, height * width, -1, head_dim)
            for name in ("to_q", "to_k", "to_v")
        )
        h = attend(query, key, value).reshape(batch, height, width, channels)
        return x + nn.Dense(channels, dtype=self.dtype, kernel_init=nn.initializers.zeros, name="to_out_0")(h)


class Downsample(nn.Module):
    """Convolution with stride two, [B, H, W, C] -> [B, H / 2, W / 2, C].

    Attributes:
      padding: 1 pads every side by one; 0 pads right and bottom only, as the first DDPM code did.
      dtype: of the computation.
    """

    padding: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        sides = ((self.padding, 1), (self.padding, 1))
        return Conv(x.shape[-1], stride=2, padding=sides, dtype=self.dtype, name="conv")(x)


class Upsample(nn.Module):
    """Nearest neighbours and a convolution, [B, H, W, C] -> [B, 2 H, 2 W, C]."""

    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return Conv(x.shape[-1], dtype=self.dtype, name="conv")(double(x))
