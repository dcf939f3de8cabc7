"""Seconds, compile seconds and peak memory of work: what they count, and when they keep silent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tgdp_jax import cost
from tgdp_jax.cost import Meter

MIB = 2**20
CAN_LOWER = cost._lower_mark()


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


@pytest.mark.skipif(not CAN_LOWER, reason="this system does not let a process lower its high-water mark")
def test_memory_is_that_of_the_work_and_not_of_earlier_work():
    def peak(megabytes):
        meter = Meter()
        work = np.ones(megabytes * MIB // 8)
        found = meter.read().memory
        del work
        return found

    nothing, large, small = peak(1), peak(400), peak(50)
    assert large - nothing == pytest.approx(400 * MIB, rel=0.1)
    assert small - nothing == pytest.approx(50 * MIB, rel=0.3)


@pytest.mark.parametrize(("marks", "found"), [((100, 100), None), ((100, 150), 150), ((None, None), None)])
def test_a_mark_that_can_not_be_lowered_tells_only_where_it_rose(monkeypatch, marks, found):
    reading = iter(marks)
    monkeypatch.setattr(cost, "_lower_mark", lambda: False)
    monkeypatch.setattr(cost, "_mark", lambda: next(reading))
    assert Meter().read().memory == found


@pytest.mark.parametrize(("peaks", "found"), [((7, 7), None), ((7, 9), 9)])
def test_on_an_accelerator_it_is_the_fullest_device(monkeypatch, peaks, found):
    class Device:
        def __init__(self, *readings):
            self.readings = iter(readings)

        def memory_stats(self):
            return {"peak_bytes_in_use": next(self.readings)}

    monkeypatch.setattr(cost, "local_devices", lambda: devices)
    devices = (Device(1, 2), Device(*peaks))
    assert Meter().read().memory == found


def test_without_proc_the_mark_is_that_of_the_system(monkeypatch, tmp_path):
    own = cost._mark()
    monkeypatch.setattr(cost, "_STATUS", tmp_path / "none")
    other = cost._mark()
    assert own is not None and other is not None and 10 * MIB < other < 100 * own
    monkeypatch.setattr(cost, "_CLEAR", tmp_path / "none" / "none")
    assert not cost._lower_mark()
