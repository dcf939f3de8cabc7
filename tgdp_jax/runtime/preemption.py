"""SIGTERM: how schedulers announce that a machine is taken away. A run saves and exits with code 143."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Preempted(SystemExit):
    """The process was asked to stop; carries the exit code of a process that ends by SIGTERM."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class _State:
    asked = False
    deferring = False


def asked() -> bool:
    """Whether the process was asked to stop."""
    return _State.asked


@contextmanager
def listening() -> Iterator[None]:
    """While active, SIGTERM raises `Preempted`, at once or where `deferred` lets it."""

    def on_sigterm(number: int, frame: FrameType | None) -> None:
        _State.asked = True
        if not _State.deferring:
            raise Preempted

    before = signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _State.asked = False


@contextmanager
def deferred() -> Iterator[None]:
    """Holds SIGTERM back: the code within looks at `asked`, saves and raises `Preempted` itself, or just ends."""
    outer, _State.deferring = _State.deferring, True
    try:
        yield
    finally:
        _State.deferring = outer
    if _State.asked and not outer:
        raise Preempted
