"""Sizes of the state space diffusion model, beside `NetworkConfig` in `settings`."""

from __future__ import annotations

import dataclasses

from tgdp_jax.errors import UserError, choose
from tgdp_jax.nets.registry import KERNELS
from tgdp_jax.settings.checks import check_layers


@dataclasses.dataclass(frozen=True, kw_only=True)
class SSSDConfig:
    """Sizes of the state space diffusion model; the defaults are for two CPU cores, `PAPER` has those of SSSD-ECG.

    Attributes:
      layers: residual layers, of two state space blocks each.
      width: their channels.
      states: of a state space, even.
      kernel: s4d_lin or s4d_inv (diagonal), or dplr (HiPPO-LegS), which takes longer.
      hidden: width of the dense layers on the timestep.
      label_dim: of the label embedding.
      patch: places folded into one, which must divide the length of a series: the time falls as it grows. A
        local path beside the layers keeps the finest detail where it is above 1.
    """

    layers: int = 3
    width: int = 64
    states: int = 16
    kernel: str = "s4d_lin"
    hidden: int = 256
    label_dim: int = 64
    patch: int = 10

    def __post_init__(self):
        choose("state space kernel", self.kernel, KERNELS)
        if min(self.layers, self.width, self.states, self.hidden, self.label_dim, self.patch) < 1 or self.states % 2:
            raise UserError("an sssd network needs sizes of at least 1, and an even number of states")
        check_layers("layers", self.layers)


# Alcaraz & Strodthoff 2023: 10 s at 100 Hz, eight leads.
PAPER = SSSDConfig(layers=36, width=256, states=64, kernel="dplr", hidden=512, label_dim=128, patch=1)
