"""Every example runs at its small size, and is a notebook as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("script", EXAMPLES[1:2], ids=lambda path: path.stem)
def test_the_example_runs(script, tmp_path):
    # From a folder of its own: examples must not depend on where they are started, and may leave files.
    root = str(script.parents[1])
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
        "MPLBACKEND": "agg",
    }
    done = subprocess.run([sys.executable, script, "--small"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.strip()


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_is_a_notebook(script):
    cells = re.split(r"^# %%", script.read_text(), flags=re.M)
    assert cells[0] == ""  # everything is in a cell
    assert cells[1].startswith(" [markdown]\n# # ")  # it opens with a title
    assert any(not cell.startswith(" [markdown]") for cell in cells[1:])


def test_there_are_five_examples():
    assert [path.stem[:2] for path in EXAMPLES] == ["01", "02", "03", "04", "05"]
