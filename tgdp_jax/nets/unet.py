"""The U-Net of denoising diffusion models (Ho et al. 2020, appendix B), layer for layer diffusers' `UNet2DModel`.

Down: at every level residual blocks (with attention at some), whose outputs are kept, then half the resolution. Middle:
two residual blocks around an attention. Up: as many levels back, one block more at each, every block fed one of the
kept outputs beside what comes from below. Time and label enter every residual block.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tgdp_jax.errors import UserError, choose
from tgdp_jax.nets.blocks import ACTIVATIONS, TIME_NORMS, Downsample, ResnetBlock, SelfAttention, Upsample
from tgdp_jax.nets.conv import Conv
from tgdp_jax.nets.embedding import TokenEmbedding, label_features
from tgdp_jax.nets.layers import LAYERS
from tgdp_jax.nets.norm import GroupNorm

Array = jax.Array
SAMPLERS = ("conv", "resnet")
TIME_KINDS = ("positional", "fourier")
# Kinds of levels by diffusers' names: with attention or not, and how resolution changes (None: as the net says).
DOWN_TYPES = {
    "DownBlock2D": (False, "conv"),
    "AttnDownBlock2D": (True, None),
    "ResnetDownsampleBlock2D": (False, "resnet"),
}
UP_TYPES = {"UpBlock2D": (False, "conv"), "AttnUpBlock2D": (True, None), "ResnetUpsampleBlock2D": (False, "resnet")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Make(abc.ABC):
    """Makes the layers of a level, all of one kind. Attributes: as of `UNet`; dtype None is float32."""

    groups: int
    eps: float
    time_norm: str
    dtype: Any
    remat: bool
    act: str = "silu"

    def resnet(self, features: int, resample: str = "none") -> nn.Module:
        block = nn.remat(ResnetBlock) if self.remat else ResnetBlock
        return block(features, self.groups, self.eps, self.time_norm, resample, self.dtype, self.act)

    @abc.abstractmethod
    def attention(self, layer: int) -> nn.Module:
        """The attention after residual block `layer` of the level."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MakeOwn(Make):
    """With attentions of an image to itself, whose norms have groups of their own (None: no norm)."""

    head_dim: int | None
    attention_groups: int | None

    def attention(self, layer: int) -> nn.Module:
        return SelfAttention(self.head_dim, self.attention_groups, self.eps, self.dtype)


class DownBlock(nn.Module):
    """One level on the way down: (what goes on to the next level, outputs for the way up).

    Attributes:
      make: makes the layers.
      features: channels.
      layers: residual blocks.
      attention: whether an attention follows each.
      sampler: how resolution is halved at the end, "conv" or "resnet"; None: it is not.
      padding: of the former.
    """

    make: Make
    features: int
    layers: int
    attention: bool
    sampler: str | None
    padding: int

    def setup(self):
        self.resnets = [self.make.resnet(self.features) for _ in range(self.layers)]
        self.attentions = [self.make.attention(layer) for layer in range(self.layers * self.attention)]
        if self.sampler == "conv":
            self.downsamplers = [Downsample(self.padding, self.make.dtype)]
        elif self.sampler == "resnet":
            self.downsamplers = [self.make.resnet(self.features, "down")]

    def __call__(self, h: Array, embedded: Array | None, *context: Array) -> tuple[Array, list[Array]]:
        """`context` is what attentions look at beside the image, if anything."""
        outputs = []
        for i, resnet in enumerate(self.resnets):
            h = resnet(h, embedded)
            if self.attention:
                h = self.attentions[i](h, *context)
            outputs.append(h)
        if self.sampler is not None:
            h = self.downsamplers[0](h, *((embedded,) if self.sampler == "resnet" else ()))
            outputs.append(h)
        return h, outputs


