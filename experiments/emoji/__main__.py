"""The command of the study; see `experiments.emoji`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments.command import command
from experiments.emoji import styles, subjects
from experiments.emoji.cells import Bench
from experiments.emoji.data import TARGETS, read_emoji
from experiments.emoji.source import Size, trained_source
from tgdp_jax.app.console import Display
from tgdp_jax.errors import choose
from tgdp_jax.train.checkpoint import Store

SECONDS = 300  # between two checkpoints


def main(
    study: Annotated[Literal["source", "styles", "subjects"], tyro.conf.Positional],
    data_dir: Path,
    out: Path = Path("runs"),
    size: Size = "cpu",
    targets: tuple[str, ...] = TARGETS,
    methods: tuple[str, ...] = (),
    n_targets: tuple[int, ...] = (10, 50, 200),
    seeds: int = 3,
    num: int = 500,
) -> None:
    """Runs one part of the study, or goes on where it stopped.

    Args:
      study: source (trains the source model, with which the others begin), styles (all methods) or subjects
        (DreamBooth and textual inversion of one subject).
      data_dir: folder of the three files.
      out: folder for the results.
      size: tiny (to see that it works) or cpu.
      targets: designers.
      methods: names; none for all.
      n_targets: numbers of target pictures; of styles.
      seeds: seeds 0, 1, ... up to this number.
      num: names that samples are drawn of; of styles.
    """
    known = subjects.ALL if study == "subjects" else styles.ALL
    for kind, names, possible in (("target", targets, TARGETS), ("method", methods, known)):
        for name in names:
            choose(kind, name, possible)
    folder, emoji = out / f"emoji-{size}", read_emoji(data_dir)
    with Display() as display:
        store = Store(folder / "checkpoints", seconds=SECONDS)
        pipelines = trained_source(emoji.source, size, 0, folder / "pipelines", store, display)
        bench = Bench(folder, size, pipelines, store, display)
        for target in targets:
            if study == "styles":
                styles.of_styles(bench, emoji, target, methods or known, n_targets, seeds, num)
            elif study == "subjects":
                subjects.of_subjects(bench, emoji, target, methods or known, seeds)


if __name__ == "__main__":
    command(main)
