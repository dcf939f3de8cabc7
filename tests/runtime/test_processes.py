"""Runs of several processes: the results of one, one that writes and talks, and clean ends."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from filelock import FileLock

from tests.conftest import QUICK_COMPILER
from tests.e2e.nursery import ROOT, Deed, Nursery
from tests.e2e.tools import GAUSSIANS, read, stages
from tgdp_jax.errors import MORE_MEMORY, UserError
from tgdp_jax.runtime import peers
from tgdp_jax.train.checkpoint import Store

TWO_DEVICES = {"XLA_FLAGS": f"{QUICK_COMPILER} --xla_force_host_platform_device_count=2"}
FOUR_DEVICES = {"XLA_FLAGS": f"{QUICK_COMPILER} --xla_force_host_platform_device_count=4"}
ALWAYS = ("--checkpoint-seconds", "0")
# The shortest run: how processes end does not depend on the method.
SHORT = ("--method", "source")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def nursery(tmp_path_factory):
    with contextlib.closing(Nursery(tmp_path_factory.mktemp("children"))) as nursery:
        yield nursery


def start_two(nursery: Nursery, folder: Path, *options, deeds: tuple[Deed | None, Deed | None] = (None, None)) -> list:
    """Starts two processes of one run."""
    port = free_port()
    return [
        nursery.start(
            *(*GAUSSIANS, *options, "--out", folder, "--coordinator", f"127.0.0.1:{port}"),
            *("--num-processes", 2, "--process-id", i),
            deed=deeds[i],
            env=TWO_DEVICES,
        )
        for i in range(2)
    ]


def finish(nursery: Nursery, pids: list) -> list[tuple[int, str, str]]:
    """(exit code, standard output, standard error) of every process."""
    return [(nursery.wait(pid), *nursery.said(pid)) for pid in pids]


def arrays(folder: Path) -> dict[str, dict]:
    """What every finished stage left."""
    store, out = Store(folder / "checkpoints"), {}
    for path in (folder / "checkpoints").iterdir():
        name, mark = path.name.rsplit("-", 1)
        fingerprint = json.loads((path / "stage.json").read_text())["fingerprint"]
        assert fingerprint.startswith(mark)
        found = store.load(name, fingerprint)
        assert found is not None
        out[name] = found[0]
    return out


def leaves(tree, path=()) -> dict[tuple, np.ndarray]:
    if not isinstance(tree, dict):
        return {path: np.asarray(tree)}
    return {k: v for name, part in tree.items() for k, v in leaves(part, (*path, name)).items()}


@pytest.mark.slow
def test_two_processes_that_are_killed_and_started_again_end_like_one(nursery, tmp_path):
    """Two processes of two devices each, killed on the way, against one of four that is left in peace."""
    alone, shared = tmp_path / "alone" / "run", tmp_path / "shared"  # apart: runs of one folder share their stages
    code, _, err = nursery.run(*GAUSSIANS, "--out", alone, env=FOUR_DEVICES)
    assert code == 0 and "4 x cpu (cpu, jax" in err, err

    death = Deed("classifier", 10, "save")
    first = start_two(nursery, shared, *ALWAYS, deeds=(death, Deed("classifier", 10, "report")))
    killed = finish(nursery, first)
    assert [code for code, *_ in killed] == [-signal.SIGKILL, -signal.SIGKILL], killed
    assert "4 x cpu (cpu in 2 processes, jax" in killed[0][2]
    under_way = [path.name for path in (shared / "checkpoints").iterdir() if path.name.startswith(".classifier-")]
    assert stages(shared) >= {"source"} and len(under_way) == 1

    with FileLock(shared / ".lock"):
        for code, out, err in finish(nursery, start_two(nursery, shared, *ALWAYS)):
            assert code == 2 and out == "" and "another process is at work in" in err.splitlines()[-1], err

    (code, out, err), (quiet_code, quiet_out, quiet_err) = finish(nursery, start_two(nursery, shared, *ALWAYS))
    assert (code, quiet_code) == (0, 0), err + quiet_err
    assert "source: already finished, loaded" in err and f"run folder: {shared}" in out
    # One of them writes and talks.
    assert quiet_out == "" and quiet_err == ""
    steps = [(row["stage"], row["step"]) for row in map(json.loads, (shared / "train.jsonl").read_text().splitlines())]
    assert steps == [(stage, step) for stage in ("source", "classifier", "guidance") for step in (10, 20)]
    assert {p.name for p in shared.iterdir()} == {p.name for p in alone.iterdir()}
    assert sorted(os.listdir(shared / "checkpoints")) == sorted(os.listdir(alone / "checkpoints"))

    ours, theirs = leaves(arrays(shared)), leaves(arrays(alone))
    assert ours.keys() == theirs.keys() and len(ours) >= 16
    for name, leaf in ours.items():
        np.testing.assert_allclose(leaf, theirs[name], rtol=2e-2, atol=2e-3, err_msg=str(name))
    np.testing.assert_allclose(read(shared / "samples.npz")["x"], read(alone / "samples.npz")["x"], atol=2e-2)


@pytest.mark.slow
@pytest.mark.parametrize("who", [0, 1])
def test_two_processes_stop_together_when_one_is_asked_to(nursery, tmp_path, who):
    deeds = [None, None]
    # The second process sees no checkpoints under way: its place is the report of a launch as well.
    deeds[who] = Deed("source", 10, "report", "SIGTERM")
    ends = finish(nursery, start_two(nursery, tmp_path / "run", *SHORT, deeds=tuple(deeds)))
    assert [code for code, *_ in ends] == [143, 143], ends
    (saved,) = (tmp_path / "run" / "checkpoints").glob(".source-*/fit/*")
    assert int(saved.name) in (10, 20)
    assert all("Traceback" not in err for _, _, err in ends)


@pytest.mark.slow
def test_a_process_that_fails_takes_the_other_with_it(nursery, tmp_path):
    deed = Deed("source", 10, "report", "fail")
    (code, out, err), other = finish(nursery, start_two(nursery, tmp_path / "run", *SHORT, deeds=(deed, None)))
    assert code == 2 and out == "" and "tgdp: this process fails" in err and "Traceback" not in err, err
    assert other == (2, "", f"tgdp: {peers.GONE}\n")


@pytest.mark.slow
@pytest.mark.parametrize("who", [0, 1])
@pytest.mark.parametrize("deed", [Deed("source", 10, "report"), Deed("", 0, "sampling")], ids=lambda deed: deed.point)
def test_a_process_that_is_killed_ends_the_other_with_a_sentence(nursery, tmp_path, who, deed):
    """The first process has the service that the other one asks; in training one device waits for another's sums."""
    deeds = [None, None]
    deeds[who] = deed
    ends = finish(nursery, start_two(nursery, tmp_path / "run", *SHORT, *ALWAYS, deeds=tuple(deeds)))
    assert ends[who][0] == -signal.SIGKILL
    code, out, err = ends[1 - who]
    assert code == 2 and out == "" and err.splitlines()[-1] == f"tgdp: {peers.GONE}", err
    # Nothing else beside what the first process has to say anyway.
    assert err.count("tgdp: ") == 1 and len(err.splitlines()) < (8 if who else 2)


