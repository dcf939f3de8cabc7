"""What is trained, and how: denoisers, rivals, the domain classifier and the guidance network."""

from __future__ import annotations

import dataclasses

from tgdp_jax.errors import UserError, choose
from tgdp_jax.registry import GUIDANCE_LOSSES, PREDICTIONS
from tgdp_jax.settings.checks import check_folds, check_network, check_rates
from tgdp_jax.train.registry import REGULARISERS, WEIGHTINGS
from tgdp_jax.train.settings import OptimiserConfig

# How a cross-validated training ends.
FINISHES = ("refit", "soup")
# How the ratio of clean rows is learned; `transfer.ratio` says what each is.
CLASSIFIERS = ("network", "ridge")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenoiserConfig:
    """A denoising network trained by score matching: the source, or a rival trained from scratch.

    Attributes:
      prediction: what the network outputs: eps, x0, v or score.
      weighting: of the squared error, over times: eps, that of the noise, or edm, that of a preconditioned network's
        output, which counts large times as much as small ones.
      held_out: share of the rows kept back for early stopping.
      self_supervised: learn a representation without labels beside, as `RepresentationConfig` says.
      optimiser: optimiser and length.
    """

    prediction: str = "eps"
    weighting: str = "eps"
    held_out: float = 0.05
    self_supervised: bool = False
    optimiser: OptimiserConfig = OptimiserConfig(steps=4000, learning_rate=3e-3, ema=0.999, steps_per_launch=200)

    def __post_init__(self):
        choose("prediction", self.prediction, PREDICTIONS)
        choose("weighting", self.weighting, WEIGHTINGS)
        if self.self_supervised and self.weighting != "eps":
            raise UserError(
                f"a self-supervised source weighs the error as noise, not as {self.weighting}: give "
                "--source.weighting eps"
            )
        if not 0 < self.held_out < 1:
            raise UserError(f"held-out is {self.held_out}: it must lie between 0 and 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RivalConfig:
    """All that is trained on the target alone: the step count is cross-validated on it, as is the learning rate.

    Attributes:
      learning_rates: candidates; cross-validation chooses.
      folds: folds of the cross-validation on the target rows; twice as many up to 20 rows. 1: none; all rows train for
        all steps at the one learning rate.
      finish: refit, training on all rows for the chosen number of steps, or soup, the mean of the folds' weights,
        which saves that training.
      shrink: adaptations of the source: weigh what they change of its score by what held-out rows say, noise level by
        noise level; none of it leaves the source. Samples then take a pass through either network.
      optimiser: optimiser and greatest length.
    """

    learning_rates: tuple[float, ...] = (1e-4, 1e-3)
    folds: int = 5
    finish: str = "refit"
    shrink: bool = True
    optimiser: OptimiserConfig = OptimiserConfig(
        steps=2000, batch_size=256, schedule="constant", ema=0.99, steps_per_launch=20, patience=500
    )

    def __post_init__(self):
        if self.folds != 1:
            check_folds(self.folds, self.optimiser.batch_size)
        elif self.finish == "soup" or self.shrink:
            raise UserError("folds is 1, so that no rows are held out: leave out finish soup and shrink, or give more")
        check_rates(self.learning_rates)
        choose("finish", self.finish, FINISHES)

    def check_chosen(self) -> None:
        """Refuses several learning rates where nothing chooses among them.

        Raises:
          UserError: there are several, and one fold.
        """
        if self.folds == 1 and len(self.learning_rates) > 1:
            raise UserError(
                f"learning-rates is {self.learning_rates}, and with one fold nothing chooses among them: give one"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """The clean domain classifier, an ensemble over folds and regularisers.

    Attributes:
      kind: network, which is trained, or ridge, a regression on what the source's network sees of a row: held-out loss
        chooses its strength, and folds alone count of the options below.
      features: widths of the hidden layers.
      folds: folds of the cross-validation; twice as many up to 20 target rows.
      regularisers: candidates, trained side by side and averaged with weights by their held-out loss.
      pretrain: images and series: where the source has labels, layers of its own start from the weights of a classifier
        of these.
      exact: use the closed-form ratio instead (problems that have one): what a perfect classifier would give.
      optimiser: optimiser and greatest length.
    """

    kind: str = "network"
    features: tuple[int, ...] = (64, 64)
    folds: int = 5
    regularisers: tuple[str, ...] = tuple(REGULARISERS)
    pretrain: bool = False
    exact: bool = False
    optimiser: OptimiserConfig = OptimiserConfig(
        steps=1000, batch_size=256, learning_rate=1e-3, steps_per_launch=50, patience=500
    )

    def __post_init__(self):
        choose("classifier kind", self.kind, CLASSIFIERS)
        check_network(self.features)
        check_folds(self.folds, self.optimiser.batch_size)
        if not self.regularisers:
            raise UserError(f"regularisers is empty: give at least one of {', '.join(REGULARISERS)}")
        for name in self.regularisers:
            choose("regulariser", name, REGULARISERS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuidanceConfig:
    """The guidance network g = log h, an ensemble over folds and consistency weights.

    Attributes:
      loss: logistic, kl, mse (the paper's), log_mse (biased, for comparison) or cep.
      consistency: candidates for eta2, the weight of the consistency regulariser, averaged with weights by held-out
        target denoising loss; 0 switches the term off.
      cycle: eta1, the weight of the cycle regulariser; above 0 a noise-conditional classifier is trained too.
      pooled: draw x_0 from source and target half and half, with matching weights.
      draws: noise draws a row.
      features: widths of the hidden layers; the paper's are 512 512 512 512.
      embedding: time features: compact, sinusoidal or fourier.
      folds: folds of the target rows, twice as many up to 20; each member is stopped on the rows it does not train on.
      shrink: weigh the guidance by what held-out rows say of it, noise level by noise level.
      optimiser: optimiser and greatest length.
      scale: weight of the guidance when samples are drawn; 1 is exact. Changing it trains nothing anew.
      interval: (low, high) times between which guidance acts when samples are drawn; default everywhere.
    """

    loss: str = "logistic"
    consistency: tuple[float, ...] = (0.0, 1.0, 10.0)
    cycle: float = 0.0
    pooled: bool = True
    draws: int = 1
    features: tuple[int, ...] = (128, 128, 128)
    embedding: str = "compact"
    folds: int = 5
    shrink: bool = False
    optimiser: OptimiserConfig = OptimiserConfig(
        steps=3000, batch_size=256, learning_rate=3e-3, steps_per_launch=100, patience=500
    )
    scale: float = 1.0
    interval: tuple[float, float] | None = None

    def __post_init__(self):
        choose("guidance loss", self.loss, GUIDANCE_LOSSES)
        check_network(self.features, self.embedding)
        check_folds(self.folds, self.optimiser.batch_size)
        if not self.consistency or min(self.consistency) < 0 or self.cycle < 0:
            raise UserError("consistency and cycle weights must be non-negative, with at least one consistency weight")
        if self.interval is not None and not self.interval[0] < self.interval[1]:
            raise UserError(f"guidance interval is {self.interval}: give an increasing pair of times")
        if self.draws < 1 or self.optimiser.batch_size // 2 % self.draws:
            raise UserError(f"draws is {self.draws}: it must divide half the batch, {self.optimiser.batch_size // 2}")
