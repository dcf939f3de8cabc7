"""The command line called from within, and what it leaves on disk."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import tiny
from tgdp_jax.app.cli import main

GAUSSIANS = ("run", "gaussians", "--num-source", "200", "--n-target", "8", *tiny.OPTIONS)
REPORT_FILES = ("config.json", "metrics.json", "samples.npz", "report.html")
# Every file of a finished run.
LEFT = (*REPORT_FILES, "model.npz", "complete.json", "train.jsonl", ".lock")


class PowerCut(Exception):
    """Something that no command expects, so that it ends there and then."""


def call(*arguments: Any) -> tuple[str, str]:
    """Runs a command; returns its standard output and error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        main([str(a) for a in arguments])
    return out.getvalue(), err.getvalue()


def refused(*arguments: Any) -> str:
    """Runs a command that must exit with code 2; returns the one sentence that it says."""
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as exit:
        main([str(a) for a in arguments])
    assert exit.value.code == 2
    last = err.getvalue().splitlines()[-1]
    assert last.startswith("tgdp: "), err.getvalue()
    return last.removeprefix("tgdp: ")


def snapshot(folder: Path) -> dict[str, tuple[int, str]]:
    """Time and hash of every file below a folder."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def contents(folder: Path) -> dict[str, str]:
    """Hash of every file below a folder."""
    return {name: digest for name, (_, digest) in snapshot(folder).items()}


def stages(folder: Path) -> set[str]:
    """Names of the finished stages of a run folder."""
    return {path.name.rsplit("-", 1)[0] for path in (folder / "checkpoints").iterdir()}


def strict_json(path: Path) -> Any:
    """JSON as others read it: without NaN and infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{path} has {name}, which is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


# What a clock or the memory's mark says, and sentences that repeat it.
MEASURED = ("seconds", "sample_seconds", "train_seconds", "total_seconds", "memory", "sentence")


def without_times(value: Any) -> Any:
    """The same without what a clock measured."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in MEASURED}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file."""
    with np.load(path) as archive:
        return dict(archive)
