"""Every transfer method on Gaussian mixtures, where the truth is known: which method for which n and dimension?

    python -m experiments.methods_gaussians                d = 2 and 32; n = 10, 100, 1000; seeds 0-2
    python -m experiments.methods_gaussians --dims 2       one dimension alone
    python -m experiments.methods_gaussians --size tiny    in minutes, to see that it works

The problem is that of `experiments.gaussians`. Networks and lengths are smaller than the default, so that two hundred
trainings fit two CPU cores in an evening; all seeds share one source model. Each study goes on where it was cut off;
results go to runs/ (--out), with a page that ranks the methods and says what the numbers recommend.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from experiments.command import command
from tgdp_jax.commands.compare import compare
from tgdp_jax.config import CompareConfig
from tgdp_jax.data.gaussians import GaussiansConfig
from tgdp_jax.settings import (
    ClassifierConfig,
    DenoiserConfig,
    DreamBoothConfig,
    GanConfig,
    GuidanceConfig,
    LoraConfig,
    RivalConfig,
    SamplingConfig,
    TextualInversionConfig,
)
from tgdp_jax.train.optimiser import OptimiserConfig
from tgdp_jax.transfer import METHODS

Size = Literal["tiny", "cpu"]


def training(size: Size) -> dict[str, Any]:
    """Settings of networks and training, see `TrainingConfig`."""
    tiny = size == "tiny"
    source = OptimiserConfig(steps=200 if tiny else 2000, learning_rate=3e-3, ema=0.995, steps_per_launch=100)
    # Every rate of a rival costs a cross-validation: one each, found on other seeds.
    rival = OptimiserConfig(
        steps=100 if tiny else 1000, schedule="constant", ema=0.98, steps_per_launch=50, patience=200
    )
    small = OptimiserConfig(steps=100 if tiny else 1000, learning_rate=1e-3, steps_per_launch=50, patience=200)
    gan = OptimiserConfig(steps=200 if tiny else 3000, learning_rate=1e-3, ema=0.999, steps_per_launch=100)
    gan_target = OptimiserConfig(
        steps=100 if tiny else 1000,
        learning_rate=3e-4,
        schedule="constant",
        ema=0.98,
        steps_per_launch=50,
        patience=200,
    )
    return {
        "source": DenoiserConfig(features=(128, 128), optimiser=source),
        "rival": RivalConfig(learning_rates=(1e-3,), folds=3, optimiser=rival),
        "lora": LoraConfig(learning_rates=(1e-2,)),
        "dreambooth": DreamBoothConfig(num_prior=1000),
        "textual_inversion": TextualInversionConfig(learning_rates=(3e-2,)),
        "classifier": ClassifierConfig(
            folds=3, regularisers=("weight_decay", "mixup", "noise_0.3", "noise_0.8"), optimiser=small
        ),
        "guidance": GuidanceConfig(
            features=(64, 64, 64),
            folds=3,
            optimiser=OptimiserConfig(
                steps=100 if tiny else 1500, learning_rate=3e-3, steps_per_launch=100, patience=300
            ),
        ),
        "gan": GanConfig(folds=3, source=gan, target=gan_target),
        "sampling": SamplingConfig(num=500 if tiny else 5000),
    }


def study(out: Path, size: Size, dim: int) -> None:
    """All methods at one dimension."""
    config = CompareConfig(
        problem=GaussiansConfig(dim=dim, num_source=10_000),
        methods=",".join(METHODS),
        n_targets="10,100" if size == "tiny" else "10,100,1000",
        seeds=1 if size == "tiny" else 3,
        source_seed=0,
        **training(size),
    )
    compare(config, out / f"methods-gaussians-d{dim}-{size}")


def main(dims: tuple[int, ...] = (2, 32), out: Path = Path("runs"), size: Size = "cpu") -> None:
    """Runs the study.

    Args:
      dims: dimensions.
      out: folder for the results.
      size: tiny (minutes) or cpu.
    """
    for dim in dims:
        study(out, size, dim)


if __name__ == "__main__":
    command(main)
