"""The diffusion transformer on latents (Peebles & Xie 2023), layer for layer diffusers' `DiTTransformer2DModel`.

Names of parameters are diffusers' own, see `blocks`. Every block embeds time and label by tables of its own. The net
may say a variance beside the noise; here that is computed and left out.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.errors import UserError
from tgdp_jax.nets.conv import Conv
from tgdp_jax.nets.cross_attention import Attention, FeedForward
from tgdp_jax.nets.dit import position_features, unpatch
from tgdp_jax.nets.layers import LAYERS
from tgdp_jax.nets.unet import TimeEmbedding, TimeProjection

Array = jax.Array
TIME_FEATURES = 256


def _norm(h: Array, eps: float) -> Array:
    """Layer norm without parameters."""
    return jax.nn.standardize(h, variance=jnp.var(h, -1, keepdims=True), epsilon=eps)


class LabelTable(nn.Module):
    """Embeddings [B, width] of labels [B] in [0, num_classes]; the largest is that of no label."""

    num_classes: int
    width: int

    def setup(self):
        self.embedding_table = nn.Embed(self.num_classes + 1, self.width)

    def __call__(self, labels: Array) -> Array:
        return self.embedding_table(labels)


class Known(nn.Module):
    """What is known of time and label, [B, width]."""

    num_classes: int
    width: int

    def setup(self):
        self.time_proj = TimeProjection("positional", TIME_FEATURES, True, 1.0)
        self.timestep_embedder = TimeEmbedding(self.width)
        self.class_embedder = LabelTable(self.num_classes, self.width)

    def __call__(self, timesteps: Array, labels: Array) -> Array:
        return self.timestep_embedder(self.time_proj(timesteps)) + self.class_embedder(labels)


class Modulation(nn.Module):
    """Shift, scale and gate of both layers of a block, each [B, 1, width]; they start at zero."""

    num_classes: int
    width: int

    def setup(self):
        self.emb = Known(self.num_classes, self.width)
        self.linear = nn.Dense(6 * self.width, kernel_init=nn.initializers.zeros)

    def __call__(self, known: Array) -> list[Array]:
        return jnp.split(self.linear(nn.silu(known))[:, None], 6, -1)

    def embed(self, timesteps: Array, labels: Array) -> Array:
        """What is known, by this block's own tables."""
        return self.emb(timesteps, labels)


class DiTBlock(nn.Module):
    """Self-attention and a feed-forward layer, modulated by what is `known` [B, width]; tokens [B, N, width].

    Attributes: as of `LatentDiT`; dtype None is float32.
    """

    num_classes: int
    width: int
    heads: int
    bias: bool
    gated: bool
    eps: float
    dtype: Any

    def setup(self):
        self.norm1 = Modulation(self.num_classes, self.width)
        self.attn1 = Attention(self.heads, self.bias, dtype=self.dtype)
        self.ff = FeedForward(self.gated, self.dtype)

    def __call__(self, h: Array, known: Array) -> Array:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.norm1(known)
        h = h + gate1 * self.attn1(self._inner((1.0 + scale1) * _norm(h, 1e-6) + shift1))
        return h + gate2 * self.ff(self._inner((1.0 + scale2) * _norm(h, self.eps) + shift2))

    def known(self, timesteps: Array, labels: Array) -> Array:
        """What is known, [B, width], by the block's own tables."""
        return self.norm1.embed(timesteps, labels)

    def _inner(self, h: Array) -> Array:
        return h if self.dtype is None else h.astype(self.dtype)


