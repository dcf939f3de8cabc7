"""Cells are handed to processes, taken up where one dies, and stopped together; the processes here are actors."""

import math
import os
import re
import signal
import threading

import pytest

from tgdp_jax.app.commands.cell import failed_cell
from tgdp_jax.app.workers import process
from tgdp_jax.app.workers.crew import LIVES, fill_all
from tgdp_jax.app.workers.local import LocalCrew
from tgdp_jax.app.workers.process import Job, make_setup
from tgdp_jax.errors import FileError, UserError
from tgdp_jax.runtime.preemption import Preempted, listening
from tgdp_jax.runtime.settings import CompareEngineConfig


class Stage:
    """Fills cells of actors; notes what is heard."""

    def __init__(self, folder):
        self.folder, self.cells, self.heard, self.warned = folder, {}, [], []
        self.on_hear = lambda job: None

    def fill(self, *jobs, size=2):
        with LocalCrew(make_setup(self.folder, None, CompareEngineConfig()), size) as crew:
            self.workers = crew._all
            fill_all(
                jobs, crew, hear=self._hear, keep=self.cells.__setitem__, warn=self.warned.append, lost=failed_cell
            )

    def _hear(self, job, words):
        self.heard.append((job, words))
        self.on_hear(job)

    def attempts(self, job):
        return len((self.folder / f"{job.method}-{job.n}-{job.seed}").read_text())


@pytest.fixture
def stage(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "PROGRAM", ("-m", "tests.app.workers.actor"))
    return Stage(tmp_path)


def test_every_cell_is_filled_once_by_as_many_processes_as_asked_for(stage):
    jobs = [Job("fills", n, 0) for n in range(6)]
    stage.fill(*jobs)
    assert set(stage.cells) == set(jobs) and [stage.attempts(job) for job in jobs] == [1] * 6
    for job, cell in stage.cells.items():
        value, spread = cell["metrics"]["value"]
        assert value == 0.1 * job.n and math.isnan(spread)  # to the bit, and what is no number
    assert len(stage.workers) == 2 >= len({cell["by"] for cell in stage.cells.values()})
    assert sorted(job for job, _ in stage.heard) == jobs and stage.heard[0][1] == ["open", 1, "source", False]
    assert [worker.process.returncode for worker in stage.workers] == [0, 0]


@pytest.mark.parametrize("method, how", [("dies once", "SIGKILL"), ("is stopped once", "SIGTERM")])
def test_a_cell_of_a_worker_that_is_killed_is_taken_up_by_another(stage, method, how):
    lost, other = Job(method, 4, 1), Job("fills", 1, 0)
    stage.fill(lost, other)
    assert set(stage.cells) == {lost, other} and "failed" not in stage.cells[lost]
    assert stage.attempts(lost) == 2 and stage.attempts(other) == 1
    assert stage.warned == [f"a worker was ended by {how} at n=4 seed=1 {method}, which another one goes on with"]


def test_a_cell_that_kills_worker_after_worker_fails_and_the_others_do_not(stage):
    lost, others = Job("dies", 4, 0), [Job("fills", n, 0) for n in (1, 2)]
    stage.fill(lost, *others)
    assert stage.attempts(lost) == LIVES == 1 + len(stage.warned)
    assert "3 workers were ended by SIGKILL: if memory ran out, use fewer --workers" == stage.cells[lost]["failed"]
    assert all("failed" not in stage.cells[job] for job in others)


@pytest.mark.parametrize(
    ("method", "kind", "said"),
    [
        ("refuses", FileError, "the disk is full: free some space"),
        ("breaks", UserError, r"a worker broke down at n=3 seed=0 breaks \(exit code 1\): it says why above"),
    ],
)
def test_what_no_cell_is_to_blame_for_ends_all(stage, method, kind, said):
    with pytest.raises(kind, match=said):
        stage.fill(Job("waits", 7, 0), Job(method, 3, 0), Job("fills", 1, 0))
    assert stage.cells.keys() <= {Job("fills", 1, 0)}
    assert all(worker.process.poll() is not None for worker in stage.workers)


@pytest.fixture
def heard(number):
    """The signal has its handler, which it has not where the tests are run in a shell's background: nobody listens."""
    before = signal.signal(number, signal.default_int_handler)
    yield number
    signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_all_workers_save_where_this_process_is_asked_to_stop(stage, heard):
    stage.on_hear = lambda job: len(stage.heard) == 2 and os.kill(os.getpid(), heard)
    with pytest.raises(Preempted) as caught, listening():
        stage.fill(Job("waits", 7, 0), Job("waits", 8, 0), Job("fills", 1, 0))
    assert caught.value.code == 128 + heard
    assert re.fullmatch(r"step [78] of source and step [78] of source", caught.value.saved)
    assert stage.cells == {} and all(worker.process.poll() is not None for worker in stage.workers)


def test_a_worker_ends_with_who_asks_it(stage, tmp_path):
    # A pipe that nobody holds any more is all that is left of a process that was killed.
    worker = process.Worker(make_setup(tmp_path, None, CompareEngineConfig()))
    worker.ask(Job("waits", 3, 0))
    threading.Timer(0.1, worker.stop).start()
    assert [words[0] for words in worker.messages()] == ["open", "stopped", "ended"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"workers": 0}, "workers is 0: give 1 to 256"),
        ({"workers": 1000}, "workers is 1000: give 1 to 256"),
        ({"workers": 2, "scheduler": "a:1"}, "the cluster of --scheduler has its own number of workers"),
        ({"scheduler": "tcp://nowhere"}, "scheduler is 'tcp://nowhere': give HOST:PORT"),
        ({"scheduler": "a:99999999"}, "scheduler is 'a:99999999': give HOST:PORT"),
        (
            {"workers": 2, "coordinator": "a:1", "num_processes": 2, "process_id": 0},
            "cells are filled side by side by one process that asks others: leave out --coordinator",
        ),
    ],
)
def test_wrong_options_are_named(options, said):
    with pytest.raises(UserError, match=said):
        CompareEngineConfig(**options)


def test_either_way_of_naming_a_scheduler_is_understood():
    for address in ("10.0.0.1:8786", "tcp://10.0.0.1:8786"):
        assert CompareEngineConfig(scheduler=address).side_by_side
