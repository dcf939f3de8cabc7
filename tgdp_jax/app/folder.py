"""Files of a run folder: written whole or not at all, by one process, and never over another run's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import UserError
from tgdp_jax.runtime.files import read_json, write_atomic, write_json
from tgdp_jax.runtime.parallel import agree, is_primary
from tgdp_jax.settings.stored import to_json, upgraded


def write_samples(path: Path, problem: Problem, x: np.ndarray, labels: np.ndarray | None) -> None:
    """Writes `x` (user's units) and, where there are labels, `y` to an .npz file, atomically."""
    content: dict[str, Any] = {"x": problem.scaler.to_user(x)} | ({} if labels is None else {"y": labels})

    def save(part: Path) -> None:
        with part.open("wb") as file:
            np.savez(file, **content)

    write_atomic(path, save)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other runs out of a run folder while this one works in it; a process that dies lets go of it.

    Raises:
      UserError: another process is at work there.
    """
    lock, free = FileLock(folder / ".lock", timeout=0), True
    if is_primary():
        try:
            lock.acquire()
        except Timeout:
            free = False
    if not agree(free):
        raise UserError(f"another process is at work in {folder}: wait for it to end, or choose another --out")
    try:
        yield
    finally:
        lock.release()


def claim_folder(
    folder: Path, command: str, config: Any, digests: Mapping[str, str] | None = None, *, resume: bool = True
) -> bool:
    """Makes `folder` the home of this config, or checks that it is already. Returns whether it was.

    Args:
      folder: the folder.
      command: what it is for.
      config: the settings.
      digests: hash of every data file by the option that names it: results of a file that has changed since are
        another run's.
      resume: whether to go on with what is there.

    Raises:
      UserError: the folder belongs to another config or is something else, or can not be written.
    """
    mine = {"command": command, "config": to_json(config)} | ({"digests": dict(digests)} if digests else {})
    record = folder / "config.json"
    # Hidden files do not count: a process that was killed at its very start leaves one.
    try:
        known, taken = (
            record.exists(),
            folder.exists() and (not folder.is_dir() or any(f for f in folder.iterdir() if not f.name.startswith("."))),
        )
    except OSError as error:
        raise UserError(f"{folder} can not be used ({error.strerror or error}): choose another --out") from error
    known = bool(agree(known))
    if known:
        if not resume:
            raise UserError(f"{folder} holds a run: choose another --out, delete that folder, or leave out --no-resume")
        remedy = "choose another --out or delete that folder"
        theirs = read_json(record, needs=("command", "config"), remedy=remedy)
        theirs["config"] = upgraded(theirs["config"])
        if theirs != mine:
            raise UserError(
                f"{folder} holds another {theirs.get('command', 'run')} ({_first_difference(theirs, mine)}): choose "
                "another --out, delete that folder, or repeat its settings to continue it"
            )
        return True
    if taken:
        raise UserError(f"{folder} exists and is not a run folder: choose another --out")
    write_json(record, mine)
    return False


def _first_difference(theirs: Any, mine: Any, path: str = "") -> str:
    if isinstance(theirs, dict) and isinstance(mine, dict):
        for name in sorted(theirs.keys() | mine.keys()):
            if theirs.get(name) != mine.get(name):
                return _first_difference(theirs.get(name), mine.get(name), f"{path}.{name}" if path else name)
    if path.startswith("digests."):
        return f"the contents of the {path.removeprefix('digests.')} file have changed since"
    return f"{path.removeprefix('config.')} is {theirs!r} there and {mine!r} here"
