"""A linear domain classifier on what a frozen network sees in a row."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tgdp_jax.nets.heads import SourceFeatures, told
from tgdp_jax.sde import SDE

Array = jax.Array
TIMES = (0.02, 0.1, 0.3)
CHUNK = 256  # rows at a time: the network's maps of all noise levels are in memory at once
SMALL = 1e-6  # beside a variance, whose root is then differentiable where a map is constant


class FeatureReadout(nn.Module):
    """Target-against-source logit [B] of clean rows (x [B, *D], cond), linear in a frozen network's pooled features.

    The network sees a row at several noise levels, for its features were trained on noised rows. All rows get the same
    noise, so that they differ by what they are alone.

    Attributes:
      source: frozen network with a method `encode` (`protocols.HasFeatures`), see `heads.frozen`.
      sde: forward process.
      num_classes: 0 for unconditional; else cond must be labels in [0, num_classes).
      times: noise levels.
      texts: what labels are to it, see `heads.told`.
    """

    source: nn.Module
    sde: SDE
    num_classes: int = 0
    times: tuple[float, ...] = TIMES
    texts: nn.Module | None = None

    def setup(self):
        self.features = SourceFeatures(self.source)
        self.readout = nn.Dense(1)

    def __call__(self, x: Array, cond: Array | None = None) -> Array:
        return self.readout(self.pooled(x, cond))[:, 0]

    def pooled(self, x: Array, cond: Array | None = None) -> Array:
        """What the logit is linear in, [B, F]: mean and deviation of every feature map, and the label."""
        found = []
        for number, time in enumerate(self.times):
            noise = jax.random.normal(jax.random.key(number), x.shape[1:])
            t = jnp.full(x.shape[:1], time)
            noised = self.sde.perturb(x, jnp.broadcast_to(noise, x.shape), t)
            found += [_over_places(h) for h in self.features(noised, t, cond)]
        return jnp.concatenate([*found, *told(cond, self.num_classes, self.texts)], -1)


def _over_places(h: Any) -> Array:
    """Mean and standard deviation over all places, [B, 2 C] float32, of h [B, ..., C]; h itself where it is [B, C]."""
    h = h.astype(jnp.float32)
    if h.ndim == 2:
        return h
    h = h.reshape(h.shape[0], -1, h.shape[-1])
    return jnp.concatenate([h.mean(1), jnp.sqrt(h.var(1) + SMALL)], -1)
