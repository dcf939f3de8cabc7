"""Stages shared between runs: what a run lacks and another one has finished is taken over, and not trained again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tgdp_jax.app.console import Shown
from tgdp_jax.errors import FileError
from tgdp_jax.runtime import parallel
from tgdp_jax.runtime.settings import EngineConfig
from tgdp_jax.train.checkpoint import Store

CHECKPOINTS = "checkpoints"


class SharingStore(Store):
    """The stages of one run; finished ones that it lacks it takes from other runs.

    The runs of one folder are each other's store. A run keeps what it takes as its own (hard links where the file
    system has them, copies elsewhere), so that it can be moved, and the others deleted. A stage appears in one rename
    and is checked like any other, so that runs may take from each other while they work; what is damaged or goes away
    in the middle is trained instead.

    Args:
      root: the run's own stages.
      runs: folder of the runs to take from.
      seconds: between two checkpoints of training that is under way.
      warn: told of damaged stages.
      say: told of what is taken from where.
    """

    def __init__(
        self,
        root: Path,
        runs: Path,
        *,
        seconds: float = 60.0,
        warn: Callable[[str], None],
        say: Callable[[str], None],
    ):
        super().__init__(root, seconds=seconds, warn=warn, say=say)
        self._runs, self._warn, self._say = runs, warn, say

    def take(self, name: str, fingerprint: str) -> tuple[Any, dict[str, Any]] | None:
        """(tree, facts) of a stage that another run has finished, which is this one's too now; None where none has."""
        found = None
        final = self.path(name, fingerprint)
        others = iter(self._others(final.name)) if parallel.is_primary() else iter(())
        while found is None:
            theirs = next((other for other in others if _taken(other, final)), None)
            if not parallel.agree(theirs is not None):
                return None
            try:
                found = self.load(name, fingerprint)
            except FileError:
                found = None
            if parallel.anyone(found is None):
                found = None
            if theirs is None:  # another process than the primary one
                continue
            run = theirs.parent.parent
            if found is None:
                shutil.rmtree(final, ignore_errors=True)
                self._warn(f"{theirs} is damaged: not taken from there")
            else:
                self._say(f"{name}: taken from {run} (same settings, data and seed)")
        return found

    def _others(self, stage: str) -> list[Path]:
        """Folders of a stage of that name in other runs."""
        found = self._runs.glob(f"*/{CHECKPOINTS}/{stage}")
        return sorted(path for path in found if path.parent.absolute() != self.root)


def run_store(out: Path, engine: EngineConfig, display: Shown) -> SharingStore:
    """The stages of the run in folder `out`, shared with the runs beside it or with those asked for."""
    runs = out.absolute().parent if engine.store is None else engine.store
    return SharingStore(out / CHECKPOINTS, runs, seconds=engine.checkpoint_seconds, warn=display.warn, say=display.say)


def comparison_store(out: Path, engine: EngineConfig, display: Shown, stages: Path | None) -> Store:
    """The stages of the comparison in folder `out`: as of a run, or those in `stages` where that is named."""
    if stages is None:
        return run_store(out, engine, display)
    return Store(stages, seconds=engine.checkpoint_seconds, warn=display.warn, say=display.say)


def _taken(theirs: Path, mine: Path) -> bool:
    """Whether another run's stage is this one's too now."""
    part = mine.with_name(f".{mine.name}.taken")
    shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
    try:
        shutil.copytree(theirs, part, copy_function=_linked)
        os.replace(part, mine)
    except OSError:  # deleted in the middle, or not readable: as if it were not there
        return False
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return True


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
