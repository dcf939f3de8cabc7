"""What a piece of work costs within a process that goes on: seconds, those of compiling apart, and peak memory.

JAX says how long it traced, lowered and compiled. One may happen within the other, so that the time is the length of
the union of these intervals.

Memory on a CPU is the largest resident set of the *whole process* while the work ran: interpreter, libraries, data and
what earlier work left with the allocator included. Compare it between pieces of work of one process, or read it as what
a process must be given. On an accelerator it is the allocator's peak on the fullest local device. Such marks only ever
rise. Linux lets a process lower its own to what is resident now (`/proc/self/clear_refs`, see proc(5)), and then the
reading is that of the work. Elsewhere it is known only where the work raised the mark, as the peak is then its own;
where it did not, nothing is claimed.
"""

from __future__ import annotations

import contextlib
import re
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax

from tgdp_jax.parallel import local_devices

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
_COMPILING = "/jax/core/compile/"
# (start, end) of everything that JAX has traced, lowered or compiled in this process.
_INTERVALS: list[tuple[float, float]] = []


class Cost(NamedTuple):
    """Of a piece of work.

    Attributes:
      seconds: from start to end.
      compile_seconds: of these, what went into tracing and compiling.
      memory: bytes at the peak; None where they can not be told.
    """

    seconds: float
    compile_seconds: float
    memory: int | None


class Meter:
    """Starts to measure when made; `read` it when the work is done. Memory needs one meter at a time."""

    def __init__(self):
        self._device = _device_peak()
        self._reset = self._device is None and _lower_mark()
        self._mark = _mark() if self._device is None else self._device
        self._compiling = len(_INTERVALS)
        self._start = time.perf_counter()

    def read(self) -> Cost:
        """What the work has cost since the start."""
        seconds = time.perf_counter() - self._start
        return Cost(seconds, _union(_INTERVALS[self._compiling :]), self._memory())

    def _memory(self) -> int | None:
        now = _mark() if self._device is None else _device_peak()
        if now is None or self._mark is None:
            return None
        return now if self._reset or now > self._mark else None


def _on_duration(event: str, duration_secs: float, **kwargs: str | int) -> None:
    if event.startswith(_COMPILING):
        now = time.monotonic()
        _INTERVALS.append((now - duration_secs, now))


jax.monitoring.register_event_duration_secs_listener(_on_duration)


def _union(intervals: list[tuple[float, float]]) -> float:
    """Length of the union of intervals."""
    total, reached = 0.0, -float("inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _device_peak() -> int | None:
    """Bytes; None on devices that do not count, such as CPUs."""
    found = [device.memory_stats() for device in local_devices()]
    peaks = [stats["peak_bytes_in_use"] for stats in found if stats and "peak_bytes_in_use" in stats]
    return max(peaks, default=None)


def _lower_mark() -> bool:
    with contextlib.suppress(OSError):
        _CLEAR.write_text(_RESET_PEAK)
        return True
    return False


def _mark() -> int | None:
    """The process's high-water mark in bytes."""
    with contextlib.suppress(OSError):
        found = re.search(r"^VmHWM:\s+(\d+) kB", _STATUS.read_text(), re.M)
        if found:
            return 1024 * int(found[1])
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
