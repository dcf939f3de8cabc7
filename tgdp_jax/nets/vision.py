"""Vision transformers whose features judge images: DINOv2 (Oquab et al. 2023) and CLIP's (Radford et al. 2021).

Layer for layer they are transformers' `Dinov2Model` and `CLIPVisionModelWithProjection`, and names of parameters are
those of its files, so that weights are carried over by renaming alone (`interop.image_encoder`). Both take pictures
that are resized, cropped and standardised already.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.errors import UserError
from tgdp_jax.nets.attention import attend_in_parts
from tgdp_jax.nets.clip_text import ACTIVATIONS, Layer, layer_norm

Array = jax.Array
_CUBIC = -0.75  # torch's constant of bicubic interpolation


def interpolation(old: int, new: int) -> np.ndarray:
    """Bicubic interpolation of `old` places to `new`, float32 [new, old], as torch has it: without antialiasing, and
    with the outermost places repeated."""
    place = (np.arange(new) + 0.5) * old / new - 0.5
    first = np.floor(place).astype(int)
    rest = place - first

    def near(x: np.ndarray) -> np.ndarray:
        return ((_CUBIC + 2) * x - (_CUBIC + 3)) * x * x + 1

    def far(x: np.ndarray) -> np.ndarray:
        return ((_CUBIC * x - 5 * _CUBIC) * x + 8 * _CUBIC) * x - 4 * _CUBIC

    out = np.zeros((new, old))
    for offset, weight in enumerate((far(rest + 1), near(rest), near(1 - rest), far(2 - rest)), -1):
        np.add.at(out, (np.arange(new), np.clip(first + offset, 0, old - 1)), weight)
    return out.astype(np.float32)


class Constant(nn.Module):
    """One learned array."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self) -> Array:
        return self.param("weight", nn.initializers.normal(0.02), self.shape)


class Patches(nn.Module):
    """Patches of pictures x [B, H, W, C] as tokens [B, h, w, width]; what is left over at the edges is cut off.

    The parameters are those of a convolution; a product of matrices does it where patches do not overlap.
    """

    width: int
    patch: int
    bias: bool
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        batch, height, width, channels = x.shape
        side, rows, columns = self.patch, height // self.patch, width // self.patch
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (side, side, channels, self.width))
        x = x[:, : rows * side, : columns * side].reshape(batch, rows, side, columns, side, channels)
        x = x.swapaxes(2, 3).reshape(batch, rows, columns, -1)
        x, kernel = (z if self.dtype is None else z.astype(self.dtype) for z in (x, kernel))
        out = (x @ kernel.reshape(-1, self.width)).astype(jnp.float32)
        return out + self.param("bias", nn.initializers.zeros, (self.width,)) if self.bias else out


class LayerScale(nn.Module):
    """A learned factor for every feature."""

    @nn.compact
    def __call__(self, h: Array) -> Array:
        return h * self.param("scale", nn.initializers.ones, (h.shape[-1],))


class _Projections(nn.Module):
    """Queries, keys and values, and what they see, [B, L, D] -> the same."""

    heads: int
    bias: bool
    dtype: Any

    @nn.compact
    def __call__(self, h: Array) -> Array:
        parts = (
            nn.Dense(h.shape[-1], self.bias, dtype=self.dtype, name=name)(h).reshape(*h.shape[:2], self.heads, -1)
            for name in ("query", "key", "value")
        )
        return attend_in_parts(*parts).reshape(h.shape)


class _Output(nn.Module):
    dtype: Any

    @nn.compact
    def __call__(self, h: Array) -> Array:
        return nn.Dense(h.shape[-1], dtype=self.dtype, name="dense")(h)


class _Attention(nn.Module):
    """Attention of all tokens to all, [B, L, D] -> the same."""

    heads: int
    bias: bool
    dtype: Any

    @nn.compact
    def __call__(self, h: Array) -> Array:
        seen = _Projections(self.heads, self.bias, self.dtype, name="attention")(h)
        return _Output(self.dtype, name="output")(seen)


class _FeedForward(nn.Module):
    """Two dense layers, of which the first is gated or not, [B, L, D] -> the same."""

    hidden: int
    gated: bool
    activation: str
    dtype: Any

    @nn.compact
    def __call__(self, h: Array) -> Array:
        def dense(features: int, name: str) -> nn.Dense:
            return nn.Dense(features, dtype=self.dtype, name=name)

        if not self.gated:
            return dense(h.shape[-1], "fc2")(ACTIVATIONS[self.activation](dense(self.hidden, "fc1")(h)))
        gate, inner = jnp.split(dense(2 * self.hidden, "weights_in")(h), 2, -1)
        return dense(h.shape[-1], "weights_out")(nn.silu(gate) * inner)


