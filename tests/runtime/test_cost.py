"""Seconds, compile seconds and peak memory of work: what they count, and when they keep silent."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from tgdp_jax.runtime import cost
from tgdp_jax.runtime.cost import Meter

MIB = 2**20
MEASURES = Meter().read().memory is not None


def test_compiling_counts_once_however_it_is_nested(monkeypatch):
    now = iter([10.0, 12.0, 20.0, 30.0])
    monkeypatch.setattr(cost.time, "monotonic", lambda: next(now))
    meter = Meter()
    record = jax.monitoring.record_event_duration_secs
    record("/jax/core/compile/jaxpr_trace_duration", 1.0)  # 9 to 10, within the next
    record("/jax/core/compile/jaxpr_trace_duration", 4.0)  # 8 to 12
    record("/jax/core/compile/backend_compile_duration", 3.0)  # 17 to 20
    record("/jax/something/else", 100.0)
    assert meter.read().compile_seconds == 7.0
    assert Meter().read().compile_seconds == 0.0


def test_what_is_compiled_already_compiles_no_more():
    @jax.jit
    def double(x):
        return 2 * x

    meter = Meter()
    double(jnp.ones(3)).block_until_ready()
    first = meter.read()
    meter = Meter()
    double(jnp.ones(3)).block_until_ready()
    second = meter.read()
    assert 0 < first.compile_seconds <= first.seconds and second.compile_seconds == 0.0


PEAKS = """
import numpy as np
from tgdp_jax.runtime.cost import Meter

def peak(megabytes):
    meter = Meter()
    # Small pieces come from the heap, where they stay when they are freed.
    work = [np.ones(1000) for _ in range(megabytes * 2**20 // 8000)]
    found = meter.read().memory
    del work
    return found

print(peak(0), peak(400), peak(50))
"""


@pytest.mark.skipif(not MEASURES, reason="this system does not let a process measure its own peak")
def test_memory_is_that_of_the_work_and_not_of_earlier_work():
    # A process of its own: the heap of one that has run other tests has holes for all of it.
    done = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)
    nothing, large, small = map(int, done.stdout.split())
    assert nothing < 5 * MIB
    assert large == pytest.approx(400 * MIB, rel=0.15)
    assert small == pytest.approx(50 * MIB, rel=0.3)


@pytest.mark.parametrize("broken", ["_CLEAR", "_STATUS"])
def test_where_the_system_can_not_tell_nothing_is_claimed(monkeypatch, tmp_path, broken):
    monkeypatch.setattr(cost, broken, tmp_path / "none" / "none")
    assert Meter().read().memory is None


def test_without_malloc_trim_nothing_is_claimed(monkeypatch):
    monkeypatch.setattr(cost.ctypes, "CDLL", lambda name: object())
    assert Meter().read().memory is None


class Device:
    """Says what it holds and what it held at most, reading by reading."""

    def __init__(self, *readings):
        self.readings = iter(readings)

    def memory_stats(self):
        held, peak = next(self.readings)
        return {"bytes_in_use": held, "peak_bytes_in_use": peak}


@pytest.mark.parametrize(
    ("fullest", "found"),
    [(((3, 7), (3, 9)), 6), (((3, 7), (3, 7)), None)],
    ids=["the mark rose", "earlier work needed more"],
)
def test_on_an_accelerator_it_is_the_fullest_device(monkeypatch, fullest, found):
    devices = (Device((1, 1), (1, 5)), Device(*fullest))
    monkeypatch.setattr(cost, "local_devices", lambda: devices)
    assert Meter().read().memory == found
