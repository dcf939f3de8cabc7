"""`import tgdp_jax as tg`: every public name is reachable, and nothing heavy is imported before it is used."""

import os
import subprocess
import sys

import pytest

import tgdp_jax as tg


@pytest.mark.parametrize("name", tg.__all__)
def test_every_public_name_is_reachable(name):
    assert getattr(tg, name) is not None and name in dir(tg)


def test_an_unknown_name_is_refused_with_the_list():
    with pytest.raises(AttributeError, match=r"tgdp_jax has no 'smaple': it has .*sample"):
        tg.smaple  # noqa: B018


@pytest.mark.parametrize("code", ["import tgdp_jax", "from tgdp_jax.app.cli import main; main(['--version'])"])
def test_nothing_heavy_is_imported_early(code):
    watched = ("jax", "flax", "numpy", "scipy", "matplotlib", "tyro", "orbax", "sklearn")
    code += f"; import sys; print([m for m in {watched} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"


def test_it_is_a_module_that_runs():
    command = [sys.executable, "-m", "tgdp_jax", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"tgdp {tg.__version__}\n"


def test_a_reader_that_has_read_enough_is_no_traceback():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run([sys.executable, "-m", "tgdp_jax", "--help"], stdout=closed, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (141, b"")


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2_000_000_000, -1))
from tgdp_jax.app.cli import main
main(sys.argv[1:])
"""


def test_too_little_address_space_is_a_sentence_for_all_but_the_overview():
    pytest.importorskip("resource")
    limited = [sys.executable, "-c", LIMITED]
    done = subprocess.run([*limited, "run", "gaussians"], capture_output=True, text=True, check=False)
    said = (
        "tgdp: this process may take 2000 MB of address space, but its libraries alone reserve 2.5 GB: raise the limit"
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{said} (ulimit -v)\n")
    assert subprocess.run([*limited, "--help"], capture_output=True, check=False).returncode == 0


# What trains, measures and draws; an option or a path that is wrong is named without it.
SLOW = (
    "scipy",
    "sklearn",
    "pandas",
    "pyarrow",
    "matplotlib",
    "orbax.checkpoint",
    "tgdp_jax.transfer",
    "tgdp_jax.metrics",
)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "gaussians", "--nonsense", "3"], "--nonsense"),
        (["run", "nosuch"], "unknown problem 'nosuch'"),
        (["run", "arrays", "--source", "missing.npz", "--target", "missing.npz"], "missing.npz does not exist"),
        (["run", "gaussians", "--out", "/proc/run"], "/proc/run can not be written"),
        (["sample", "nosuchfolder"], "nosuchfolder is not a run folder"),
        (["diagnose", "--source", "a.csv", "--target", "b.csv"], "a.csv does not exist"),
    ],
)
def test_what_is_wrong_is_named_before_anything_slow_is_imported(words, message):
    code = (
        "import sys\nfrom tgdp_jax.app.cli import main\n"
        f"try: main({words})\nexcept SystemExit: print([m for m in {SLOW} if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[-1] == "[]" and message in out.stderr
