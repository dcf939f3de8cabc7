"""Multilayer perceptrons for vector data: noise prediction, guidance and domain classification.

All take (x [B, *D], t [B], cond) and flatten x inside. `cond` is None or integer labels [B]. See `precondition` for
what stands before and after the layers.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tgdp_jax.nets.embedding import Embedding, TimeFeatures, TokenEmbedding, label_features
from tgdp_jax.nets.layers import LAYERS
from tgdp_jax.nets.precondition import checked_std, noise_of_residual, scaled_input, signal_share
from tgdp_jax.nets.registry import DenoiserSpec
from tgdp_jax.sde import SDE

Array = jax.Array


def silu(h: Array) -> Array:
    """h * sigmoid(h), by tanh: a quarter less time than by exp and division on CPU, where small networks feel it."""
    return 0.5 * h * (1.0 + jnp.tanh(0.5 * h))


class MLP(nn.Module):
    """Dense layers of the given widths with SiLU between, and a linear output layer.

    Parameters are float32. `dtype` is what the layers between the first and the last compute in: rounding the input
    would blur x_t at small t, where the noise is of the size of the rounding, and these two layers cost little.
    """

    features: tuple[int, ...]
    out: int
    zero_output: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, h: Array, shift: Array | None = None, *, hidden: int | None = None) -> Array:
        """`shift`, [B, features[0]] or one for all rows, is added before the first activation. With `hidden` the
        activations of the hidden layer of that number, counted from 1, instead of the output."""
        # None: of the type of inputs and parameters.
        inner = None if self.dtype == jnp.float32 else self.dtype
        layers = {}
        for i, width in enumerate(self.features):
            h = nn.Dense(width, dtype=inner if i else None)(h)
            h = h + shift if shift is not None and not i else h
            h = layers[f"hidden{i}"] = silu(h if inner is None else h.astype(inner))
            if i + 1 == hidden:
                return h
        self.sow("intermediates", LAYERS, layers)
        init = nn.initializers.zeros if self.zero_output else nn.initializers.lecun_normal()
        return nn.Dense(self.out, kernel_init=init)(h)


class EpsMLP(nn.Module):
    """Noise prediction [B, *D].

    Attributes:
      sde: the forward process (gives the preconditioning and the log-SNR feature).
      features: widths of the hidden layers.
      embedding: kind of time features, see `TimeFeatures`.
      num_classes: 0 for unconditional; else cond must be labels in [0, num_classes).
      data_std: standard deviation of the (centred) data, one number or one a coordinate.
      dtype: what the hidden layers compute in; parameters, times, preconditioning and output are float32.
      new_token: whether there is one, see `Prompt`; it shifts the first hidden layer, as one more label would.
    """

    sde: SDE
    features: tuple[int, ...] = (128, 128, 128)
    embedding: str | Embedding = "compact"
    num_classes: int = 0
    data_std: float | tuple[float, ...] = 1.0
    dtype: Any = jnp.float32
    new_token: bool = False

    def encode(self, x: Array, t: Array, cond: Any = None) -> list[Array]:
        """Activations [B, width] of the middle layer."""
        return [self._run(x, t, cond, hidden=(len(self.features) + 1) // 2)]

    def __call__(self, x: Array, t: Array, cond: Any = None) -> Array:
        return self._run(x, t, cond, hidden=None)

    @nn.compact
    def _run(self, x: Array, t: Array, cond: Any, *, hidden: int | None) -> Array:
        flat = x.reshape(x.shape[0], -1)
        std = checked_std(self.data_std, flat, "a sample", "numbers")
        time = TimeFeatures(self.sde, self.embedding)(t)
        inputs = [scaled_input(flat, t, self.sde, std), time, *label_features(cond, self.num_classes)]
        shift = TokenEmbedding(self.features[0], name="token")(cond) if self.new_token else None
        layers = MLP(self.features, flat.shape[1], zero_output=True, dtype=self.dtype)
        residual = layers(jnp.concatenate(inputs, -1), shift, hidden=hidden)
        if hidden is not None:
            return residual
        return noise_of_residual(residual, flat, t, self.sde, std).reshape(x.shape)


class GuidanceMLP(nn.Module):
    """Log-ratio on noised data, g(x, t, cond) [B]: guidance network and noise-conditional domain classifier.

    Attributes: as `EpsMLP`, without a token.
    """

    sde: SDE
    features: tuple[int, ...] = (64, 64, 64)
    embedding: str | Embedding = "compact"
    num_classes: int = 0
    data_std: float | tuple[float, ...] = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, t: Array, cond: Array | None = None) -> Array:
        flat = x.reshape(x.shape[0], -1)
        scaled = scaled_input(flat, t, self.sde, checked_std(self.data_std, flat, "a sample", "numbers"))
        inputs = [scaled, TimeFeatures(self.sde, self.embedding)(t), *label_features(cond, self.num_classes)]
        return signal_share(t, self.sde) * MLP(self.features, 1, dtype=self.dtype)(jnp.concatenate(inputs, -1))[:, 0]


class ClassifierMLP(nn.Module):
    """Target-against-source logit [B] of clean data (x [B, *D], cond)."""

    features: tuple[int, ...] = (64, 64)
    num_classes: int = 0
    data_std: float | tuple[float, ...] = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, cond: Array | None = None) -> Array:
        flat = x.reshape(x.shape[0], -1)
        inputs = [
            flat / checked_std(self.data_std, flat, "a sample", "numbers"),
            *label_features(cond, self.num_classes),
        ]
        return MLP(self.features, 1, dtype=self.dtype)(jnp.concatenate(inputs, -1))[:, 0]


def build(spec: DenoiserSpec) -> EpsMLP:
    """The network of a run's settings."""
    return EpsMLP(spec.sde, spec.features, spec.embedding, spec.num_classes, spec.data_std, spec.dtype, spec.new_token)
