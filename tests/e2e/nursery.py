"""The command line in processes of its own that may be killed, stopped and restarted.

A nursery is a process that has imported everything and computed nothing. It forks a child for every command, so that a
child costs no imports. Nothing is measured and no picture drawn.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from tgdp_jax.errors import UserError

ROOT = Path(__file__).parents[2]

# What Gloo's own threads print, now and then in the middle of each other's lines.
GLOO = re.compile(r"\[Gloo\]|peer ranks|^\s*(is : )?\d*\s*$")


@dataclasses.dataclass(frozen=True)
class Deed:
    """What a child does to itself, once, at or after a place in its work.

    Attributes:
      stage: where; "" for a place without stages.
      step: of training, at or after which it is done.
      point: "report" (a launch is finished, its curves are written, nothing is saved yet), "save" (the checkpoint is
        handed to the background), "finish" (the stage's result is half written), "discard" (the result is there, so
        are the checkpoints of the way to it), "sampling" or "page" (the report is about to be written).
      do: name of a signal, or "fail": what a user can put right goes wrong in this process.
      after_ms: the deed is done that much later by another thread, while the work goes on.
    """

    stage: str
    step: int
    point: str
    do: str = "SIGKILL"
    after_ms: float = 0.0


class Nursery:
    """Starts children; close it at the end."""

    def __init__(self, folder: Path):
        self.folder = folder
        # Small programs are worth keeping here: every child needs them again.
        kept = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **kept},
        )
        self.children: dict[int, Path] = {}

    def _ask(self, request: dict[str, Any]) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(self, *arguments: Any, deed: Deed | None = None, env: dict[str, str] | None = None) -> int:
        """Starts a command; returns its process id."""
        output = self.folder / f"child{len(self.children)}"
        what = None if deed is None else dataclasses.asdict(deed)
        request = {"arguments": [str(a) for a in arguments], "output": str(output), "deed": what, "env": env or {}}
        pid = self._ask(request)
        self.children[pid] = output
        return pid

    def wait(self, pid: int) -> int:
        """Waits until a child has ended or stopped; returns its exit code, or minus the signal that did it."""
        return self._ask({"wait": pid})

    def said(self, pid: int) -> tuple[str, str]:
        """Standard output and error of a child so far, without what the library for sums between processes prints."""
        output = self.children[pid]
        texts = [output.with_suffix(suffix).read_text() for suffix in (".out", ".err")]
        out, err = ("".join(s for s in t.splitlines(keepends=True) if not GLOO.search(s)) for t in texts)
        return out, err

    def run(self, *arguments: Any, deed: Deed | None = None, env: dict[str, str] | None = None) -> tuple[int, str, str]:
        """Runs a command to its end; returns exit code, standard output and error."""
        pid = self.start(*arguments, deed=deed, env=env)
        return self.wait(pid), *self.said(pid)

    def close(self) -> None:
        """Ends the nursery and every child that is left."""
        for pid in self.children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)


# Within the nursery and its children.


def _lighten() -> None:
    """Neither metrics nor pictures: they take most of the time of a small run, and others test them."""
    from tgdp_jax.app.commands import cell, pages, run
    from tgdp_jax.data import gaussians

    gaussians.NUM_REFERENCE = 300
    for command in (run, cell):
        command.evaluate_samples = command.ideal_metrics = lambda *args: {}
    nothing = pages.plots.curves({"a": {"loss": ([1, 2], [1.0, 0.5])}})
    for name in ("samples", "fields", "curves", "lines", "tradeoff"):
        setattr(pages.plots, name, lambda *args, **kwargs: nothing)
    pages.field_pictures = lambda *args: []


class _Doer:
    """Does a deed once its place is reached."""

    stages = ("source", "classifier", "noisy_classifier", "guidance", "finetune", "gan_source", "gan_target")

    def __init__(self, deed: Deed):
        self.deed, self.done = deed, False

    def at(self, point: str, stage: str = "", step: int = 0) -> None:
        deed = self.deed
        order = [*self.stages].index if deed.stage else len
        if self.done or point != deed.point or (order(stage), step) < (order(deed.stage), deed.step):
            return
        self.done = True
        if deed.after_ms:
            threading.Thread(target=self._later, daemon=True).start()
        else:
            self._act()

    def _later(self) -> None:
        time.sleep(self.deed.after_ms / 1000)
        self._act()

    def _act(self) -> None:
        if self.deed.do == "fail":
            raise UserError("this process fails")
        os.kill(os.getpid(), getattr(signal, self.deed.do))


def _prepare(deed: Deed) -> None:
    """Puts the deed in its place."""
    from tgdp_jax.app.console import Display
    from tgdp_jax.app.report import html
    from tgdp_jax.train import checkpoint
    from tgdp_jax.train.session import Session

    doer = _Doer(deed)

    def stage_of(partial: Any) -> str:
        return partial.folder.name[1:].rsplit("-", 1)[0]

    def around(place: Any, name: str, *, before: Any = None, after: Any = None) -> None:
        original = getattr(place, name)

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            if before is not None:
                before(*args, **kwargs)
            result = original(*args, **kwargs)
            if after is not None:
                after(*args, **kwargs)
            return result

        setattr(place, name, call)

    def reported(session: Any, row: dict[str, float], steps: int) -> None:
        doer.at("report", stage_of(session.partial), int(row["step"]))

    def saving(partial: Any, part: str, state: Any, key: Any, history: Any, *, now: bool = False) -> None:
        doer.at("save", stage_of(partial), int(history["step"][-1]))

    finishing: list[str] = []

    def half_written(tree: Any) -> None:
        if finishing:
            doer.at("finish", finishing[-1])

    around(Session, "report", after=reported)
    # A thread that is to strike in the middle starts before, else it would come too late.
    around(checkpoint.Partial, "save", **{"before" if deed.after_ms else "after": saving})
    around(checkpoint, "_digest", before=half_written)
    around(
        checkpoint.Store,
        "save",
        before=lambda store, name, *rest: finishing.append(name),
        after=lambda *args: finishing.clear(),
    )
    around(checkpoint.Partial, "discard", before=lambda partial: doer.at("discard", stage_of(partial)))
    around(Display, "__call__", before=lambda display, name, finished: name == "sampling" and doer.at("sampling"))
    around(html, "write", before=lambda *args: doer.at("page"))


def _child(request: dict[str, Any]) -> int:
    from tgdp_jax.app.cli import main

    output = Path(request["output"])
    for number, suffix in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(output.with_suffix(suffix), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ.update(request["env"])
    # As a shell starts what it runs in the foreground, however this one was started.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if request["deed"] is not None:
            _prepare(Deed(**request["deed"]))
        main(request["arguments"])
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _serve() -> None:
    _lighten()
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], os.WUNTRACED)
            code = -os.WSTOPSIG(status) if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)
            print(code, flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            # Through the interpreter's end, as any process: what still runs there is part of it.
            sys.exit(_child(request))
        print(pid, flush=True)


if __name__ == "__main__":
    _serve()
