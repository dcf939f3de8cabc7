"""Networks of a chain of discrete steps with the library's calling convention, whose time is continuous."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax

Array = jax.Array


class DiscreteTime(nn.Module):
    """A network of a chain of `num_steps` steps, in continuous time: t = (i + 1) / num_steps is timestep i.

    What it predicts is the network's affair (`prediction`).

    Attributes:
      net: a U-Net or layers of SSSD, called with timesteps t * num_steps - 1, of which those between two steps it sees
        as such.
      num_steps: of the chain.
    """

    net: Any
    num_steps: int

    @property
    def num_classes(self) -> int:
        return self.net.num_classes

    @property
    def new_token(self) -> bool:
        return self.net.new_token

    def __call__(self, x: Array, t: Array, cond: Any = None) -> Array:
        return self.net(x, t * self.num_steps - 1.0, cond)

    def encode(self, x: Array, t: Array, cond: Any = None) -> list[Array]:
        """Feature maps [B, *places, c], see `UNet.encode` and `SSSD.encode`."""
        return self.net.encode(x, t * self.num_steps - 1.0, cond)
