"""A diffusion transformer of ImageNet carried over to other sets of pictures, as papers on transfer of DiT report it.

    python -m experiments.dit_transfer --pretrained DIT --target DATA/food101 DATA/cub200 --encoder DINOV2
    ... --full     at the size that is meant for an accelerator; without it, in minutes, to see that it works

DIT is a folder of diffusers' DiTPipeline (DiT-XL-2-256), DINOV2 one of transformers with an image encoder
(dinov2-large, or clip-vit-large-patch14): weights of your own, nothing is downloaded. A target (Food-101, CUB-200,
Caltech-101, Stanford Cars, Oxford Flowers, ...) has one sub-folder a class; or `train` and `test`, which have these,
of which the second judges. Without `test`, pictures that were not learned from judge. A class whose name is a label of
ImageNet starts from that label, any other from "no label". There can be a thousand.

Every method is compared at every n and seed (`tgdp compare text-images`), on Frechet distance, precision, recall,
density and coverage of the encoder's features. Tables have means and standard errors over seeds. A study that was cut
off goes on where it was; results go to runs/ (--out), one folder a target, with its report.

--full: 256 x 256 pictures, bfloat16 with recomputed blocks, n = 1,000 and 5,000, three seeds, 24,000 steps of 32
pictures at 1e-4 for whole networks (1e-3 for adapters of rank 16), 10,000 samples in 50 steps with guidance of scale
1.5. By its operations alone a method takes one to three hours at one n and seed on an accelerator of 80 GB, a good
part of it for samples; `--methods`, `--n-targets` and `--seeds` choose a part of the study.

This study has not been run at full size: neither weights nor an accelerator were at hand. Its parts are tested: the
networks against diffusers and transformers, the whole on a pipeline of a few thousand random weights.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from experiments.adjust import optimised, values
from experiments.command import command
from tgdp_jax.app.commands.compare import compare
from tgdp_jax.app.console import print_table
from tgdp_jax.app.report.table import Cell, Column, Row
from tgdp_jax.data.text_images import TextImagesConfig
from tgdp_jax.errors import UserError
from tgdp_jax.metrics.registry import METRICS
from tgdp_jax.metrics.spread import mean_value
from tgdp_jax.settings.evaluation import EvaluationConfig
from tgdp_jax.settings.presets.text import TextTrainingConfig
from tgdp_jax.settings.run import CompareConfig

ALL = ("source", "lora", "finetune", "domain_guidance", "tgdp")
SHOWN = ("frechet", "precision", "recall", "coverage")


def settings(full: bool) -> dict[str, Any]:
    """Settings of networks, training and samples."""
    given = TextTrainingConfig()
    rival = dataclasses.replace(given.rival, learning_rates=(1e-4,))
    text, sampling = dataclasses.replace(given.text, scale=1.5), given.sampling
    if not full:
        rival = optimised(rival, steps=20, batch_size=4, steps_per_launch=10)
        few = {"classifier": optimised(given.classifier, steps=20), "guidance": optimised(given.guidance, steps=20)}
        few["head"] = dataclasses.replace(given.head, channels=(8,))
        sampling = dataclasses.replace(sampling, num=16, steps=4, chunk=4)
        return values(given) | few | {"rival": rival, "text": text, "sampling": sampling}
    return values(given) | {
        "rival": optimised(rival, steps=24_000, batch_size=32, ema=0.9999, parts=2, steps_per_launch=50),
        "lora": dataclasses.replace(given.lora, rank=16, alpha=16.0, learning_rates=(1e-3,)),
        "text": dataclasses.replace(text, num_source=5000),
        "network": dataclasses.replace(given.network, remat=True),
        "sampling": dataclasses.replace(sampling, num=10_000, steps=50, chunk=32),
        "precision": "bfloat16",
    }


def problem_of(target: Path, prompt: str | None) -> TextImagesConfig:
    """The problem of a target's folder, see the text at the top.

    Raises:
      UserError: there is no such folder.
    """
    if not target.is_dir():
        raise UserError(f"{target} is not a folder: give one that has a sub-folder for every class")
    train, test = target / "train", target / "test"
    if train.is_dir() and test.is_dir():
        return TextImagesConfig(target=train, reference=test, prompt=prompt)
    return TextImagesConfig(target=target, prompt=prompt)


def main(
    pretrained: Path,
    target: tuple[Path, ...],
    encoder: Path,
    methods: tuple[str, ...] = ALL,
    n_targets: tuple[int, ...] = (),
    seeds: int = 0,
    prompt: str | None = None,
    out: Path = Path("runs"),
    full: bool = False,
) -> None:
    """Compares methods on every target.

    Args:
      pretrained: folder of a DiTPipeline of diffusers.
      target: folders of pictures, one a data set.
      encoder: folder of transformers with DINOv2 or CLIP, on whose features pictures are compared.
      methods: names of methods.
      n_targets: numbers of pictures to learn from; default 8, with --full 1000 and 5000.
      seeds: seeds 0, 1, ... up to this number; default 1, with --full 3.
      prompt: one class for all pictures; "" for none, where folders have no classes.
      out: folder for the results.
      full: the size for an accelerator.
    """
    if len({folder.name for folder in target}) < len(target):
        raise UserError("two targets have one name, and results are kept by it: rename one of the folders")
    n_targets = n_targets or ((1000, 5000) if full else (8,))
    configs = {
        folder.name: CompareConfig(
            problem=problem_of(folder, prompt),
            methods=methods,
            n_targets=n_targets,
            seeds=seeds or (3 if full else 1),
            **{**settings(full), "pretrained": pretrained, "evaluation": EvaluationConfig(encoder=encoder)},
        )
        for folder in target
    }
    rows, size = [], "full" if full else "tiny"
    for name, config in configs.items():
        folder = out / f"dit-{name}-{size}"
        compare(config, folder)
        rows += _rows(name, config, folder)
    columns = [Column(key, METRICS[key].label, METRICS[key].better) for key in SHOWN]
    title = f"From {pretrained.name}: mean and standard error over seeds, on features of {encoder.name}"
    print_table(rows, columns, title=title, group="target, pictures")


def _rows(name: str, config: CompareConfig, folder: Path) -> list[Row]:
    found = json.loads((folder / "metrics.json").read_text())["cells"]
    rows = []
    for n in config.n_targets:
        for method in config.methods:
            cells = [one["metrics"] for one in found if one["method"] == method and one["num_target"] == n]

            def cell(key: str, cells: list[dict[str, Any]] = cells) -> Cell:
                known = [one[key][0] for one in cells if one.get(key, [None])[0] is not None]
                return Cell(*mean_value(known)) if known else Cell(math.nan, None)

            rows.append(Row(method, {key: cell(key) for key in SHOWN}, group=f"{name}, {n:,}"))
    return rows


if __name__ == "__main__":
    command(main)
