"""`tgdp diagnose`: whether transfer by density ratio fits two files of rows."""

from __future__ import annotations

import json
import os
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tgdp_jax.config import check_seed
from tgdp_jax.console import Display, print_line
from tgdp_jax.data.arrays import check_pair, read_rows
from tgdp_jax.diagnose import diagnose, table_rows, to_dict
from tgdp_jax.errors import FileError
from tgdp_jax.folder import write_json


def diagnose_files(source: Path, target: Path, seed: int, out: Path | None) -> None:
    """Prints what was measured and one sentence of advice; writes it to `out` as JSON where given.

    Raises:
      UserError: bad files, rows or seed, or a place that can not be written.
    """
    check_seed(seed)
    if out is not None:
        _check_place(out)
    rows = read_rows(source), read_rows(target)
    check_pair(*rows)
    with Display() as display:
        found = diagnose(*rows, seed=seed, progress=display("domain classifier", False))
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


def _check_place(out: Path) -> None:
    """Raises:
    FileError: no file can be written there, which is better known before anything is measured."""
    above = next(folder for folder in out.absolute().parents if folder.exists())
    if out.is_dir() or not above.is_dir() or not os.access(above, os.W_OK):
        raise FileError(f"{out} can not be written: give a file, such as diagnosis.json, in a folder of yours")
