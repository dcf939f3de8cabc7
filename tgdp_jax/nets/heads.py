"""Heads for images and series: log-ratios on noised data and domain classifiers, on layers of their own or on the
features of a frozen network: a noise prediction network, for rows of any kind, or a classifier of labels.

A frozen network's weights are no parameters of the head. They live in a variable collection of their own, which
training never touches: `head.apply({**params, **frozen(variables)}, x, t, cond)`.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tgdp_jax.nets.conv import Conv
from tgdp_jax.nets.embedding import TimeFeatures, label_features
from tgdp_jax.nets.layers import pooled
from tgdp_jax.nets.mlp import MLP, silu
from tgdp_jax.nets.norm import GroupNorm
from tgdp_jax.nets.precondition import scaled_input, signal_share
from tgdp_jax.nets.xresnet import XResNet1d
from tgdp_jax.sde import SDE

Array = jax.Array
SHARPEST = 0.1  # noise below which the local energy grows no further
GROUP = 8  # channels that share a group norm
SERIES_WINDOW, SERIES_POOL = 7, 4  # places of a series that a convolution sees, and that become one


def frozen(variables: Any) -> dict[str, Any]:
    """The collection of a head that stands on a network with these variables {"params": ...}."""
    return {"source": {"features": {"params": variables["params"]}}}


class ConvBody(nn.Module):
    """(feature map [B, h, w, channels[-1]], local energy [B]) of images [B, H, W, C] or series [B, L, C].

    At every width two convolutions, each shifted and scaled by what is known of time and label (FiLM, Perez et al.
    2018), then half the resolution (of series, whose windows are 7 places, a quarter). The local energy is a sum over
    all places of a function of the 7 x 7 pixels around (a field of experts, Roth & Black 2005), zero at the start. Two
    sets of images differ in the fine print too, in how edges and grounds look, everywhere at once: an average of
    features passes on only its 1 / (H W) to a pixel.

    Attributes:
      channels: widths, one a resolution.
      dtype: what the layers compute in; the input layer, norms and pooled features are float32.
    """

    channels: tuple[int, ...]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, known: Array | None) -> tuple[Array, Array]:
        inner = None if self.dtype == jnp.float32 else self.dtype
        window, pool = 3, (2, 2)
        if x.ndim == 3:
            x, window, pool = x[:, :, None], (SERIES_WINDOW, 1), (SERIES_POOL, 1)
        h, energy = Conv(self.channels[0], window)(x), jnp.zeros(x.shape[0])
        for level, width in enumerate(self.channels):
            for _ in range(2):
                h = Conv(width, window, dtype=inner)(h)
                h = GroupNorm(width // math.gcd(GROUP, width))(h.astype(jnp.float32))
                if known is not None:
                    shift, scale = jnp.split(nn.Dense(2 * width)(known)[:, None, None], 2, -1)
                    h = (1.0 + scale) * h + shift
                h = silu(h if inner is None else h.astype(inner))
            if level == 0:
                energy = Conv(1, size=1, kernel_init=nn.initializers.zeros)(h.astype(jnp.float32)).sum((1, 2, 3))
            if level < len(self.channels) - 1:
                h = nn.avg_pool(h, pool, pool, padding="SAME", count_include_pad=False)
        return h, energy


def _clean_features(channels: tuple[int, ...], x: Array, known: Array | None, dtype: Any) -> Array:
    """Feature map of clean rows: `ConvBody`'s of images, `XResNet1d`'s of series. Within a compact module."""
    if x.ndim == 3:
        return XResNet1d(channels, dtype=dtype)(x, known)
    # Pixels give sets away that look alike to people: a clean classifier is to see what lasts under noise.
    return ConvBody(channels, dtype)(x, known)[0]


class SourceFeatures(nn.Module):
    """Pooled features [B, K] of a frozen network, see `layers.pooled`.

    Attributes:
      net: network with a method encode(x, t, cond) -> list of [B, ..., C]. Its variables are the collection "source".
    """

    net: nn.Module

    @nn.compact
    def __call__(self, x: Array, t: Array, cond: Array | None) -> Array:
        def fresh() -> Any:
            return self.net.init(jax.random.key(0), x[:1], t[:1], None if cond is None else cond[:1])["params"]

        params = self.variable("source", "params", fresh).value
        maps: Any = self.net.apply({"params": params}, x, t, cond, method="encode")
        return jnp.concatenate([pooled(h) for h in maps], -1)


class GuidanceHead(nn.Module):
    """Log-ratio g(x, t, cond) [B] on noised images or series: guidance network and noise-conditional domain classifier.

    Attributes:
      sde: forward process.
      channels: widths of its own convolutions; empty where it stands on `source`.
      features: widths of the dense layers behind the pooled features.
      num_classes: 0 for unconditional; else cond must be labels in [0, num_classes).
      data_std: standard deviation of the data.
      source: frozen network whose features it takes instead (`SourceFeatures`), or None.
      dtype: what inner layers compute in.
    """

    sde: SDE
    channels: tuple[int, ...] = (32, 64)
    features: tuple[int, ...] = (128,)
    num_classes: int = 0
    data_std: float = 1.0
    source: nn.Module | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, t: Array, cond: Array | None = None) -> Array:
        known = jnp.concatenate([TimeFeatures(self.sde)(t), *label_features(cond, self.num_classes)], -1)
        if self.source is not None:
            seen, energy = SourceFeatures(self.source, name="features")(x, t, cond), 0.0
        else:
            h, energy = ConvBody(self.channels, self.dtype)(scaled_input(x, t, self.sde, self.data_std), known)
            seen = pooled(h)
        seen = nn.LayerNorm()(seen)
        g = MLP(self.features, 1, dtype=self.dtype)(jnp.concatenate([seen, known], -1))[:, 0]
        # Fine print counts where there is little noise, and there its log-ratio is steep.
        return signal_share(t, self.sde) * (g + energy / (self.sde.sigma(t) + SHARPEST))


class ClassifierHead(nn.Module):
    """Target-against-source logit [B] of clean images (x [B, H, W, C], cond) or series (x [B, L, C], cond).

    Layers of its own are those of `ConvBody` for images and of `XResNet1d` for series.

    Attributes:
      channels, features, num_classes, data_std, source, dtype: as of `GuidanceHead`.
      time: at which a frozen `source` looks at the clean row; its features are trained on noised ones.
    """

    channels: tuple[int, ...] = (16, 32)
    features: tuple[int, ...] = (64,)
    num_classes: int = 0
    data_std: float = 1.0
    source: nn.Module | None = None
    time: float = 0.05
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, cond: Array | None = None) -> Array:
        known = label_features(cond, self.num_classes)
        if self.source is not None:
            seen = SourceFeatures(self.source, name="features")(x, jnp.full(x.shape[:1], self.time), cond)
        else:
            seen = pooled(_clean_features(self.channels, x / self.data_std, known[0] if known else None, self.dtype))
        seen = nn.LayerNorm()(seen)
        return MLP(self.features, 1, dtype=self.dtype)(jnp.concatenate([seen, *known], -1))[:, 0]


class LabelHead(nn.Module):
    """(feature map [B, ..., channels[-1]], class logits [B, num_labels]) of clean images or series, and of noised ones
    brought to their spread where times t are given. What it is asked to show (`cond`) it does not look at.

    A `ClassifierHead` can start from its weights, which go by the same names, and heads can stand on its features.

    Attributes:
      sde: forward process of noised rows.
      num_labels: classes.
      channels, features, data_std, dtype: as of `ClassifierHead`.
    """

    sde: SDE
    num_labels: int
    channels: tuple[int, ...] = (16, 32)
    features: tuple[int, ...] = (64,)
    data_std: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, t: Array | None = None, cond: Any = None) -> tuple[Array, Array]:
        x = x / self.data_std if t is None else scaled_input(x, t, self.sde, self.data_std)
        h = _clean_features(self.channels, x, None, self.dtype)
        return h, MLP(self.features, self.num_labels, dtype=self.dtype)(nn.LayerNorm()(pooled(h)))

    def encode(self, x: Array, t: Array, cond: Any = None) -> list[Array]:
        """The feature map of noised rows."""
        return [self(x, t, cond)[0]]
