# ruff: noqa: E501  (the tables)
"""Handwritten digits from one hand to another: MNIST as the source, n images of USPS as the target.

    python -m experiments.images table --data-dir DATA          all methods, n = 10, 50, 200, seeds 0-2
    python -m experiments.images conditional --data-dir DATA    the same with labels: TGDP and the source
    python -m experiments.images heads --data-dir DATA          guidance heads of their own against heads on the source
    ... --size tiny     in minutes, to see that it works
    ... --size full     networks and lengths for an accelerator

DATA holds mnist/mnist.npz (x_train [60000, 28, 28] uint8, y_train; the digits of yann.lecun.com/exdb/mnist) and
usps/usps.h5 (train/data [7291, 256] float in [0, 1], train/target; of Hull 1994). Each study goes on where it was cut off;
results go to runs/ (--out).

USPS fills its frame of 16 x 16 pixels, MNIST has a margin of four pixels: MNIST is cut to its inner 20 x 20 and brought to
16 x 16, so that the two differ in hand and pen, not in a frame.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from tgdp_jax.commands.compare import compare
from tgdp_jax.config import CompareConfig
from tgdp_jax.data.images import ImagesConfig
from tgdp_jax.errors import UserError
from tgdp_jax.folder import write_atomic
from tgdp_jax.settings import (
    ClassifierConfig,
    DenoiserConfig,
    GuidanceConfig,
    HeadConfig,
    NetworkConfig,
    RivalConfig,
    SamplingConfig,
)
from tgdp_jax.train.optimiser import OptimiserConfig

MARGIN = 4  # pixels around MNIST's digits
SIDE = 16
Size = Literal["tiny", "cpu", "full"]


def data(data_dir: Path, out: Path) -> ImagesConfig:
    """Source and target files; MNIST without its margin is written below `out`.

    Raises:
      UserError: a file is missing.
    """
    mnist, usps = data_dir / "mnist" / "mnist.npz", data_dir / "usps" / "usps.h5"
    for path in (mnist, usps):
        if not path.exists():
            raise UserError(
                f"{path} does not exist: see the text at the top of {Path(__file__).name} for what it holds"
            )
    cut = out / "mnist-without-margin.npz"
    if not cut.exists():
        with np.load(mnist) as archive:
            x, y = archive["x_train"], archive["y_train"]
        inner = x[:, MARGIN:-MARGIN, MARGIN:-MARGIN]

        def save(part: Path) -> None:
            with part.open("wb") as file:
                np.savez_compressed(file, x=inner, y=y)

        write_atomic(cut, save)
    return ImagesConfig(source=cut, target=usps, size=SIDE)


def training(size: Size) -> dict[str, Any]:
    """Settings of networks and training, see `ImageTrainingConfig`."""
    if size == "full":
        return {
            "network": NetworkConfig(kind="unet", channels=(64, 128, 256), blocks=2, attention=(1, 2)),
            "head": HeadConfig(channels=(32, 64, 128)),
            "source": _denoiser(steps=40_000, batch=256, rate=3e-4),
            "rival": _rival(steps=5000, batch=128),
            "classifier": _classifier(steps=2000),
            "guidance": _guidance(steps=4000, batch=256),
            "sampling": SamplingConfig(num=5000, steps=50, clip=1.0, chunk=1000),
            "precision": "bfloat16",
        }
    tiny = size == "tiny"
    return {
        "network": NetworkConfig(kind="unet", channels=(8, 16, 32) if tiny else (16, 32, 96), attention=(2,)),
        "head": HeadConfig(channels=(8, 16) if tiny else (16, 32, 64)),
        "source": _denoiser(steps=200 if tiny else 2000, batch=64, rate=2e-3),
        "rival": _rival(steps=50 if tiny else 400, batch=16),
        "classifier": _classifier(steps=50 if tiny else 300),
        "guidance": _guidance(steps=50 if tiny else 400, batch=32),
        "sampling": SamplingConfig(num=100 if tiny else 500, steps=20, clip=1.0, chunk=100),
    }


def _denoiser(*, steps: int, batch: int, rate: float) -> DenoiserConfig:
    optimiser = OptimiserConfig(
        steps=steps, batch_size=batch, learning_rate=rate, ema=0.995, steps_per_launch=50, validation_rows=512
    )
    return DenoiserConfig(held_out=0.02, optimiser=optimiser)


def _rival(*, steps: int, batch: int) -> RivalConfig:
    optimiser = OptimiserConfig(
        steps=steps,
        batch_size=batch,
        schedule="constant",
        ema=0.98,
        steps_per_launch=25,
        patience=100,
        validation_rows=512,
    )
    return RivalConfig(learning_rates=(5e-4,), folds=2, optimiser=optimiser)


def _classifier(*, steps: int) -> ClassifierConfig:
    optimiser = OptimiserConfig(steps=steps, batch_size=64, learning_rate=1e-3, steps_per_launch=25, patience=100)
    return ClassifierConfig(folds=2, regularisers=("mixup", "noise_0.3"), optimiser=optimiser)


def _guidance(*, steps: int, batch: int) -> GuidanceConfig:
    optimiser = OptimiserConfig(
        steps=steps,
        batch_size=batch,
        learning_rate=3e-3,
        ema=0.98,
        steps_per_launch=25,
        patience=100,
        validation_rows=256,
    )
    return GuidanceConfig(consistency=(300.0,), features=(128,), folds=2, optimiser=optimiser)


def table(data_dir: Path, out: Path, size: Size, *, conditional: bool = False) -> None:
    """All methods on one source model; with labels TGDP alone, beside the source."""
    config = CompareConfig(
        problem=dataclasses.replace(data(data_dir, out), conditional=conditional),
        methods="tgdp,source" if conditional else "tgdp,discriminator_guidance,finetune,scratch,source",
        n_targets="10,50" if size == "tiny" else "10,50,200",
        seeds=1 if size == "tiny" else 3,
        source_seed=0,
        **training(size),
    )
    compare(config, out / f"images-{size}{'-conditional' if conditional else ''}")


def heads(data_dir: Path, out: Path, size: Size) -> None:
    """Guidance and classifier on convolutions of their own, and on the frozen source's features; same source model."""
    problem = data(data_dir, out)
    for on_source in (False, True):
        settings = training(size)
        settings["head"] = dataclasses.replace(settings["head"], on_source=on_source)
        config = CompareConfig(
            problem=problem,
            methods="tgdp,discriminator_guidance",
            n_targets="10,200",
            seeds=1,
            source_seed=0,
            **settings,
        )
        compare(config, out / f"images-{size}-heads-{'on-source' if on_source else 'own'}")


def main(
    study: Annotated[Literal["table", "conditional", "heads"], tyro.conf.Positional],
    data_dir: Path,
    out: Path = Path("runs"),
    size: Size = "cpu",
) -> None:
    """Runs one study.

    Args:
      study: which.
      data_dir: folder of the data sets.
      out: folder for the results.
      size: tiny (minutes), cpu, or full (an accelerator).
    """
    studies = {"table": table, "conditional": functools.partial(table, conditional=True), "heads": heads}
    studies[study](data_dir, out, size)


if __name__ == "__main__":
    tyro.cli(main)
