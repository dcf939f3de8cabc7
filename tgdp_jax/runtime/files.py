"""Files written whole or not at all, by one process."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tgdp_jax.errors import FileError, write_remedy
from tgdp_jax.runtime.parallel import is_primary


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Lets `write` fill a file beside `path`, then renames: complete or not at all. Only the primary process writes.

    Raises:
      UserError: the place can not be written, is full or is a folder.
    """
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
        raise FileError(f"{path} can not be written ({error.strerror or error}): {write_remedy(error)}") from error
    finally:
        # Gone already where all went well; where the folder is none, even looking fails.
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


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


def read_json(path: Path, *, needs: tuple[str, ...], remedy: str) -> dict[str, Any]:
    """Reads a file of `write_json` that holds an object with the given keys.

    Raises:
      UserError: it is damaged, with the remedy.
    """
    try:
        value = json.loads(path.read_text())
        if not isinstance(value, dict) or any(name not in value for name in needs):
            raise ValueError("its contents are not what was written")
    except (OSError, ValueError) as error:
        raise FileError(f"{path} can not be read ({error}): {remedy}") from error
    return value
