"""Being asked to stop: SIGTERM of a scheduler, Ctrl-C of a person. A run saves, says where it goes on, and exits."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN = "run the same command again to go on"


class Preempted(SystemExit):
    """The process was asked to stop; carries the exit code of a process that ends by that signal.

    Args:
      saved: what a later process goes on from, such as "step 40 of source".
    """

    def __init__(self, saved: str = ""):
        super().__init__(128 + (_State.asked or signal.SIGTERM))
        self.saved = saved


class _State:
    asked = 0  # the signal's number
    deferring = False


def asked() -> bool:
    """Whether the process was asked to stop."""
    return bool(_State.asked)


@contextmanager
def listening() -> Iterator[None]:
    """While active, SIGTERM and Ctrl-C raise `Preempted`, at once or where `deferred` lets them.

    A second Ctrl-C ends the process there and then.
    """

    def on_signal(number: int, frame: FrameType | None) -> None:
        _State.asked = _State.asked or number
        if not _State.deferring:
            raise Preempted

    # Who started this process with Ctrl-C ignored, such as a shell that put it in the background, means it.
    heard = [s for s in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(s) is not signal.SIG_IGN]
    before = {number: signal.signal(number, on_signal) for number in heard}
    try:
        with _ended_by_a_second():
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _State.asked = 0


@contextmanager
def _ended_by_a_second() -> Iterator[None]:
    """Watches for a second Ctrl-C on a thread: Python's handlers wait while compiled code runs, for minutes perhaps."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def watch() -> None:
        presses = 0
        while numbers := os.read(reader, 16):
            presses += numbers.count(signal.SIGINT)
            if presses and sys.stderr.isatty():
                # The sequence shows the cursor again, which progress bars hide.
                os.write(2, b"\x1b[?25h\r\n" if presses > 1 else b" stopping; press again to end at once\r\n")
            if presses > 1:
                os._exit(128 + signal.SIGINT)
        os.close(reader)

    threading.Thread(target=watch, daemon=True).start()
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writer)


@contextmanager
def deferred() -> Iterator[None]:
    """Holds signals back: the code within looks at `asked`, saves and raises `Preempted` itself, or just ends."""
    outer, _State.deferring = _State.deferring, True
    before = _State.asked
    try:
        yield
    finally:
        _State.deferring = outer
    # What had come before is on its way already.
    if _State.asked and not before and not outer:
        raise Preempted
