"""Tables in files: reading one by its kind, and writing samples as one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tgdp_jax.data.tables.arrow_files import dataset_files, read_dataset, read_parquet
from tgdp_jax.data.tables.csv_file import read_csv
from tgdp_jax.data.tables.encode import Table
from tgdp_jax.errors import UserError
from tgdp_jax.runtime.files import write_atomic

CSV, PARQUET = ".csv", ".parquet"
WRITABLE = (CSV, PARQUET)
_READERS: dict[str, Callable[[Path, Collection[str]], Any]] = {CSV: read_csv, PARQUET: read_parquet}


def is_table(path: Path) -> bool:
    """Whether a path is that of a table, by its ending, or of a folder."""
    return path.suffix.lower() in _READERS or path.is_dir()


def table_files(path: Path) -> dict[str, Path]:
    """The files that a table is read from, by a name that does not depend on where they lie.

    Raises:
      UserError: a folder that holds no table.
    """
    return {file.name: file for file in dataset_files(path)} if path.is_dir() else {path.name: path}


def read_table(path: Path, wanted: Collection[str] = ()) -> Table:
    """A table in a file or folder.

    Args:
      path: a .csv or .parquet file, or a folder that `save_to_disk` of Hugging Face's `datasets` wrote.
      wanted: columns to read; empty: all.

    Raises:
      UserError: nothing is there, it is damaged, of another kind or too large, or a package is missing.
    """
    ending = PARQUET if path.is_dir() else path.suffix.lower()
    check_packages(ending, str(path))
    frame = read_dataset(path, wanted) if path.is_dir() else _READERS[ending](path, wanted)
    return Table(frame, str(path), ending)


def check_packages(ending: str, what: str) -> None:
    """Raises:
    UserError: what reads and writes tables of this kind is not installed."""
    needed = ("pandas",) if ending == CSV else ("pandas", "pyarrow")
    if not all(find_spec(name) for name in needed):
        raise UserError(f"{what} needs other packages: pip install 'tgdp-jax[tables]'")


def write_table(path: Path, columns: Mapping[str, Any]) -> None:
    """Writes columns [N] by name to a .csv or .parquet file, atomically.

    Raises:
      UserError: a package is missing.
      FileError: the place can not be written or is full.
    """
    check_packages(path.suffix, str(path))
    import pandas

    frame = pandas.DataFrame(dict(columns))

    def save(part: Path) -> None:
        if path.suffix == CSV:
            frame.to_csv(part, index=False)
        else:
            frame.to_parquet(part, index=False)

    write_atomic(path, save)
