"""Stages on disk: finished ones, and training that is under way.

A finished stage is an orbax checkpoint of its arrays beside a JSON file of facts and curves. Its folder appears in one
rename, complete or not at all. Its name carries a fingerprint of everything the result depends on, so that a stage is
found again by whoever needs the same one, and never mistaken for another.

Training that is under way is saved by orbax's checkpoint manager: in the background, atomically, the last two kept. A
checkpoint holds everything that the rest of the training is a function of (weights, their average, optimiser, best
weights so far, step, key, curves), so that continuing gives the same bits as never having stopped. Batches are drawn
from the key and the step: there is no other position in the data.

In a run of several processes the primary one writes and all read: the folder must be one that all of them see.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypedDict

import jax
import numpy as np
import orbax.checkpoint as ocp
from filelock import FileLock, Timeout

from tgdp_jax.errors import FileError, first_line, out_of_memory, write_remedy
from tgdp_jax.runtime import parallel, preemption
from tgdp_jax.runtime.files import checked

Array = jax.Array
Tree = Any
KEPT = 2
LOCK = ".lock"
PAUSE = 0.2  # seconds between two looks at whether another process is done


def _digest(tree: Any) -> str:
    """Hash of every leaf's path, dtype, shape and bytes."""
    out = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        array = np.ascontiguousarray(leaf)
        out.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        out.update(array.tobytes())
    return out.hexdigest()


class Facts(TypedDict):
    """What stands beside the arrays of training that is under way."""

    key: list[int]
    history: dict[str, list[float]]
    seconds: float


def _alone() -> Any:
    """Orbax options of a process that reads or writes by itself, whatever other processes do."""
    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    me = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
    )


def _record(tree: Any, facts: dict[str, Any]) -> str:
    """What a checkpoint must agree with: the digest of its arrays, and that of the facts beside them."""
    text = json.dumps(json.loads(json.dumps(facts)), sort_keys=True)
    return f"{_digest(tree)}.{hashlib.sha256(text.encode()).hexdigest()}"


def _check_record(tree: Any, facts: Any) -> None:
    """Raises ValueError where arrays or facts are not those that were written."""
    rest = dict(facts)
    record = rest.pop("digest")
    # Earlier versions recorded the arrays alone.
    if record not in (_digest(tree), _record(tree, rest)):
        raise ValueError("its contents do not match its record")


@contextmanager
def _intact(said: Callable[[str], Exception]) -> Iterator[None]:
    """Raises `said(reason)` in the place of whatever a damaged file makes the storage layer raise.

    A sound file is not damaged because there was no memory to read it.
    """
    try:
        with preemption.deferred():  # an interrupt in the middle leaves the storage layer's loops closed
            yield
    except Exception as error:
        if out_of_memory(error):
            raise
        raise said(first_line(error)) from error


@contextmanager
def _written(what: str, kept: str) -> Iterator[None]:
    """Says what the disk refuses: orbax reports that as an OSError or, from its storage layer, as a ValueError."""
    try:
        with preemption.deferred():
            yield
    except (OSError, ValueError) as error:
        if out_of_memory(error):
            raise
        raise FileError(f"{what} can not be written ({first_line(error)}): {write_remedy(error)}; {kept}") from error


class _Damaged(Exception):
    """A checkpoint that can be done without."""


