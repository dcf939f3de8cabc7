"""Settings of the methods that adapt the source's weights or bring networks of their own."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from tgdp_jax.errors import UserError, choose
from tgdp_jax.registry import ADVERSARIAL_LOSSES
from tgdp_jax.settings.checks import check_folds, check_network, check_pattern, check_rates
from tgdp_jax.train.settings import OptimiserConfig

if TYPE_CHECKING:
    from tgdp_jax.train.reparam import LowRank


# What may be stacked; `transfer.stacked` says what each is.
MEMBERS = ("lora", "textual_inversion", "tgdp_denoising")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters: W = W_0 + (alpha / rank) B A.

    Attributes:
      rank: of B A.
      alpha: scale of the change; with alpha = rank it is B A itself.
      targets: regular expression, found in the paths of the kernels that are adapted; the default takes all dense,
        convolutional and attention layers.
      learning_rates: candidates, in the place of the rival's: adapters want larger ones than whole kernels. With ten
        rows in 32 dimensions path KL is 2.5 at 3e-3 and a look every 20 steps, and 8.4 at 1e-2 and one every 50.
      text_encoder: pictures with captions: adapt the attention of the text encoders too.
    """

    rank: int = 4
    alpha: float = 4.0
    targets: str = "kernel$"
    learning_rates: tuple[float, ...] = (3e-3,)
    text_encoder: bool = False

    def __post_init__(self):
        if self.rank < 1 or not self.alpha > 0:
            raise UserError(f"lora rank is {self.rank} and alpha {self.alpha}: give positive numbers")
        check_pattern(self.targets)
        check_rates(self.learning_rates)

    def make(self) -> LowRank:
        """The reparametrisation itself."""
        from tgdp_jax.train.reparam import LowRank  # late: settings need not wait for JAX

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
      vectors: pictures with captions: of the new word, which then takes the place of as many tokens in a caption.
    """

    learning_rates: tuple[float, ...] = (1e-2, 1e-1)
    vectors: int = 1

    def __post_init__(self):
        if self.vectors < 1:
            raise UserError(f"vectors is {self.vectors}: a new word has at least 1")
        check_rates(self.learning_rates)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Captions of text-to-image pipelines.

    Attributes:
      scale: weight of classifier-free guidance when samples are drawn; 1 is none. Changing it trains nothing anew but
        dreambooth, whose prior is drawn with it.
      num_source: tgdp, tgdp_denoising, stacked and discriminator_guidance: samples of the pipeline, drawn once without
        such guidance, that the target's pictures are compared with.
    """

    scale: float = 7.5
    num_source: int = 200

    def __post_init__(self):
        if self.num_source < 100:
            raise UserError(f"num-source is {self.num_source}: at least 100 are needed to tell two densities apart")


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class TgdpDenoisingConfig:
    """Adapters trained on target rows and on source rows that are drawn in proportion to the density ratio.

    Attributes:
      share: of target rows in a batch; 1 is lora.
      source_from: least time, in [0, 1], at which source rows are shown. Near 0 a row's own details are learned, and
        those of source rows are the source's.
    """

    share: float = 0.5
    source_from: float = 0.0

    def __post_init__(self):
        for name in ("share", "source_from"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name.replace('_', '-')} is {getattr(self, name)}: it must lie between 0 and 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StackedConfig:
    """Several adaptations of one source, combined.

    Attributes:
      members: lora, textual_inversion, tgdp_denoising: at least one. Of images and series the networks' weights are
        combined, which a network with a new token does not allow.
      knots: noise levels, equally spaced in sqrt(t), at which vectors have a weight for each member.
      smoothness: how much the weights of neighbouring noise levels hold together.
      even_at: images and series: target rows at which members trained on them alone weigh as much as tgdp_denoising;
        more with more. The default was chosen on `digits`, where source and target do not overlap and
        tgdp_denoising has least to say: the largest that is level with the best there.
    """

    members: tuple[str, ...] = MEMBERS
    knots: int = 6
    smoothness: float = 0.05
    even_at: float = 12.0

    def __post_init__(self):
        if not self.members or len(set(self.members)) < len(self.members):
            raise UserError(f"members is {self.members}: give at least one, and each once")
        for name in self.members:
            choose("member", name, MEMBERS)
        if self.knots < 1 or not self.smoothness >= 0:
            raise UserError(f"knots is {self.knots} and smoothness {self.smoothness}: give 1 or more, and 0 or more")
        if not self.even_at > 0:
            raise UserError(f"even-at is {self.even_at}: it must be positive")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GanConfig:
    """A generative adversarial network, trained on the source and carried over to the target.

    Attributes:
      loss: non_saturating (with the penalty R1) or wasserstein (with the penalty that gives it its name, WGAN-GP).
      penalty: weight of the penalty on the discriminator's slope; with wasserstein, 1 at these learning rates.
      latent: numbers in a latent vector.
      features: widths of the hidden layers of generator and discriminator, of rows and of series.
      channels: images: widths of their levels, each of half the resolution of the one before.
      discriminator_steps: steps of the discriminator for one of the generator; WGAN-GP had 5.
      freeze: first layers of the discriminator (of images: levels) that the target leaves as they are (FreezeD).
      from_scratch: start from fresh weights on the target instead of the source's, for comparison.
      held_out: share of the source rows kept back, by which its step is chosen.
      folds: folds of the target rows, twice as many up to 20, by which the step count is cross-validated.
      source: optimiser and length on the source; steps are the discriminator's.
      target: optimiser and greatest length on the target.
    """

    loss: str = "non_saturating"
    penalty: float = 10.0
    latent: int = 16
    features: tuple[int, ...] = (64, 64, 64)
    channels: tuple[int, ...] = (16, 32)
    discriminator_steps: int = 1
    freeze: int = 0
    from_scratch: bool = False
    held_out: float = 0.05
    folds: int = 5
    source: OptimiserConfig = OptimiserConfig(
        steps=3000, batch_size=256, learning_rate=1e-3, ema=0.999, steps_per_launch=100
    )
    target: OptimiserConfig = OptimiserConfig(
        steps=2000,
        batch_size=128,
        learning_rate=3e-4,
        schedule="constant",
        ema=0.99,
        steps_per_launch=50,
        patience=500,
    )

    def __post_init__(self):
        choose("adversarial loss", self.loss, ADVERSARIAL_LOSSES)
        check_network(self.features)
        check_network(self.channels)
        check_folds(self.folds, self.target.batch_size)
        if self.latent < 1 or self.discriminator_steps < 1:
            raise UserError("a GAN needs a latent vector of at least one number and at least one discriminator step")
        if not self.penalty >= 0:
            raise UserError(f"penalty is {self.penalty}: the weight must not be negative")
        if not 0 < self.held_out < 1:
            raise UserError(f"held-out is {self.held_out}: it must lie between 0 and 1")
        if self.freeze < 0 or (self.freeze and self.from_scratch):
            raise UserError(f"freeze is {self.freeze}: give 0 or more layers, and none with from-scratch")
