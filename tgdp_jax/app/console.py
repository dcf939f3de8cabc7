"""What a person at the terminal sees: progress of stages, warnings and tables."""

from __future__ import annotations

import math
import sys
import time
from datetime import timedelta
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tgdp_jax.app.report.table import Column, Row, plain, terminal, to_ascii
from tgdp_jax.runtime.parallel import is_primary

LINE_SECONDS = 30.0  # between two lines of progress off a terminal


class Shown(Protocol):
    """Where a person sees what goes on: a `Display`, or what tells one of it."""

    def say(self, text: str) -> None:
        """Shows a line."""
        ...

    def warn(self, text: str) -> None:
        """Shows a warning."""
        ...

    def __call__(self, name: str, finished: bool) -> Any:
        """A progress callback for one piece of work, as of a `Watch`."""
        ...


class Display:
    """Progress bars on a terminal; elsewhere a line from time to time and at the end of a stage.

    Use as a context manager; call as a `Watch`.

    Args:
      quiet: only warnings are shown.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.console = Console(stderr=True, quiet=not is_primary())
        self.bars = Progress(
            TextColumn("{task.description:<18}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            disable=quiet or not self.console.is_terminal or not is_primary(),
        )
        self.prefix = ""

    def __enter__(self) -> Display:
        self.bars.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.bars.__exit__(*error)

    def say(self, text: str) -> None:
        """Prints a line, above the bars."""
        if not self.quiet:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Prints a warning, above the bars."""
        self.console.print(f"warning: {text}", style="yellow", highlight=False, markup=False, soft_wrap=True)

    def __call__(self, name: str, finished: bool) -> Any:
        """A progress callback for one piece of work."""
        title = f"{self.prefix}{name}"
        if finished:
            self.say(f"{title}: already finished, loaded")
            return None
        task = self.bars.add_task(title, total=1, note="")
        start, first = time.perf_counter(), None
        due = start + LINE_SECONDS

        def progress(step: int, steps: int, loss: float, value: float) -> None:
            nonlocal start, first, due
            now = time.perf_counter()
            if first is None:  # the launch that compiled, or the first after a resume, is not the rate of the others
                start, first = now, step
            rate = (step - first) / max(now - start, 1e-9)
            speed = f"{rate:,.0f} steps/s  " if step > first else ""
            note = f"{value:,.0f} samples/s" if math.isnan(loss) else f"{speed}loss {loss:.4f}  held-out {value:.4f}"
            self.bars.update(task, completed=step, total=steps, note=note)
            if self.console.is_terminal or (step < steps and now < due):
                return
            due = now + LINE_SECONDS
            left = f", {timedelta(seconds=round((steps - step) / rate))} left" if step < steps and rate > 0 else ""
            self.say(f"{title}: {step} of {steps}, {note}{left}")

        return progress


def print_table(
    rows: list[Row], columns: list[Column], *, title: str, group: str | None = None, names: str = "method"
) -> None:
    """The table on standard output; plain ASCII where its encoding has no more. `names` heads the first column."""
    console = Console()
    if console.is_terminal and not _ascii_only():
        console.print(terminal(rows, columns, title=title, group=group, names=names))
    else:
        print(plain(rows, columns, title=title, group=group, names=names, ascii_only=_ascii_only()))


def print_line(text: str) -> None:
    """A line on standard output; plain ASCII where its encoding has no more."""
    print(to_ascii(text) if _ascii_only() else text)


def _ascii_only() -> bool:
    return "utf" not in (sys.stdout.encoding or "ascii").lower()