class Store:
    """Stage results under one folder.

    Args:
      root: folder; made when the first stage is saved.
      seconds: between two checkpoints of training that is under way; 0: after every launch.
      warn: told of damaged checkpoints that can be done without.
      say: told of waiting for another process.
    """

    def __init__(
        self,
        root: Path,
        *,
        seconds: float = 60.0,
        warn: Callable[[str], None] | None = None,
        say: Callable[[str], None] = lambda text: None,
    ):
        self.root, self.seconds, self.warn, self.say = Path(root).absolute(), seconds, warn, say

    def path(self, name: str, fingerprint: str) -> Path:
        """Folder of a stage."""
        return self.root / f"{name}-{fingerprint[:16]}"

    def save(self, name: str, fingerprint: str, tree: Any, facts: dict[str, Any]) -> None:
        """Writes a finished stage: `tree` (nested dicts of arrays) and `facts` (JSON-able).

        Raises:
          FileError: the place can not be written or is full; nothing half-written is left.
        """
        if not parallel.is_primary():
            return
        final = self.path(name, fingerprint)
        part = self.root / f".{final.name}.part"
        tree = jax.tree.map(np.asarray, tree)
        shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
        try:
            with _written(f"checkpoint {final}", "finished stages are kept"):
                part.mkdir(parents=True)
                with ocp.StandardCheckpointer(multiprocessing_options=_alone()) as checkpointer:
                    checkpointer.save(part / "arrays", tree)
                facts = {"stage": name, "fingerprint": fingerprint, **facts}
                (part / "stage.json").write_text(json.dumps(facts | {"digest": _record(tree, facts)}))
                if final.exists():
                    shutil.rmtree(final)
                os.replace(part, final)
        finally:
            # Gone already where all went well; an interrupt leaves nothing half-written either.
            shutil.rmtree(part, ignore_errors=True)

    def load(self, name: str, fingerprint: str) -> tuple[Any, dict[str, Any]] | None:
        """(tree, facts) of a finished stage, or None where there is none.

        Raises:
          FileError: what is there is damaged.
        """
        folder = self.path(name, fingerprint)
        if not parallel.agree(folder.exists()):
            return None
        with _intact(lambda reason: self.damaged(name, fingerprint, reason)):
            facts = json.loads((folder / "stage.json").read_text())
            with ocp.StandardCheckpointer(multiprocessing_options=_alone()) as checkpointer:
                tree = jax.tree.map(np.asarray, checkpointer.restore(folder / "arrays"))
            _check_record(tree, facts)
            if facts["fingerprint"] != fingerprint:
                raise ValueError("it is of another stage")
        return tree, facts

    def take(self, name: str, fingerprint: str) -> tuple[Any, dict[str, Any]] | None:
        """(tree, facts) of a stage that was finished elsewhere; a plain store knows no other place."""
        return None

    @contextmanager
    def alone(self, name: str, fingerprint: str) -> Iterator[None]:
        """While active, no other process trains this stage here: one that is at it is waited for.

        What it trained is there then. Where it died or failed, its checkpoints are gone on with.

        Raises:
          FileError: the place can not be written, or its file system knows no locks.
        """
        if jax.process_count() > 1:  # they are one run, which has its folder to itself
            yield
            return
        folder = self._under_way(name, fingerprint)
        # Beside the checkpoints of the way: who finishes the stage removes both.
        lock, waits = FileLock(folder / LOCK, timeout=0), False
        while not lock.is_locked:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                lock.acquire()
            except Timeout:
                if not waits:
                    self.say(f"{name}: another process trains it, which is waited for")
                waits = True
                time.sleep(PAUSE)
            except FileNotFoundError:  # removed between the two: the other process is done
                pass
            except (OSError, NotImplementedError) as error:
                problem = f"checkpoint {self.path(name, fingerprint)} can not be written ({first_line(error)})"
                raise FileError(f"{problem}: {write_remedy(error)}; finished stages are kept") from error
        try:
            yield
        finally:
            with suppress(OSError):
                (folder / LOCK).unlink(missing_ok=True)
            lock.release()
            with suppress(OSError):  # checkpoints of the way stay
                folder.rmdir()

    def _under_way(self, name: str, fingerprint: str) -> Path:
        return self.root / f".{self.path(name, fingerprint).name}"

    def damaged(self, name: str, fingerprint: str, reason: object) -> FileError:
        """What to say of a finished stage that can not be used."""
        return FileError(
            f"checkpoint {self.path(name, fingerprint)} is damaged ({reason}): delete that folder and run again to "
            "train this stage anew"
        )

    def under_way(self, name: str, fingerprint: str) -> Partial:
        """Checkpoints of a stage while it trains."""
        return Partial(self._under_way(name, fingerprint), self.seconds, self.warn)