class UpBlock(nn.Module):
    """One level on the way up. Attributes: as of `DownBlock`, the sampler doubling the resolution."""

    make: Make
    features: int
    layers: int
    attention: bool
    sampler: str | None

    def setup(self):
        self.resnets = [self.make.resnet(self.features) for _ in range(self.layers)]
        self.attentions = [self.make.attention(layer) for layer in range(self.layers * self.attention)]
        if self.sampler == "conv":
            self.upsamplers = [Upsample(self.make.dtype)]
        elif self.sampler == "resnet":
            self.upsamplers = [self.make.resnet(self.features, "up")]

    def __call__(self, h: Array, kept: list[Array], embedded: Array, *context: Array) -> Array:
        """Takes `layers` outputs from the end of `kept`."""
        for i, resnet in enumerate(self.resnets):
            h = resnet(jnp.concatenate([h, kept.pop()], -1), embedded)
            if self.attention:
                h = self.attentions[i](h, *context)
        if self.sampler is None:
            return h
        return self.upsamplers[0](h, *((embedded,) if self.sampler == "resnet" else ()))


class MidBlock(nn.Module):
    """A residual block, and `layers` times one more with an attention before it, if there is any."""

    make: Make
    features: int
    attention: bool
    layers: int = 1

    def setup(self):
        self.resnets = [self.make.resnet(self.features) for _ in range(1 + self.layers)]
        self.attentions = [self.make.attention(layer) for layer in range(self.layers * self.attention)]

    def __call__(self, h: Array, embedded: Array | None, *context: Array) -> Array:
        h = self.resnets[0](h, embedded)
        for i, resnet in enumerate(self.resnets[1:]):
            if self.attention:
                h = self.attentions[i](h, *context)
            h = resnet(h, embedded)
        return h


class TimeProjection(nn.Module):
    """Features of timesteps [B]: sines and cosines of given or, for "fourier", of random frequencies of their log.

    Attributes:
      kind: "positional" (features [B, dim], Vaswani et al. 2017) or "fourier" ([B, 2 dim], Song et al. 2021).
      dim: see kind.
      flip_sin_to_cos: cosines first; of the former.
      freq_shift: 1 makes the slowest frequency exactly 1/10,000; of the former.
    """

    kind: str
    dim: int
    flip_sin_to_cos: bool
    freq_shift: float

    @nn.compact
    def __call__(self, timesteps: Array) -> Array:
        if self.kind == "fourier":
            # Features, not weights: they carry no gradient.
            weight = jax.lax.stop_gradient(self.param("weight", nn.initializers.normal(16.0), (self.dim,)))
            angles = 2 * math.pi * jnp.log(timesteps)[:, None] * weight
        else:
            half = self.dim // 2
            angles = timesteps[:, None] * jnp.exp(-math.log(10_000.0) * jnp.arange(half) / (half - self.freq_shift))
        waves = [jnp.sin(angles), jnp.cos(angles)]
        return jnp.concatenate(waves[::-1] if self.flip_sin_to_cos and self.kind == "positional" else waves, -1)


class TimeEmbedding(nn.Module):
    """Two dense layers with an activation of `ACTIVATIONS` between them, [B, F] -> [B, features]."""

    features: int
    act: str = "silu"

    @nn.compact
    def __call__(self, h: Array) -> Array:
        h = ACTIVATIONS[self.act](nn.Dense(self.features, name="linear_1")(h))
        return nn.Dense(self.features, name="linear_2")(h)


