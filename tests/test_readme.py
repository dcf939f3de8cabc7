"""The README's example runs as printed and does what it says; README and docs point to what exists."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Inline links and pictures; addresses with a scheme and anchors within a page are not files.
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")
FENCE = re.compile(r"^```.*?^```", re.M | re.S)


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

    for page in (README, ROOT / "docs" / "methods.md"):
        text = page.read_text()
        for name in METHODS:
            assert f"`{name}`" in text, (page.name, name)
    for command in ("tgdp run", "tgdp compare", "tgdp sample", "tgdp diagnose", "tgdp probe"):
        assert command in README.read_text()


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= 130


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_files(page):
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        target = (page.parent / link).resolve()
        assert target.exists(), f"{page.relative_to(ROOT)} links to {link}, which does not exist"
        assert target.is_relative_to(ROOT), f"{page.relative_to(ROOT)} links out of the repository: {link}"


def test_every_page_is_in_the_navigation():
    nav = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        assert str(page.relative_to(ROOT / "docs")) in nav, page.name
