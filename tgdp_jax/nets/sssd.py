"""The structured state space diffusion model of SSSD-ECG (Alcaraz & Strodthoff 2023, section 3), for series [B, L, C].

Residual layers, each with a convolution and two S4 blocks between which the label enters, and a gated unit,

    z = S4(S4(conv(h + W_t t)) + W_y y),   u = tanh(z_1) sigmoid(z_2),   h <- (h + W_r u) / sqrt(2),   skip += W_s u,

after DiffWave (Kong et al. 2021). The scaled sum of the skips makes the output. Every layer sees the whole row.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tgdp_jax.errors import UserError
from tgdp_jax.nets.conv import Conv
from tgdp_jax.nets.embedding import TokenEmbedding, label_features
from tgdp_jax.nets.precondition import checked_std, noise_of_residual, scaled_input
from tgdp_jax.nets.registry import DenoiserSpec
from tgdp_jax.nets.s4 import S4Block
from tgdp_jax.sde import SDE

Array = jax.Array
WAVES = 128  # sines and cosines of the timestep


class ResidualLayer(nn.Module):
    """(h [B, L, W], what is known of the time [B, F], label embedding [B, E] or None) -> (h, skip [B, L, skip]).

    Attributes:
      skip: channels of the skip connection.
      states, kernel, bidirectional: of the state spaces, see `S4Block`.
      dtype: of the computation; None: the type of inputs and parameters.
    """

    skip: int
    states: int
    kernel: str
    bidirectional: bool
    dtype: Any = None

    @nn.compact
    def __call__(self, h: Array, time: Array, label: Array | None) -> tuple[Array, Array]:
        width = h.shape[-1]
        z = h + nn.Dense(width, dtype=self.dtype, name="of_time")(time)[:, None]
        z = Conv(2 * width, size=(3, 1), dtype=self.dtype, name="conv")(z[:, :, None])[:, :, 0]
        z = self._space("space1")(z)
        if label is not None:
            z += nn.Dense(2 * width, dtype=self.dtype, name="of_label")(label)[:, None]
        z = self._space("space2")(z)
        unit = jnp.tanh(z[..., :width]) * nn.sigmoid(z[..., width:])
        residual = nn.Dense(width, dtype=self.dtype, name="residual")(unit)
        return (h + residual) * math.sqrt(0.5), nn.Dense(self.skip, dtype=self.dtype, name="skip")(unit)

    def _space(self, name: str) -> nn.Module:
        return S4Block(self.states, self.kernel, self.bidirectional, self.dtype, name=name)


class SSSD(nn.Module):
    """(x [B, L, C], timesteps [B], labels) -> [B, L, C]; the output layer starts at zero.

    Attributes:
      layers: residual layers.
      width: their channels.
      states: of a state space, even.
      kernel: of the state spaces, one of `registry.KERNELS`.
      hidden: width of the dense layers on the timestep.
      label_dim: of the label embedding.
      skip: channels of the skip connections; None: `width`.
      bidirectional: places see what comes after them.
      patch: places that are folded into one with as many channels more; must divide L. SSSD-ECG has 1. Above 1 a
        local path goes round the residual layers, whose channels are then too few for the finest detail and for noise.
      num_classes: 0 for unconditional; else labels are integers [B] in [0, num_classes], the largest meaning "no
        label", or weights of the classes [B, num_classes], such as ones for all statements that hold.
      dtype: what residual layers compute in, but for the state spaces; these, parameters, the embedding of the time,
        the first and the last layers are float32.
      remat: recompute residual layers in the backward pass instead of keeping what they computed.
      new_token: whether there is one, see `Prompt`; it is added to the embedding of the time.
    """

    layers: int
    width: int
    states: int = 64
    kernel: str = "dplr"
    hidden: int = 512
    label_dim: int = 128
    skip: int | None = None
    bidirectional: bool = True
    patch: int = 1
    num_classes: int = 0
    dtype: Any = jnp.float32
    remat: bool = False
    new_token: bool = False

    def __call__(self, x: Array, timesteps: Array, labels: Any = None) -> Array:
        return self._run(x, timesteps, labels, self.layers, output=True)

    def encode(self, x: Array, timesteps: Array, labels: Any = None) -> list[Array]:
        """Feature maps [B, L / patch, width] after half of the layers."""
        return [self._run(x, timesteps, labels, (self.layers + 1) // 2, output=False)]

    @nn.compact
    def _run(self, x: Array, timesteps: Array, labels: Any, layers: int, *, output: bool) -> Array:
        rows, length, channels = x.shape
        if length % self.patch:
            raise UserError(f"series have {length} places: patches of {self.patch} must divide them")
        time = nn.silu(nn.Dense(self.hidden, name="time1")(step_features(timesteps)))
        time = nn.silu(nn.Dense(self.hidden, name="time2")(time))
        if self.new_token:
            time += TokenEmbedding(self.hidden, name="token")(labels)
        label = None
        for weights in label_features(labels, self.num_classes):
            label = nn.Dense(self.label_dim, use_bias=False, name="labels")(weights)
        inner = None if self.dtype == jnp.float32 else self.dtype
        folded = x.reshape(rows, length // self.patch, self.patch * channels)
        h = nn.relu(nn.Dense(self.width, name="input")(folded))
        h = h if inner is None else h.astype(inner)
        skip = self.skip or self.width
        layer = nn.remat(ResidualLayer) if self.remat else ResidualLayer
        total = jnp.zeros((*h.shape[:2], skip))
        for i in range(layers):
            made = layer(skip, self.states, self.kernel, self.bidirectional, inner, name=f"layer{i}")
            h, found = made(h, time, label)
            total += found
        if not output:
            return h
        out = nn.relu(nn.Dense(skip, name="output1")(total * math.sqrt(1.0 / self.layers)))
        out = nn.Dense(self.patch * channels, kernel_init=nn.initializers.zeros, name="output2")(out)
        if self.patch > 1:
            out += self._local(folded, time)
        return out.reshape(x.shape)

    def _local(self, folded: Array, time: Array) -> Array:
        """What gated linear units (Dauphin et al. 2017) make of patches [B, L / P, P C] and their neighbours.

        There are as many as a patch has numbers, so that no filter is out of reach, and the time scales them: the less
        noise there is, the more what it is made of has to be amplified.
        """
        wide = folded.shape[-1]
        z = Conv(2 * wide, size=(3, 1), name="local")(folded[:, :, None])[:, :, 0]
        shift, gain = jnp.split(nn.Dense(2 * wide, name="local_of_time")(time)[:, None], 2, -1)
        unit = z[..., :wide] * nn.sigmoid(z[..., wide:] + shift) * jnp.exp(gain)
        return nn.Dense(wide, kernel_init=nn.initializers.zeros, name="local_output")(unit)


def step_features(timesteps: Array) -> Array:
    """Sines and cosines [B, 128] of timesteps [B], with frequencies from 1 to 1 / 10,000."""
    half = WAVES // 2
    angles = timesteps[:, None] * jnp.exp(-math.log(10_000.0) * jnp.arange(half) / (half - 1))
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1)


class EpsSSSD(nn.Module):
    """Noise prediction [B, L, C], with the preconditioning of all noise prediction networks (`precondition`).

    Attributes:
      sde: forward process.
      net: the layers; called with timesteps 1000 t.
      data_std: standard deviation of the (centred) data, one number or one a channel.
    """

    sde: SDE
    net: SSSD
    data_std: float | tuple[float, ...] = 1.0

    @property
    def num_classes(self) -> int:
        return self.net.num_classes

    @property
    def new_token(self) -> bool:
        return self.net.new_token

    def __call__(self, x: Array, t: Array, cond: Any = None) -> Array:
        std = checked_std(self.data_std, x, "a series", "channels")
        residual = self.net(scaled_input(x, t, self.sde, std), 1000.0 * t, cond)
        return noise_of_residual(residual, x, t, self.sde, std)

    def encode(self, x: Array, t: Array, cond: Any = None) -> list[Array]:
        """Feature maps [B, l, c], see `SSSD.encode`."""
        std = checked_std(self.data_std, x, "a series", "channels")
        return self.net.encode(scaled_input(x, t, self.sde, std), 1000.0 * t, cond)


def build(spec: DenoiserSpec) -> EpsSSSD:
    """The network of a run's settings."""
    layers = SSSD(
        **vars(spec.settings.sssd),
        num_classes=spec.num_classes,
        dtype=spec.dtype,
        remat=spec.settings.remat,
        new_token=spec.new_token,
    )
    return EpsSSSD(spec.sde, layers, spec.data_std)
