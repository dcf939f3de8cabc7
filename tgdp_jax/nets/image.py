"""U-Nets with the library's calling convention (x [B, H, W, C], t [B] in [t_min, 1], cond)."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tgdp_jax.errors import UserError
from tgdp_jax.nets.precondition import checked_std, noise_of_residual, scaled_input
from tgdp_jax.nets.registry import DenoiserSpec
from tgdp_jax.nets.unet import UNet
from tgdp_jax.sde import SDE

Array = jax.Array


class EpsUNet(nn.Module):
    """Noise prediction [B, H, W, C], with the preconditioning of all noise prediction networks (`precondition`).

    Attributes:
      sde: the forward process.
      channels: widths of the levels, each of half the resolution of the one before.
      blocks: residual blocks a level.
      attention: levels with self-attention, counted from 0; where there are any, the middle has one too.
      groups: of the group norms; must divide `channels`.
      num_classes: 0 for unconditional; else cond must be labels [B] in [0, num_classes] or one-hot [B, num_classes];
        the label num_classes, one-hot all zeros, means "no label".
      data_std: standard deviation of the (centred) data, one number or one a channel.
      dtype: what inner layers compute in, see `UNet`.
      remat: see there.
      new_token: see there.
    """

    sde: SDE
    channels: tuple[int, ...] = (32, 64, 64)
    blocks: int = 1
    attention: tuple[int, ...] = ()
    groups: int = 8
    num_classes: int = 0
    data_std: float | tuple[float, ...] = 1.0
    dtype: Any = jnp.float32
    remat: bool = False
    new_token: bool = False

    def setup(self):
        levels = range(len(self.channels))
        if any(level not in levels for level in self.attention):
            raise UserError(f"attention is at levels {self.attention}: there are levels 0..{len(self.channels) - 1}")
        self.unet = UNet(
            channels=self.channels,
            layers=self.blocks,
            down_types=tuple("AttnDownBlock2D" if i in self.attention else "DownBlock2D" for i in levels),
            up_types=tuple("AttnUpBlock2D" if i in self.attention else "UpBlock2D" for i in reversed(levels)),
            groups=self.groups,
            mid_attention=bool(self.attention),
            mid_groups=self.groups,
            num_classes=self.num_classes,
            dtype=self.dtype,
            remat=self.remat,
            new_token=self.new_token,
        )

    def __call__(self, x: Array, t: Array, cond: Any = None) -> Array:
        std = checked_std(self.data_std, x, "an image", "channels")
        residual = self.unet(scaled_input(x, t, self.sde, std), 1000.0 * t, cond)
        return noise_of_residual(residual, x, t, self.sde, std)

    def encode(self, x: Array, t: Array, cond: Any = None) -> list[Array]:
        """Feature maps [B, h, w, c], see `UNet.encode`."""
        std = checked_std(self.data_std, x, "an image", "channels")
        return self.unet.encode(scaled_input(x, t, self.sde, std), 1000.0 * t, cond)


def build(spec: DenoiserSpec) -> EpsUNet:
    """The network of a run's settings."""
    return EpsUNet(
        spec.sde,
        spec.settings.channels,
        spec.settings.blocks,
        spec.settings.attention,
        num_classes=spec.num_classes,
        data_std=spec.data_std,
        dtype=spec.dtype,
        remat=spec.settings.remat,
        new_token=spec.new_token,
    )