class _DinoLayer(nn.Module):
    """Attention and a feed-forward network, each behind a norm, scaled, and beside its input."""

    heads: int
    hidden: int
    bias: bool
    gated: bool
    activation: str
    eps: float
    dtype: Any

    @nn.compact
    def __call__(self, h: Array) -> Array:
        attention = _Attention(self.heads, self.bias, self.dtype, name="attention")
        h = h + LayerScale(name="layer_scale1")(attention(layer_norm(self.eps, "norm1")(h)))
        feed = _FeedForward(self.hidden, self.gated, self.activation, self.dtype, name="mlp")
        return h + LayerScale(name="layer_scale2")(feed(layer_norm(self.eps, "norm2")(h)))


class _DinoPatches(nn.Module):
    width: int
    patch: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return Patches(self.width, self.patch, True, self.dtype, name="projection")(x)


class _DinoEmbeddings(nn.Module):
    """Tokens [B, 1 + h w, D]: that of the class and those of patches, with their places."""

    width: int
    patch: int
    size: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        side = self.size // self.patch
        h = _DinoPatches(self.width, self.patch, self.dtype, name="patch_embeddings")(x)
        places = Constant((1, side**2 + 1, self.width), name="position_embeddings")()
        first, others = places[0, :1], places[0, 1:].reshape(side, side, self.width)
        if h.shape[1:3] != (side, side):
            rows, columns = (interpolation(side, new) for new in h.shape[1:3])
            others = jnp.einsum("hi,wj,ijd->hwd", rows, columns, others)
        token = Constant((1, 1, self.width), name="cls_token")()[0] + first
        return jnp.concatenate(
            [jnp.broadcast_to(token, (len(x), 1, self.width)), (h + others).reshape(len(x), -1, self.width)], 1
        )


class _Layers(nn.Module):
    """Layers one after the other, [B, L, D] -> the same, named with a prefix and a number."""

    depth: int
    prefix: str
    layer: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, h: Array) -> Array:
        for number in range(self.depth):
            one: Any = self.layer(name=f"{self.prefix}_{number}")
            h = one(h)
        return h


class Dinov2(nn.Module):
    """(x [B, H, W, channels]) -> features [B, width]: what the token of the class has become behind the last norm.

    Pictures may have any size; places of patches are interpolated as transformers does it.

    Attributes:
      width: D.
      layers: how many.
      heads: of every attention; must divide the width.
      hidden: width within a feed-forward network.
      patch: side of a patch in pixels.
      size: side in pixels of the pictures that places were learned of.
      channels: of pictures.
      gated: whether feed-forward networks are gated (SwiGLU).
      bias: whether queries, keys and values have one.
      activation: a key of `clip_text.ACTIVATIONS`, of feed-forward networks that are not gated.
      eps: added to the variances of the norms.
      dtype: what attention and feed-forward layers compute in; None: float32.
    """

    width: int
    layers: int
    heads: int
    hidden: int
    patch: int = 14
    size: int = 518
    channels: int = 3
    gated: bool = False
    bias: bool = True
    activation: str = "gelu"
    eps: float = 1e-6
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kind = self.heads, self.hidden, self.bias, self.gated, self.activation, self.eps, self.dtype
        h = _DinoEmbeddings(self.width, self.patch, self.size, self.dtype, name="embeddings")(x)
        h = _Layers(self.layers, "layer", functools.partial(_DinoLayer, *kind), name="encoder")(h)
        return layer_norm(self.eps, "layernorm")(h[:, 0])


class _CLIPEmbeddings(nn.Module):
    """Tokens [B, 1 + h w, D]: that of the class and those of patches, with their places."""

    width: int
    patch: int
    size: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        h = Patches(self.width, self.patch, False, self.dtype, name="patch_embedding")(x)
        token = jnp.broadcast_to(Constant((self.width,), name="class_embedding")(), (len(x), 1, self.width))
        places = nn.Embed((self.size // self.patch) ** 2 + 1, self.width, name="position_embedding").embedding
        return jnp.concatenate([token, h.reshape(len(x), -1, self.width)], 1) + places


class CLIPVision(nn.Module):
    """(x [B, size, size, channels]) -> features [B, projection]: the token of the class, normed and projected.

    Attributes: as of `Dinov2`; also
      projection: width of the space that CLIP has in common with texts; None: features are not projected.
    """

    width: int
    layers: int
    heads: int
    hidden: int
    patch: int = 32
    size: int = 224
    channels: int = 3
    projection: int | None = 512
    activation: str = "quick_gelu"
    eps: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if x.shape[1:3] != (self.size, self.size):
            raise UserError(
                f"pictures of {x.shape[1]} x {x.shape[2]} pixels came to an image encoder of {self.size} x {self.size}"
            )
        kind = self.heads, self.hidden, self.activation, self.eps, self.dtype
        h = _CLIPEmbeddings(self.width, self.patch, self.size, self.dtype, name="embeddings")(x)
        layers = _Layers(self.layers, "layers", functools.partial(Layer, *kind, causal=False), name="encoder")
        h = layers(layer_norm(self.eps, "pre_layrnorm")(h))
        h = layer_norm(self.eps, "post_layernorm")(h[:, 0])
        if self.projection is None:
            return h
        return nn.Dense(self.projection, use_bias=False, name="visual_projection")(h)
