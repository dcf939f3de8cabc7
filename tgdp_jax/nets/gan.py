"""Generators and discriminators, for rows and for images.

A generator takes (z [B, latent], cond) to rows [B, *D] of the data's scale, a discriminator (x [B, *D], cond) to
logits [B]. `cond` is None or integer labels [B]: the generator sees them beside z (Mirza & Osindero 2014), the
discriminator by projection, D(x, y) = w . phi(x) + v_y . phi(x) (Miyato & Koyama 2018).

No layer looks beyond its row: batch norm would make a sample depend on the others, and the penalties on a
discriminator's slope at a row are meant for functions of that row alone (Gulrajani et al. 2017, section 4).

Layers of a discriminator are named `layer_0`, `layer_1`, ... from the data on; `num_layers` counts them, so that the
early ones can be kept from training (FreezeD, Mo et al. 2020).
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from tgdp_jax.nets.blocks import ResnetBlock, double
from tgdp_jax.nets.conv import Conv
from tgdp_jax.nets.embedding import label_features
from tgdp_jax.nets.mlp import MLP, silu
from tgdp_jax.nets.norm import GroupNorm

GROUP = 8  # channels that share a group norm
LAYER = "layer_{}"


def _inner(dtype: Any) -> Any:
    # None: of the type of inputs and parameters.
    return None if dtype == jnp.float32 else dtype


class _Logit(nn.Module):
    """Logits [B] of features [B, F] and labels."""

    num_classes: int

    @nn.compact
    def __call__(self, h: Array, cond: Array | None) -> Array:
        h = h.astype(jnp.float32)
        logit = nn.Dense(1, name="common")(h)[:, 0]
        for one_hot in label_features(cond, self.num_classes):
            logit += jnp.sum(one_hot * nn.Dense(self.num_classes, use_bias=False, name="of_class")(h), -1)
        return logit


class GeneratorMLP(nn.Module):
    """Rows [B, *shape] from (z [B, latent], cond).

    Attributes:
      shape: of a row.
      latent: numbers in z.
      features: widths of the hidden layers.
      num_classes: 0 for unconditional; else cond must be labels in [0, num_classes).
      data_std: standard deviation of the data.
      dtype: what the hidden layers compute in; the first, the last and parameters are float32.
    """

    shape: tuple[int, ...]
    latent: int
    features: tuple[int, ...] = (128, 128, 128)
    num_classes: int = 0
    data_std: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Array, cond: Array | None = None) -> Array:
        inputs = jnp.concatenate([z, *label_features(cond, self.num_classes)], -1)
        flat = MLP(self.features, math.prod(self.shape), dtype=self.dtype)(inputs)
        return self.data_std * flat.reshape(-1, *self.shape)


class DiscriminatorMLP(nn.Module):
    """Logits [B] of rows (x [B, *D], cond).

    Attributes: as `GeneratorMLP`.
    """

    features: tuple[int, ...] = (128, 128, 128)
    num_classes: int = 0
    data_std: float = 1.0
    dtype: Any = jnp.float32

    @property
    def num_layers(self) -> int:
        """Layers before the logit."""
        return len(self.features)

    @nn.compact
    def __call__(self, x: Array, cond: Array | None = None) -> Array:
        h = x.reshape(x.shape[0], -1) / self.data_std
        for i, width in enumerate(self.features):
            h = nn.Dense(width, dtype=_inner(self.dtype) if i else None, name=LAYER.format(i))(h)
            h = silu(h if _inner(self.dtype) is None else h.astype(self.dtype))
        return _Logit(self.num_classes, name="logit")(h, cond)


class GeneratorConv(nn.Module):
    """Images [B, H, W, C] from (z [B, latent], cond): residual blocks, each after the first at twice the resolution.

    Attributes:
      shape: (H, W, C); sides that halvings do not divide are made larger and cut off.
      latent: numbers in z.
      channels: of every level, from the finest.
      num_classes, data_std, dtype: as of `GeneratorMLP`.
    """

    shape: tuple[int, ...]
    latent: int
    channels: tuple[int, ...] = (16, 32)
    num_classes: int = 0
    data_std: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Array, cond: Array | None = None) -> Array:
        inner = _inner(self.dtype)
        height, width, colours = self.shape
        share = 2 ** (len(self.channels) - 1)
        coarsest = -(-height // share), -(-width // share), self.channels[-1]
        inputs = jnp.concatenate([z, *label_features(cond, self.num_classes)], -1)
        h = nn.Dense(math.prod(coarsest))(inputs).reshape(-1, *coarsest)
        h = h if inner is None else h.astype(inner)
        for level, channels in enumerate(reversed(self.channels)):
            h = ResnetBlock(channels, _groups(h, channels), dtype=inner)(double(h) if level else h)
        h = h[:, :height, :width].astype(jnp.float32)
        h = nn.silu(GroupNorm(_groups(h), 1e-5)(h))
        return self.data_std * Conv(colours)(h)


def _groups(h: Array, *others: int) -> int:
    """Groups of `GROUP` channels where they fit h [..., C] and the other counts."""
    common = math.gcd(h.shape[-1], *others)
    return common // math.gcd(common, GROUP)


class _Level(nn.Module):
    """Two convolutions and half the resolution, [B, H, W, C] -> [B, ceil(H / 2), ceil(W / 2), features]."""

    features: int
    halve: bool
    dtype: Any = None

    @nn.compact
    def __call__(self, h: Array) -> Array:
        for _ in range(2):
            # Without norms the scale is kept by the weights.
            h = silu(Conv(self.features, dtype=self.dtype, kernel_init=nn.initializers.he_normal())(h))
        if self.halve:
            h = nn.avg_pool(h, (2, 2), (2, 2), padding="SAME", count_include_pad=False)
        return h


class DiscriminatorConv(nn.Module):
    """Logits [B] of images (x [B, H, W, C], cond).

    Attributes:
      channels: of every level, from the finest; a level is one layer.
      num_classes, data_std, dtype: as of `GeneratorMLP`.
    """

    channels: tuple[int, ...] = (16, 32)
    num_classes: int = 0
    data_std: float = 1.0
    dtype: Any = jnp.float32

    @property
    def num_layers(self) -> int:
        """Layers before the logit."""
        return len(self.channels)

    @nn.compact
    def __call__(self, x: Array, cond: Array | None = None) -> Array:
        inner = _inner(self.dtype)
        h = x / self.data_std
        h = h if inner is None else h.astype(inner)
        for level, channels in enumerate(self.channels):
            halve = level < len(self.channels) - 1
            h = _Level(channels, halve, inner, name=LAYER.format(level))(h)
        return _Logit(self.num_classes, name="logit")(h.reshape(h.shape[0], -1), cond)
