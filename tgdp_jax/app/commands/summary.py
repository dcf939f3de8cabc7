"""What the cells of a comparison say together: rows of the table, ranks, recommendations, overlap of the data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tgdp_jax.app.commands import pages
from tgdp_jax.app.commands.cell import Cell
from tgdp_jax.app.commands.run import FLOOR
from tgdp_jax.app.report.html import TableData
from tgdp_jax.app.report.ranks import mean_ranks, ranks, worse_than_best
from tgdp_jax.app.report.recommend import Contender, Recommendation, recommend
from tgdp_jax.app.report.table import Column, Row, loss
from tgdp_jax.density_ratio import Calibration
from tgdp_jax.metrics.overlap import advise
from tgdp_jax.metrics.registry import MAIN
from tgdp_jax.metrics.spread import Value

Cells = Mapping[tuple[str, int, int], Cell]
COUNTS = ("trained_parameters", "parameters")
_OVERLAP = [
    Column("auc", "held-out AUC", "none", "Of the domain classifier: 0.5 where nothing differs, 1 for no overlap."),
    Column("cross_entropy", "cross-entropy", "none", "Its held-out loss in nats: 0.693 is chance, 0 no overlap."),
    Column("kl", "KL(q||p)", "none", "Mean learned log-ratio on held-out target rows, in nats."),
    Column("mean_ratio", "mean ratio", "none", "Over source rows: 1 for a calibrated ratio."),
]


class Summary(NamedTuple):
    """A comparison's table and what follows from it.

    Attributes:
      rows: mean and standard deviation over seeds, grouped by the number of target rows.
      columns: of the table.
      main: the one to judge by; None where nothing was measured.
      ranks: number of target rows to column key to method to rank.
      recommendations: number of target rows to what to use; empty where there is no main metric.
    """

    rows: list[Row]
    columns: list[Column]
    main: Column | None
    ranks: dict[int, dict[str, dict[str, float]]]
    recommendations: dict[int, Recommendation]


def summarise(cells: Cells, n_targets: Iterable[int], seeds: Iterable[int], methods: Iterable[str]) -> Summary:
    """Rows and columns, with ranks, marks of what is worse beyond chance, and a recommendation a group."""
    seeds, methods = list(seeds), list(methods)
    groups = {n: {method: [cells[method, n, seed] for seed in seeds] for method in methods} for n in n_targets}
    values = {n: {method: _values(found) for method, found in group.items()} for n, group in groups.items()}
    seen = {f"{method} {n}": row for n, group in values.items() for method, row in group.items()}
    first = next(iter(values.values())).get(FLOOR, {})
    columns = pages.columns(seen | {FLOOR: first}, goal_row=FLOOR)
    main = next((column for name in MAIN for column in columns if column.key == name), None)
    out = Summary([], columns, main, {}, {})
    for n, group in groups.items():
        rows = [
            pages.row(method, values[n][method], reference=method == FLOOR, group=str(n), failed=_failure(found))
            for method, found in group.items()
        ]
        for column in columns:
            _mark(rows, column, group)
        out.ranks[n] = ranks(rows, columns)
        for name, rank in mean_ranks(out.ranks[n]).items():
            next(row for row in rows if row.name == name).cells["rank"] = pages.cell(Value(rank, math.nan))
        if main is not None:
            contenders = [_contender(row, group[row.name], main.key) for row in rows if not row.reference]
            out.recommendations[n] = recommend(contenders, main, where=f"{n} target rows")
        out.rows.extend(rows)
    if any("rank" in row.cells for row in out.rows):
        out.columns.insert(sum(column.better != "none" for column in columns), pages.RANK)
    return out


def failures(rows: Sequence[Row]) -> list[str]:
    """A sentence for every row that failed."""
    return [f"{row.name} with {row.group} target rows {row.failed}" for row in rows if row.failed]


def overlap(cells: Cells, n_targets: Iterable[int], seeds: Iterable[int]) -> TableData | None:
    """What the domain classifier reads for each number of target rows; None where no method trained one."""
    seeds, rows, advice = list(seeds), [], []
    for n in n_targets:
        by_seed = {s: c["calibration"] for (_, m, s), c in cells.items() if m == n and "calibration" in c}
        found = [by_seed[seed] for seed in seeds if seed in by_seed]
        if not found:
            continue
        read = {name: _mean([one[name] for one in found]) for name in Calibration._fields}
        rows.append(pages.row(str(n), {c.key: read[c.key] for c in _OVERLAP}))
        mean = Calibration(**{name: value.value for name, value in read.items()})
        if math.isfinite(mean.auc) and math.isfinite(mean.cross_entropy):
            advice.append(f"{n} target rows: {advise(mean, num_target=n).sentence}")
    if not rows:
        return None
    return TableData("Overlap of source and target", rows, _OVERLAP, "\n\n".join(advice), names="target rows")


def _mean(numbers: Sequence[Any]) -> Value:
    array = np.array(numbers, np.float64)
    return Value(float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else math.nan)


def _values(found: Sequence[Cell]) -> dict[str, Value]:
    """Mean and standard deviation over the seeds at which the method did not fail."""
    done = [cell for cell in found if "failed" not in cell]
    names = dict.fromkeys(name for cell in done for name in cell["metrics"])
    values = {name: _mean([c["metrics"][name][0] for c in done if name in c["metrics"]]) for name in names}
    for name in COUNTS if "seconds" in values else ():
        values[name] = Value(float(np.mean([cell[name] for cell in done])), math.nan)
    return values


def _failure(found: Sequence[Cell]) -> str:
    reasons = [cell["failed"] for cell in found if "failed" in cell]
    if not reasons:
        return ""
    where = "" if len(found) == 1 else f" at {len(reasons)} of {len(found)} seeds"
    return f"failed{where}: {reasons[0]}"


def _mark(rows: Sequence[Row], column: Column, group: Mapping[str, Sequence[Cell]]) -> None:
    """Marks the cells of a column that are worse than its best beyond chance."""
    of = loss(column)
    if of is None:
        return
    numbers = {row.name: _per_seed(group[row.name], column.key) for row in rows if row.competes}
    worse = worse_than_best({name: [of(v) for v in found] for name, found in numbers.items() if found})
    for row in rows:
        if row.name in worse:
            row.cells[column.key] = row.cells[column.key]._replace(worse=True)


def _per_seed(found: Sequence[Cell], name: str) -> tuple[float, ...]:
    """A metric at every seed; empty where it is missing at any. Files have null for what is not a number."""
    if any(name not in cell["metrics"] for cell in found):
        return ()
    return tuple(float(np.float64(cell["metrics"][name][0])) for cell in found)


def _contender(row: Row, found: Sequence[Cell], main: str) -> Contender:
    def mean(name: str) -> float:
        return row.cells[name].value if name in row.cells else math.nan

    numbers = _per_seed(found, main)
    return Contender(
        row.name, numbers, mean("memorisation"), mean("seconds"), mean("sample_seconds"), failed=bool(row.failed)
    )
