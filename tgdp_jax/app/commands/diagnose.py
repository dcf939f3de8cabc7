"""`tgdp diagnose`: whether transfer by density ratio fits two files of rows."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from tgdp_jax.app.console import Display, print_line
from tgdp_jax.app.report.table import Cell, format_cell
from tgdp_jax.data.arrays import check_pair, read_files
from tgdp_jax.metrics.overlap import FAR_AUC, FAR_CROSS_ENTROPY, NEIGHBOUR_QUANTILE, Diagnosis, diagnose, null_auc_error
from tgdp_jax.runtime.files import write_json


def diagnose_files(
    source: Path, target: Path, seed: int, out: Path | None, *, columns: Sequence[str] = (), label: str | None = None
) -> None:
    """Prints what was measured and one sentence of advice; writes it to `out` as JSON where given.

    `columns` and `label` are those of tables.

    Raises:
      UserError: bad files or rows.
    """
    rows, _ = read_files({"source": source, "target": target}, columns=columns, label=label)
    check_pair(rows["source"], rows["target"])
    with Display() as display:
        found = diagnose(rows["source"], rows["target"], seed=seed, progress=display("domain classifier", False))
    table = Table(
        "measured", "value", "meaning", title=f"{source.name} -> {target.name}", title_justify="left", box=None
    )
    for row in table_rows(found):
        table.add_row(row.name, row.value, row.meaning)
    console = Console()
    if not console.is_terminal:
        console.width = 160
    console.print(table)
    print_line(f"advice ({found.advice.kind}): {found.advice.sentence}")
    if out is not None:
        write_json(out, json.loads(json.dumps(to_dict(found))))


class TableRow(NamedTuple):
    """One printed line: what was measured, the number as text, and what it means."""

    name: str
    value: str
    meaning: str


def table_rows(diagnosis: Diagnosis) -> list[TableRow]:
    """What was measured, ready to print."""
    c = diagnosis.calibration

    def row(name: str, value: float, meaning: str) -> TableRow:
        return TableRow(name, format_cell(Cell(value)), meaning)

    error = null_auc_error(diagnosis.num_target, diagnosis.num_source)
    return [
        row(
            "held-out domain AUC", c.auc, f"0.5 ± {error:.2g} if nothing differs; above {FAR_AUC} too far for transfer"
        ),
        row(
            "cross-entropy (nats)",
            c.cross_entropy,
            f"about {math.log(2):.3f} or more if nothing differs; under {FAR_CROSS_ENTROPY} too far for transfer",
        ),
        row("estimated KL(q||p) (nats)", c.kl, "how far the target is from the source; too low if few rows overlap"),
        row("mean ratio", c.mean_ratio, "1 for a calibrated ratio; near 0 or large: do not trust it"),
        row(
            "effective sample size",
            c.effective_sample_size,
            f"of {diagnosis.num_source} source rows; from a learned ratio, may be far off: never decide by it",
        ),
        row(
            "nearest-neighbour overlap",
            diagnosis.neighbour_overlap,
            f"share of target rows near a source row; {NEIGHBOUR_QUANTILE} if nothing differs, 0 if nothing overlaps",
        ),
    ]


def to_dict(diagnosis: Diagnosis) -> dict[str, Any]:
    """The same as JSON-able values; numbers that are not finite, which JSON lacks, become None."""
    numbers = diagnosis.calibration._asdict() | {"neighbour_overlap": diagnosis.neighbour_overlap}
    finite = {name: float(value) if math.isfinite(value) else None for name, value in numbers.items()}
    return {
        "advice": diagnosis.advice._asdict(),
        "num_source": diagnosis.num_source,
        "num_target": diagnosis.num_target,
        **finite,
    }
