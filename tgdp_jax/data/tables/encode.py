"""From tables to rows of numbers: which columns are modelled, what they hold, and what is refused.

What a column holds is read from the source and has to be the same in the other tables, whose columns are found by their
names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tgdp_jax.data.labels import listed
from tgdp_jax.data.memory import check_fits
from tgdp_jax.data.problem import Data, check_rows
from tgdp_jax.data.tables.columns import Column, Columns, Kind
from tgdp_jax.data.tables.names import check_there
from tgdp_jax.errors import UserError

# More are identifiers or free text, or need an embedding that nobody has chosen.
MAX_CATEGORIES = 100
LEAVE_OUT = "or leave it out, naming those to model with --columns"


class Table(NamedTuple):
    """A table as it was read.

    Attributes:
      frame: a pandas DataFrame whose columns have distinct names.
      what: what it is called in sentences.
      ending: of files of its kind.
    """

    frame: Any
    what: str
    ending: str = ".csv"


def encode_tables(
    tables: Mapping[str, Table], *, columns: Sequence[str], label: str | None, conditional: bool
) -> tuple[dict[str, Data], Columns]:
    """Rows of numbers, with labels as they are in the tables.

    Args:
      tables: "source", and others.
      columns: names of those to model; empty: all but the label's.
      label: name of the column of labels.
      conditional: models see the labels.

    Raises:
      UserError: a column is missing somewhere, has missing values, or holds what can not be modelled.
    """
    names = _names(tables, columns, label, conditional)
    labelled = label if conditional else None
    for table in tables.values():
        _check_complete(table, [*names, *([labelled] if labelled else [])])
    parts = tuple(_column(name, tables) for name in names)
    size = sum(part.size for part in parts)
    for table in tables.values():
        check_fits(12 * size * len(table.frame), f"{table.what} as numbers", "give fewer rows or --columns")
    label_column = None if labelled is None else _label_column(tables, labelled)
    source = tables["source"]
    own_order = columns or [name for name in source.frame.columns if name in names or name == labelled]
    order = (*own_order, *([labelled] if labelled and labelled not in own_order else []))
    rows = {
        name: Data(
            check_rows(_encoded(table, parts), table.what),
            None if label_column is None else _labels(table, label_column),
        )
        for name, table in tables.items()
    }
    return rows, Columns(parts, order, source.ending, label_column)


def _names(tables: Mapping[str, Table], columns: Sequence[str], label: str | None, conditional: bool) -> list[str]:
    """The columns to model, which all tables have."""
    if conditional and label is None:
        raise UserError("models can see no labels of a table without a name: name their column with --label")
    if label in columns:
        raise UserError(f"column {label!r} is the label and can not be modelled too: leave it out of --columns")
    for of, table in tables.items():
        # A label that models do not see is left out where it is there; the source says that it is spelled right.
        needed = conditional or (of == "source" and not columns)
        check_there([*columns, *([label] if label is not None and needed else [])], table.frame.columns, table.what)
    if columns:
        return list(dict.fromkeys(columns))
    source = tables["source"]
    names = [name for name in source.frame.columns if name != label]
    for table in tables.values():
        others = [name for name in table.frame.columns if name != label]
        alone = [(name, source.what) for name in names if name not in others]
        alone += [(name, table.what) for name in others if name not in names]
        if alone:
            said = ", ".join(f"{name!r} is in {what} only" for name, what in alone[:3])
            more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
            raise UserError(
                f"{source.what} and {table.what} have different columns ({said}{more}): rename them, or name those to "
                "model, which all files need, with --columns"
            )
    nameless = [i + 1 for i, name in enumerate(names) if not name]
    if nameless:
        raise UserError(
            f"{source.what} has no name for column {nameless[0]}, which row numbers of pandas may be: save without "
            "them (index=False), or name the columns to model with --columns"
        )
    if not names:
        raise UserError(f"{source.what} has no column beside the label: there is nothing to model")
    return names


def _check_complete(table: Table, names: Sequence[str]) -> None:
    if not len(table.frame):
        raise UserError(f"{table.what} has no rows: give at least two")
    gaps = {name: table.frame[name].isna().to_numpy() for name in names}
    found = {name: mask for name, mask in gaps.items() if mask.any()}
    if found:
        said = [
            f"{int(m.sum())} in column {name!r} (first: data row {int(m.argmax()) + 1})" for name, m in found.items()
        ]
        shown = ", ".join(said[:3]) + (f" and {len(said) - 3} more columns" if len(said) > 3 else "")
        raise UserError(
            f"{table.what} has missing values: {shown}; remove those rows, fill them in, or leave the column out, "
            "naming those to model with --columns"
        )


def _kind(table: Table, name: str) -> Kind:
    """What a column holds, by its type.

    Raises:
      UserError: what can not be modelled.
    """
    from pandas import CategoricalDtype
    from pandas.api import types

    series = table.frame[name]
    inferred = types.infer_dtype(series, skipna=True) if series.dtype == object else ""
    texts = types.is_string_dtype(series.dtype) and not inferred
    if isinstance(series.dtype, CategoricalDtype) or types.is_bool_dtype(series.dtype) or texts:
        return "category"
    if inferred in ("string", "boolean"):
        return "category"
    if types.is_integer_dtype(series.dtype) or inferred == "integer":
        return "integer"
    if types.is_float_dtype(series.dtype) or inferred in ("floating", "decimal", "mixed-integer-float"):
        return "number"
    held = inferred or series.dtype
    raise UserError(
        f"column {name!r} of {table.what} holds {held}, neither numbers nor categories: convert it, {LEAVE_OUT}"
    )


def _column(name: str, tables: Mapping[str, Table]) -> Column:
    """A column of the source, as all tables have it."""
    source = tables["source"]
    kinds = {of: _kind(table, name) for of, table in tables.items()}
    kind = kinds["source"]
    if kind == "category":
        return Column(name, kind, _categories(source, name))
    for of, other in kinds.items():
        if other == "category":
            first = tables[of].frame[name].iloc[0]
            raise UserError(
                f"column {name!r} holds numbers in {source.what} but text in {tables[of].what} (first: {first!r}): "
                f"make it one of them everywhere, {LEAVE_OUT}"
            )
    return Column(name, "integer" if set(kinds.values()) == {"integer"} else "number")


def _categories(table: Table, name: str) -> tuple[Any, ...]:
    series = table.frame[name]
    values = [_plain(value) for value in series.unique().tolist()]
    if len(values) > MAX_CATEGORIES or (len(values) > 10 and 2 * len(values) > len(series)):
        raise UserError(f"column {name!r} of {table.what} has {_too_many(series, values)}: {LEAVE_OUT[3:]}")
    return tuple(sorted(values, key=str))


def _too_many(series: Any, values: list[Any]) -> str:
    from pandas import to_numeric

    texts = series.astype(str)
    numbers: Any = to_numeric(texts, errors="coerce")
    bad = numbers.isna().to_numpy()
    if 2 * bad.sum() < len(texts):
        return f"{int(bad.sum())} values that are no numbers (first: {texts.iloc[int(bad.argmax())]!r}), correct them"
    return (
        f"{len(values):,} different texts in {len(series):,} rows (first: {values[0]!r}), which are identifiers rather "
        f"than categories (at most {MAX_CATEGORIES})"
    )


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, str)) else str(value)


def _encoded(table: Table, parts: Sequence[Column]) -> np.ndarray:
    """Rows [N, D]."""
    out = np.zeros((len(table.frame), sum(part.size for part in parts)), np.float64)
    at = 0
    for part in parts:
        series = table.frame[part.name]
        if part.kind == "category":
            out[np.arange(len(out)), at + _places(table, part)] = 1.0
        else:
            out[:, at] = series.to_numpy(np.float64)
        at += part.size
    return out


def _places(table: Table, column: Column) -> np.ndarray:
    """Which of a column's categories each row has, int [N]."""
    series = table.frame[column.name]
    place = {str(value): i for i, value in enumerate(column.categories)}
    known = {value: place.get(str(value), -1) for value in series.unique().tolist()}
    new = [str(value) for value, at in known.items() if at < 0]
    if new:
        raise UserError(
            f"column {column.name!r} of {table.what} has {listed([*map(repr, new)])}, which the source does not "
            f"({listed([*map(repr, column.categories)])}): leave out those rows, {LEAVE_OUT}"
        )
    return np.array([known[value] for value in series.tolist()], np.int64)


def _label_column(tables: Mapping[str, Table], name: str) -> Column:
    """The source's column of labels. What are whole numbers in all tables stay numbers."""
    kinds = {of: _kind(table, name) for of, table in tables.items()}
    if set(kinds.values()) == {"integer"}:
        return Column(name, "integer")
    for of, kind in kinds.items():
        if kind == "number":
            raise UserError(
                f"column {name!r} of {tables[of].what} holds fractions: labels are whole numbers or names, take "
                "another --label"
            )
    values = {_plain(value) for value in tables["source"].frame[name].unique().tolist()}
    return Column(name, "category", tuple(sorted(values, key=str)))


def _labels(table: Table, column: Column) -> np.ndarray:
    series = table.frame[column.name]
    return series.to_numpy(np.int64) if column.kind == "integer" else np.array([str(v) for v in series.tolist()])
