"""Reading .parquet files, and folders that `save_to_disk` of Hugging Face's `datasets` wrote, with pyarrow alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from tgdp_jax.data.files import check_regular_file
from tgdp_jax.data.labels import listed
from tgdp_jax.data.memory import check_fits, check_unpacked
from tgdp_jax.data.tables.names import check_names, check_there
from tgdp_jax.errors import UserError, first_line

STATE, SPLITS = "state.json", "dataset_dict.json"
# Bytes of a number in memory.
WIDTH = 8


def read_parquet(path: Path, wanted: Collection[str]) -> Any:
    """A pandas DataFrame of a .parquet file.

    Args:
      path: the file.
      wanted: columns to read; empty: all.

    Raises:
      UserError: the file is missing, of another kind, damaged or too large.
    """
    stored = check_regular_file(path)

    def read() -> Any:
        from pyarrow import parquet

        with parquet.ParquetFile(path, memory_map=False, pre_buffer=False) as file:
            names = _chosen(file.schema_arrow, wanted, str(path))
            about = file.metadata
            held = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
            check_unpacked(max(held, WIDTH * about.num_rows * len(names)), stored, str(path))
            return file.read(columns=names, use_threads=False)

    return _frame(_read(read, path, "Parquet"), str(path))


def dataset_files(folder: Path) -> list[Path]:
    """The files with the rows of a folder that `save_to_disk` wrote, in order.

    Raises:
      UserError: it is no such folder, holds several splits, or its list of files is damaged.
    """
    if (folder / SPLITS).is_file():
        splits = [repr(str(place.parent)) for place in sorted(folder.glob(f"*/{STATE}"))]
        raise UserError(f"{folder} holds several data sets: give one of {listed(splits) or 'them'}")
    if not (folder / STATE).is_file():
        raise UserError(
            f"{folder} is a folder, but not one that save_to_disk of `datasets` wrote (it has no {STATE}): give such a "
            "folder, or a file"
        )
    try:
        names = [str(entry["filename"]) for entry in json.loads((folder / STATE).read_text())["_data_files"]]
        if not names or any(Path(name).name != name for name in names):
            raise ValueError("it names no files of the folder")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{folder / STATE} is damaged ({first_line(error)}): save the data set again") from error
    return [folder / name for name in names]


def read_dataset(folder: Path, wanted: Collection[str]) -> Any:
    """A pandas DataFrame of a folder that `save_to_disk` wrote; numbers of `ClassLabel` columns become their names.

    Args:
      folder: of one split.
      wanted: columns to read; empty: all.

    Raises:
      UserError: see `dataset_files`; also files that are missing, damaged or too large.
    """
    files = dataset_files(folder)
    check_fits(2 * sum(map(check_regular_file, files)), str(folder), "give a smaller data set, or a part of it")

    def read(path: Path) -> Any:
        import pyarrow

        with pyarrow.OSFile(str(path)) as file, pyarrow.ipc.open_stream(file) as stream:
            names = _chosen(stream.schema, wanted, str(folder))
            batches = [batch.select(names) for batch in stream]
            return pyarrow.Table.from_batches(
                batches, pyarrow.schema([stream.schema.field(name) for name in names], stream.schema.metadata)
            )

    def joined() -> Any:
        import pyarrow

        return pyarrow.concat_tables([read(path) for path in files])

    return _frame(_read(joined, files[0] if len(files) == 1 else folder, "a data set"), str(folder))


def _read(read: Callable[[], Any], path: Path, kind: str) -> Any:
    try:
        return read()
    except (UserError, MemoryError):
        raise
    # Damaged files make Arrow fail in most of Python's ways.
    except Exception as error:
        raise UserError(f"{path} can not be read as {kind} ({first_line(error)}): make or download it again") from error


def _chosen(schema: Any, wanted: Collection[str], what: str) -> list[str]:
    """The columns to read, of a kind that a table of numbers and categories can have."""
    from pyarrow import types

    check_names(schema.names, what)
    check_there(wanted, schema.names, what)
    chosen = [field for field in schema if not wanted or field.name in wanted]
    for field in chosen:
        kind = field.type.value_type if types.is_dictionary(field.type) else field.type
        fits = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind)
        if not (fits or types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)):
            raise UserError(
                f"column {field.name!r} of {what} holds {first_line(TypeError(str(field.type)))}, which is neither "
                "numbers nor categories: convert it, or leave it out, naming those to model with --columns"
            )
    return [field.name for field in chosen]


def _frame(table: Any, what: str) -> Any:
    """A table of Arrow as a pandas DataFrame: decimals as floats, and numbers of classes as their names."""
    import pyarrow

    names = _class_names(table.schema.metadata or {})

    def column(name: str) -> Any:
        values = table.column(name)
        if pyarrow.types.is_decimal(values.type):
            return values.cast(pyarrow.float64())
        if name in names and pyarrow.types.is_integer(values.type):
            known = names[name]
            return pyarrow.array(
                [known[i] if i is not None and 0 <= i < len(known) else None for i in values.to_pylist()],
                pyarrow.string(),
            )
        return values

    def convert() -> Any:
        # Arrow believes what a file says of its own places in memory, and a damaged one ends the process.
        table.validate(full=True)
        plain = pyarrow.table({name: column(name) for name in table.column_names})
        return plain.to_pandas(ignore_metadata=True, use_threads=False)

    return _read(convert, Path(what), "a table")


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Names of classes by column, as `datasets` keeps them in a file; none where that is damaged or not there."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {
            name: [str(known) for known in feature["names"]]
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
