"""Every transfer method on images: which method for which number of target images, and for which shift?

    python -m experiments.methods_images digits                        bundled digits, strokes a pixel wider
    python -m experiments.methods_images digits --shift classes        ... the digits 5 to 9, from 0 to 4
    python -m experiments.methods_images mnist-usps --data-dir DATA    another hand and pen
    ... --size tiny     in minutes, to see that it works

n = 10, 50, 200; one source model for all seeds. DATA and settings of mnist-usps are those of `experiments.images`, the
settings of digits those of the command line. Each study goes on where it was cut off; results go to runs/ (--out), with
a page that ranks the methods and says what the numbers recommend.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from experiments.adjust import values
from experiments.command import command
from experiments.images import Size, data, training
from tgdp_jax.commands.compare import compare
from tgdp_jax.config import CompareConfig, ProblemConfig
from tgdp_jax.data.digits import DigitsConfig
from tgdp_jax.errors import UserError
from tgdp_jax.image_settings import ImageTrainingConfig
from tgdp_jax.settings import SamplingConfig
from tgdp_jax.transfer import METHODS

# What looks at coordinates has nothing to say of pixels; the multimodal network is measured on pairs (`multimodal`).
LEFT_OUT = ("kde", "sir", "multimodal")


def settings(problem: str, size: Size) -> dict[str, Any]:
    """Settings of networks and training, see `ImageTrainingConfig`."""
    defaults = ImageTrainingConfig()
    out = values(defaults)
    if problem == "mnist-usps" or size == "tiny":
        out |= training(size)
        source, rival = out["source"].optimiser, out["rival"].optimiser
        out["gan"] = dataclasses.replace(
            defaults.gan,
            folds=out["rival"].folds,
            source=dataclasses.replace(defaults.gan.source, steps=source.steps, batch_size=source.batch_size),
            target=dataclasses.replace(defaults.gan.target, steps=rival.steps, batch_size=rival.batch_size),
        )
        out["dreambooth"] = dataclasses.replace(defaults.dreambooth, num_prior=100 if size == "tiny" else 500)
    else:
        out["sampling"] = SamplingConfig(num=500, clip=1.0, chunk=250)
    return out


def main(
    study: Annotated[Literal["digits", "mnist-usps"], tyro.conf.Positional],
    data_dir: Path | None = None,
    shift: str = "thick",
    out: Path = Path("runs"),
    size: Size = "cpu",
    seeds: int = 3,
) -> None:
    """Runs one study.

    Args:
      study: which.
      data_dir: folder of the data sets of mnist-usps.
      shift: of digits: thick, inverted, rotated or classes.
      out: folder for the results.
      size: tiny (minutes), cpu, or full (mnist-usps on an accelerator).
      seeds: how many; tiny has one.
    """
    if study == "digits":
        problem: ProblemConfig = DigitsConfig(shift=shift)
    elif data_dir is None:
        raise UserError("mnist-usps needs --data-dir, see the text at the top of this file for what it holds")
    else:
        problem = data(data_dir, out)
    name = f"digits-{shift}" if study == "digits" else study
    config = CompareConfig(
        problem=problem,
        methods=",".join(method for method in METHODS if method not in LEFT_OUT),
        n_targets="10,50" if size == "tiny" else "10,50,200",
        seeds=1 if size == "tiny" else seeds,
        **{**settings(study, size), "source_seed": 0},
    )
    compare(config, out / f"methods-{name}-{size}")


if __name__ == "__main__":
    command(main)
