"""What stands first on the pages of runs and comparisons: their numbers in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tgdp_jax.app.report.conclusion import Diagnosis, GroupNumbers, RunNumbers, conclude, conclude_comparison
from tgdp_jax.app.report.recommend import MEMORISED, Recommendation
from tgdp_jax.app.report.table import Cell, Column, Row, loss
from tgdp_jax.density_ratio import Calibration
from tgdp_jax.metrics.overlap import advise
from tgdp_jax.metrics.registry import MAIN


def run_lead(
    method: str, rows: Sequence[Row], columns: Sequence[Column], stages: Iterable[Mapping[str, Any]], num_target: int
) -> str:
    """The paragraph of a run.

    Args:
      method: whose run it is.
      rows: of its table: the method's, the source's and a reference row where they were measured.
      columns: of its table.
      stages: facts about its stages.
      num_target: target rows that were learned from.
    """
    main = next((column for name in MAIN for column in columns if column.key == name), None)

    def read(cells: Mapping[str, Cell] | None, key: str | None) -> Cell | None:
        return None if cells is None or key is None else cells.get(key)

    named = {row.name: row.cells for row in rows}
    fresh = next((row.cells for row in rows if row.reference), None)
    key = None if main is None else main.key
    return conclude(
        RunNumbers(
            method,
            main,
            read(named.get(method), key),
            read(named.get("source"), key),
            read(fresh, key),
            read(named.get(method), "memorisation"),
            _diagnosis([facts["calibration"] for facts in stages if "calibration" in facts], num_target),
            num_target,
        )
    )


def comparison_lead(
    cells: Mapping[tuple[str, int, int], Mapping[str, Any]],
    rows: Sequence[Row],
    main: Column | None,
    recommendations: Mapping[int, Recommendation],
) -> str:
    """The paragraph of a comparison.

    Args:
      cells: (method, number of target rows, seed) to what was measured.
      rows: of its table.
      main: the column to judge by; None where nothing was measured.
      recommendations: number of target rows to what to use.
    """
    groups = {}
    for n, found in recommendations.items():
        finished = [row for row in rows if row.group == str(n) and row.competes]
        losses = {} if main is None else {row.name: _losses(cells, row.name, n, main) for row in finished}
        seen = {seed: cell for (_, m, seed), cell in cells.items() if m == n and "calibration" in cell}
        guided = [row.name for row in finished if "calibration" in cells[row.name, n, 0]]
        base = losses.get("source", [])
        groups[n] = GroupNumbers(
            found.best,
            found.clear,
            {name: [b - v for b, v in zip(base, values, strict=False)] for name, values in losses.items()},
            [row.name for row in finished if row.name != "source" and _copies(row)],
            _diagnosis([cell["calibration"] for cell in seen.values()], n),
            min(guided, key=lambda name: math.fsum(losses[name]), default=None),
        )
    return conclude_comparison(groups, main)


def _losses(cells: Mapping[tuple[str, int, int], Mapping[str, Any]], method: str, n: int, main: Column) -> list[float]:
    """The main metric at every seed, so that less is better; null in a file is not a number."""
    of = loss(main)
    found = [
        cell["metrics"].get(main.key, [math.nan]) for (m, size, _), cell in cells.items() if (m, size) == (method, n)
    ]
    return [] if of is None else [of(float(np.float64(value[0]))) for value in found]


def _copies(row: Row) -> bool:
    return "memorisation" in row.cells and row.cells["memorisation"].value < MEMORISED


def _diagnosis(found: Sequence[Mapping[str, Any]], num_target: int) -> Diagnosis | None:
    """What the domain classifiers of several seeds say together; None where there is none, or none that converged."""
    if not found:
        return None
    mean = Calibration(
        **{name: float(np.mean([np.float64(one[name]) for one in found])) for name in Calibration._fields}
    )
    readable = math.isfinite(mean.auc) and math.isfinite(mean.cross_entropy)
    return advise(mean, num_target=num_target).kind if readable else None
