"""Time and label features for networks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from tgdp_jax.errors import UserError, named_or_own
from tgdp_jax.nets.registry import EMBEDDINGS
from tgdp_jax.sde import SDE

Array = jax.Array
Embedding = Callable[[Array, SDE], Array]  # (t [B], sde) -> [B, F]


class TimeFeatures(nn.Module):
    """Features [B, F] of times t [B].

    Attributes:
      sde: process, for its log-SNR.
      kind: "compact" (t, log-SNR/5, one sine and cosine: enough for small networks), "sinusoidal" (the transformer's,
        of 1000 t, width `dim`) or "fourier" (random frequencies of log-SNR, fixed at initialisation, width `dim`); or a
        function (t [B], sde) -> [B, F].
      dim: width of the last two.
    """

    sde: SDE
    kind: str | Embedding = "compact"
    dim: int = 64

    @nn.compact
    def __call__(self, t: Array) -> Array:
        given = named_or_own("time embedding", self.kind, dict.fromkeys(EMBEDDINGS), "(t, sde)")
        if given is not None:
            features = given(t, self.sde)
            if features.ndim != 2 or features.shape[0] != t.shape[0]:
                raise UserError(f"a time embedding of times {t.shape} returned {features.shape}: it must be [B, F]")
            return features
        log_snr = self.sde.log_snr(t) / 5.0
        if self.kind == "compact":
            return jnp.stack([t, log_snr, jnp.sin(2 * math.pi * t), jnp.cos(2 * math.pi * t)], -1)
        half = self.dim // 2
        if self.kind == "sinusoidal":
            angles = 1000.0 * t[:, None] * jnp.exp(-math.log(10_000.0) * jnp.arange(half) / half)
        else:
            # Frequencies are drawn once and carry no gradient: they are features, not weights.
            frequencies = self.param("frequencies", nn.initializers.normal(1.0), (half,))
            angles = 2 * math.pi * log_snr[:, None] * jax.lax.stop_gradient(frequencies)
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1)


class Prompt(NamedTuple):
    """What a network with a new token is conditioned on, where only some of the rows carry it.

    Labels alone (or None) say that all do: who asks such a network for samples asks for the new domain.

    Attributes:
      labels: [B], or None for an unconditional network.
      token: whether a row carries the token, [B].
    """

    labels: Array | None
    token: Array


class TokenEmbedding(nn.Module):
    """What the new token adds to an embedding: [dim] for all rows alike, or [B, dim] where cond is a `Prompt`.

    It stands beside the embeddings of time and label ("class y in the style of the new domain"), and starts at zero,
    where a row with the token is as good as one without.
    """

    dim: int

    @nn.compact
    def __call__(self, cond: Any) -> Array:
        row = self.param("row", nn.initializers.zeros, (self.dim,))
        return jnp.where(cond.token[:, None], row, 0.0) if isinstance(cond, Prompt) else row


def label_features(cond: Array | Prompt | None, num_classes: int) -> list[Array]:
    """One-hot labels [B, num_classes] in a list, which is empty for an unconditional network.

    One label more than there are classes, `num_classes`, stands for "no label" and gives zeros.

    Raises:
      UserError: a conditional network was called without labels, or an unconditional one with.
    """
    if isinstance(cond, Prompt):
        cond = cond.labels
    if num_classes == 0:
        if cond is not None:
            raise UserError("this network is unconditional but labels were given: pass cond=None")
        return []
    if cond is None:
        raise UserError(f"this network is conditional on {num_classes} classes: pass labels as cond")
    return [jax.nn.one_hot(cond, num_classes) if jnp.issubdtype(cond.dtype, jnp.integer) else cond]
