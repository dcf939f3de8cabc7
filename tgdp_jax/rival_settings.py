"""Settings of the rivals that adapt the source's weights, beside `RivalConfig` in `settings`."""

from __future__ import annotations

import dataclasses

from tgdp_jax.errors import UserError
from tgdp_jax.train.reparam import LowRank, check_pattern


def check_rates(learning_rates: tuple[float, ...]) -> None:
    """Raises:
    UserError: no rate, or one that is not positive."""
    if not learning_rates or not min(learning_rates) > 0:
        raise UserError(f"learning-rates is {learning_rates}: give at least one positive rate")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters: W = W_0 + (alpha / rank) B A.

    Attributes:
      rank: of B A.
      alpha: scale of the change; with alpha = rank it is B A itself.
      targets: regular expression, found in the paths of the kernels that are adapted; the default takes all dense,
        convolutional and attention layers.
      learning_rates: candidates, in the place of the rival's: adapters want larger ones than whole kernels.
    """

    rank: int = 4
    alpha: float = 4.0
    targets: str = "kernel$"
    learning_rates: tuple[float, ...] = (1e-3, 1e-2)

    def __post_init__(self):
        if self.rank < 1 or not self.alpha > 0:
            raise UserError(f"lora rank is {self.rank} and alpha {self.alpha}: give positive numbers")
        check_pattern(self.targets)
        check_rates(self.learning_rates)

    def make(self) -> LowRank:
        """The reparametrisation itself."""
        return LowRank(self.rank, self.alpha, self.targets)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DreamBoothConfig:
    """Fine-tuning with a new token for the target, and prior preservation without it.

    Attributes:
      prior_weight: lambda, the weight of the loss on the source's own samples.
      num_prior: samples drawn from the source, once.
      lora: train low-rank adapters (as `LoraConfig` says) and the token instead of all weights.
    """

    prior_weight: float = 1.0
    num_prior: int = 1000
    lora: bool = False

    def __post_init__(self):
        if not self.prior_weight >= 0:
            raise UserError(f"prior-weight is {self.prior_weight}: it must not be negative")
        if self.num_prior < 1:
            raise UserError(f"num-prior is {self.num_prior}: at least 1 is needed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextualInversionConfig:
    """Only the embedding of a new token is trained.

    Attributes:
      learning_rates: candidates, in the place of the rival's.
    """

    learning_rates: tuple[float, ...] = (1e-2, 1e-1)

    def __post_init__(self):
        check_rates(self.learning_rates)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DomainGuidanceConfig:
    """Extrapolation from the source's score past the fine-tuned one.

    Attributes:
      scale: w in s_src + w (s_ft - s_src); 1 is the fine-tuned model. Held-out rows can not choose it, see
        `transfer.domain_guidance`.
    """

    scale: float = 1.1

    def __post_init__(self):
        if not self.scale >= 1:
            raise UserError(f"domain-guidance scale is {self.scale}: it must be at least 1, the fine-tuned model")
