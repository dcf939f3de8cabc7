"""The user's own data: files of arrays, .npz with key `x` [N, *D] or .npy, or tables, whose columns are named."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tgdp_jax.data.copies import copy_groups, copy_notes, judging_notes
from tgdp_jax.data.image_files import files_of
from tgdp_jax.data.labels import LabelFile, Matched, match_labels
from tgdp_jax.data.npz import BROKEN_NPZ as BROKEN_NPZ
from tgdp_jax.data.npz import npz_names, read_npy, read_npz
from tgdp_jax.data.problem import Data, Problem, check_rows, split_target
from tgdp_jax.data.standardise import Standardised
from tgdp_jax.data.tables.columns import Columns
from tgdp_jax.data.tables.encode import Table, encode_tables
from tgdp_jax.data.tables.files import is_table, read_table, table_files
from tgdp_jax.data.tables.names import check_names
from tgdp_jax.errors import UserError

# What rows in memory are called in sentences.
NAMES = {"source": "the source", "target": "the target", "reference": "the reference"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArraysConfig:
    """Your own data, from files of arrays or tables.

    Attributes:
      source: source rows: a .npz file with rows under key `x` [N, *D] and labels under `y` [N], integers or names; a
        .npy file of rows; a .csv or .parquet file; or a folder that `save_to_disk` of Hugging Face's datasets wrote.
      target: target rows, with the same keys and row shape, or the same columns.
      reference: file with further target rows, used only to judge samples. Default: rows of `target` beyond n-target;
        when n-target is not given either, a fifth of `target` is held back.
      conditional: models see the labels.
      columns: of tables: names of the columns to model, separated by commas. Default: all but the label's.
      label: of tables: name of the column of class labels, which is not modelled itself; with --conditional models see
        it.
    """

    source: Path
    target: Path
    reference: Path | None = None
    conditional: bool = False
    columns: tuple[str, ...] = ()
    label: str | None = None

    def data_files(self) -> dict[str, Mapping[str, Path]]:
        """The files behind every option that names one, where it exists."""
        named = {"source": self.source, "target": self.target, "reference": self.reference}
        paths = {name: path for name, path in named.items() if path is not None and path.exists()}
        return {name: table_files(path) if path.is_dir() else files_of(path) for name, path in paths.items()}


def read_rows(path: Path) -> Data:
    """Rows of one file of arrays, checked but not scaled; labels as they are in the file.

    Raises:
      UserError: the file is missing, no .npz or .npy, holds Python objects, lacks `x`, or holds bad values.
    """
    how = "save rows with numpy.savez(path, x=...), or as a table (.csv, .parquet)"
    if path.suffix == ".npy":
        return Data(check_rows(read_npy(path, how), str(path)))
    arrays = read_npz(path, ("x", "y"), how)
    if "x" not in arrays:
        raise UserError(f"{path} holds {', '.join(npz_names(path, how)) or 'nothing'} but no array 'x': {how}")
    return Data(check_rows(arrays["x"], str(path)), arrays.get("y"))


def check_pair(source: Data, other: Data, name: str = "target") -> None:
    """Raises:
    UserError: source and target (or reference) rows differ in shape, or one of them is too small."""
    if source.x.shape[1:] != other.x.shape[1:]:
        raise UserError(
            f"source rows have shape {source.x.shape[1:]} but {name} rows {other.x.shape[1:]}: both must agree"
        )
    for data, what, least in ((source, "source", 100), (other, name, 2)):
        if len(data) < least:
            raise UserError(f"the {what} has {len(data)} row{'s' * (len(data) != 1)}: at least {least} are needed")


def load(config: ArraysConfig, *, n_target: int | None, seed: int, source_seed: int | None = None) -> Problem:
    """Reads, checks and standardises; which target rows are learned from depends on (file, n_target, seed) alone.

    Raises:
      UserError: see `read_rows` and `tables`; also shapes or labels that do not match, too few rows, or rows that can
        not be standardised.
    """
    paths = {"source": config.source, "target": config.target}
    if config.reference is not None:
        paths["reference"] = config.reference
    names = {name: str(path) for name, path in paths.items()}
    files, columns = read_files(paths, columns=config.columns, label=config.label, conditional=config.conditional)
    return rows_problem(
        files, n_target=n_target, seed=seed, conditional=config.conditional, names=names, columns=columns
    )


def read_files(
    paths: Mapping[str, Path], *, columns: Sequence[str] = (), label: str | None = None, conditional: bool = False
) -> tuple[dict[str, Data], Columns | None]:
    """(rows of all files, what their numbers are where they are tables).

    Args:
      paths: "source", and others.
      columns: see `ArraysConfig`.
      label: likewise.
      conditional: models see the labels.

    Raises:
      UserError: see `read_rows` and `tables`; also tables beside arrays.
    """
    wanted = [*columns, *([label] if columns and label is not None and conditional else [])]
    return _rows_of({name: _read(path, wanted) for name, path in paths.items()}, columns, label, conditional)


def _read(path: Path, wanted: Collection[str]) -> Data | Table:
    return read_table(path, wanted) if is_table(path) else read_rows(path)


def _rows_of(
    given: Mapping[str, Data | Table], columns: Sequence[str], label: str | None, conditional: bool
) -> tuple[dict[str, Data], Columns | None]:
    tables = {name: table for name, table in given.items() if isinstance(table, Table)}
    arrays = {name: data for name, data in given.items() if isinstance(data, Data)}
    if tables and arrays:
        raise UserError(
            f"the {next(iter(tables))} is a table and the {next(iter(arrays))} is an array: give both as tables, or "
            "both as arrays"
        )
    if tables:
        return encode_tables(tables, columns=columns, label=label, conditional=conditional)
    if columns or label is not None:
        raise UserError("--columns and --label name columns of tables, and arrays have none: leave them out")
    return arrays, None


def given_rows(
    given: Mapping[str, Any],
    *,
    columns: Sequence[str] = (),
    label: str | None = None,
    conditional: bool = False,
    names: Mapping[str, str] = NAMES,
) -> tuple[dict[str, Data], Columns | None]:
    """The same of what is in memory.

    Args:
      given: "source" and others: arrays [N, *D], {"x": rows, "y": labels [N]}, `Data`, or pandas DataFrames.
      columns: of DataFrames: see `ArraysConfig`.
      label: likewise.
      conditional: models see the labels.
      names: what each is called in sentences.

    Raises:
      UserError: bad values, a dict without rows, or columns that do not fit.
    """
    return _rows_of({n: in_memory(rows, names[n]) for n, rows in given.items()}, columns, label, conditional)


def in_memory(rows: Any, what: str) -> Data | Table:
    """Rows in memory, checked but not scaled, or a DataFrame whose columns have names.

    Raises:
      UserError: bad values, a dict without rows, or columns of one name.
    """
    pandas = sys.modules.get("pandas")  # who passes one has imported it
    if pandas is not None and isinstance(rows, pandas.DataFrame):
        names = [str(name) for name in rows.columns]
        check_names(names, what)
        return Table(rows.set_axis(names, axis=1), what)
    if isinstance(rows, Data):
        return Data(check_rows(np.asarray(rows.x), what), rows.y)
    given = rows if isinstance(rows, Mapping) else {"x": rows}
    if "x" not in given:
        raise UserError(f"{what} has no rows under 'x': pass rows, or {{'x': rows, 'y': labels}}")
    y = given.get("y")
    return Data(check_rows(np.asarray(given["x"]), what), None if y is None else np.asarray(y))


def rows_problem(
    files: Mapping[str, Data],
    *,
    n_target: int | None,
    seed: int,
    conditional: bool,
    names: Mapping[str, str] = NAMES,
    all_to_learn: bool = False,
    columns: Columns | None = None,
) -> Problem:
    """Checks, matches labels, standardises and splits.

    Args:
      files: "source", "target" and perhaps "reference" to rows.
      n_target: target rows to learn from.
      seed: of the split.
      conditional: models see the labels.
      names: what each is called in sentences.
      all_to_learn: judge nothing: all target rows are learned from where n_target is None.
      columns: what the numbers of a row are, where rows come from tables.

    Raises:
      UserError: shapes or labels that do not match, too few rows, or rows that can not be standardised.
    """
    for name in [name for name in files if name != "source"]:
        check_pair(files["source"], files[name], name)
    # Labels that nobody asked for are not looked at, whatever they are.
    labels = Matched((), {}, ())
    if conditional:
        given = {name: LabelFile(data.y, len(data), names[name]) for name, data in files.items()}
        labels = match_labels(given, required=True)
    standardised = Standardised(files["source"].x, () if columns is None else columns.names)
    scaled = {name: Data(standardised(data.x, names[name]), labels.y.get(name)) for name, data in files.items()}
    source, pool, reference = scaled["source"], scaled["target"], scaled.get("reference")
    groups = copy_groups(pool.x)
    notes = [
        *labels.notes,
        *standardised.notes,
        *copy_notes(groups, "rows", split=reference is None and not all_to_learn),
    ]
    learned, spare = split_target(groups, n_target, all_to_learn=all_to_learn or reference is not None, seed=seed)
    target, reference = pool.take(learned), reference if spare is None else pool.take(spare)
    if reference is not None:
        notes += judging_notes(reference.x, "rows", source=source.x, target=target.x)
    return Problem(
        "arrays",
        source,
        target,
        reference,
        num_classes=len(labels.classes),
        scaler=standardised.scaler,
        classes=labels.classes,
        notes=tuple(notes),
        columns=columns,
    )
