"""Problem `ecg-sim`: simulated records of two populations, for whoever has no ECGs at hand."""

from __future__ import annotations

import dataclasses

from tgdp_jax.data.ecg.populations import CLASSES, SOURCE, TARGET
from tgdp_jax.data.ecg.problem import ecg_problem
from tgdp_jax.data.ecg.records import check_length
from tgdp_jax.data.ecg.simulate import Simulated, simulate
from tgdp_jax.data.problem import Data, Problem, check_n_target
from tgdp_jax.errors import UserError

# Target rows to be had, and rows to judge by.
AVAILABLE, NUM_REFERENCE = 2000, 1000
# Of eight leads: 32 GB.
MAX_SAMPLES = 10**9


@dataclasses.dataclass(frozen=True, kw_only=True)
class EcgSimConfig:
    """Simulated twelve-lead ECGs; the target is faster, sicker, noisier, of lower voltage and with its axis to the
    left.

    Attributes:
      seconds: length of a record.
      rate: samples a second.
      num_source: source records drawn.
      conditional: models see the class: sinus rhythm, bradycardia, tachycardia, left bundle branch block, atrial
        fibrillation.
    """

    seconds: float = 10.0
    rate: int = 100
    num_source: int = 2000
    conditional: bool = False

    def __post_init__(self):
        check_length(self.seconds, self.rate)
        if self.num_source < 100:
            raise UserError(f"num-source is {self.num_source}: a source model needs at least 100 records")
        most = int(MAX_SAMPLES / (self.seconds * self.rate))
        if self.num_source > most:
            raise UserError(f"num-source is {self.num_source}: at most {most} records of this length can be simulated")


def load(config: EcgSimConfig, *, n_target: int | None, seed: int, source_seed: int | None = None) -> Problem:
    """Draws the problem; `source_seed` (None: the seed) is that of source records; target records are nested in n.

    Raises:
      UserError: n_target is out of range.
    """
    n_target = 50 if n_target is None else n_target
    check_n_target(n_target, AVAILABLE)
    source_seed = seed if source_seed is None else source_seed
    drawn = (SOURCE, config.num_source, source_seed), (TARGET, n_target, seed), (TARGET, NUM_REFERENCE, seed)

    def rows(records: Simulated) -> Data:
        return Data(records.x, records.y)

    source, target, reference = (
        rows(simulate([own, part], population, num, seconds=config.seconds, rate=config.rate))
        for part, (population, num, own) in enumerate(drawn)
    )
    return ecg_problem(
        "ecg-sim", source, target, reference, classes=CLASSES, conditional=config.conditional, rate=config.rate
    )
