"""A small convolutional classifier whose last hidden layer serves as features of images or series."""

from __future__ import annotations

import flax.linen as nn
import jax

from tgdp_jax.nets.conv import Conv
from tgdp_jax.nets.layers import pooled
from tgdp_jax.nets.mlp import silu
from tgdp_jax.nets.xresnet import XResNet1d

Array = jax.Array
COARSEST = 4  # pixels a side (at most) at which convolutions end


class FeatureCNN(nn.Module):
    """(features [B, width], class logits [B, num_classes]) of images x [B, H, W, C] or series x [B, L, C].

    A convolution at every resolution, halved until at most four pixels a side are left: 8x8 images see two
    convolutions, 16x16 three, 32x32 four. Series go through an `XResNet1d`, of whose places mean and largest are seen.

    Attributes:
      num_classes: classes.
      channels: widths of the convolutions from fine to coarse; the last serves all further ones.
      width: of the features.
    """

    num_classes: int
    channels: tuple[int, ...] = (16, 32, 64)
    width: int = 64

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        seen = pooled(XResNet1d(self.channels)(x)) if x.ndim == 3 else self._picture(x)
        features = silu(nn.Dense(self.width)(seen))
        return features, nn.Dense(self.num_classes)(features)

    def _picture(self, x: Array) -> Array:
        h, level = x, 0
        while True:
            h = silu(Conv(self.channels[min(level, len(self.channels) - 1)])(h))
            if max(h.shape[1:3]) <= COARSEST:
                break
            h = nn.avg_pool(h, (2, 2), (2, 2), padding="SAME", count_include_pad=False)
            level += 1
        return h.reshape(h.shape[0], -1)
