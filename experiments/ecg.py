"""Twelve-lead ECGs from one hospital to another: the paper's second experiment.

python -m experiments.ecg table                   simulated records with labels; n = 50, 200, 690
python -m experiments.ecg regularisers            the same: guidance without regularisers, and with the cycle term
python -m experiments.ecg unconditional           the same without labels
... --data-dir DATA     PTB-XL as the source and LUDB as the target; n = 50, 100
... --size tiny         in minutes, to see that it works
... --size full         networks and lengths for an accelerator
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from experiments.command import command
from tgdp_jax.commands.compare import compare
from tgdp_jax.config import CompareConfig
from tgdp_jax.data.ecg.folders import EcgConfig
from tgdp_jax.data.ecg.sim import EcgSimConfig
from tgdp_jax.settings import (
    ClassifierConfig,
    DenoiserConfig,
    GuidanceConfig,
    HeadConfig,
    NetworkConfig,
    ProcessConfig,
    RivalConfig,
    SamplingConfig,
)
from tgdp_jax.sssd_settings import PAPER, SSSDConfig
from tgdp_jax.train.optimiser import OptimiserConfig

METHODS = "tgdp,finetune,scratch,source"
Size = Literal["tiny", "cpu", "full"]


def data(data_dir: Path | None, size: Size, *, conditional: bool) -> EcgSimConfig | EcgConfig:
    """Simulated records, or PTB-XL and LUDB below a folder."""
    if data_dir is None:
        num, seconds = 300 if size == "tiny" else 2000, 10.0 if size == "full" else 5.0
        return EcgSimConfig(seconds=seconds, num_source=num, conditional=conditional)
    # Copies of both databases have a few records that can not be used.
    return EcgConfig(
        source=data_dir / "ptb-xl",
        target=data_dir / "ludb",
        conditional=conditional,
        seconds=10.0 if size == "full" else 5.0,
        drop_bad=True,
    )


def training(size: Size) -> dict[str, Any]:
    """Settings of networks and training, see `EcgTrainingConfig`."""
    if size == "full":
        return {
            "process": ProcessConfig(kind="discrete"),
            "network": NetworkConfig(kind="sssd", sssd=PAPER, remat=True),
            "head": HeadConfig(channels=(32, 64, 128)),
            "source": _denoiser(steps=100_000, batch=32, rate=2e-4),
            "rival": _rival(steps=10_000, batch=32, rates=(5e-5, 2e-4)),
            "classifier": _classifier(steps=1000),
            "guidance": _guidance(steps=2000, batch=64),
            "sampling": SamplingConfig(num=2000, steps=50, chunk=250),
        }
    tiny = size == "tiny"
    sssd = SSSDConfig(layers=1, width=16, states=8) if tiny else SSSDConfig()
    return {
        "network": NetworkConfig(kind="sssd", sssd=sssd),
        "head": HeadConfig(channels=(8, 16)),
        "source": _denoiser(steps=100 if tiny else 4000, batch=16, rate=3e-3),
        "rival": _rival(steps=50 if tiny else 500, batch=16, rates=(2e-3,) if tiny else (5e-4, 2e-3)),
        "classifier": _classifier(steps=20 if tiny else 200),
        "guidance": _guidance(steps=20 if tiny else 400, batch=32),
        "sampling": SamplingConfig(num=64 if tiny else 300, steps=10 if tiny else 20, chunk=64 if tiny else 100),
    }


def _denoiser(*, steps: int, batch: int, rate: float) -> DenoiserConfig:
    optimiser = OptimiserConfig(
        steps=steps, batch_size=batch, learning_rate=rate, ema=0.998, steps_per_launch=100, validation_rows=128
    )
    return DenoiserConfig(optimiser=optimiser)


def _rival(*, steps: int, batch: int, rates: tuple[float, ...]) -> RivalConfig:
    optimiser = OptimiserConfig(
        steps=steps,
        batch_size=batch,
        schedule="constant",
        ema=0.98,
        steps_per_launch=25,
        patience=100,
        validation_rows=128,
    )
    return RivalConfig(learning_rates=rates, folds=2, optimiser=optimiser)


def _classifier(*, steps: int) -> ClassifierConfig:
    # With fifty records it is at its best after some tens of steps.
    optimiser = OptimiserConfig(steps=steps, batch_size=32, learning_rate=1e-3, steps_per_launch=10, patience=50)
    return ClassifierConfig(folds=2, regularisers=("mixup", "noise_0.3"), optimiser=optimiser)


def _guidance(*, steps: int, batch: int) -> GuidanceConfig:
    optimiser = OptimiserConfig(
        steps=steps,
        batch_size=batch,
        learning_rate=1e-2,
        ema=0.98,
        steps_per_launch=20,
        patience=100,
        validation_rows=128,
    )
    # The term is a mean over thousands of numbers: only with such a weight does it count beside that of the ratio.
    return GuidanceConfig(consistency=(3e5,), features=(64,), folds=2, optimiser=optimiser)


def _compare(name: str, data_dir: Path | None, out: Path, size: Size, *, conditional: bool, **settings: Any) -> None:
    """One comparison; those of one size and problem share what they have trained."""
    where = "sim" if data_dir is None else "ptbxl-ludb"
    n_targets = "50" if size == "tiny" else "50,100" if data_dir is not None else "50,200,690"
    options = {"n_targets": n_targets, "seeds": 1, "source_seed": 0} | training(size) | settings
    config = CompareConfig(problem=data(data_dir, size, conditional=conditional), **options)
    place = f"ecg-{where}-{size}"
    compare(config, out / f"{place}-{name}", stages=out / f"{place}-stages")


def table(data_dir: Path | None, out: Path, size: Size) -> None:
    """All methods, with labels: the ratio is that of record and label."""
    _compare("table", data_dir, out, size, conditional=True, methods=METHODS)


def regularisers(data_dir: Path | None, out: Path, size: Size) -> None:
    """Guidance without regularisers, and with the cycle term beside consistency; `table` has consistency alone."""
    guidance = training(size)["guidance"]
    plain, cycle = (dataclasses.replace(guidance, **terms) for terms in ({"consistency": (0.0,)}, {"cycle": 1.0}))
    for name, settings in (("plain", plain), ("cycle", cycle)):
        _compare(name, data_dir, out, size, conditional=True, methods="tgdp", guidance=settings)


def unconditional(data_dir: Path | None, out: Path, size: Size) -> None:
    """All methods, without labels."""
    _compare("unconditional", data_dir, out, size, conditional=False, methods=METHODS)


STUDIES = {"table": table, "regularisers": regularisers, "unconditional": unconditional}


def main(
    study: Annotated[Literal["table", "regularisers", "unconditional"], tyro.conf.Positional],
    data_dir: Path | None = None,
    out: Path = Path("runs"),
    size: Size = "cpu",
) -> None:
    """Runs one study.

    Args:
      study: which.
      data_dir: folder of the data sets; default: simulated records.
      out: folder for the results.
      size: tiny (minutes), cpu, or full (an accelerator).
    """
    STUDIES[study](data_dir, out, size)


if __name__ == "__main__":
    command(main)