class Partial:
    """Checkpoints of training that is under way, of one stage; a folder for each of its parts.

    Args:
      folder: made when the first checkpoint is saved.
      seconds: between two checkpoints; 0: after every launch.
      warn: told of damaged checkpoints.

    Attributes:
      earlier: seconds that processes before this one spent on what has been restored.
    """

    def __init__(self, folder: Path, seconds: float, warn: Callable[[str], None] | None = None):
        self.folder, self.seconds, self.warn = folder, seconds, warn
        self.earlier = 0.0
        self._start = time.monotonic()
        self._due = self._start + seconds
        self._managers: dict[str, ocp.CheckpointManager] = {}

    def _manager(self, part: str) -> ocp.CheckpointManager:
        if part not in self._managers:
            options = ocp.CheckpointManagerOptions(
                max_to_keep=KEPT,
                # What a killed save left; one process removes it, two would trip over each other.
                cleanup_tmp_directories=parallel.is_primary(),
                create=False,
                multiprocessing_options=_alone(),
            )
            (self.folder / part).mkdir(parents=True, exist_ok=True)
            self._managers[part] = ocp.CheckpointManager(self.folder / part, options=options)
        return self._managers[part]

    def save(self, part: str, state: Tree, key: Array, history: dict[str, list[float]], *, now: bool = False) -> None:
        """Saves in the background if it is time; with `now` in any case, and waits for it.

        Raises:
          FileError: this or the last checkpoint could not be written; the ones before are untouched.
        """
        if not parallel.is_primary() or not (now or time.monotonic() >= self._due):
            return
        # Copies, for the background: the devices' memory is given to the next launch, which goes on with the curves.
        leaves = {f"{i:06}": np.array(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
        history = {name: list(values) for name, values in history.items()}
        step = int(history["step"][-1])
        spent = self.earlier + time.monotonic() - self._start
        facts = {"key": jax.random.key_data(key).tolist(), "history": history, "seconds": spent}
        facts["digest"] = _record(leaves, facts)
        # Orbax waits for items by name and gives up at the first that fails. The facts come after the arrays, so that
        # nothing is still being written when they find the disk full and the error is heard.
        items = ocp.args.Composite(arrays=ocp.args.StandardSave(leaves), facts=ocp.args.JsonSave(facts))
        with self._written():
            manager = self._manager(part)
            manager.save(step, args=items, force=True)
            if now:
                manager.wait_until_finished()
        self._due = time.monotonic() + self.seconds

    def restore(self, part: str, like: Tree, key: Array) -> tuple[Tree, dict[str, list[float]]] | None:
        """(state shaped as `like`, history) of the newest intact checkpoint, or None where there is none.

        Damaged ones are deleted, with a warning: everything since the one before is then trained again.
        """
        if not parallel.agree((self.folder / part).exists()):
            return None
        with self._written():
            manager = self._manager(part)
        for step in sorted(manager.all_steps(), reverse=True):
            folder = self.folder / part / str(step)
            try:
                with _intact(_Damaged):
                    items = ocp.args.Composite(arrays=ocp.args.StandardRestore(), facts=ocp.args.JsonRestore())
                    found = manager.restore(step, args=items)
                    facts: Any = found["facts"]
                    leaves = {name: np.asarray(leaf) for name, leaf in sorted(found["arrays"].items())}
                    _check_record(leaves, facts)
                    facts = checked(facts, Facts)
                    if facts["key"] != jax.random.key_data(key).tolist():
                        raise ValueError("it is of another run")
                    if facts["history"]["step"][-1] != step:
                        raise ValueError(f"it is of step {facts['history']['step'][-1]}")
                    if [leaf.shape for leaf in leaves.values()] != [leaf.shape for leaf in jax.tree.leaves(like)]:
                        raise ValueError("it was written by another version")
                # Parts are trained one after the other: the last one restored knows of all.
                self.earlier = max(self.earlier, facts["seconds"])
                return jax.tree.unflatten(jax.tree.structure(like), leaves.values()), facts["history"]
            except _Damaged as error:
                if self.warn is not None:
                    self.warn(f"checkpoint {folder} is damaged ({error}): going on from the one before")
                shutil.rmtree(folder, ignore_errors=True)
                manager.reload()
        return None

    def close(self) -> None:
        """Waits for what is being written.

        Raises:
          FileError: it could not be; the checkpoints before are untouched.
        """
        managers = list(self._managers.values())
        self._managers.clear()
        with self._written():
            for manager in managers:
                manager.close()

    def _written(self) -> AbstractContextManager[None]:
        return _written(f"a checkpoint in {self.folder}", "the last good checkpoint is kept")

    def discard(self) -> None:
        """Removes all checkpoints: the stage is finished."""
        self.close()
        if parallel.is_primary():
            shutil.rmtree(self.folder, ignore_errors=True)
