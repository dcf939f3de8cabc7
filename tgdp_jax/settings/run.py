"""What a run, a comparison and a probe are. A run is a pure function of its `RunConfig`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tgdp_jax.data.augmentations import AUGMENTATIONS
from tgdp_jax.data.gaussians import GaussiansConfig
from tgdp_jax.data.problem import check_two
from tgdp_jax.data.registry import ProblemConfig
from tgdp_jax.errors import UserError, check_finite, choose
from tgdp_jax.nets.registry import PRECISIONS
from tgdp_jax.settings.checks import check_seed
from tgdp_jax.settings.evaluation import EvaluationConfig
from tgdp_jax.settings.methods import (
    DomainGuidanceConfig,
    DreamBoothConfig,
    GanConfig,
    LoraConfig,
    StackedConfig,
    TextConfig,
    TextualInversionConfig,
    TgdpDenoisingConfig,
)
from tgdp_jax.settings.networks import HeadConfig, NetworkConfig
from tgdp_jax.settings.process import ProcessConfig
from tgdp_jax.settings.sampling import SamplingConfig
from tgdp_jax.settings.training import ClassifierConfig, DenoiserConfig, GuidanceConfig, RivalConfig
from tgdp_jax.train.registry import OBJECTIVES
from tgdp_jax.train.settings import RepresentationConfig

# Of a comparison: every cell is a file, and all of them stand in one record.
MAX_SEEDS = 10_000


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
      tgdp_denoising: adapters trained on target rows and source rows drawn by the ratio.
      stacked: several adaptations combined.
      classifier: domain classifier.
      guidance: guidance network.
      gan: generative adversarial network, a rival.
      text: captions of text-to-image pipelines.
      sampling: sampler.
      evaluation: what samples are judged by.
      precision: what networks compute in: float32 or bfloat16. Parameters, times, log-ratios, optimiser and sampler
        states are float32 in both.
      augment: none, shift (images: by up to a pixel in 8) or shift_flip (mirrored too); of all rows that train.
      source_seed: of training on source rows alone, and of source rows that are drawn; default the run's. One for all
        seeds makes them share one source model.
      pretrained: folder of a U-Net that diffusers' `save_pretrained` wrote, with its scheduler; that of a text-to-image
        pipeline or of one of labels (DiT), for text-images; or .safetensors file of SSSD-ECG (`interop.sssd`). It is
        the source model: nothing is trained on source rows, and it says what process, network and prediction are. For
        problems that leave rows in its units.
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
    tgdp_denoising: TgdpDenoisingConfig = TgdpDenoisingConfig()
    stacked: StackedConfig = StackedConfig()
    classifier: ClassifierConfig = ClassifierConfig()
    guidance: GuidanceConfig = GuidanceConfig()
    gan: GanConfig = GanConfig()
    text: TextConfig = TextConfig()
    sampling: SamplingConfig = SamplingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    precision: str = "float32"
    augment: str = "none"
    source_seed: int | None = None
    pretrained: Path | None = None

    def __post_init__(self):
        check_finite(self)
        if self.source_seed is not None:
            check_seed(self.source_seed, "source-seed")
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig(TrainingConfig):
    """One method on one problem.

    Attributes:
      problem: the data.
      method: tgdp, tgdp_denoising, stacked, discriminator_guidance, finetune, lora, dreambooth, textual_inversion,
        domain_guidance, self_supervised, multimodal, scratch, source, gan, kde or sir.
      n_target: target rows to learn from. Default: 100 for gaussians, 50 for digits, digit-pairs and ecg-sim, 120
        for shapes; all pictures with captions; four fifths of other data.
      seed: fixes data, training and samples.
    """

    problem: ProblemConfig = GaussiansConfig()
    method: str = "tgdp"
    n_target: int | None = None
    seed: int = 0

    def __post_init__(self):
        super().__post_init__()
        check_seed(self.seed)
        if self.n_target is not None:
            check_two(self.n_target)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareConfig(TrainingConfig):
    """Several methods on one problem, over numbers of target rows and seeds.

    Attributes:
      problem: the data.
      methods: names of methods; all for every one.
      n_targets: numbers of target rows.
      seeds: seeds 0, 1, ... up to this number.
    """

    problem: ProblemConfig = GaussiansConfig()
    methods: tuple[str, ...] = ("tgdp", "discriminator_guidance", "finetune", "scratch", "source", "kde", "sir")
    n_targets: tuple[int, ...] = (10, 100, 1000)
    seeds: int = 3

    def __post_init__(self):
        super().__post_init__()
        if self.seeds < 1:
            raise UserError(f"seeds is {self.seeds}: at least 1 is needed")
        if self.seeds > MAX_SEEDS:
            raise UserError(f"seeds is {self.seeds}: every method is trained at each, give at most {MAX_SEEDS}")
        if not self.methods or not self.n_targets:
            raise UserError("a comparison needs at least one method and one n-target")
        for n in self.n_targets:
            check_two(n)
        for name in ("methods", "n_targets"):  # each once, in order
            object.__setattr__(self, name, tuple(dict.fromkeys(getattr(self, name))))

    def cell(self, method: str, n_target: int, seed: int) -> RunConfig:
        """One method at one number of target rows and one seed, as a run."""
        shared = {field.name: getattr(self, field.name) for field in dataclasses.fields(TrainingConfig)}
        return RunConfig(**shared, problem=self.problem, method=method, n_target=n_target, seed=seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeConfig(TrainingConfig):
    """Probes of what source models have learned of the labels, which no model is shown.

    Attributes:
      problem: the data.
      objectives: self-supervised source models beside the plain one: contrastive, masked. A pretrained model is not
        trained again and has none.
      times: noise levels at which features are taken, times in (0, 1].
      n_target: target rows with labels that a probe learns from. Default: as of a run.
      seed: fixes data, splits and training.
    """

    problem: ProblemConfig = GaussiansConfig()
    objectives: tuple[str, ...] = ("contrastive",)
    times: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.2)
    n_target: int | None = None
    seed: int = 0

    def __post_init__(self):
        super().__post_init__()
        check_seed(self.seed)
        for name in self.objectives:
            choose("representation objective", name, OBJECTIVES)
        if not self.times or not all(0 < t <= 1 for t in self.times):
            raise UserError(f"times is {self.times}: give at least one time, all above 0 and up to 1")
