"""Settings of processes, networks, training and sampling, as frozen keyword-only dataclasses."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from tgdp_jax.data.augment import AUGMENTATIONS
from tgdp_jax.errors import UserError, check_finite, choose
from tgdp_jax.interop import DiffusersUNet, SSSDModel, load_sssd, load_unet
from tgdp_jax.losses import GUIDANCE_LOSSES
from tgdp_jax.prediction import PREDICTIONS
from tgdp_jax.rival_settings import (
    DomainGuidanceConfig,
    DreamBoothConfig,
    GanConfig,
    LoraConfig,
    TextualInversionConfig,
    check_folds,
    check_network,
    check_rates,
)
from tgdp_jax.sampling import GRIDS, SOLVERS
from tgdp_jax.sde import SDE, SDES, VE, VP, CosineVP, DiscreteVP, SubVP
from tgdp_jax.sssd_settings import SSSDConfig
from tgdp_jax.train.classifier import REGULARISERS
from tgdp_jax.train.denoising import WEIGHTINGS
from tgdp_jax.train.optimiser import OptimiserConfig
from tgdp_jax.train.representation import RepresentationConfig

NETWORKS = ("mlp", "unet", "dit", "multimodal", "sssd")
HEADS = ("own", "source", "labels")
# Launches are filled up to their size, so that a sample's bits do not depend on how many are drawn.
MAX_CHUNK = 2**20
PRECISIONS: dict[str, Any] = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


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
        choose("forward process", self.kind, SDES)
        self.make()

    def make(self) -> SDE:
        """The process itself."""
        match self.kind:
            case "vp":
                return VP(self.beta_min, self.beta_max)
            case "subvp":
                return SubVP(self.beta_min, self.beta_max)
            case "ve":
                return VE(self.sigma_min, self.sigma_max)
            case "discrete":
                return DiscreteVP("linear", self.beta_start, self.beta_end, self.num_steps)
            case _:
                return CosineVP()


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Architecture of the denoising network.

    Attributes:
      kind: mlp (any rows), unet or dit (images), sssd (series [L, C]), or multimodal (rows of several modalities, each
        with a time of its own).
      channels: unet, multimodal: widths of its levels, each of half the resolution of the one before.
      blocks: unet: residual blocks a level.
      attention: unet: levels with self-attention, counted from 0.
      patch: dit: side of a patch.
      width: dit: of a token; multimodal: of what joins the modalities.
      depth: dit: blocks; multimodal: those that join.
      heads: dit: attention heads.
      sssd: sizes of sssd.
      remat: recompute blocks in the backward pass instead of keeping what they computed: less memory, more time.
    """

    kind: str = "mlp"
    channels: tuple[int, ...] = (16, 32, 32)
    blocks: int = 1
    attention: tuple[int, ...] = (2,)
    patch: int = 2
    width: int = 128
    depth: int = 4
    heads: int = 4
    sssd: SSSDConfig = SSSDConfig()
    remat: bool = False

    def __post_init__(self):
        choose("network", self.kind, NETWORKS)
        numbers = (*self.channels, self.blocks, self.patch, self.width, self.depth, self.heads)
        if not self.channels or min(numbers) < 1:
            raise UserError("a network needs at least one channel width, and sizes of at least 1")
        if any(not 0 <= level < len(self.channels) for level in self.attention):
            raise UserError(f"attention is at levels {self.attention}: there are levels 0..{len(self.channels) - 1}")
        if self.width % 4 or self.width % self.heads:
            raise UserError(f"width is {self.width}: give a multiple of 4 and of the {self.heads} heads")


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """What classifier and guidance network stand on.

    Attributes:
      on: own layers; source, for frozen features of the source model, which costs a pass through half of it; or labels,
        for those of a classifier of the source's labels (images and series), which is trained first. The guidance
        network of images has layers of its own in any case, which such features join.
      channels: images and series: widths of their own convolutions, and of the classifier of labels.
    """

    on: str = "own"
    channels: tuple[int, ...] = (16, 32)

    def __post_init__(self):
        choose("ground of heads", self.on, HEADS)
        if not self.channels or min(self.channels) < 1:
            raise UserError(f"head channels is {self.channels}: give at least one width of at least 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenoiserConfig:
    """A denoising network trained by score matching: the source, or a rival trained from scratch.

    Attributes:
      features: widths of the hidden layers; the paper's are 512 512 512 512 256.
      embedding: time features: compact, sinusoidal or fourier.
      prediction: what the network outputs: eps, x0, v or score.
      weighting: of the squared error, over times: eps, that of the noise, or edm, that of a preconditioned network's
        output, which counts large times as much as small ones.
      held_out: share of the rows kept back for early stopping.
      self_supervised: learn a representation without labels beside, as `RepresentationConfig` says.
      optimiser: optimiser and length.
    """

    features: tuple[int, ...] = (128, 128, 128)
    embedding: str = "compact"
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
        check_network(self.features, self.embedding)
        if not 0 < self.held_out < 1:
            raise UserError(f"held-out is {self.held_out}: it must lie between 0 and 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RivalConfig:
    """All that is trained on the target alone: the step count is cross-validated on it, as is the learning rate.

    Attributes:
      learning_rates: candidates; cross-validation chooses.
      folds: folds of the cross-validation on the target rows; twice as many up to 20 rows.
      optimiser: optimiser and greatest length.
    """

    learning_rates: tuple[float, ...] = (1e-4, 1e-3)
    folds: int = 5
    optimiser: OptimiserConfig = OptimiserConfig(
        steps=2000, batch_size=256, schedule="constant", ema=0.99, steps_per_launch=50, patience=500
    )

    def __post_init__(self):
        check_folds(self.folds, self.optimiser.batch_size)
        check_rates(self.learning_rates)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """The clean domain classifier, an ensemble over folds and regularisers.

    Attributes:
      features: widths of the hidden layers.
      folds: folds of the cross-validation; twice as many up to 20 target rows.
      regularisers: candidates, trained side by side and averaged with weights by their held-out loss.
      pretrain: images and series: where the source has labels, layers of its own start from the weights of a classifier
        of these.
      exact: use the closed-form ratio instead (problems that have one): what a perfect classifier would give.
      optimiser: optimiser and greatest length.
    """

    features: tuple[int, ...] = (64, 64)
    folds: int = 5
    regularisers: tuple[str, ...] = tuple(REGULARISERS)
    pretrain: bool = False
    exact: bool = False
    optimiser: OptimiserConfig = OptimiserConfig(
        steps=1000, batch_size=256, learning_rate=1e-3, steps_per_launch=50, patience=500
    )

    def __post_init__(self):
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
      optimiser: optimiser and greatest length.
    """

    loss: str = "logistic"
    consistency: tuple[float, ...] = (0.0, 1.0, 10.0)
    cycle: float = 0.0
    pooled: bool = True
    draws: int = 1
    features: tuple[int, ...] = (128, 128, 128)
    embedding: str = "compact"
    folds: int = 5
    optimiser: OptimiserConfig = OptimiserConfig(
        steps=3000, batch_size=256, learning_rate=3e-3, steps_per_launch=100, patience=500
    )

    def __post_init__(self):
        choose("guidance loss", self.loss, GUIDANCE_LOSSES)
        check_network(self.features, self.embedding)
        check_folds(self.folds, self.optimiser.batch_size)
        if not self.consistency or min(self.consistency) < 0 or self.cycle < 0:
            raise UserError("consistency and cycle weights must be non-negative, with at least one consistency weight")
        if self.draws < 1 or self.optimiser.batch_size // 2 % self.draws:
            raise UserError(f"draws is {self.draws}: it must divide half the batch, {self.optimiser.batch_size // 2}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How samples are drawn.

    Attributes:
      num: samples drawn at the end of a run.
      solver: integrator of the reverse process.
      grid: time grid: log_snr, quadratic, uniform or edm.
      steps: steps of the solver.
      scale: guidance weight; 1 is exact.
      interval: (low, high) times between which guidance acts; default everywhere.
      clip: clip the predicted clean data to [-clip, clip].
      chunk: samples a launch.
    """

    num: int = 10_000
    solver: str = "dpmpp_2m"
    grid: str = "log_snr"
    steps: int = 25
    scale: float = 1.0
    interval: tuple[float, float] | None = None
    clip: float | None = None
    chunk: int = 1024

    def __post_init__(self):
        choose("solver", self.solver, SOLVERS)
        choose("time grid", self.grid, GRIDS)
        if self.num < 1 or self.steps < 1 or self.chunk < 1:
            raise UserError("sampling needs num, steps and chunk of at least 1")
        if self.num >= 2**32:
            raise UserError(f"sampling.num is {self.num}: give fewer than 2^32 samples, which have an id each")
        if self.chunk > MAX_CHUNK:
            raise UserError(
                f"sampling.chunk is {self.chunk}: a launch takes memory for all its samples, give at most {MAX_CHUNK}"
            )
        if self.interval is not None and not self.interval[0] < self.interval[1]:
            raise UserError(f"interval is {self.interval}: give an increasing pair of times")
        if self.clip is not None and not self.clip > 0:
            raise UserError(f"clip is {self.clip}: it must be positive")


@functools.lru_cache(maxsize=1)
def _loaded(place: Path) -> DiffusersUNet | SSSDModel:
    return load_sssd(place) if place.suffix == ".safetensors" else load_unet(place)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Everything about models that a run and a comparison share.

    Attributes:
      process: forward process.
      network: denoising network.
      head: classifier and guidance network of images and series; of vectors too where they stand on the source's
        features (`--head.on source`).
      source: source model.
      representation: what a self-supervised source model, and the method of that name, learns beside denoising.
      rival: training on the target: scratch, fine-tuning and the adaptations of the source below.
      lora: low-rank adapters.
      dreambooth: a new token and prior preservation.
      textual_inversion: a new token alone.
      domain_guidance: extrapolation past the fine-tuned model.
      classifier: domain classifier.
      guidance: guidance network.
      gan: generative adversarial network, a rival.
      sampling: sampler.
      precision: what networks compute in: float32 or bfloat16. Parameters, times, log-ratios, optimiser and sampler
        states are float32 in both.
      augment: none, shift (images: by up to a pixel in 8) or shift_flip (mirrored too); of all rows that train.
      source_seed: of training on source rows alone, and of source rows that are drawn; default the run's. One for all
        seeds makes them share one source model.
      pretrained: folder of a U-Net that diffusers' `save_pretrained` wrote, with its scheduler; or .safetensors file of
        SSSD-ECG (`interop.sssd`). It is the source model: nothing is trained on source rows, and it says what process,
        network and prediction are. For problems that leave rows in its units.
    """

    process: ProcessConfig = ProcessConfig()
    network: NetworkConfig = NetworkConfig()
    head: HeadConfig = HeadConfig()
    source: DenoiserConfig = DenoiserConfig()
    representation: RepresentationConfig = RepresentationConfig()
    rival: RivalConfig = RivalConfig()
    lora: LoraConfig = LoraConfig()
    dreambooth: DreamBoothConfig = DreamBoothConfig()
    textual_inversion: TextualInversionConfig = TextualInversionConfig()
    domain_guidance: DomainGuidanceConfig = DomainGuidanceConfig()
    classifier: ClassifierConfig = ClassifierConfig()
    guidance: GuidanceConfig = GuidanceConfig()
    gan: GanConfig = GanConfig()
    sampling: SamplingConfig = SamplingConfig()
    precision: str = "float32"
    augment: str = "none"
    source_seed: int | None = None
    pretrained: Path | None = None

    def __post_init__(self):
        check_finite(self)
        choose("precision", self.precision, PRECISIONS)
        choose("augmentation", self.augment, AUGMENTATIONS)
        if self.pretrained is not None and self.process != ProcessConfig():
            raise UserError("a pretrained model comes with its own process: leave out --process or --pretrained")
        if self.pretrained is not None and self.source.self_supervised:
            raise UserError(
                "a pretrained model is not trained again: leave out --source.self-supervised or --pretrained"
            )

    @property
    def dtype(self) -> Any:
        """`precision` as a JAX type."""
        return PRECISIONS[self.precision]

    @property
    def model(self) -> DiffusersUNet | SSSDModel | None:
        """The pretrained model, if any.

        Raises:
          UserError: it can not be loaded, see `load_unet` and `load_sssd`.
        """
        return None if self.pretrained is None else _loaded(self.pretrained)

    @property
    def sde(self) -> SDE:
        """The forward process: `process`, or the pretrained model's."""
        return self.process.make() if self.model is None else self.model.sde

    @property
    def prediction(self) -> str:
        """What the denoising network predicts, one of `prediction.PREDICTIONS`."""
        return self.source.prediction if self.model is None else self.model.prediction
