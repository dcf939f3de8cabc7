"""Files written whole or not at all, by one process, and JSON that is what it is said to be."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import cattrs
import numpy as np

from tgdp_jax.errors import FileError, first_line, write_remedy


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Lets `write` fill a file beside `path`, then renames: complete or not at all. Only the primary process writes.

    Raises:
      UserError: the place can not be written, is full or is a folder.
    """
    from tgdp_jax.runtime.parallel import is_primary  # late: places can be looked at without JAX

    if not is_primary():
        return
    if path.is_dir():
        raise FileError(f"{path} can not be written (it is a folder): give the name of a file")
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        part.replace(path)
    except OSError as error:
        raise FileError(f"{path} can not be written ({first_line(error)}): {write_remedy(error)}") from error
    finally:
        # Gone already where all went well; where the folder is none, even looking fails.
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes arrays by name to an .npz file, atomically.

    Raises:
      FileError: the place can not be written or is full.
    """

    def save(part: Path) -> None:
        with part.open("wb") as file:
            np.savez(file, **arrays)

    write_atomic(path, save)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON, atomically; numbers that are not finite, which JSON lacks, become null."""

    def save(part: Path) -> None:
        part.write_text(json.dumps(_strict(value), indent=1, allow_nan=False) + "\n")

    write_atomic(path, save)


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _strict(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def nearest_there(path: Path) -> Path:
    """What is at a path, or the nearest folder above it that is there."""
    # Not Path.exists: a name that is too long is none that is there.
    return next(place for place in (path, *path.absolute().parents) if os.path.exists(place))


def check_place(path: Path) -> None:
    """Refuses a place where no file can be written, for callers that work long before they write.

    Raises:
      FileError: it is a folder, or lies in what is no folder or can not be written.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError("it is a folder")
        home = nearest_there(path.absolute().parent)
        if not home.is_dir():
            raise NotADirectoryError(f"{home} is not a folder")
        if not os.access(home, os.W_OK | os.X_OK):
            raise PermissionError(f"nothing can be written in {home}")
    except OSError as error:
        raise FileError(f"{path} can not be written ({first_line(error)}): choose another place") from error


T = TypeVar("T")


def read_json(path: Path, kind: type[T], *, remedy: str) -> T:
    """Reads a file of `write_json`.

    Args:
      path: the file.
      kind: what it holds, see `checked`.
      remedy: what helps where it is damaged.

    Raises:
      FileError: it is damaged, with the remedy.
    """
    try:
        return checked(json.loads(path.read_text(), parse_constant=_no_json), kind)
    # Nested too deeply is a RecursionError.
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"{path} can not be read ({first_line(error)}): {remedy}") from error


def checked(value: Any, kind: type[T]) -> T:
    """`value`, which is JSON, as a `kind`: a `TypedDict` or another type of what JSON has. No text passes for a number.

    Raises:
      ValueError: it is none; says what is wrong and where.
    """
    try:
        return _converter.structure(value, kind)
    except Exception as error:
        raise ValueError(f"its contents are not what was written: {cattrs.transform_error(error)[0]}") from error


def _no_json(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_converter = cattrs.Converter()


def _same(value: Any, kind: type) -> Any:
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise ValueError(f"{type(value).__name__} in place of {kind.__name__}")
    return kind(value)


for _kind in (str, int, float, bool):
    _converter.register_structure_hook(_kind, _same)


@_converter.register_structure_hook_factory(lambda kind: get_origin(kind) is list)
def _list_of(kind: Any) -> Callable[[Any, Any], list[Any]]:
    (inner,) = get_args(kind)  # cattrs itself takes a text for a list of letters
    return lambda value, _: [_converter.structure(part, inner) for part in _same(value, list)]
