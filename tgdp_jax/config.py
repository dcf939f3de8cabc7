"""What a run and a comparison are, and configs as JSON. A run is a pure function of its `RunConfig`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from cattrs.gen import make_dict_unstructure_fn, override
from cattrs.preconf.json import make_converter
from cattrs.strategies import configure_tagged_union

from tgdp_jax.data.arrays import ArraysConfig
from tgdp_jax.data.digit_pairs import DigitPairsConfig
from tgdp_jax.data.digits import DigitsConfig
from tgdp_jax.data.ecg.folders import EcgConfig
from tgdp_jax.data.ecg.sim import EcgSimConfig
from tgdp_jax.data.gaussians import GaussiansConfig
from tgdp_jax.data.images import ImagesConfig
from tgdp_jax.errors import UserError, choose
from tgdp_jax.settings import TrainingConfig
from tgdp_jax.train.representation import OBJECTIVES

ProblemConfig = (
    GaussiansConfig | ArraysConfig | DigitsConfig | DigitPairsConfig | ImagesConfig | EcgSimConfig | EcgConfig
)
PROBLEMS: dict[str, type] = {
    "gaussians": GaussiansConfig,
    "arrays": ArraysConfig,
    "digits": DigitsConfig,
    "digit-pairs": DigitPairsConfig,
    "images": ImagesConfig,
    "ecg-sim": EcgSimConfig,
    "ecg": EcgConfig,
}


def problem_name(config: Any) -> str:
    """The name in `PROBLEMS` of a problem config."""
    return next(name for name, kind in PROBLEMS.items() if isinstance(config, kind))


def check_seed(seed: int) -> None:
    """Raises:
    UserError: it is no seed."""
    if not 0 <= seed < 2**32:
        raise UserError(f"seed is {seed}: it must lie in 0..2^32-1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig(TrainingConfig):
    """One method on one problem.

    Attributes:
      problem: the data.
      method: tgdp, discriminator_guidance, finetune, lora, dreambooth, textual_inversion, domain_guidance,
        self_supervised, multimodal, scratch, source, gan, kde or sir.
      n_target: target rows to learn from. Default: 100 for gaussians, 50 for digits, digit-pairs and ecg-sim; four
        fifths of other data.
      seed: fixes data, training and samples.
    """

    problem: ProblemConfig = GaussiansConfig()
    method: str = "tgdp"
    n_target: int | None = None
    seed: int = 0

    def __post_init__(self):
        super().__post_init__()
        check_seed(self.seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareConfig(TrainingConfig):
    """Several methods on one problem, over numbers of target rows and seeds.

    Attributes:
      problem: the data.
      methods: methods, separated by commas; all for every one.
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeConfig(TrainingConfig):
    """Probes of what source models have learned of the labels, which no model is shown.

    Attributes:
      problem: the data.
      objectives: self-supervised source models beside the plain one, separated by commas: contrastive, masked.
      times: noise levels at which features are taken, times in (0, 1].
      n_target: target rows with labels that a probe learns from. Default: as of a run.
      seed: fixes data, splits and training.
    """

    problem: ProblemConfig = GaussiansConfig()
    objectives: str = "contrastive"
    times: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.2)
    n_target: int | None = None
    seed: int = 0

    def __post_init__(self):
        super().__post_init__()
        check_seed(self.seed)
        for name in self.objective_list:
            choose("representation objective", name, OBJECTIVES)
        if not self.times or not all(0 < t <= 1 for t in self.times):
            raise UserError(f"times is {self.times}: give at least one time, all above 0 and up to 1")

    @property
    def objective_list(self) -> tuple[str, ...]:
        """The objectives, each once, in order; none with a pretrained model, which is not trained again."""
        names = () if self.pretrained is not None else (name.strip() for name in self.objectives.split(","))
        return tuple(dict.fromkeys(name for name in names if name))


_converter = make_converter(forbid_extra_keys=True)
_converter.register_structure_hook(Path, lambda value, _: Path(value))
_converter.register_unstructure_hook(Path, str)
# Named only where it is given: settings that were stored before it existed stay what they are.
_converter.register_unstructure_hook(
    ImagesConfig, make_dict_unstructure_fn(ImagesConfig, _converter, background=override(omit_if_default=True))
)
configure_tagged_union(
    ProblemConfig, _converter, tag_name="problem", tag_generator=lambda kind: {v: k for k, v in PROBLEMS.items()}[kind]
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