class UNet(nn.Module):
    """(x [B, H, W, C], timesteps [B], labels) -> [B, H, W, out_channels]; the output layer starts at zero.

    H and W must be multiples of 2^(levels - 1). A "fourier" net divides its output by the timesteps, which are positive
    noise scales then.

    Attributes:
      channels: of every level, from the finest.
      layers: residual blocks a level.
      down_types: kind of every level on the way down, keys of `DOWN_TYPES`.
      up_types: on the way up, from the coarsest level, keys of `UP_TYPES`.
      out_channels: None: as many as come in.
      groups: of all group norms; must divide `channels`.
      mid_attention: whether the middle has an attention.
      mid_groups: of its group norm; None: it has none.
      head_dim: channels of an attention head; None: one head.
      eps: of the group norms.
      time_norm: "default" or "scale_shift", see `ResnetBlock`.
      downsample_padding: 1 or 0, see `Downsample`.
      downsample: how levels with attention halve resolution: "conv" or "resnet", a residual block.
      upsample: how they double it.
      time_kind: "positional" or "fourier", see `TimeProjection`.
      flip_sin_to_cos: see there.
      freq_shift: see there.
      num_classes: 0 for unconditional; else labels are integers [B] in [0, num_classes) or one-hot
        [B, num_classes]. The label num_classes, one-hot all zeros, means "no label", for classifier-free guidance.
      null_label: whether "no label" has a learned embedding of its own, the last row of the table; it is zero if not.
      dtype: what the layers between the first and the last convolution compute in; parameters, the embedding of time
        and label, norms' statistics and these two are float32.
      remat: recompute residual blocks in the backward pass instead of keeping what they computed.
      new_token: whether there is one, see `Prompt`; it is added to the embedding of time and label.
    """

    channels: tuple[int, ...]
    layers: int
    down_types: tuple[str, ...]
    up_types: tuple[str, ...]
    out_channels: int | None = None
    groups: int = 32
    mid_attention: bool = True
    mid_groups: int | None = 32
    head_dim: int | None = None
    eps: float = 1e-5
    time_norm: str = "default"
    downsample_padding: int = 1
    downsample: str = "conv"
    upsample: str = "conv"
    time_kind: str = "positional"
    flip_sin_to_cos: bool = True
    freq_shift: float = 0.0
    num_classes: int = 0
    null_label: bool = True
    dtype: Any = jnp.float32
    remat: bool = False
    new_token: bool = False

    def setup(self):
        self._check()
        inner = self._inner
        make = MakeOwn(
            groups=self.groups,
            eps=self.eps,
            time_norm=self.time_norm,
            dtype=inner,
            remat=self.remat,
            head_dim=self.head_dim,
            attention_groups=self.groups,
        )
        levels, width = len(self.channels), 4 * self.channels[0]
        self.conv_in = Conv(self.channels[0])
        self.time_proj = TimeProjection(self.time_kind, self.channels[0], self.flip_sin_to_cos, self.freq_shift)
        self.time_embedding = TimeEmbedding(width)
        if self.num_classes:
            self.class_embedding = nn.Embed(self.num_classes + self.null_label, width)
        if self.new_token:
            self.token = TokenEmbedding(width)
        down, up = [], []
        for level, kind in enumerate(self.down_types):
            attention, sampler = DOWN_TYPES[kind]
            sampler = None if level == levels - 1 else sampler or self.downsample
            down.append(DownBlock(make, self.channels[level], self.layers, attention, sampler, self.downsample_padding))
        for level, kind in enumerate(self.up_types):
            attention, sampler = UP_TYPES[kind]
            sampler = None if level == levels - 1 else sampler or self.upsample
            up.append(UpBlock(make, self.channels[-1 - level], self.layers + 1, attention, sampler))
        self.down_blocks, self.up_blocks = down, up
        middle = dataclasses.replace(make, attention_groups=self.mid_groups)
        self.mid_block = MidBlock(middle, self.channels[-1], self.mid_attention)
        self.conv_norm_out = GroupNorm(self.groups, self.eps)

    @nn.compact
    def __call__(self, x: Array, timesteps: Array, labels: Any = None) -> Array:
        embedded = self._embedded(timesteps, labels)
        kept, levels, h = self._down(x, embedded)
        layers = {f"down{level}": map_ for level, map_ in enumerate(levels)} | {"middle": h}
        for level, block in zip(reversed(range(len(levels))), self.up_blocks, strict=True):
            h = layers[f"up{level}"] = block(h, kept, embedded)
        self.sow("intermediates", LAYERS, layers)
        h = nn.silu(self.conv_norm_out(h.astype(x.dtype)))
        features = self.out_channels or x.shape[-1]
        h = Conv(features, kernel_init=nn.initializers.zeros, name="conv_out")(h)
        return h / timesteps[:, None, None, None] if self.time_kind == "fourier" else h

    def encode(self, x: Array, timesteps: Array, labels: Any = None) -> list[Array]:
        """Feature maps [B, h, w, c]: the first layer's, all outputs on the way down, and last the middle's."""
        kept, _, h = self._down(x, self._embedded(timesteps, labels))
        return [*kept, h]

    @property
    def _inner(self) -> Any:
        # None: of the type of inputs and parameters.
        return None if self.dtype == jnp.float32 else self.dtype

    def _embedded(self, timesteps: Array, labels: Any) -> Array:
        """What is known of time and label, [B, 4 channels[0]]."""
        embedded = self.time_embedding(self.time_proj(timesteps))
        for one_hot in label_features(labels, self.num_classes):
            table = self.class_embedding.embedding
            if self.null_label:
                one_hot = jnp.concatenate([one_hot, 1.0 - one_hot.sum(-1, keepdims=True)], -1)
            # Rows of the table as they are, also where products are rounded by default.
            embedded += jnp.dot(one_hot, table, precision=jax.lax.Precision.HIGHEST)
        if self.new_token:
            embedded += self.token(labels)
        return embedded if self._inner is None else embedded.astype(self._inner)

    def _down(self, x: Array, embedded: Array) -> tuple[list[Array], list[Array], Array]:
        """(kept outputs, those of every level's last residual block or attention, the middle's)."""
        _, height, width, _ = x.shape
        step = 2 ** (len(self.channels) - 1)
        if height % step or width % step:
            raise UserError(
                f"images are {height} x {width}: a U-Net of {len(self.channels)} levels needs sides that are "
                f"multiples of {step}; pad them or use fewer levels"
            )
        h = self.conv_in(x)
        h = h if self._inner is None else h.astype(self._inner)
        kept, levels = [h], []
        for block in self.down_blocks:
            h, outputs = block(h, embedded)
            kept += outputs
            levels.append(outputs[self.layers - 1])
        return kept, levels, self.mid_block(h, embedded)

    def _check(self) -> None:
        choose("time norm", self.time_norm, TIME_NORMS)
        choose("time embedding", self.time_kind, TIME_KINDS)
        choose("downsampling", self.downsample, SAMPLERS)
        choose("upsampling", self.upsample, SAMPLERS)
        for name in self.down_types:
            choose("down block", name, DOWN_TYPES)
        for name in self.up_types:
            choose("up block", name, UP_TYPES)
        levels = len(self.channels)
        if not levels or len(self.down_types) != levels or len(self.up_types) != levels:
            raise UserError(
                f"a U-Net has as many channel counts as levels down and up, and at least one: got {levels}, "
                f"{len(self.down_types)} and {len(self.up_types)}"
            )
        if self.layers < 1 or self.groups < 1:
            raise UserError(f"a U-Net needs at least one layer and one group, got {self.layers} and {self.groups}")
        if self.downsample_padding not in (0, 1):
            raise UserError(f"downsample_padding is {self.downsample_padding}: choose 0 or 1")
        odd = [count for count in self.channels if count < 1 or count % self.groups]
        if odd or (self.mid_groups is not None and self.channels[-1] % self.mid_groups):
            raise UserError(
                f"the groups of group norms ({self.groups}; {self.mid_groups} in the middle's attention) must divide "
                f"the channel counts {self.channels}: choose other groups or channels"
            )
        if self.channels[0] % 2 or self.channels[0] // 2 <= self.freq_shift:
            raise UserError(f"channels[0] is {self.channels[0]}: the time embedding needs an even number of at least 4")
