"""What docs/extending.md says of new methods, networks, problems, metrics, solvers and losses, done to a copy.

Files that the page shows are written into a copy of the package, its diffs are applied there, and its commands run.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import tgdp_jax

ROOT = Path(tgdp_jax.__file__).parent.parent
TEXT = (ROOT / "docs" / "extending.md").read_text()
SECTIONS = ("problem", "network kind", "method", "metric", "solver", "loss")


class Block(NamedTuple):
    section: str
    language: str
    title: str
    text: str


def blocks() -> list[Block]:
    out = []
    for part in re.split(r"^## ", TEXT, flags=re.M)[1:]:
        name = part.partition("\n")[0].removeprefix("A ")
        found = re.findall(r'^```(\w+)(?: title="(.+?)")?\n(.*?)^```$', part, flags=re.M | re.S)
        out += [Block(name, *block) for block in found]
    return out


def files_of(section: str) -> set[str]:
    return {block.title for block in blocks() if block.section == section and block.title}


def apply(block: Block, root: Path) -> None:
    """Writes a file, or puts the lines with a plus where the lines around them stand."""
    path = root / block.title
    if block.language != "diff":
        assert not path.exists(), f"{block.title} is there already"
        path.write_text(block.text)
        return
    text = path.read_text()
    for hunk in block.text.split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        assert all(line[0] in " +" for line in lines), block
        old = "".join(line[1:] for line in lines if line[0] == " ")
        assert text.count(old) == 1, f"{block.title} has this {text.count(old)} times: {old}"
        text = text.replace(old, "".join(line[1:] for line in lines))
    path.write_text(text)


@pytest.mark.parametrize("section", SECTIONS)
def test_as_many_files_are_touched_as_the_table_says(section):
    (row,) = re.findall(rf"^\| {section} \|.*\| (\d+) \|$", TEXT, flags=re.M)
    assert len(files_of(section)) == int(row)


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """(working folder, what was printed) of everything that the page does."""
    root = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "tgdp_jax", root / "tgdp_jax", ignore=shutil.ignore_patterns("__pycache__"))
    for block in blocks():
        if block.title:
            apply(block, root)
    script = [
        "import tgdp_jax",
        "from tgdp_jax.app.cli import main",
        f"assert tgdp_jax.__file__.startswith({str(root)!r})",
    ]
    for block in blocks():
        if block.language == "console":
            for command in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
                program, *words = shlex.split(command.replace("\\\n", " "))
                assert program == "tgdp"
                script.append(f"main({words!r})")
        elif not block.title:
            script.append(block.text)
    (root / "script.py").write_text("\n".join(script))
    env = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "script.py"], cwd=root, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return root, done.stdout


@pytest.mark.slow
def test_a_run_of_the_new_method_on_the_new_problem(extended):
    root, out = extended
    found = json.loads((root / "runs" / "moments" / "metrics.json").read_text())
    assert (found["method"], found["problem"]) == ("moments", "rings")
    assert set(found["stages"]) == {"source", "moments"}
    # Its mean is the target's (2 / pi on average), short of the share that was asked for.
    error, spread = found["metrics"]["moments"]["mean_error"]
    assert error < found["metrics"]["source"]["mean_error"][0] / 2 and spread > 0
    x = np.load(root / "runs" / "moments" / "samples.npz")["x"]
    assert abs(x[:, 0].mean() - 0.9 * 2 / np.pi) < 0.25
    assert "mean error" in out and "run folder: runs/moments" in out


@pytest.mark.slow
def test_a_run_with_the_new_loss_is_guided(extended):
    root, _ = extended
    found = json.loads((root / "runs" / "tgdp" / "metrics.json").read_text())["metrics"]
    assert found["tgdp"]["mean_error"][0] < found["source"]["mean_error"][0]
    config = json.loads((root / "runs" / "tgdp" / "config.json").read_text())["config"]
    assert config["guidance"]["loss"] == "boosting" and config["network"]["kind"] == "residual"


@pytest.mark.slow
def test_without_a_registry_the_same_pieces_fit(extended):
    _, out = extended
    mean, std = (np.array(part.split(), float) for part in re.findall(r"\[(.+?)\]", out.splitlines()[-1]))
    np.testing.assert_allclose(mean, [1, -1], atol=0.15)
    np.testing.assert_allclose(std, 0.3, atol=0.15)
