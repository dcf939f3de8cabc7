"""Quick compiling for all test processes, and one store of what they compiled: most of their time goes into that."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter

import pytest

_FOLDER = "JAX_COMPILATION_CACHE_DIR"
# Compiling takes a sixth to a third of the time with these, and few tests compute long enough to lose it again.
# `XLA_FLAGS= pytest` tests with the compiler as users have it, as CI's main job, its comparison with diffusers and the
# test of bits on eight devices always do.
_QUICK = (
    "--xla_backend_optimization_level=0",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
)
_KNOWN = "TGDP_JAX_TESTS_QUICK_COMPILER"


def _accepted(flags: str) -> bool:
    """Whether this version of XLA knows them: at one that it does not a process ends, without a word to pytest."""
    env = os.environ | {"XLA_FLAGS": flags}
    command = [sys.executable, "-c", "import jax; jax.numpy.zeros(1) + 1"]
    return subprocess.run(command, env=env, capture_output=True, check=False).returncode == 0


def _quick_compiler() -> str:
    if _KNOWN not in os.environ:  # worker processes inherit it
        together = " ".join(_QUICK)
        os.environ[_KNOWN] = together if _accepted(together) else " ".join(flag for flag in _QUICK if _accepted(flag))
    return os.environ[_KNOWN]


QUICK_COMPILER = _quick_compiler()
_MADE = pytest.StashKey[str]()


def pytest_configure(config):
    os.environ.setdefault("XLA_FLAGS", QUICK_COMPILER)
    # Where an operation came from, ten calls deep, is written into every program otherwise; nobody reads it here.
    os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
    # JAX reads these when it is imported, which no test module has done yet; worker processes inherit them. Whoever
    # sets the folder outside keeps the programs from one session to the next.
    if _FOLDER not in os.environ:
        config.stash[_MADE] = os.environ[_FOLDER] = tempfile.mkdtemp(prefix="tgdp_jax_tests_")
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


def pytest_collection_modifyitems(items):
    """Files of many slow tests come first: one that is left for the end keeps one core busy and the others idle."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


def pytest_unconfigure(config):
    if _MADE in config.stash:
        shutil.rmtree(config.stash[_MADE], ignore_errors=True)
        del os.environ[_FOLDER]


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
    """The next file shares many; a process that keeps those of the whole suite aborts, see `spare_memory_maps`."""
    yield
    from tgdp_jax.runtime.engine import spare_memory_maps

    spare_memory_maps()
