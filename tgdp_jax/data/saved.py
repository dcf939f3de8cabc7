"""Rows in memory as files, for what reads files: runs and comparisons with a folder of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tgdp_jax.data.arrays import NAMES, ArraysConfig, given_rows, in_memory
from tgdp_jax.data.tables.encode import Table
from tgdp_jax.data.tables.files import PARQUET, write_table
from tgdp_jax.runtime.files import write_npz


def save_rows(
    source: Any,
    target: Any,
    folder: str | Path,
    *,
    columns: Sequence[str] = (),
    label: str | None = None,
    conditional: bool = False,
) -> ArraysConfig:
    """Writes source and target to a folder, and returns the problem that they are.

    Args:
      source: rows [M, *D], {"x": rows, "y": labels [M]}, or a pandas DataFrame.
      target: likewise.
      folder: for the files, which are written over: .parquet for DataFrames (extra `tables`), else .npz.
      columns: of DataFrames: names of those to model. Default: all but the label's.
      label: of DataFrames: name of the column of class labels.
      conditional: models see the labels.

    Raises:
      UserError: rows that can not be read back, or a place that can not be written.
    """
    given = {"source": source, "target": target}
    given_rows(given, columns=columns, label=label, conditional=conditional)  # says what does not fit
    paths: dict[str, Path] = {}
    for name, rows in given.items():
        read = in_memory(rows, NAMES[name])
        if isinstance(read, Table):
            paths[name] = Path(folder) / f"{name}{PARQUET}"
            write_table(paths[name], {column: read.frame[column].array for column in read.frame.columns})
        else:
            paths[name] = Path(folder) / f"{name}.npz"
            write_npz(paths[name], {"x": read.x} | ({} if read.y is None else {"y": read.y}))
    return ArraysConfig(**paths, conditional=conditional, columns=tuple(columns), label=label)