ABORT = """
import os, sys
from tgdp_jax.runtime import aborts, limits, peers
aborts.speak_for_aborts(peers.of_abort)
aborts.speak_for_aborts(limits.of_abort)
print("before", file=sys.stderr, flush=True)
os.write(2, sys.argv[1].encode())
os.abort()
"""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("F1: the JAX distributed service detected fatal errors.\n", 2, f"before\ntgdp: {peers.GONE}\n"),
        ("LLVM ERROR: pthread_create failed\n", 2, f"before\ntgdp: out of memory: {MORE_MEMORY}\n"),
        ("what():  std::bad_alloc\n", 2, f"before\ntgdp: out of memory: {MORE_MEMORY}\n"),
        ("Check failed: something else\n", -signal.SIGABRT, "before\nCheck failed: something else\n"),
    ],
)
def test_an_abort_is_a_sentence_where_its_cause_is_known_and_stays_what_it_is_elsewhere(words, code, said):
    command = [sys.executable, "-c", ABORT, words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=90)
    assert (done.returncode, done.stderr) == (code, said)


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        ("UNKNOWN: Gloo all-reduce failed: Connection closed by peer [127.0.0.1]:1", True),
        ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate", False),
        ("INVALID_ARGUMENT: shapes do not fit", False),
    ],
)
def test_the_end_of_another_process_is_told_from_other_errors(words, gone):
    assert peers.is_gone(jax.errors.JaxRuntimeError(words)) == gone
    assert not peers.is_gone(UserError(words))


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_peers_that_do_not_come_end_the_wait_with_a_sentence(tmp_path, number):
    command = [sys.executable, "-m", "tgdp_jax.app.cli", *map(str, GAUSSIANS), "--out", str(tmp_path / "run")]
    command += ["--coordinator", f"127.0.0.1:{free_port()}", "--num-processes", "2", "--process-id", str(number)]
    done = subprocess.run(
        [*command, "--peer-seconds", "5"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=90
    )
    assert done.returncode == 2, done.stderr
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("tgdp: ")]
    assert "could not be reached (no answer in 5 s)" in said and "--coordinator" in said and "--peer-seconds" in said
    assert "Traceback" not in done.stderr and "Check failure" not in done.stderr and done.stdout == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_coordinator_that_can_not_be_is_said(tmp_path):
    # An address that no process can listen at or find.
    command = [sys.executable, "-m", "tgdp_jax.app.cli", "devices", "--coordinator", "nowhere.invalid:1"]
    command += ["--num-processes", "2", "--process-id", "1", "--peer-seconds", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 2, done.stderr
    assert len(re.findall(r"^tgdp: .*could not be reached", done.stderr, re.M)) == 1
    assert "Traceback" not in done.stderr
