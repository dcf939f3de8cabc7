"""The forward process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from tgdp_jax.errors import choose
from tgdp_jax.sde import SDE, VE, VP, CosineVP, DiscreteVP, SubVP


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
        self.make()

    def make(self) -> SDE:
        """The process itself."""
        return PROCESSES[self.kind].make(self)


class ProcessKind(NamedTuple):
    """One kind of forward process: how it is made of the settings, and which of them it depends on."""

    make: Callable[[ProcessConfig], SDE]
    settings: tuple[str, ...]


PROCESSES: dict[str, ProcessKind] = {
    "vp": ProcessKind(lambda c: VP(c.beta_min, c.beta_max), ("beta_min", "beta_max")),
    "cosine": ProcessKind(lambda c: CosineVP(), ()),
    "subvp": ProcessKind(lambda c: SubVP(c.beta_min, c.beta_max), ("beta_min", "beta_max")),
    "ve": ProcessKind(lambda c: VE(c.sigma_min, c.sigma_max), ("sigma_min", "sigma_max")),
    "discrete": ProcessKind(
        lambda c: DiscreteVP("linear", c.beta_start, c.beta_end, c.num_steps), ("beta_start", "beta_end", "num_steps")
    ),
}
