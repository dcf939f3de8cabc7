"""Every example runs at its small size, and is a notebook as it stands; the one in the docs does what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import assert_moments

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.stem)
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


@pytest.mark.slow
def test_parts_of_ones_own_fit_into_25_lines():
    text = (Path(__file__).parents[1] / "docs/library.md").read_text()
    [code] = re.findall(r'^```python title="own.py"\n(.*?)^```', text, flags=re.M | re.S)
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 25
    names = {}
    exec(compile(code, "own.py", "exec"), names)
    # exp(2 x_1) moves N(0, 0.25 I) by 0.25 times (2, 0). Network, loss and 50 steps of DDIM leave errors of their own.
    assert_moments(np.asarray(names["samples"]), np.array([0.5, 0.0]), 0.25 * np.eye(2), errors=4.5, bias=0.03)
