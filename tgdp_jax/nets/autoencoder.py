"""Autoencoders between images and the latents of latent diffusion models (Rombach et al. 2022), as diffusers has them.

`AutoencoderKL` gives a normal distribution of latents, `AutoencoderTiny` a point; names of parameters are diffusers'
own. Latents as a denoiser sees them are (latent - shift) * scale, see `to_denoiser`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from tgdp_jax.errors import UserError
from tgdp_jax.nets.blocks import Upsample, double
from tgdp_jax.nets.conv import Conv
from tgdp_jax.nets.norm import GroupNorm
from tgdp_jax.nets.unet import DownBlock, MakeOwn, MidBlock

Array = jax.Array
EPS = 1e-6  # of the group norms
# Bounds of the logarithms of variances.
LOWEST, HIGHEST = -30.0, 20.0


class Moments(NamedTuple):
    """A normal distribution of latents, or a point.

    Attributes:
      mean: [B, h, w, c].
      log_var: likewise; None for a point.
    """

    mean: Array
    log_var: Array | None


class Autoencoder(Protocol):
    """What a pipeline asks of an autoencoder."""

    scale: float
    shift: float
    latents: int

    @property
    def factor(self) -> int:
        """Pixels on a side for one place of a latent."""
        ...

    def encode(self, x: Array) -> Moments:
        """Latents of images [B, H, W, C] in [-1, 1]; H and W must be multiples of `factor`."""
        ...

    def decode(self, z: Array) -> Array:
        """Images [B, H, W, C], about in [-1, 1], of latents [B, h, w, c]."""
        ...


def to_denoiser(net: Autoencoder, z: Array) -> Array:
    """Latents as a denoiser sees them."""
    return (z - net.shift) * net.scale


def from_denoiser(net: Autoencoder, z: Array) -> Array:
    """Inverse of `to_denoiser`."""
    return z / net.scale + net.shift


class Encoder(nn.Module):
    """Images [B, H, W, C] to [B, h, w, out_channels]. Attributes: as of `AutoencoderKL`."""

    make: MakeOwn
    channels: tuple[int, ...]
    layers: int
    mid_attention: bool
    out_channels: int

    def setup(self):
        last = len(self.channels) - 1
        self.conv_in = Conv(self.channels[0], dtype=self.make.dtype)
        self.down_blocks = [
            DownBlock(self.make, features, self.layers, False, None if level == last else "conv", 0)
            for level, features in enumerate(self.channels)
        ]
        self.mid_block = MidBlock(self.make, self.channels[-1], self.mid_attention)
        self.conv_norm_out = GroupNorm(self.make.groups, EPS)
        self.conv_out = Conv(self.out_channels)

    def __call__(self, x: Array) -> Array:
        h = self.conv_in(x)
        for block in self.down_blocks:
            h, _ = block(h, None)
        h = self.mid_block(h, None)
        return self.conv_out(nn.silu(self.conv_norm_out(h.astype(x.dtype))))


class UpDecoderBlock(nn.Module):
    """One level on the way back: residual blocks, and twice the resolution if asked for."""

    make: MakeOwn
    features: int
    layers: int
    double: bool

    def setup(self):
        self.resnets = [self.make.resnet(self.features) for _ in range(self.layers)]
        self.upsamplers = [Upsample(self.make.dtype) for _ in range(int(self.double))]

    def __call__(self, h: Array) -> Array:
        for block in (*self.resnets, *self.upsamplers):
            h = block(h)
        return h


class Decoder(nn.Module):
    """Inverse of `Encoder`; [B, h, w, c] to [B, H, W, out_channels]."""

    make: MakeOwn
    channels: tuple[int, ...]
    layers: int
    mid_attention: bool
    out_channels: int

    def setup(self):
        last = len(self.channels) - 1
        self.conv_in = Conv(self.channels[-1], dtype=self.make.dtype)
        self.mid_block = MidBlock(self.make, self.channels[-1], self.mid_attention)
        self.up_blocks = [
            UpDecoderBlock(self.make, features, self.layers + 1, level != last)
            for level, features in enumerate(reversed(self.channels))
        ]
        self.conv_norm_out = GroupNorm(self.make.groups, EPS)
        self.conv_out = Conv(self.out_channels)

    def __call__(self, z: Array) -> Array:
        h = self.mid_block(self.conv_in(z), None)
        for block in self.up_blocks:
            h = block(h)
        return self.conv_out(nn.silu(self.conv_norm_out(h.astype(z.dtype))))


class AutoencoderKL(nn.Module):
    """The variational autoencoder of Stable Diffusion; its methods are `encode` and `decode`, see `Autoencoder`.

    Attributes:
      channels: of every level, from the finest.
      layers: residual blocks of every level.
      latents: channels of the latents.
      in_channels: of the images.
      out_channels: of the images that come back.
      groups: of all group norms; must divide `channels`.
      mid_attention: whether the middle has an attention.
      quant: whether a convolution of one pixel follows the encoder.
      post_quant: whether one precedes the decoder.
      scale: see `to_denoiser`.
      shift: see there.
      dtype: what inner layers compute in; None: float32, as which the norms' statistics are computed.
    """

    channels: tuple[int, ...]
    layers: int = 2
    latents: int = 4
    in_channels: int = 3
    out_channels: int = 3
    groups: int = 32
    mid_attention: bool = True
    quant: bool = True
    post_quant: bool = True
    scale: float = 0.18215
    shift: float = 0.0
    dtype: Any = None

    def setup(self):
        if any(features % self.groups for features in self.channels):
            raise UserError(
                f"the groups of group norms ({self.groups}) must divide the channel counts {self.channels}: choose "
                "other groups or channels"
            )
        make = MakeOwn(
            groups=self.groups,
            eps=EPS,
            time_norm="default",
            dtype=self.dtype,
            remat=False,
            head_dim=None,
            attention_groups=self.groups,
        )
        self.encoder = Encoder(make, self.channels, self.layers, self.mid_attention, 2 * self.latents)
        self.decoder = Decoder(make, self.channels, self.layers, self.mid_attention, self.out_channels)
        self.quant_conv = Conv(2 * self.latents, size=1) if self.quant else None
        self.post_quant_conv = Conv(self.latents, size=1) if self.post_quant else None

    @property
    def factor(self) -> int:
        """Pixels on a side for one place of a latent."""
        return 2 ** (len(self.channels) - 1)

    def __call__(self, x: Array) -> Array:
        """Images and back, by the means of the latents; this makes all parameters."""
        return self.decode(self.encode(x).mean)

    def encode(self, x: Array) -> Moments:
        """Latents of images [B, H, W, C] in [-1, 1].

        Raises:
          UserError: sides that are no multiples of `factor`.
        """
        _check_sides(x, self.factor)
        h = self.encoder(x)
        if self.quant_conv is not None:
            h = self.quant_conv(h)
        mean, log_var = jnp.split(h, 2, -1)
        return Moments(mean, jnp.clip(log_var, LOWEST, HIGHEST))

    def decode(self, z: Array) -> Array:
        """Images of latents [B, h, w, c]."""
        return self.decoder(z if self.post_quant_conv is None else self.post_quant_conv(z))


class TinyBlock(nn.Module):
    """Residual block of three convolutions."""

    features: int
    dtype: Any = None

    def setup(self):
        # Numbered as diffusers has them, activations between.
        self.conv = [Conv(self.features, dtype=self.dtype) if i % 2 == 0 else nn.relu for i in range(5)]

    def __call__(self, x: Array) -> Array:
        h = x
        for layer in self.conv:
            h = layer(h)
        return nn.relu(x + h)


class TinyLayers(nn.Module):
    """Layers one after the other, where some have no parameters: functions of an array."""

    layers: tuple[Any, ...]

    def __call__(self, h: Array) -> Array:
        for layer in self.layers:
            h = layer(h)
        return h


class AutoencoderTiny(nn.Module):
    """A distilled autoencoder without normalisation (TAESD); its methods are `encode` and `decode`.

    Attributes:
      encoder_channels: of every level, from the finest; all of them alike.
      decoder_channels: likewise, from the coarsest.
      encoder_blocks: residual blocks of every level.
      decoder_blocks: likewise, from the coarsest level.
      latents: channels of the latents.
      in_channels: of the images.
      out_channels: of the images that come back.
      scale: see `to_denoiser`.
      shift: see there.
      dtype: what the layers compute in; None: float32.
    """

    encoder_channels: tuple[int, ...] = (64, 64, 64, 64)
    decoder_channels: tuple[int, ...] = (64, 64, 64, 64)
    encoder_blocks: tuple[int, ...] = (1, 3, 3, 3)
    decoder_blocks: tuple[int, ...] = (3, 3, 3, 1)
    latents: int = 4
    in_channels: int = 3
    out_channels: int = 3
    scale: float = 1.0
    shift: float = 0.0
    dtype: Any = None

    def setup(self):
        down: list[Any] = []
        for level, (features, blocks) in enumerate(zip(self.encoder_channels, self.encoder_blocks, strict=True)):
            step = {"stride": 2, "padding": ((1, 1), (1, 1)), "use_bias": False} if level else {}
            down += [Conv(features, dtype=self.dtype, **step)]
            down += [TinyBlock(features, self.dtype) for _ in range(blocks)]
        down += [Conv(self.latents, dtype=self.dtype)]
        up: list[Any] = [Conv(self.decoder_channels[0], dtype=self.dtype), nn.relu]
        levels = list(zip(self.decoder_channels, self.decoder_blocks, strict=True))
        for features, blocks in levels[:-1]:
            up += [TinyBlock(features, self.dtype) for _ in range(blocks)]
            up += [double, Conv(features, use_bias=False, dtype=self.dtype)]
        features, blocks = levels[-1]
        up += [TinyBlock(features, self.dtype) for _ in range(blocks)]
        up += [Conv(self.out_channels, dtype=self.dtype)]
        self.encoder, self.decoder = TinyLayers(tuple(down)), TinyLayers(tuple(up))

    @property
    def factor(self) -> int:
        """Pixels on a side for one place of a latent."""
        return 2 ** (len(self.encoder_channels) - 1)

    def __call__(self, x: Array) -> Array:
        """Images and back; this makes all parameters."""
        return self.decode(self.encode(x).mean)

    def encode(self, x: Array) -> Moments:
        """Latents of images [B, H, W, C] in [-1, 1].

        Raises:
          UserError: sides that are no multiples of `factor`.
        """
        _check_sides(x, self.factor)
        return Moments(self.encoder(0.5 * (x + 1.0)).astype(x.dtype), None)

    def decode(self, z: Array) -> Array:
        """Images of latents [B, h, w, c]."""
        return 2.0 * self.decoder(3.0 * jnp.tanh(z / 3.0)).astype(z.dtype) - 1.0


def _check_sides(x: Array, factor: int) -> None:
    _, height, width, _ = x.shape
    if height % factor or width % factor:
        raise UserError(
            f"images are {height} x {width}: this autoencoder needs sides that are multiples of {factor}; crop or pad "
            "them"
        )
