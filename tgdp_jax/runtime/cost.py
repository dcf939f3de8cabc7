"""What a piece of work costs within a process that goes on: seconds, those of compiling apart, and peak memory.

JAX says how long it traced, lowered and compiled. One may happen within the other, so that the time is the length of
the union of these intervals.

Memory is what the work added at its peak to what was held before. On a CPU that is the growth of the process's resident
set: garbage is collected, free memory goes back to the system (malloc_trim(3)), and Linux lets a process lower its
high-water mark to what is resident now (`/proc/self/clear_refs`, proc(5)). Without the first two, work that reuses
freed memory would seem to need none: of six equal trainings one read 394 MiB and the others 90 to 127; with them all
read 86 to 122, the first the most, as it compiled. On other systems nothing is claimed. On an accelerator it is the
allocator's peak on the fullest local device; that mark can not be lowered, so that it tells only where it rose.
"""

from __future__ import annotations

import ctypes
import gc
import re
import time
from pathlib import Path
from typing import NamedTuple

import jax

from tgdp_jax.runtime.parallel import local_devices

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESIDENT, _PEAK = "VmRSS", "VmHWM"
_RESET_PEAK = "5"
_COMPILING = "/jax/core/compile/"
# (start, end) of everything that JAX has traced, lowered or compiled in this process.
_INTERVALS: list[tuple[float, float]] = []


class Cost(NamedTuple):
    """Of a piece of work.

    Attributes:
      seconds: from start to end.
      compile_seconds: of these, what went into tracing and compiling.
      memory: bytes added at the peak; None where they can not be told.
    """

    seconds: float
    compile_seconds: float
    memory: int | None


class Meter:
    """Starts to measure when made; `read` it when the work is done. Memory needs one meter at a time."""

    def __init__(self):
        self._devices = _device_bytes()
        self._resident = None if self._devices else _settled()
        self._compiling = len(_INTERVALS)
        self._start = time.perf_counter()

    def read(self) -> Cost:
        """What the work has cost since the start."""
        seconds = time.perf_counter() - self._start
        return Cost(seconds, _union(_INTERVALS[self._compiling :]), self._memory())

    def _memory(self) -> int | None:
        if self._devices:
            # The fullest device; (held, peak) before and the peak now.
            pairs = zip(self._devices, _device_bytes(), strict=True)
            peak, before, held = max((now[1], then[1], then[0]) for then, now in pairs)
            return peak - held if peak > before else None
        # The kernel counts pages by the batch: the peak may read a little less than what was resident before.
        return None if self._resident is None else max(0, _status(_PEAK) - self._resident)


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


def _device_bytes() -> list[tuple[int, int]]:
    """(held, peak) of every local device; empty for devices that do not count, such as CPUs."""
    found = [device.memory_stats() for device in local_devices()]
    return [(stats["bytes_in_use"], stats["peak_bytes_in_use"]) for stats in found if stats]


def _settled() -> int | None:
    """Bytes resident once nothing free is held, with the high-water mark there; None where a system can not do that."""
    gc.collect(1)  # what lives long is not looked through: with JAX loaded, that takes half a second a stage
    try:
        ctypes.CDLL(None).malloc_trim(0)
        _CLEAR.write_text(_RESET_PEAK)
        return _status(_RESIDENT)
    except (OSError, AttributeError, TypeError):  # no such file, no such function, no C library by that name
        return None


def _status(name: str) -> int:
    """A line of the process's status, in bytes."""
    found = re.search(rf"^{name}:\s+(\d+) kB", _STATUS.read_text(), re.M)
    if found is None:
        raise OSError(f"{_STATUS} has no {name}")
    return 1024 * int(found[1])
