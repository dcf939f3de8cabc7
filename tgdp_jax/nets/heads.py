"""Heads for images and series: log-ratios on noised data and domain classifiers, on layers of their own or on the
features of a frozen network: a noise prediction network, for rows of any kind, or a classifier of labels.

A frozen network's weights are no parameters of the head. They live in a variable collection of their own, which
training never touches: `head.apply({**params, **frozen(variables)}, x, t, cond)`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tgdp_jax.nets.attention import differentiable_twice
from tgdp_jax.nets.conv import Conv
from tgdp_jax.nets.embedding import TimeFeatures, label_features
from tgdp_jax.nets.layers import pooled
from tgdp_jax.nets.mlp import MLP, silu
from tgdp_jax.nets.norm import GroupNorm
from tgdp_jax.nets.precondition import scaled_input, signal_share
from tgdp_jax.nets.protocols import HasConstants, HasFeatures, require
from tgdp_jax.nets.xresnet import XResNet1d
from tgdp_jax.sde import SDE

Array = jax.Array
SHARPEST = 0.1  # noise below which the energy grows no further
GROUP = 8  # channels that share a group norm
SERIES_WINDOW, SERIES_POOL = 7, 4  # places of a series that a convolution sees, and that become one


def frozen(variables: Any) -> dict[str, Any]:
    """The collection of a head that stands on a network with these variables {"params": ...}."""
    return {"source": {"features": dict(variables)}}


def told(cond: Any, num_classes: int, texts: Any) -> list[Array]:
    """What a head is told of labels, [B, F] in a list that is empty where there are none.

    Args:
      cond: labels.
      num_classes: see `label_features`, which gives it.
      texts: (labels) -> [B, F], in its place; or None.
    """
    return label_features(cond, num_classes) if texts is None else [texts(cond)]


class ConvLayer(nn.Module):
    """Convolution, group norm and activation, shifted and scaled by what is known of time and label (FiLM, Perez et al.
    2018); [B, H, W, C] -> [B, H, W, features].

    Attributes:
      features: channels that come out.
      window: places that a convolution sees, see `Conv`.
      dtype: what it computes in (None: float32); norms are float32.
    """

    features: int
    window: Any
    dtype: Any = None

    @nn.compact
    def __call__(self, h: Array, known: Array | None) -> Array:
        h = Conv(self.features, self.window, dtype=self.dtype)(h)
        h = GroupNorm(self.features // math.gcd(GROUP, self.features))(h.astype(jnp.float32))
        if known is not None:
            shift, scale = jnp.split(nn.Dense(2 * self.features)(known)[:, None, None], 2, -1)
            h = (1.0 + scale) * h + shift
        return silu(h if self.dtype is None else h.astype(self.dtype))


class ConvBody(nn.Module):
    """Feature maps [B, h, w, c], one a width, of images [B, H, W, C] or series [B, L, 1, C].

    Two layers at every width, then half the resolution (of series, whose windows are 7 places, a quarter). What another
    network has seen, `given` maps, joins where it has the resolution of one of them.

    Attributes:
      channels: widths, one a resolution.
      dtype: what the layers compute in; the first convolution and norms are float32.
    """

    channels: tuple[int, ...]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, known: Array | None, given: Sequence[Array] = ()) -> list[Array]:
        window, pool = _places(x)
        h, maps = Conv(self.channels[0], window)(x), []
        for level, width in enumerate(self.channels):
            if level:
                h = nn.avg_pool(h, pool, pool, padding="SAME", count_include_pad=False)
            joining = [m.astype(jnp.float32) for m in map(as_image, given) if m.shape[1:3] == h.shape[1:3]]
            if joining:
                h += Conv(h.shape[-1], 1, dtype=_inner(self.dtype))(nn.LayerNorm()(jnp.concatenate(joining, -1)))
            for _ in range(2):
                h = ConvLayer(width, window, _inner(self.dtype))(h, known)
            maps.append(h)
        return maps


class Energy(nn.Module):
    """Sum over places of e(x) and, where that is asked for, <x, F(x)>; [B]. e is of the neighbourhood (a field of
    experts, Roth & Black 2005), F a U-Net's output. Zero at the start.

    The gradient of <x, F(x)> is F(x) and what F moves, as free as a denoising network (Salimans & Ho 2021, "Should EBMs
    model the energy or the score?"). Features that are averaged over a row pass on only a share of one over its places
    to each: sets of rows differ in the fine print too, everywhere at once, and that takes a sum.

    Attributes:
      free: whether there is <x, F(x)>.
      dtype: what the layers of F compute in; the last layers and the sums are float32.
    """

    free: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, maps: list[Array], known: Array | None) -> Array:
        """x and `maps` as of `ConvBody`; F is the way up over them."""
        energy = self._last(1, 1, maps[0]).sum((1, 2, 3))
        if not self.free:
            return energy
        inner, (window, pool), h = _inner(self.dtype), _places(x), maps[-1]
        for kept in reversed(maps[:-1]):
            h = Conv(kept.shape[-1], 1, dtype=inner)(h)
            h = jnp.repeat(jnp.repeat(h, pool[0], 1), pool[1], 2)[:, : kept.shape[1], : kept.shape[2]]
            h = ConvLayer(kept.shape[-1], window, inner)(h + kept, known)
        return energy + (x * self._last(x.shape[-1], window, h)).sum((1, 2, 3))

    def _last(self, features: int, window: Any, h: Array) -> Array:
        return Conv(features, window, kernel_init=nn.initializers.zeros)(h.astype(jnp.float32))


def _places(x: Array) -> tuple[Any, tuple[int, int]]:
    """(window of a convolution, places that become one) of images [B, H, W, C] and series [B, L, 1, C]."""
    return ((SERIES_WINDOW, 1), (SERIES_POOL, 1)) if x.shape[2] == 1 else (3, (2, 2))


def _inner(dtype: Any) -> Any:
    # None: of the type of inputs and parameters.
    return None if dtype == jnp.float32 else dtype


def as_image(x: Array) -> Array:
    """Series [B, L, C] as [B, L, 1, C]; images as they are."""
    return x[:, :, None] if x.ndim == 3 else x


def _clean_features(channels: tuple[int, ...], x: Array, known: Array | None, dtype: Any) -> Array:
    """Feature map of clean rows: `ConvBody`'s of images, `XResNet1d`'s of series. Within a compact module."""
    if x.ndim == 3:
        return XResNet1d(channels, dtype=dtype)(x, known)
    # Pixels give sets away that look alike to people: a clean classifier is to see what lasts under noise.
    return ConvBody(channels, dtype)(x, known)[-1]


def _all_pooled(maps: Sequence[Array]) -> Array:
    """[B, K], see `layers.pooled`."""
    return jnp.concatenate([pooled(h) for h in maps], -1)


class SourceFeatures(nn.Module):
    """Feature maps of a frozen network, [B, ..., C] each.

    Attributes:
      net: network with a method `encode` (`protocols.HasFeatures`). Its variables are the collection "source".
    """

    net: nn.Module

    @nn.compact
    def __call__(self, x: Array, t: Array, cond: Array | None = None) -> list[Array]:
        def fresh(name: str) -> Any:
            return self.net.init(jax.random.key(0), x[:1], t[:1], None if cond is None else cond[:1])[name]

        require(self.net, HasFeatures, "a head on another network's features")
        names = "params", *(self.net.constants if isinstance(self.net, HasConstants) else ())
        variables = {name: self.variable("source", name, fresh, name).value for name in names}
        # What is learned from the gradient of a log-ratio has one of that.
        with differentiable_twice():
            maps: Any = self.net.apply(variables, x, t, cond, method="encode")
        return maps


class GuidanceHead(nn.Module):
    """Log-ratio g(x, t, cond) [B] on noised images or series: guidance network and noise-conditional domain classifier.

    Attributes:
      sde: forward process.
      channels: widths of its own convolutions.
      features: widths of the dense layers behind the pooled features.
      num_classes: 0 for unconditional; else cond must be labels in [0, num_classes).
      data_std: standard deviation of the data.
      source: frozen network whose features it takes (`SourceFeatures`), or None. Only a free head has layers of its own
        then, which the features join.
      free: whether layers of its own give the gradient a U-Net's freedom, see `Energy`.
      dtype: what inner layers compute in.
      texts: what labels are to it, see `told`.
    """

    sde: SDE
    channels: tuple[int, ...] = (32, 64)
    features: tuple[int, ...] = (128,)
    num_classes: int = 0
    data_std: float = 1.0
    source: nn.Module | None = None
    free: bool = True
    dtype: Any = jnp.float32
    texts: nn.Module | None = None

    @nn.compact
    def __call__(self, x: Array, t: Array, cond: Array | None = None, given: list[Array] | None = None) -> Array:
        known = jnp.concatenate([TimeFeatures(self.sde)(t), *told(cond, self.num_classes, self.texts)], -1)
        if given is None:
            given = [] if self.source is None else SourceFeatures(self.source, name="features")(x, t, cond)
        if given and not self.free:
            seen, energy = _all_pooled(given), 0.0
        else:
            x = as_image(scaled_input(x, t, self.sde, self.data_std))
            maps = ConvBody(self.channels, self.dtype)(x, known, given)
            seen, energy = _all_pooled(given or maps[-1:]), Energy(self.free, self.dtype)(x, maps, known)
        seen = nn.LayerNorm()(seen)
        g = MLP(self.features, 1, dtype=self.dtype)(jnp.concatenate([seen, known], -1))[:, 0]
        # Fine print counts where there is little noise, and there its log-ratio is steep.
        return signal_share(t, self.sde) * (g + energy / (self.sde.sigma(t) + SHARPEST))

    @nn.nowrap
    def shared(self, variables: Any) -> Callable[..., Any] | None:
        """The frozen network's features, see `protocols.HasShared`."""
        if self.source is None:
            return None
        own = {"source": variables["source"]["features"]}
        return functools.partial(SourceFeatures(self.source, parent=None).apply, own)


class ClassifierHead(nn.Module):
    """Target-against-source logit [B] of clean images (x [B, H, W, C], cond) or series (x [B, L, C], cond).

    Layers of its own are those of `ConvBody` for images and of `XResNet1d` for series.

    Attributes:
      channels, features, num_classes, data_std, source, dtype, texts: as of `GuidanceHead`.
      time: at which a frozen `source` looks at the clean row; its features are trained on noised ones.
    """

    channels: tuple[int, ...] = (16, 32)
    features: tuple[int, ...] = (64,)
    num_classes: int = 0
    data_std: float = 1.0
    source: nn.Module | None = None
    time: float = 0.05
    dtype: Any = jnp.float32
    texts: nn.Module | None = None

    @nn.compact
    def __call__(self, x: Array, cond: Array | None = None) -> Array:
        known = told(cond, self.num_classes, self.texts)
        if self.source is not None:
            seen = _all_pooled(SourceFeatures(self.source, name="features")(x, jnp.full(x.shape[:1], self.time), cond))
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
