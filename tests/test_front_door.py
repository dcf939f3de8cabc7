"""`import tgdp_jax as tg`: every public name is reachable, and nothing heavy is imported before it is used."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tgdp_jax as tg

ROOT = Path(tg.__file__).parent.parent


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


# What trains, measures and draws; what is wrong is named without it, and so is what there is to choose from.
SLOW = ("jax", "flax", "optax", "orbax", "scipy", "matplotlib", "sklearn", "pandas", "pyarrow", "tgdp_jax.metrics")
OF_FILES = ("--source", "missing.npz", "--target", "missing.npz")
GONE = "missing.npz does not exist"
WRONG = {
    ("nosuch",): "unknown command 'nosuch'",
    **{
        (command, *words): message
        for command in ("run", "compare", "probe")
        for words, message in {
            ("nosuch",): "unknown problem 'nosuch'",
            ("gaussians", "--nonsense"): "--nonsense",
            ("gaussians", "--network.kind", "nope"): "unknown network 'nope'",
            ("gaussians", "--network.kind", "unet"): "unet is for images [H, W, C] but the rows are vectors [D]",
            ("digits", "--network.kind", "sssd"): "sssd is for series [L, C] but the rows are images [H, W, C]",
            ("ecg-sim", "--network.kind", "dit"): "dit is for images [H, W, C] but the rows are series [L, C]",
            ("gaussians", "--sampling.solver", "nope"): "unknown solver 'nope'",
            ("gaussians", "--process.beta-min", "30"): "increasing, got 30.0 and 20.0",
            ("gaussians", "--stacked.members", "nope"): "unknown member 'nope'",
            ("gaussians", "--devices", "x"): "--devices",
            ("gaussians", "--devices", "0"): "devices is 0: give at least 1",
            ("gaussians", "--log", "nope"): "unknown tracker of --log 'nope'",
            ("gaussians", "--out", "file/run"): "file/run can not be written",
            ("gaussians", "--out", "."): ". exists and is not a run folder",
            ("gaussians", "--out", "x" * 300): "x can not be used (File name too long)",
            ("gaussians", "--pretrained", "missing.npz"): GONE,
            ("gaussians", "--pretrained", "run"): "run/config.json is of a model without a class name",
            ("gaussians", "--pretrained", "."): "config.json is missing",
            ("arrays", *OF_FILES): GONE,
            ("images", *OF_FILES): GONE,
            ("ecg", *OF_FILES): GONE,
            ("--config", "missing.npz"): GONE,
            ("--config", "file"): "file holds no settings",
            ("gaussians", "--help"): "",
        }.items()
    },
    ("run", "gaussians", "--method", "nope"): "unknown method 'nope'",
    ("compare", "gaussians", "--methods", "tgdp,nope"): "unknown method 'nope'",
    ("probe", "gaussians", "--objectives", "nope"): "unknown representation objective 'nope'",
    ("run", "gaussians", "--n-target", "1"): "n-target is 1: at least 2",
    ("compare", "gaussians", "--n-targets", "10,1"): "n-target is 1: at least 2",
    ("sample", "run", "--num", "0"): "num is 0: ask for at least one",
    ("sample", "nosuch"): "nosuch is not a run folder",
    ("sample", "nosuch", "--solver", "nope"): "unknown solver 'nope'",
    ("sample", "nosuch", "--nonsense"): "--nonsense",
    ("sample", "run", "--out", "file/new.npz"): "file/new.npz can not be written",
    ("diagnose", *OF_FILES): GONE,
    ("diagnose", "--source", "file", "--target", "file", "--seed", "-1"): "seed is -1",
    ("diagnose", "--source", "file", "--target", "file", "--out", "."): ". can not be written",
    ("methods", "nope"): "unknown method 'nope'",
    ("methods", "--out", "."): ". can not be written",
    ("bench", "--run", "nosuch"): "nosuch is not a run folder",
    ("bench", "--precision", "nope"): "unknown precision 'nope'",
    ("bench", "--out", "file/bench"): "file/bench can not be written",
    ("devices", "--devices", "x"): "--devices",
    **{(command, "--help"): "" for command in ("sample", "diagnose", "methods", "bench", "devices")},
}
IN_TURN = """
import contextlib, io, json, sys
from tgdp_jax.app.cli import main
said = []
for words in json.load(sys.stdin):
    with contextlib.redirect_stderr(io.StringIO()) as stderr, contextlib.redirect_stdout(io.StringIO()):
        try:
            main(words)
            code = None
        except SystemExit as end:
            code = end.code
    said.append([code, stderr.getvalue(), [name for name in sys.argv[1:] if name in sys.modules]])
print(json.dumps(said))
"""


def test_what_is_wrong_is_named_before_anything_slow_is_imported(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN, *SLOW],
        input=json.dumps(list(WRONG)),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    for (words, message), (code, said, slow) in zip(WRONG.items(), json.loads(done.stdout), strict=True):
        assert (code, slow) == (2 if message else 0, []), (words, said)
        assert message in said, words
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "run"]