class Patches(nn.Module):
    """Tokens [B, N, width] of patches, with their places."""

    width: int
    patch: int
    side: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        no = ((0, 0), (0, 0))
        h = Conv(self.width, size=self.patch, stride=self.patch, padding=no, name="proj")(x)
        _, rows, columns, _ = h.shape
        # Columns come first there.
        places = np.roll(position_features(rows, columns, self.width, self.side), self.width // 2, -1)
        return h.reshape(len(x), -1, self.width) + places


class LatentDiT(nn.Module):
    """(x [B, H, W, C], timesteps [B], labels) -> the noise [B, H, W, C]; the output layer starts at zero.

    Timesteps are diffusers' numbers, 0 to T - 1, and may lie between two.

    Attributes:
      width: of a token, a multiple of four.
      depth: blocks.
      heads: attention heads; must divide `width`.
      patch: side of a patch; must divide H and W.
      num_classes: labels are integers [B] in [0, num_classes]; the largest means "no label".
      in_channels: C.
      out_channels: of the last layer: C, or 2 C where the net says a variance too.
      size: side of the latents that it was trained on; places of others are stretched to it.
      bias: whether queries, keys and values have one.
      gated: whether the feed-forward layers are.
      eps: of the norm before these.
      dtype: what blocks compute in; parameters, norms, modulation, first and last layer are float32.
      remat: recompute blocks in the backward pass instead of keeping what they computed.
    """

    width: int = 1152
    depth: int = 28
    heads: int = 16
    patch: int = 2
    num_classes: int = 1000
    in_channels: int = 4
    out_channels: int = 8
    size: int = 32
    bias: bool = True
    gated: bool = False
    eps: float = 1e-5
    dtype: Any = jnp.float32
    remat: bool = False

    def setup(self):
        if self.width % 4 or self.width % self.heads:
            raise UserError(f"width is {self.width}: give a multiple of 4 and of the {self.heads} heads")
        if self.out_channels not in (self.in_channels, 2 * self.in_channels):
            raise UserError(
                f"out_channels is {self.out_channels} and in_channels {self.in_channels}: a net that predicts noise "
                "has as many of both, or twice as many with a variance"
            )
        inner = None if self.dtype == jnp.float32 else self.dtype
        block = nn.remat(DiTBlock) if self.remat else DiTBlock
        self.pos_embed = Patches(self.width, self.patch, self.size // self.patch)
        self.transformer_blocks = [
            block(self.num_classes, self.width, self.heads, self.bias, self.gated, self.eps, inner)
            for _ in range(self.depth)
        ]
        zeros = nn.initializers.zeros
        self.proj_out_1 = nn.Dense(2 * self.width, kernel_init=zeros)
        self.proj_out_2 = nn.Dense(self.patch**2 * self.out_channels, kernel_init=zeros)

    def __call__(self, x: Array, t: Array, labels: Any = None) -> Array:
        """The noise [B, H, W, C].

        Raises:
          UserError: labels are missing, or the sides of x do not fit.
        """
        return self.outputs(x, t, labels)[..., : self.in_channels]

    def outputs(self, x: Array, t: Array, labels: Any) -> Array:
        """The noise and what there is of the variance, [B, H, W, out_channels]; arguments as of a call."""
        h, layers = self._blocks(x, t, labels, self.depth)
        self.sow("intermediates", LAYERS, layers)
        known = self.transformer_blocks[0].known(t, labels)
        shift, scale = jnp.split(self.proj_out_1(nn.silu(known))[:, None], 2, -1)
        out = self.proj_out_2((1.0 + scale) * _norm(h, 1e-6) + shift)
        return unpatch(out, (*x.shape[:3], self.out_channels), self.patch)

    def encode(self, x: Array, t: Array, labels: Any = None) -> list[Array]:
        """Feature maps [B, H / patch, W / patch, width] after half of the blocks."""
        return list(self._blocks(x, t, labels, (self.depth + 1) // 2)[1].values())[-1:]

    def _blocks(self, x: Array, t: Array, labels: Any, count: int) -> tuple[Array, dict[str, Array]]:
        """(tokens after so many blocks, the feature maps after each)."""
        _, height, width, _ = x.shape
        if height % self.patch or width % self.patch:
            raise UserError(f"latents are {height} x {width}: patches of {self.patch} must divide both sides")
        if labels is None:
            raise UserError(
                f"this network is conditional on {self.num_classes} classes: pass labels as cond, {self.num_classes} "
                "for none"
            )
        h, layers = self.pos_embed(x), {}
        for i, block in enumerate(self.transformer_blocks[:count]):
            h = block(h, block.known(t, labels))
            layers[f"block{i}"] = h.reshape(len(x), height // self.patch, width // self.patch, self.width)
        return h, layers
