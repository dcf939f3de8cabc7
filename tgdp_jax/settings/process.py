"""The forward process."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from tgdp_jax.errors import choose
from tgdp_jax.registry import PROCESSES

if TYPE_CHECKING:
    from tgdp_jax.sde import SDE


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessConfig:
    """The forward process.

    Attributes:
      kind: vp (linear beta), cosine, subvp, ve, or discrete (the marginals of a chain with linear betas).
      beta_min: of vp and subvp.
      beta_max: of vp and subvp.
      sigma_min: of ve.
      sigma_max: of ve.
      beta_start: of discrete, in its first step.
      beta_end: of discrete, in its last step.
      num_steps: of discrete. The defaults of the three are SSSD-ECG's, whose chain ends with a seventh of the data's
        variance left in the noise that sampling starts from.
    """

    kind: str = "vp"
    beta_min: float = 0.1
    beta_max: float = 20.0
    sigma_min: float = 0.01
    sigma_max: float = 10.0
    beta_start: float = 1e-4
    beta_end: float = 0.02
    num_steps: int = 200

    def __post_init__(self):
        choose("forward process", self.kind, PROCESSES)
        PROCESSES[self.kind].check(**self._used)

    @property
    def _used(self) -> dict[str, float]:
        """What the kind depends on."""
        return {name: getattr(self, name) for name in PROCESSES[self.kind].settings}

    def make(self) -> SDE:
        """The process itself."""
        return PROCESSES[self.kind].make(**self._used)
