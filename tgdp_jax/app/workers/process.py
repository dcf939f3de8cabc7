"""A worker process as seen from the one that asks it: cells in, what it says of them out."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tgdp_jax.runtime.engine import CLUSTERS
from tgdp_jax.runtime.settings import EngineConfig
from tgdp_jax.settings.stored import to_json

# The program of a worker.
PROGRAM = ("-m", "tgdp_jax.app.workers.child")
# What a worker says last of a cell: its contents, why it can not go on, or what it has saved where it was stopped.
CELL, REFUSED, STOPPED = "cell", "refused", "stopped"
ENDED = "ended"  # said for one that ended without a last word, with its exit code
LAST = (CELL, REFUSED, STOPPED, ENDED)


class Job(NamedTuple):
    """One cell to fill: a method at a number of target rows and a seed."""

    method: str
    n: int
    seed: int


class Setup(NamedTuple):
    """What is the same for all cells of a comparison, JSON-able.

    Attributes:
      out: its folder, which holds its settings.
      stages: folder of trained stages where that is not in `out`.
      engine: how it is carried out.
      place: folder that paths are relative to.
    """

    out: str
    stages: str | None
    engine: dict[str, Any]
    place: str


def make_setup(out: Path, stages: Path | None, engine: EngineConfig) -> Setup:
    """The setup of a comparison that this process carries out."""
    plain = EngineConfig(**{name: getattr(engine, name) for name in EngineConfig.__dataclass_fields__})
    return Setup(str(out.absolute()), None if stages is None else str(stages), to_json(plain), str(Path.cwd()))


class Worker:
    """A worker process.

    A Ctrl-C at the terminal does not reach it: it stops, and saves, when it is asked to. Nor does it take itself for
    one of the processes of a scheduler's task.
    """

    def __init__(self, setup: Setup):
        self.process = subprocess.Popen(
            [sys.executable, *PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=setup.place,
            process_group=0,
            env={name: value for name, value in os.environ.items() if name not in CLUSTERS.values()},
        )
        self._write(setup)

    def ask(self, job: Job) -> None:
        """Asks for a cell."""
        self._write(job)

    def stop(self) -> None:
        """Asks it to save what it is at and to end, as also the end of this process does."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died
            self.process.stdin.close()

    def messages(self) -> Iterator[list[Any]]:
        """[kind, what is said ...] until the process ends; the last one is `ENDED` with its exit code."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith("\n"):  # one that was killed in the middle of a line did not mean it
                yield json.loads(line)
        yield [ENDED, self.process.wait()]

    def _write(self, line: Any) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died: `messages` says so
            self.process.stdin.write(json.dumps(line) + "\n")
            self.process.stdin.flush()
