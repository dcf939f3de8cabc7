"""Cells on the workers of a dask cluster, which is in this process; what fills the cells are actors."""

import os
import signal

import pytest

from tests.app.workers.test_crew import Stage
from tgdp_jax.app.commands.cell import failed_cell
from tgdp_jax.app.workers import process
from tgdp_jax.app.workers.crew import fill_all
from tgdp_jax.app.workers.process import Job, make_setup
from tgdp_jax.errors import FileError, UserError
from tgdp_jax.runtime.preemption import Preempted, listening
from tgdp_jax.runtime.settings import CompareEngineConfig

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def address():
    how = {"processes": False, "n_workers": 2, "threads_per_worker": 1, "protocol": "tcp", "dashboard_address": None}
    with distributed.LocalCluster(**how) as cluster:
        yield cluster.scheduler_address


class ClusterStage(Stage):
    """Fills cells of actors on the cluster."""

    def __init__(self, folder, address):
        super().__init__(folder)
        self.address = address

    def fill(self, *jobs):
        from tgdp_jax.app.workers.cluster import ClusterCrew

        with ClusterCrew(make_setup(self.folder, None, CompareEngineConfig()), self.address) as crew:
            fill_all(
                jobs, crew, hear=self._hear, keep=self.cells.__setitem__, warn=self.warned.append, lost=failed_cell
            )


@pytest.fixture
def stage(tmp_path, monkeypatch, address):
    monkeypatch.setattr(process, "PROGRAM", ("-m", "tests.app.workers.actor"))
    return ClusterStage(tmp_path, address)


def test_cells_are_filled_and_those_of_killed_processes_taken_up(stage):
    jobs = [*(Job("fills", n, 0) for n in range(3)), Job("dies once", 4, 1)]
    stage.fill(*jobs)
    assert set(stage.cells) == set(jobs) and [stage.attempts(job) for job in jobs] == [1, 1, 1, 2]
    assert all(stage.cells[job]["metrics"]["value"][0] == 0.1 * job.n for job in jobs)
    assert stage.warned == ["a worker was ended by SIGKILL at n=4 seed=1 dies once, which another one goes on with"]
    assert (jobs[0], ["open", 1, "source", False]) in stage.heard


def test_what_no_cell_is_to_blame_for_ends_all(stage):
    with pytest.raises(FileError, match="the disk is full: free some space"):
        stage.fill(Job("waits", 7, 0), Job("refuses", 3, 0), Job("fills", 1, 0))


def test_all_workers_save_where_this_process_is_asked_to_stop(stage):
    stage.on_hear = lambda job: len(stage.heard) == 2 and os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Preempted) as caught, listening():
        stage.fill(Job("waits", 7, 0), Job("waits", 8, 0), Job("fills", 1, 0))
    assert sorted(caught.value.saved.split(" and ")) == ["step 7 of source", "step 8 of source"]
    assert stage.cells == {}


def test_a_folder_that_workers_do_not_see_is_named(stage, tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.cwd", lambda: tmp_path / "elsewhere")
    with pytest.raises(FileError, match=r"a worker at tcp://.* can not work in .*elsewhere \(No such file"):
        stage.fill(Job("fills", 1, 0))


def test_what_is_no_scheduler_is_named(tmp_path, monkeypatch):
    from tgdp_jax.app.workers import cluster

    monkeypatch.setattr(cluster, "ANSWER", 0.2)
    with pytest.raises(UserError, match=r"no dask scheduler answers at 127.0.0.1:9 \("):
        cluster.ClusterCrew(make_setup(tmp_path, None, CompareEngineConfig()), "127.0.0.1:9")
