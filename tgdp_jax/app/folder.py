"""Files of a run folder: written whole or not at all, by one process, and never over another run's."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from filelock import FileLock, Timeout

from tgdp_jax.app.early import holds_run
from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import FileError, UserError, first_line
from tgdp_jax.runtime.files import read_json, write_json, write_npz
from tgdp_jax.runtime.parallel import agree, is_primary
from tgdp_jax.settings.stored import to_json, upgraded


def write_samples(path: Path, problem: Problem, x: np.ndarray, labels: np.ndarray | None) -> None:
    """Writes `x` (user's units) and what `labelled` says to an .npz file, atomically."""
    write_npz(path, {"x": problem.scaler.to_user(x)} | labelled(problem, labels))


def labelled(problem: Problem, labels: np.ndarray | None) -> dict[str, np.ndarray]:
    """What files of samples say of their labels: `y` where there are any, and the captions themselves as `text`."""
    if labels is None:
        return {}
    texts = {} if problem.captions is None else {"text": np.array([problem.classes[label] for label in labels])}
    return {"y": labels} | texts


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other runs out of a run folder while this one works in it; a process that dies lets go of it.

    Work that fails before it leaves anything worth keeping leaves nothing: neither the folder nor those made for it.

    Raises:
      UserError: another process is at work there, or the folder can not be made or locked.
    """
    path, problem = folder / ".lock", ""
    lock = FileLock(path, timeout=0)
    made = [place for place in (folder, *folder.absolute().parents) if not os.path.lexists(place)]
    if is_primary():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            problem = f"another process is at work in {folder}: wait for it to end, or choose another --out"
        # Read-only, a folder or a link of that name, or a file system that knows no locks.
        except (OSError, NotImplementedError) as error:
            problem = f"{path} can not be locked ({first_line(error)}): choose another --out, or remove what is there"
    if not agree(not problem):
        raise UserError(
            problem
            or f"another process is at work in {folder}, or the run's first process has no access to it: see what that "
            "one says, wait, or choose another --out"
        )
    claimed = (folder / "config.json").exists()
    try:
        yield
    except BaseException:
        if is_primary() and not claimed:
            _leave_nothing(folder, made)
        raise
    finally:
        lock.release()


def _leave_nothing(folder: Path, made: Sequence[Path]) -> None:
    """Removes a folder in which nothing was begun, where this process made it, and the folders made for it."""
    with contextlib.suppress(OSError):  # somebody else's file is there: so the folder stays
        if {path.name for path in folder.iterdir()} <= {"config.json", ".lock"}:
            for name in ("config.json", ".lock"):
                (folder / name).unlink(missing_ok=True)
            for place in made:
                place.rmdir()


class _Named(TypedDict):
    command: str
    config: Any


class Record(_Named, total=False):
    """What `config.json` holds."""

    digests: dict[str, str]


def claim_folder(
    folder: Path, command: str, config: Any, digests: Mapping[str, str] | None = None, *, resume: bool = True
) -> bool:
    """Makes `folder` the home of this config, or checks that it is already. Returns whether it was.

    Where others may claim it at the same time, see `check_folder` first and call this where it is `locked`.

    Args and errors are those of `check_folder`; also a folder that can not be written is one.
    """
    known = check_folder(folder, command, config, digests, resume=resume)
    if not known:
        write_json(folder / "config.json", _record(command, config, digests))
    return known


def _record(command: str, config: Any, digests: Mapping[str, str] | None) -> Record:
    record: Record = {"command": command, "config": to_json(config)}
    if digests:
        record["digests"] = dict(digests)
    return record


def check_folder(
    folder: Path, command: str, config: Any, digests: Mapping[str, str] | None = None, *, resume: bool = True
) -> bool:
    """Whether `folder` is the home of this config already; writes nothing.

    Args:
      folder: the folder.
      command: what it is for.
      config: the settings.
      digests: hash of every data file by the option that names it: results of a file that has changed since are
        another run's.
      resume: whether to go on with what is there.

    Raises:
      UserError: the folder belongs to another config or is something else.
    """
    mine = _record(command, config, digests)
    record = folder / "config.json"
    if agree(holds_run(folder)):
        if not resume:
            raise UserError(f"{folder} holds a run: choose another --out, delete that folder, or leave out --no-resume")
        remedy = "choose another --out or delete that folder"
        theirs = read_json(record, Record, remedy=remedy)
        theirs["config"] = upgraded(theirs["config"])
        if theirs != mine:
            raise UserError(
                f"{folder} holds another {theirs.get('command', 'run')} ({_first_difference(theirs, mine)}): choose "
                "another --out, delete that folder, or repeat its settings to continue it"
            )
        return True
    return False


def check_still_there(folder: Path) -> None:
    """Refuses to go on in a folder that is gone: what is written without it would belong to no run.

    Raises:
      FileError: somebody removed or moved the folder while this process was at work.
    """
    if not agree((folder / "config.json").exists()):
        raise FileError(f"{folder} was removed or moved while work went on in it: run the same command again")


def _first_difference(theirs: Any, mine: Any, path: str = "") -> str:
    if isinstance(theirs, dict) and isinstance(mine, dict):
        for name in sorted(theirs.keys() | mine.keys()):
            if theirs.get(name) != mine.get(name):
                return _first_difference(theirs.get(name), mine.get(name), f"{path}.{name}" if path else name)
    if path.startswith("digests."):
        return f"the contents of the {path.removeprefix('digests.')} file have changed since"
    there, here = (text if len(text := repr(value)) < 200 else f"{text[:200]} ..." for value in (theirs, mine))
    return f"{path.removeprefix('config.')} is {there} there and {here} here"


# What a finished run holds

COMPLETE = "complete.json"


class _Seal(TypedDict):
    size: int
    sha256: str


class _Complete(TypedDict):
    files: dict[str, _Seal]


def mark_complete(folder: Path, names: Sequence[str]) -> None:
    """Records what the files of a finished run are. Written last: its presence means that all was there."""
    if is_primary():
        write_json(folder / COMPLETE, {"files": {name: _seal(folder / name) for name in names}})


def lost_files(folder: Path, names: Sequence[str]) -> list[str] | None:
    """Which files of a finished run are damaged or gone; None where no record says what they were."""
    record = folder / COMPLETE
    if not record.exists():
        return None
    try:
        files = read_json(record, _Complete, remedy="run again")["files"]
    except FileError:
        return list(names)
    return [name for name in names if files.get(name) != _seal(folder / name)]


def made_again(lost: Sequence[str]) -> str:
    """A line on files of a finished run that are lost."""
    return f"damaged or gone: {', '.join(lost)}; made again from what is trained"


def _seal(path: Path) -> _Seal | None:
    try:
        with path.open("rb") as file:
            return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": file.tell()}
    except OSError:
        return None


def check_not_own(path: Path) -> None:
    """Refuses to write over what a run keeps in its folder, also where links lead there.

    Raises:
      UserError: `path` is such a file, or would be.
    """
    for real in {Path(os.path.realpath(path)), Path(os.path.realpath(path.parent)) / path.name}:
        for folder in real.parents:
            own = real.relative_to(folder).parts[0]
            if own in OWN and (folder / "config.json").is_file():
                raise UserError(f"{path} belongs to the run in {folder}: choose another --out")


# Files and folders of a run, a comparison and a probe.
OWN = ("config.json", COMPLETE, "metrics.json", "samples.npz", "model.npz", "report.html", "train.jsonl", ".lock")
OWN += ("probe.json", "probe.png", "checkpoints", "cells", "samples", "pictures", "tensorboard")
OWN += ("samples.csv", "samples.parquet", "log.jsonl", ".trackers.json", "wandb")
OWN += ("pytorch_lora_weights.safetensors", "learned_embeds.safetensors", "pipeline", "source")
