"""The README's example runs as printed and does what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.slow
def test_own_score_example_reaches_the_target(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    # Full-size training: the quick compiler's program would take twice the time.
    code += f"\nimport numpy\nnumpy.save({str(tmp_path / 'samples.npy')!r}, samples)\n"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "XLA_FLAGS": ""})
    samples = np.load(tmp_path / "samples.npy")
    # Source N(0, I), target N((1, 0), 0.36 I): the source as it is would miss both by far.
    np.testing.assert_allclose(samples.mean(0), [1.0, 0.0], atol=0.15)
    np.testing.assert_allclose(samples.std(0), [0.6, 0.6], atol=0.12)


def test_every_command_and_method_is_mentioned():
    from tgdp_jax.transfer import METHODS

    text = README.read_text()
    for name in METHODS:
        assert f"`{name}`" in text, name
    for command in ("tgdp run", "tgdp compare", "tgdp sample", "tgdp diagnose", "tgdp probe"):
        assert command in text
