"""Measured cells in files, tables over seeds, and grids of pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.emoji.cells import Bench
from tgdp_jax.app.console import print_table
from tgdp_jax.app.report.grid import image_grids
from tgdp_jax.app.report.table import Cell, Column, Row
from tgdp_jax.errors import FileError, UserError
from tgdp_jax.metrics.spread import Value, mean_value
from tgdp_jax.runtime.files import write_atomic, write_json

SIDE = 6  # pictures along a side of a grid
# By the name of a row, the group of rows that it stands in, and the seed.
Found = Mapping[tuple[str, str, int], dict[str, Value]]


def measured(bench: Bench, label: str, measure: Callable[[], dict[str, Value]]) -> dict[str, Value] | None:
    """What a cell reads, kept in a file; None where its method failed, which is said and tried again next time.

    Raises:
      FileError: the disk is full, or a checkpoint damaged.
    """
    path = bench.folder / "cells" / f"{label}.json"
    if not path.exists():
        try:
            write_json(path, {name: list(value) for name, value in measure().items()})
        except FileError:
            raise
        except UserError as error:
            bench.display.warn(f"{label} failed: {error}")
            return None
    return {name: Value(*value) for name, value in json.loads(path.read_text()).items()}


def table(
    title: str,
    columns: Sequence[Column],
    found: Found,
    names: Sequence[str],
    groups: Sequence[str],
    seeds: int,
    *,
    group: str,
) -> None:
    """Prints means and standard errors of the seeds; of a single seed, the errors of its own measurements."""
    rows = []
    for place in groups:
        for name in names:
            cells = [found[name, place, seed] for seed in range(seeds) if (name, place, seed) in found]
            shown = {
                column.key: Cell(*(cells[0][column.key] if len(cells) == 1 else _mean(cells, column.key)))
                for column in columns
                if cells
            }
            rows.append(Row(name, shown, group=place))
    print_table(rows, list(columns), title=f"{title}: mean and standard error of {seeds} seeds", group=group)


def _mean(cells: Sequence[Mapping[str, Value]], key: str) -> Value:
    return mean_value([cell[key].value for cell in cells])


def grid(path: Path, panels: Mapping[str, np.ndarray]) -> None:
    """Writes the first pictures [N, S, S, 3] in [-1, 1] of every panel, the same captions in the same places."""
    drawing = image_grids({name: x[: SIDE**2] / 2.0 + 0.5 for name, x in panels.items()}, side=SIDE)

    def save(part: Path) -> None:
        part.write_bytes(drawing.png())

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, save)
