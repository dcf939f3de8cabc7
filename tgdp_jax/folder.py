"""Files of a run folder: written whole or not at all, and never over another run's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tgdp_jax.config import to_json
from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import UserError


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Lets `write` fill a file beside `path`, then renames: complete or not at all.

    Raises:
      UserError: the place can not be written or is full.
    """
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UserError(
            f"{path} can not be written ({error.strerror or error}): free some space or choose another place"
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Writes JSON, atomically."""

    def save(part: Path) -> None:
        part.write_text(json.dumps(value, indent=1) + "\n")

    write_atomic(path, save)


def write_samples(path: Path, problem: Problem, x: np.ndarray, labels: np.ndarray | None) -> None:
    """Writes `x` (user's units) and, where there are labels, `y` to an .npz file, atomically."""
    content: dict[str, Any] = {"x": problem.scaler.to_user(x)} | ({} if labels is None else {"y": labels})

    def save(part: Path) -> None:
        with part.open("wb") as file:
            np.savez(file, **content)

    write_atomic(path, save)


def claim_folder(folder: Path, command: str, config: Any) -> bool:
    """Makes `folder` the home of this config, or checks that it is already. Returns whether it was.

    Raises:
      UserError: the folder belongs to another config or is something else, or can not be written.
    """
    mine = {"command": command, "config": to_json(config)}
    record = folder / "config.json"
    if record.exists():
        try:
            theirs = json.loads(record.read_text())
        except (OSError, ValueError) as error:
            raise UserError(
                f"{record} can not be read ({error}): choose another --out or delete that folder"
            ) from error
        if theirs != mine:
            raise UserError(
                f"{folder} holds another {theirs.get('command', 'run')} ({_first_difference(theirs, mine)}): choose "
                "another --out, delete that folder, or repeat its settings to continue it"
            )
        return True
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not a run folder: choose another --out")
    write_json(record, mine)
    return False


def _first_difference(theirs: Any, mine: Any, path: str = "") -> str:
    if isinstance(theirs, dict) and isinstance(mine, dict):
        for name in sorted(theirs.keys() | mine.keys()):
            if theirs.get(name) != mine.get(name):
                return _first_difference(theirs.get(name), mine.get(name), f"{path}.{name}" if path else name)
    return f"{path.removeprefix('config.')} is {theirs!r} there and {mine!r} here"
