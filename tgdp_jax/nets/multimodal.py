"""One network for rows of several modalities, each noised to a time of its own (Bao et al. 2023, UniDiffuser).

    (x^1_{t_1}, ..., x^M_{t_M}; t_1, ..., t_M)  ->  (eps^1, ..., eps^M)

An encoder for each modality (convolutions for images and spectrograms, dense layers for vectors and text) makes a code
of what is left of it at its time; a trunk joins the codes, the times and the label, if any; a decoder for each, which
sees its own encoder's layers too, makes the noise from what the trunk knows. All that one modality tells of another
passes through the trunk. At one time for all it is a denoiser like any other: that of the joint.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tgdp_jax.data.modalities import Modalities, halves
from tgdp_jax.nets.blocks import ResnetBlock, double
from tgdp_jax.nets.conv import Conv
from tgdp_jax.nets.embedding import Embedding, TimeFeatures, TokenEmbedding, label_features
from tgdp_jax.nets.mlp import silu
from tgdp_jax.nets.norm import GroupNorm
from tgdp_jax.nets.precondition import noise_of_residual, scaled_input
from tgdp_jax.nets.registry import DenoiserSpec
from tgdp_jax.sde import SDE

Array = jax.Array
GROUPS = 8


class ImageEncoder(nn.Module):
    """x [B, H, W, C], known [B, F] -> (code [B, width], outputs of the levels from the finest).

    Attributes:
      channels: widths of the levels, each of half the resolution of the one before as long as both sides are even.
      width: of the code.
      dtype: of the convolutions.
    """

    channels: tuple[int, ...]
    width: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, known: Array) -> tuple[Array, list[Array]]:
        h, kept = Conv(self.channels[0])(x), []
        for features in self.channels:
            if kept:
                if h.shape[1] % 2 or h.shape[2] % 2:
                    break
                h = nn.avg_pool(h, (2, 2), (2, 2))
            h = _block(features, h, self.dtype)(h, known)
            kept.append(h)
        return nn.Dense(self.width)(silu(h.reshape(len(h), -1))), kept


class ImageDecoder(nn.Module):
    """(kept, known [B, F]) of an `ImageEncoder`, back to the finest level and to `features` channels.

    Every place of the coarsest level is conditioned on what is known by itself, beside scaling channels of all levels:
    strokes that go on from one half of a digit to the other end in a place.
    """

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, kept: list[Array], known: Array) -> Array:
        coarsest = kept[-1]
        conditioned = nn.Dense(coarsest[0].size, dtype=self.dtype)(silu(known)).reshape(coarsest.shape)
        h = jnp.concatenate([coarsest, conditioned], -1)
        h = _block(coarsest.shape[-1], h, self.dtype)(h, known)
        for level in reversed(kept[:-1]):
            h = jnp.concatenate([double(h), level], -1)
            h = _block(level.shape[-1], h, self.dtype)(h, known)
        h = silu(GroupNorm(math.gcd(GROUPS, h.shape[-1]), 1e-5)(h.astype(jnp.float32)))
        return Conv(self.features, kernel_init=nn.initializers.zeros)(h)


def _block(features: int, h: Array, dtype: Any) -> ResnetBlock:
    # Scale and shift after the norm: what is added before it, groups of few channels would take out again.
    groups = math.gcd(GROUPS, math.gcd(features, h.shape[-1]))
    return ResnetBlock(features, groups, time_norm="scale_shift", dtype=dtype)


class EpsMultimodal(nn.Module):
    """Noise prediction [B, *D].

    Called with t [B] it denoises the joint, with t [B, M] every modality from its own time.

    Attributes:
      sde: the forward process.
      modalities: what the rows are made of.
      channels: widths of the levels of images.
      width: of codes and trunk.
      depth: residual blocks of the trunk.
      embedding: kind of time features, see `TimeFeatures`.
      num_classes: 0 for unconditional; else cond must be labels in [0, num_classes]; num_classes means "no label".
      data_std: standard deviation of the (centred) data, one number.
      dtype: what convolutions and trunk compute in; parameters, times, first and last layers are float32.
      new_token: whether there is one, see `Prompt`; it is added to what the trunk joins.
    """

    sde: SDE
    modalities: Modalities
    channels: tuple[int, ...] = (16, 32)
    width: int = 128
    depth: int = 2
    embedding: str | Embedding = "compact"
    num_classes: int = 0
    data_std: float = 1.0
    dtype: Any = jnp.float32
    new_token: bool = False

    @nn.compact
    def __call__(self, x: Array, t: Array, cond: Any = None) -> Array:
        inner = None if self.dtype == jnp.float32 else self.dtype
        parts = self.modalities.parts
        if t.ndim == 1:
            t = jnp.repeat(t[:, None], len(parts), 1)
        at = self.modalities.spread(t, x.shape[1:])
        scaled = self.modalities.split(scaled_input(x, at, self.sde, self.data_std))
        times = [TimeFeatures(self.sde, self.embedding, name=f"{p.name}_time")(t[:, i]) for i, p in enumerate(parts)]
        codes, kept = [], {}
        for part, time in zip(parts, times, strict=True):
            if part.is_image:
                encoder = ImageEncoder(self.channels, self.width, inner, name=f"{part.name}_encoder")
                code, kept[part.name] = encoder(scaled[part.name], time)
            else:
                flat = jnp.concatenate([scaled[part.name].reshape(len(x), -1), time], -1)
                code = kept[part.name] = silu(nn.Dense(self.width, name=f"{part.name}_encoder")(flat))
            codes.append(code.astype(jnp.float32))
        known = jnp.concatenate([*codes, *times, *label_features(cond, self.num_classes)], -1)
        h = nn.Dense(self.width)(known)
        if self.new_token:
            h = h + TokenEmbedding(self.width, name="token")(cond)
        h = h if inner is None else h.astype(inner)
        for _ in range(self.depth):
            z = nn.Dense(self.width, dtype=inner)(silu(h))
            h = h + nn.Dense(self.width, dtype=inner)(silu(z))
        residuals = {part.name: self._decoded(part, kept[part.name], h, inner) for part in parts}
        residual = self.modalities.join(residuals, x.shape[1:])
        return noise_of_residual(residual, x, at, self.sde, self.data_std)

    def _decoded(self, part: Any, kept: Any, h: Array, inner: Any) -> Array:
        if part.is_image:
            return ImageDecoder(part.shape[-1], inner, name=f"{part.name}_decoder")(kept, h)
        z = jnp.concatenate([kept, silu(h).astype(kept.dtype)], -1)
        z = silu(nn.Dense(self.width, name=f"{part.name}_decoder")(z))
        out = nn.Dense(part.size, kernel_init=nn.initializers.zeros, name=f"{part.name}_noise")(z)
        return out.reshape(-1, *part.shape)


def build(spec: DenoiserSpec) -> EpsMultimodal:
    """The network of a run's settings."""
    return EpsMultimodal(
        spec.sde,
        spec.modalities or halves(spec.shape),
        spec.settings.channels,
        spec.settings.width,
        spec.settings.depth,
        spec.embedding,
        spec.num_classes,
        spec.data_std,
        spec.dtype,
        spec.new_token,
    )
