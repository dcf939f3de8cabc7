"""The program of a worker process: fills the cells that it is asked for, until its standard input ends.

The first line of its input is a `Setup`, each further one a `Job`. The end of its input while it is at work means that
it is to save and to stop, so that no worker outlives who asks it.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tgdp_jax.app.cli import hush
from tgdp_jax.app.commands.cell import Filler
from tgdp_jax.app.folder import Record
from tgdp_jax.app.stage_store import comparison_store
from tgdp_jax.app.workers.process import CELL, REFUSED, STOPPED, Job, Setup
from tgdp_jax.errors import FileError, UserError, explained
from tgdp_jax.runtime.engine import running
from tgdp_jax.runtime.files import read_json
from tgdp_jax.runtime.preemption import Preempted
from tgdp_jax.runtime.settings import EngineConfig
from tgdp_jax.settings.run import CompareConfig
from tgdp_jax.settings.stored import from_json
from tgdp_jax.train.session import Log

Tell = Callable[..., None]


class Reporter:
    """What `Display` is elsewhere: tells the process that asks what a person is to see of the work."""

    def __init__(self, tell: Tell):
        self._tell, self._opened = tell, 0

    def say(self, text: str) -> None:
        """Passes on a line."""
        self._tell("say", text)

    def warn(self, text: str) -> None:
        """Passes on a warning."""
        self._tell("warn", text)

    def __call__(self, name: str, finished: bool) -> Callable[[int, int, float, float], None]:
        """A progress callback for one piece of work."""
        self._opened += 1
        number = self._opened
        self._tell("open", number, name, finished)
        return lambda *where: self._tell("progress", number, *(float(part) for part in where))

    def log(self, stage: str) -> Log:
        """Passes on the curves of a stage."""
        return lambda part, row: self._tell("log", stage, part, row)


def main() -> None:
    """Works until the standard input ends."""
    hush()
    tell = _line_writer()
    source = open(0, "rb", buffering=0)
    setup = Setup(*json.loads(source.readline()))
    asked: queue.Queue[Job | None] = queue.Queue()
    busy = threading.Event()

    def listen() -> None:
        for line in iter(source.readline, b""):
            busy.set()
            asked.put(Job(*json.loads(line)))
        asked.put(None)
        if busy.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=listen, daemon=True).start()
    # A terminal's Ctrl-C is for who asks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with explained(), running(EngineConfig(**_paths(setup.engine))):
            try:
                fill, reporter = _filler(setup, tell)
                while (job := asked.get()) is not None:
                    tell(CELL, fill(*job, reporter, reporter.log))
                    busy.clear()
            except Preempted as end:
                tell(STOPPED, end.saved)
    except UserError as error:
        tell(REFUSED, str(error), isinstance(error, FileError))


def _filler(setup: Setup, tell: Tell) -> tuple[Filler, Reporter]:
    out, reporter, engine = Path(setup.out), Reporter(tell), EngineConfig(**_paths(setup.engine))
    if not (out / "config.json").exists():
        raise FileError(
            f"a worker on {os.uname().nodename} does not see {out}: choose an --out that all workers of the cluster see"
        )
    stored = read_json(out / "config.json", Record, remedy="run again to a new --out")
    config = from_json(CompareConfig, stored["config"])
    store = comparison_store(out, engine, reporter, None if setup.stages is None else Path(setup.stages))
    return Filler.make(config, out, store), reporter


def _paths(engine: dict[str, Any]) -> dict[str, Any]:
    return {**engine, "store": None if engine["store"] is None else Path(engine["store"]), "log": tuple(engine["log"])}


def _line_writer() -> Tell:
    """Writes lines to what was the standard output; what libraries print goes to the standard error."""
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    lock = threading.Lock()

    def tell(*words: Any) -> None:
        # Who asks may have died; the end of the input then ends the work in good order.
        with lock, contextlib.suppress(BrokenPipeError):
            lines.write(json.dumps(words) + "\n")
            lines.flush()

    return tell


if __name__ == "__main__":
    main()
