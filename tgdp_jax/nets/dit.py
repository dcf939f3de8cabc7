"""Diffusion transformer (Peebles & Xie 2023): patches as tokens, time and label through adaLN-zero.

Every block computes h + gate * layer((1 + scale) * norm(h) + shift), with shift, scale and gate linear in the
embedding of (t, label) and zero at the start, so that the network starts as the identity on tokens and, with its output
layer at zero, as the preconditioning alone.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.errors import UserError
from tgdp_jax.nets.attention import linen_attend
from tgdp_jax.nets.conv import Conv
from tgdp_jax.nets.embedding import TimeFeatures, TokenEmbedding, label_features
from tgdp_jax.nets.layers import LAYERS
from tgdp_jax.nets.mlp import silu
from tgdp_jax.nets.precondition import noise_of_residual, scaled_input
from tgdp_jax.nets.registry import DenoiserSpec
from tgdp_jax.sde import SDE

Array = jax.Array


def position_features(height: int, width: int, dim: int, side: int | None = None) -> np.ndarray:
    """Sines and cosines of row and column, [height * width, dim]; dim a multiple of four.

    Rows and columns are counted from zero, or stretched to as many as `side`, where that is given.
    """
    rates = 10_000.0 ** (-np.arange(dim // 4) / (dim // 4))
    places = np.mgrid[:height, :width].reshape(2, -1, 1)
    if side is not None:
        places = places * (side / np.array([height, width]).reshape(2, 1, 1))
    rows, columns = places * rates
    return np.concatenate([np.sin(rows), np.cos(rows), np.sin(columns), np.cos(columns)], -1).astype(np.float32)


class Block(nn.Module):
    """Self-attention and a two-layer network, both modulated by `known` [B, F]; tokens [B, N, width]."""

    heads: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, h: Array, known: Array) -> Array:
        inner = None if self.dtype == jnp.float32 else self.dtype
        width = h.shape[-1]
        changes = nn.Dense(6 * width, kernel_init=nn.initializers.zeros)(silu(known))[:, None]
        shift1, scale1, gate1, shift2, scale2, gate2 = jnp.split(changes, 6, -1)

        def modulated(shift: Array, scale: Array) -> Array:
            return ((1.0 + scale) * nn.LayerNorm(use_scale=False, use_bias=False)(h) + shift).astype(self.dtype)

        attention = nn.MultiHeadDotProductAttention(self.heads, dtype=inner, attention_fn=linen_attend)
        h = h + gate1 * attention(modulated(shift1, scale1))
        z = silu(nn.Dense(4 * width, dtype=inner)(modulated(shift2, scale2)))
        return h + gate2 * nn.Dense(width, dtype=inner)(z)


class EpsDiT(nn.Module):
    """Noise prediction [B, H, W, C].

    Attributes:
      sde: forward process.
      patch: side of a patch; must divide height and width.
      width: of a token, a multiple of four.
      depth: blocks.
      heads: attention heads; must divide `width`.
      num_classes: 0 for unconditional; else cond must be labels in [0, num_classes]; the largest means "no label".
      data_std: standard deviation of the data.
      dtype: what blocks compute in; parameters, norms, modulation, first and last layer are float32.
      remat: recompute blocks in the backward pass instead of keeping what they computed.
      new_token: whether there is one, see `Prompt`; it is added to the embedding of time and label.
    """

    sde: SDE
    patch: int = 2
    width: int = 128
    depth: int = 4
    heads: int = 4
    num_classes: int = 0
    data_std: float = 1.0
    dtype: Any = jnp.float32
    remat: bool = False
    new_token: bool = False

    def encode(self, x: Array, t: Array, cond: Any = None) -> list[Array]:
        """Feature maps [B, H / patch, W / patch, width] after half of the blocks."""
        return [self._run(x, t, cond, blocks=(self.depth + 1) // 2)]

    def __call__(self, x: Array, t: Array, cond: Any = None) -> Array:
        return self._run(x, t, cond, blocks=None)

    @nn.compact
    def _run(self, x: Array, t: Array, cond: Any, *, blocks: int | None) -> Array:
        """The tokens after so many blocks as a feature map; None: all of them and the output."""
        _, height, width, channels = x.shape
        if self.width % 4 or self.width % self.heads:
            raise UserError(f"width is {self.width}: give a multiple of 4 and of the {self.heads} heads")
        if height % self.patch or width % self.patch:
            raise UserError(f"images are {height} x {width}: patches of {self.patch} must divide both sides")
        known = nn.Dense(self.width)(TimeFeatures(self.sde, "sinusoidal")(t))
        known = nn.Dense(self.width)(silu(known))
        for one_hot in label_features(cond, self.num_classes):
            known += nn.Dense(self.width, use_bias=False)(one_hot)
        if self.new_token:
            known += TokenEmbedding(self.width, name="token")(cond)
        to_tokens = Conv(self.width, size=self.patch, stride=self.patch, padding=((0, 0), (0, 0)))
        h = to_tokens(scaled_input(x, t, self.sde, self.data_std))
        rows, columns = h.shape[1:3]
        h = h.reshape(len(x), -1, self.width) + position_features(rows, columns, self.width)
        block, layers = nn.remat(Block) if self.remat else Block, {}
        for i in range(self.depth if blocks is None else blocks):
            h = block(self.heads, self.dtype, name=f"block{i}")(h, known)
            layers[f"block{i}"] = h.reshape(len(x), rows, columns, self.width)
        self.sow("intermediates", LAYERS, layers)
        if blocks is not None:
            return h.reshape(len(x), rows, columns, self.width)
        change = nn.Dense(2 * self.width, kernel_init=nn.initializers.zeros)(silu(known))
        shift, scale = jnp.split(change[:, None], 2, -1)
        h = (1.0 + scale) * nn.LayerNorm(use_scale=False, use_bias=False)(h) + shift
        out = nn.Dense(self.patch**2 * channels, kernel_init=nn.initializers.zeros)(h)
        residual = unpatch(out, x.shape, self.patch)
        return noise_of_residual(residual, x, t, self.sde, self.data_std)


def unpatch(h: Array, shape: tuple[int, ...], patch: int) -> Array:
    """Tokens [B, N, patch^2 C] to images of the given shape."""
    batch, height, width, channels = shape
    h = h.reshape(batch, height // patch, width // patch, patch, patch, channels)
    return h.transpose(0, 1, 3, 2, 4, 5).reshape(shape)


def build(spec: DenoiserSpec) -> EpsDiT:
    """The network of a run's settings."""
    return EpsDiT(
        spec.sde,
        spec.settings.patch,
        spec.settings.width,
        spec.settings.depth,
        spec.settings.heads,
        spec.num_classes,
        spec.data_std,
        dtype=spec.dtype,
        remat=spec.settings.remat,
        new_token=spec.new_token,
    )
