"""How a run is carried out: what is refused, what the machine is said to have, where compiled programs are kept."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from tgdp_jax.app import cli
from tgdp_jax.errors import UserError
from tgdp_jax.runtime import engine, parallel
from tgdp_jax.runtime.engine import EngineConfig

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoint_seconds": -1}, "checkpoint-seconds is -1: give 0 or more"),
        ({"peer_seconds": 0}, "peer-seconds is 0: give at least 1"),
        ({"coordinator": "a:1"}, "needs all of --coordinator, --num-processes and --process-id"),
        ({"num_processes": 2}, "needs all of --coordinator, --num-processes and --process-id"),
        ({"coordinator": "a:1", "process_id": 0}, "needs all of --coordinator, --num-processes and --process-id"),
        ({"coordinator": "a:1", "num_processes": 2, "process_id": 2}, r"process-id is 2: it must lie in 0\.\.1"),
        ({"coordinator": "a:1", "num_processes": 2, "process_id": -1}, r"process-id is -1: it must lie in 0\.\.1"),
        ({"coordinator": "a:1", "num_processes": 0, "process_id": 0}, "num-processes is 0: give at least 1"),
        *(
            (
                {"coordinator": text, "num_processes": 2, "process_id": 0},
                "coordinator is .*: give HOST:PORT of process 0",
            )
            for text in ("garbage", "", ":1", "a:", "a:b", "a:0", "a:65536", "a:-1", "a:1.5", "a:1 ", "a:" + "9" * 5000)
        ),
    ],
)
def test_settings_that_can_not_be_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        EngineConfig(**options)


def test_wrong_settings_on_the_command_line_are_one_sentence(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["devices", "--num-processes", "2"])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tgdp: a run of several processes needs all of --coordinator")


def test_the_command_says_what_is_there(capsys):
    cli.main(["devices"])
    count, kind = jax.device_count(), jax.devices()[0].device_kind
    assert capsys.readouterr().out == f"{count} x {kind} ({jax.default_backend()}, jax {jax.__version__})\n"


def test_too_many_devices_are_refused_and_no_number_is_kept():
    with (
        pytest.raises(UserError, match="1000 devices were asked for, but there are"),
        engine.running(EngineConfig(devices=1000)),
    ):
        pass
    with engine.running(EngineConfig(devices=1)):
        assert len(parallel.devices()) == 1
    assert parallel.devices() == tuple(jax.devices())


@pytest.mark.parametrize(
    ("variable", "value", "several"),
    [
        ("SLURM_NTASKS", "1", False),
        ("SLURM_NTASKS", "4", True),
        ("OMPI_COMM_WORLD_SIZE", "2", True),
        ("OMPI_COMM_WORLD_SIZE", "", False),
        ("TPU_WORKER_HOSTNAMES", "a", False),
        ("TPU_WORKER_HOSTNAMES", "a,b", True),
    ],
)
def test_schedulers_are_noticed(monkeypatch, variable, value, several):
    for name in ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "TPU_WORKER_HOSTNAMES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, value)
    asked = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *args, **kwargs: asked.append(args))
    with engine.running(EngineConfig()):
        pass
    assert asked == ([(None, None, None)] if several else [])


def test_peers_that_can_not_be_reached_are_said(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("no route to host\nand more")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    config = EngineConfig(coordinator="a:1", num_processes=2, process_id=1)
    with (
        pytest.raises(UserError, match=r"could not be reached \(no route to host\): start them all"),
        engine.running(config),
    ):
        pass


# Compiled programs

COMPILE = """
import jax
from tgdp_jax.runtime.engine import EngineConfig, running
with running(EngineConfig(compile_cache={cache})):
    jax.jit(lambda x: x * 2)(1.0)
"""


def compiled(folder: Path, *, cache: bool = True, **variables: str) -> list[Path]:
    """Compiles something in a process of its own; the files below `folder`."""
    env = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    env |= {"XDG_CACHE_HOME": str(folder / "user"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", **variables}
    env |= {"JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
    subprocess.run([sys.executable, "-c", COMPILE.format(cache=cache)], cwd=ROOT, env=env, check=True)
    return [path for path in folder.rglob("*") if path.is_file()]


def test_compiled_programs_are_kept_in_the_users_cache_folder(tmp_path):
    found = compiled(tmp_path)
    assert found and all((tmp_path / "user" / "tgdp_jax") in path.parents for path in found)


def test_compiled_programs_are_not_kept_where_that_is_switched_off(tmp_path):
    assert compiled(tmp_path, cache=False) == []


def test_a_folder_that_jax_was_told_of_comes_first(tmp_path):
    found = compiled(tmp_path, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "mine"))
    assert found and all((tmp_path / "mine") in path.parents for path in found)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux limits memory maps")
def test_programs_are_forgotten_before_their_memory_maps_run_out(monkeypatch):
    traces = []

    @jax.jit
    def double(x):
        traces.append(x)
        return 2 * x

    assert double(1.0) == 2.0 and not engine.spare_memory_maps()
    assert double(2.0) == 4.0 and len(traces) == 1
    monkeypatch.setattr(engine, "MAPS_SHARE", 0.0)
    assert engine.spare_memory_maps()
    assert double(3.0) == 6.0 and len(traces) == 2
