"""The U-Net of text-conditioned latent diffusion models (Rombach et al. 2022), diffusers' `UNet2DConditionModel`.

It is the U-Net of `unet` whose attentions look at a text beside the image. Stable Diffusion 1 and 2 are of this kind,
and Stable Diffusion XL, which adds a pooled text and six numbers (sizes and crop of the picture) to the embedding of
the time.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from tgdp_jax.errors import UserError, choose
from tgdp_jax.nets.blocks import ACTIVATIONS, TIME_NORMS
from tgdp_jax.nets.conv import Conv
from tgdp_jax.nets.cross_attention import TextTransformer
from tgdp_jax.nets.layers import LAYERS
from tgdp_jax.nets.norm import GroupNorm
from tgdp_jax.nets.unet import DownBlock, Make, MidBlock, TimeEmbedding, TimeProjection, UpBlock

Array = jax.Array
MIDDLES = ("attention", "resnet", "none")
CLASS_KINDS = ("timestep", "projection")


class Text(NamedTuple):
    """What a latent U-Net is conditioned on; all leaves have a leading axis B.

    Attributes:
      tokens: embedding of every token, [B, L, D].
      pooled: embedding of the whole text, [B, P], for a net with `time_ids`.
      time_ids: numbers about the picture, [B, 6], for such a net: original height and width, top and left of the crop,
        height and width asked for.
      labels: of a net with classes: integers [B]; numbers [B] or vectors [B, F] where its `class_kind` says so.
    """

    tokens: Array
    pooled: Array | None = None
    time_ids: Array | None = None
    labels: Array | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class MakeCross(Make):
    """With attentions to a text. Attributes: see `TextTransformer`; `depths` are those after every residual block."""

    heads: int
    depths: tuple[int, ...]
    linear: bool
    own: bool
    upcast: bool

    def attention(self, layer: int) -> nn.Module:
        block = nn.remat(TextTransformer) if self.remat else TextTransformer
        return block(self.depths[layer], self.groups, self.heads, self.linear, self.own, self.upcast, self.dtype)


class LatentUNet(nn.Module):
    """(x [B, H, W, C], timesteps [B], text) -> [B, H, W, out_channels]; the output layer starts at zero.

    H and W must be multiples of 2^(levels - 1). Timesteps are diffusers' numbers, 0 to T - 1, and may lie between two.

    Attributes:
      channels: of every level, from the finest.
      layers: residual blocks of every level on the way down; on the way up there is one more.
      depths: of every level on the way down, transformer blocks after each of its residual blocks; (): it looks at no
        text.
      up_depths: likewise on the way up, from the coarsest level.
      heads: attention heads of every level.
      text_dim: D, features of a token.
      in_channels: C.
      out_channels: of the output.
      size: (height, width) of the latents it was trained on, or None.
      middle: "attention" (a transformer between two residual blocks), "resnet" (one residual block) or "none".
      mid_depth: transformer blocks of the former.
      own: for every level, whether the first attention of a transformer block looks at the image, see
        `TransformerBlock`.
      linear: see `TextTransformer`.
      upcast: see `Attention`.
      groups: of all group norms; must divide `channels`.
      eps: of the group norms in residual blocks.
      time_norm: "default" or "scale_shift", see `ResnetBlock`.
      act: the activation, a name in `ACTIVATIONS`.
      downsample_padding: 1 or 0, see `Downsample`.
      flip_sin_to_cos: see `TimeProjection`.
      freq_shift: see there.
      centre: whether the input is taken to lie in [0, 1], and moved to [-1, 1].
      num_classes: rows of a table of classes; 0: there is none.
      class_kind: None, or what labels are beside integers: "timestep", a number, or "projection", a vector.
      class_dim: F, length of such a vector.
      time_id_dim: features of every time id; None: the net takes neither pooled text nor time ids.
      pooled_dim: P, features of the pooled text.
      dtype: what the layers between the first and the last convolution compute in; parameters, the embedding of the
        time, norms' statistics and these two are float32.
      remat: recompute residual blocks and transformers in the backward pass instead of keeping what they computed.
    """

    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers: tuple[int, ...] = (2, 2, 2, 2)
    depths: tuple[tuple[int, ...], ...] = ((1, 1), (1, 1), (1, 1), ())
    up_depths: tuple[tuple[int, ...], ...] = ((), (1, 1, 1), (1, 1, 1), (1, 1, 1))
    heads: tuple[int, ...] = (8, 8, 8, 8)
    text_dim: int = 768
    in_channels: int = 4
    out_channels: int = 4
    size: tuple[int, int] | None = None
    middle: str = "attention"
    mid_depth: int = 1
    own: tuple[bool, ...] = (True, True, True, True)
    linear: bool = False
    upcast: bool = False
    groups: int = 32
    eps: float = 1e-5
    time_norm: str = "default"
    act: str = "silu"
    downsample_padding: int = 1
    flip_sin_to_cos: bool = True
    freq_shift: float = 0.0
    centre: bool = False
    num_classes: int = 0
    class_kind: str | None = None
    class_dim: int | None = None
    time_id_dim: int | None = None
    pooled_dim: int | None = None
    dtype: Any = jnp.float32
    remat: bool = False

    def setup(self):
        self._check()
        levels, last = range(len(self.channels)), len(self.channels) - 1
        width = 4 * self.channels[0]
        self.conv_in = Conv(self.channels[0])
        self.time_proj = TimeProjection("positional", self.channels[0], self.flip_sin_to_cos, self.freq_shift)
        self.time_embedding = TimeEmbedding(width, self.act)
        if self.class_kind is not None:
            self.class_embedding = TimeEmbedding(width, self.act if self.class_kind == "timestep" else "silu")
        elif self.num_classes:
            self.class_embedding = nn.Embed(self.num_classes, width)
        if self.time_id_dim is not None:
            self.add_time_proj = TimeProjection("positional", self.time_id_dim, self.flip_sin_to_cos, self.freq_shift)
            self.add_embedding = TimeEmbedding(width)
        self.down_blocks = [
            DownBlock(
                self._make(level, self.depths[level], self.own[level]),
                self.channels[level],
                self.layers[level],
                bool(self.depths[level]),
                None if level == last else "conv",
                self.downsample_padding,
            )
            for level in levels
        ]
        self.up_blocks = [
            UpBlock(
                self._make(level, self.up_depths[last - level], self.own[level]),
                self.channels[level],
                self.layers[level] + 1,
                bool(self.up_depths[last - level]),
                None if level == 0 else "conv",
            )
            for level in reversed(levels)
        ]
        if self.middle != "none":
            make = self._make(last, (self.mid_depth,), True)
            attention = self.middle == "attention"
            self.mid_block = MidBlock(make, self.channels[-1], attention, layers=int(attention))
        self.conv_norm_out = GroupNorm(self.groups, self.eps)
        self.conv_out = Conv(self.out_channels, kernel_init=nn.initializers.zeros)

    def __call__(self, x: Array, t: Array, text: Any, added: Any = None) -> Array:
        """What the net predicts.

        Args:
          x: latents [B, H, W, C].
          t: timesteps [B].
          text: embedded tokens [B, L, D], or a `Text` with all there is.
          added: (pooled text [B, P], time ids [B, 6]), if not in `text`.

        Raises:
          UserError: a part of the condition is missing or of another width, or the sides of x do not fit.
        """
        text = self._condition(text, added)
        embedded, tokens = self._embedded(t, text), text.tokens
        kept, levels, h = self._down(x, embedded, tokens)
        layers = {f"down{level}": map_ for level, map_ in enumerate(levels)} | {"middle": h}
        for level, block in zip(reversed(range(len(levels))), self.up_blocks, strict=True):
            h = layers[f"up{level}"] = block(h, kept, embedded, tokens)
        self.sow("intermediates", LAYERS, layers)
        return self.conv_out(ACTIVATIONS[self.act](self.conv_norm_out(h.astype(x.dtype))))

    def encode(self, x: Array, t: Array, text: Any, added: Any = None) -> list[Array]:
        """Feature maps [B, h, w, c]: the first layer's, all outputs on the way down, and last the middle's."""
        text = self._condition(text, added)
        kept, _, h = self._down(x, self._embedded(t, text), text.tokens)
        return [*kept, h]

    @property
    def _inner(self) -> Any:
        # None: of the type of inputs and parameters.
        return None if self.dtype == jnp.float32 else self.dtype

    def _make(self, level: int, depths: tuple[int, ...], own: bool) -> MakeCross:
        return MakeCross(
            groups=self.groups,
            eps=self.eps,
            time_norm=self.time_norm,
            dtype=self._inner,
            remat=self.remat,
            act=self.act,
            heads=self.heads[level],
            depths=depths,
            linear=self.linear,
            own=own,
            upcast=self.upcast,
        )

    def _condition(self, text: Any, added: Any) -> Text:
        text = text if isinstance(text, Text) else Text(text)
        if added is not None:
            text = text._replace(pooled=added[0], time_ids=added[1])
        if text.tokens is None or text.tokens.ndim != 3 or text.tokens.shape[-1] != self.text_dim:
            shape = None if text.tokens is None else list(text.tokens.shape)
            raise UserError(
                f"the text is {shape}: this U-Net takes embedded tokens [B, L, {self.text_dim}], as its own text "
                "encoder gives them"
            )
        needs = {
            "pooled text": (text.pooled, self.time_id_dim is not None),
            "time ids": (text.time_ids, self.time_id_dim is not None),
            "labels": (text.labels, bool(self.num_classes) or self.class_kind is not None),
        }
        for name, (value, needed) in needs.items():
            if (value is not None) != needed:
                words = f"{name}: pass them" if needed else f"no {name}: leave them out"
                raise UserError(f"this U-Net takes {words}")
        return text if self._inner is None else text._replace(tokens=text.tokens.astype(self._inner))

    def _embedded(self, timesteps: Array, text: Text) -> Array:
        """What is known beside the tokens, [B, 4 channels[0]]."""
        embedded = self.time_embedding(self.time_proj(timesteps))
        if text.labels is not None:
            labels = self.time_proj(text.labels.astype(jnp.float32)) if self.class_kind == "timestep" else text.labels
            embedded += self.class_embedding(labels)
        if text.time_ids is not None and text.pooled is not None:
            ids = self.add_time_proj(text.time_ids.astype(jnp.float32).reshape(-1)).reshape(len(text.pooled), -1)
            embedded += self.add_embedding(jnp.concatenate([text.pooled, ids], -1))
        return embedded if self._inner is None else embedded.astype(self._inner)

    def _down(self, x: Array, embedded: Array, tokens: Array) -> tuple[list[Array], list[Array], Array]:
        """(kept outputs, those of every level's last residual block or transformer, the middle's)."""
        _, height, width, _ = x.shape
        step = 2 ** (len(self.channels) - 1)
        if height % step or width % step:
            raise UserError(
                f"latents are {height} x {width}: a U-Net of {len(self.channels)} levels needs sides that are "
                f"multiples of {step}; choose another size of pictures"
            )
        h = self.conv_in(2.0 * x - 1.0 if self.centre else x)
        h = h if self._inner is None else h.astype(self._inner)
        kept, levels = [h], []
        for level, block in enumerate(self.down_blocks):
            h, outputs = block(h, embedded, tokens)
            kept += outputs
            levels.append(outputs[self.layers[level] - 1])
        return kept, levels, h if self.middle == "none" else self.mid_block(h, embedded, tokens)

    def _check(self) -> None:
        choose("time norm", self.time_norm, TIME_NORMS)
        choose("middle", self.middle, MIDDLES)
        choose("activation", self.act, ACTIVATIONS)
        if self.class_kind is not None:
            choose("kind of classes", self.class_kind, CLASS_KINDS)
        levels = len(self.channels)
        counts = [len(value) for value in (self.layers, self.depths, self.up_depths, self.heads, self.own)]
        if not levels or any(count != levels for count in counts):
            raise UserError(f"a latent U-Net of {levels} levels has layers, depths, up_depths, heads and own for each")
        for layers, depths, up in zip(self.layers, self.depths, reversed(self.up_depths), strict=True):
            if layers < 1 or len(depths) not in (0, layers) or len(up) not in (0, layers + 1):
                raise UserError(
                    f"a level of {layers} residual blocks has as many depths on the way down or none, and one more on "
                    f"the way up or none, got {depths} and {up}"
                )
        if self.groups < 1 or any(count < 1 or count % self.groups for count in self.channels):
            raise UserError(
                f"the groups of group norms ({self.groups}) must divide the channel counts {self.channels}: choose "
                "other groups or channels"
            )
        if self.channels[0] % 2 or self.channels[0] // 2 <= self.freq_shift:
            raise UserError(f"channels[0] is {self.channels[0]}: the time embedding needs an even number of at least 4")
