"""Every setting of a run, as frozen keyword-only dataclasses. A run is a pure function of its `RunConfig`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from cattrs.preconf.json import make_converter

from tgdp_jax.data.arrays import ArraysConfig
from tgdp_jax.data.gaussians import GaussiansConfig
from tgdp_jax.errors import UserError, choose
from tgdp_jax.losses import GUIDANCE_LOSSES
from tgdp_jax.nets.embedding import EMBEDDINGS
from tgdp_jax.prediction import PREDICTIONS
from tgdp_jax.sampling import GRIDS, SOLVERS
from tgdp_jax.sde import SDE, SDES, VE, VP, CosineVP, SubVP
from tgdp_jax.train.classifier import REGULARISERS
from tgdp_jax.train.optimiser import OptimiserConfig

PRECISIONS: dict[str, Any] = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def _check_network(features: tuple[int, ...], embedding: str = EMBEDDINGS[0]) -> None:
    choose("time embedding", embedding, EMBEDDINGS)
    if not features or min(features) < 1:
        raise UserError(f"features is {features}: give at least one width of at least 1")


def _check_folds(folds: int, batch_size: int) -> None:
    if folds < 2:
        raise UserError(f"folds is {folds}: at least 2 are needed to hold rows out")
    if batch_size < 2:
        raise UserError(f"batch_size is {batch_size}: source and target rows share a batch, give at least 2")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessConfig:
    """The forward process.

    Attributes:
      kind: vp (linear beta), cosine, subvp or ve.
      beta_min: of vp and subvp.
      beta_max: of vp and subvp.
      sigma_min: of ve.
      sigma_max: of ve.
    """

    kind: str = "vp"
    beta_min: float = 0.1
    beta_max: float = 20.0
    sigma_min: float = 0.01
    sigma_max: float = 10.0

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
            case _:
                return CosineVP()


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenoiserConfig:
    """A denoising network trained by score matching: the source, or a rival trained from scratch.

    Attributes:
      features: widths of the hidden layers; the paper's are 512 512 512 512 256.
      embedding: time features: compact, sinusoidal or fourier.
      prediction: what the network outputs: eps, x0, v or score.
      held_out: share of the rows kept back for early stopping.
      optimiser: optimiser and length.
    """

    features: tuple[int, ...] = (128, 128, 128)
    embedding: str = "compact"
    prediction: str = "eps"
    held_out: float = 0.05
    optimiser: OptimiserConfig = OptimiserConfig(steps=4000, learning_rate=3e-3, ema=0.999, steps_per_launch=200)

    def __post_init__(self):
        choose("prediction", self.prediction, PREDICTIONS)
        _check_network(self.features, self.embedding)
        if not 0 < self.held_out < 1:
            raise UserError(f"held-out is {self.held_out}: it must lie between 0 and 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RivalConfig:
    """Scratch and fine-tuning: the step count is cross-validated on the target, as is the learning rate.

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
        _check_folds(self.folds, self.optimiser.batch_size)
        if not self.learning_rates or not min(self.learning_rates) > 0:
            raise UserError(f"learning-rates is {self.learning_rates}: give at least one positive rate")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """The clean domain classifier, an ensemble over folds and regularisers.

    Attributes:
      features: widths of the hidden layers.
      folds: folds of the cross-validation; twice as many up to 20 target rows.
      regularisers: candidates, trained side by side and averaged with weights by their held-out loss.
      exact: use the closed-form ratio instead (problems that have one): what a perfect classifier would give.
      optimiser: optimiser and greatest length.
    """

    features: tuple[int, ...] = (64, 64)
    folds: int = 5
    regularisers: tuple[str, ...] = tuple(REGULARISERS)
    exact: bool = False
    optimiser: OptimiserConfig = OptimiserConfig(
        steps=1000, batch_size=256, learning_rate=1e-3, steps_per_launch=50, patience=500
    )

    def __post_init__(self):
        _check_network(self.features)
        _check_folds(self.folds, self.optimiser.batch_size)
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
        _check_network(self.features, self.embedding)
        _check_folds(self.folds, self.optimiser.batch_size)
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
        if self.interval is not None and not self.interval[0] < self.interval[1]:
            raise UserError(f"interval is {self.interval}: give an increasing pair of times")
        if self.clip is not None and not self.clip > 0:
            raise UserError(f"clip is {self.clip}: it must be positive")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Everything about models that a run and a comparison share.

    Attributes:
      process: forward process.
      source: source model.
      rival: scratch and fine-tuning.
      classifier: domain classifier.
      guidance: guidance network.
      sampling: sampler.
      precision: what networks compute in: float32 or bfloat16. Parameters, times, log-ratios, optimiser and sampler
        states are float32 in both.
    """

    process: ProcessConfig = ProcessConfig()
    source: DenoiserConfig = DenoiserConfig()
    rival: RivalConfig = RivalConfig()
    classifier: ClassifierConfig = ClassifierConfig()
    guidance: GuidanceConfig = GuidanceConfig()
    sampling: SamplingConfig = SamplingConfig()
    precision: str = "float32"

    def __post_init__(self):
        choose("precision", self.precision, PRECISIONS)

    @property
    def dtype(self) -> Any:
        """`precision` as a JAX type."""
        return PRECISIONS[self.precision]


ProblemConfig = GaussiansConfig | ArraysConfig
PROBLEMS: dict[str, type] = {"gaussians": GaussiansConfig, "arrays": ArraysConfig}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig(TrainingConfig):
    """One method on one problem.

    Attributes:
      problem: the data.
      method: tgdp, discriminator_guidance, finetune, scratch, source, kde or sir.
      n_target: target rows to learn from. Default: 100 for gaussians; four fifths of the file for arrays.
      seed: fixes data, training and samples.
    """

    problem: ProblemConfig = GaussiansConfig()
    method: str = "tgdp"
    n_target: int | None = None
    seed: int = 0

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.seed < 2**32:
            raise UserError(f"seed is {self.seed}: it must lie in 0..2^32-1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareConfig(TrainingConfig):
    """Several methods on one problem, over numbers of target rows and seeds.

    Attributes:
      problem: the data.
      methods: methods, separated by commas.
      n_targets: numbers of target rows, separated by commas.
      seeds: seeds 0, 1, ... up to this number.
    """

    problem: ProblemConfig = GaussiansConfig()
    methods: str = "tgdp,discriminator_guidance,finetune,scratch,source,kde,sir"
    n_targets: str = "10,100,1000"
    seeds: int = 3

    def __post_init__(self):
        super().__post_init__()
        if self.seeds < 1:
            raise UserError(f"seeds is {self.seeds}: at least 1 is needed")
        if not self.method_list or not self.n_list:
            raise UserError("a comparison needs at least one method and one n-target")

    @property
    def method_list(self) -> tuple[str, ...]:
        """The methods, each once, in order."""
        return tuple(dict.fromkeys(name.strip() for name in self.methods.split(",") if name.strip()))

    @property
    def n_list(self) -> tuple[int, ...]:
        """The numbers of target rows, each once, in order.

        Raises:
          UserError: not integers.
        """
        try:
            return tuple(dict.fromkeys(int(n) for n in self.n_targets.split(",") if n.strip()))
        except ValueError:
            raise UserError(
                f"n-targets is {self.n_targets!r}: give integers separated by commas, such as 10,100"
            ) from None


_converter = make_converter(forbid_extra_keys=True)
_converter.register_structure_hook(Path, lambda value, _: Path(value))
_converter.register_unstructure_hook(Path, str)
_converter.register_structure_hook(
    ProblemConfig, lambda value, _: _converter.structure(value, ArraysConfig if "source" in value else GaussiansConfig)
)


def to_json(config: Any) -> Any:
    """A config as JSON-able nested dicts."""
    return json.loads(json.dumps(_converter.unstructure(config)))


def from_json(kind: type, value: Any) -> Any:
    """Inverse of `to_json`.

    Raises:
      UserError: not such a config, or one of another version.
    """
    try:
        return _converter.structure(value, kind)
    except Exception as error:
        raise UserError(
            f"the stored settings do not fit this version of tgdp_jax ({type(error).__name__}): choose a new --out"
        ) from error


def fingerprint(value: Any) -> str:
    """Hex digest of a JSON-able value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
