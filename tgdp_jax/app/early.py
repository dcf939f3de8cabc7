"""What is wrong with paths, said before what does the work is imported, which takes longer than to look."""

from __future__ import annotations

import importlib.util
import socket
import tempfile
from pathlib import Path
from typing import Any

from tgdp_jax.data.registry import problem_entry
from tgdp_jax.errors import FileError, UserError, absent
from tgdp_jax.interop.files import is_pipeline, readable, unet_config
from tgdp_jax.nets.registry import check_network
from tgdp_jax.runtime.files import check_place, nearest_there

ANSWER = 1.5  # seconds that a scheduler is waited for


def check_named_paths(config: Any, out: Path | None) -> None:
    """Looks for what a run, a comparison or a probe names, and whether it fits and has a place to be written.

    Raises:
      FileError: one is not there.
      UserError: nothing can be written at `out`, it holds something else, the pretrained model is of no known kind, or
        the network is for other rows than the problem's.
    """
    if out is not None:
        check_writable(out)
        holds_run(out)
    for path in (*vars(config.problem).values(), config.pretrained):
        if isinstance(path, Path):
            check_exists(path)
    if config.pretrained is not None and config.pretrained.suffix != ".safetensors":
        with readable(config.pretrained):
            if not is_pipeline(config.pretrained):
                unet_config(config.pretrained)
    rows = problem_entry(config.problem).rows
    if config.pretrained is None and rows is not None:
        check_network(config.network.kind, rows)


def check_writable(folder: Path) -> None:
    """Raises:
    UserError: nothing can be written in it."""
    try:
        with tempfile.TemporaryDirectory(prefix=".tgdp-", dir=nearest_there(folder)):
            pass
    except OSError as error:
        raise UserError(f"{folder} can not be written ({error.strerror}): choose another --out") from None


def holds_run(folder: Path) -> bool:
    """Whether a folder is the home of a run already.

    Raises:
      UserError: it is taken by something else, or can not be looked at.
    """
    try:
        if (folder / "config.json").exists():
            return True
        # Hidden files do not count: a process that was killed at its very start leaves one.
        taken = folder.exists() and (not folder.is_dir() or any(not f.name.startswith(".") for f in folder.iterdir()))
    except OSError as error:
        raise UserError(f"{folder} can not be used ({error.strerror or error}): choose another --out") from error
    if taken:
        raise UserError(f"{folder} exists and is not a run folder: choose another --out")
    return False


def check_generation(folder: Path, config: Any, out: Path) -> None:
    """Looks for what `tgdp generate` is given, and whether anything can be written where it is to be.

    Raises:
      FileError: a file is not there.
      UserError: the folder is of no pipeline, or nothing can be written at `out`.
    """
    check_writable(out)
    check_exists(folder)
    files = (config.prompts, config.init, *config.embedding, *(file for file, _ in config.adapters))
    for path in files:
        if path is not None:
            check_exists(path)


def check_report(out: Path | None) -> None:
    """Raises:
    FileError: no file can be written there."""
    if out is not None:
        try:
            check_place(out)
        except FileError:
            raise FileError(
                f"{out} can not be written: give a file, such as diagnosis.json, in a folder of yours"
            ) from None


def check_scheduler(address: str) -> None:
    """Looks whether anything answers where the scheduler of a cluster is said to be.

    Raises:
      UserError: nothing does, or the extra `cluster` is not installed.
    """
    if importlib.util.find_spec("distributed") is None:
        raise UserError("--scheduler needs dask.distributed: install it with `pip install 'tgdp-jax[cluster]'`")
    host, _, port = address.rpartition("//")[2].rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER).close()
    except OSError as error:
        raise UserError(
            f"nothing answers at {address} ({error.strerror or error}): start `dask scheduler`, or give the address "
            "that it printed"
        ) from None


def check_exists(path: Path) -> None:
    """Raises:
    FileError: nothing is there."""
    try:
        path.stat()
    except FileNotFoundError:
        raise absent(path) from None
    except (OSError, ValueError):  # who reads it says what is wrong
        pass


def check_run_folder(folder: Path) -> None:
    """Raises:
    UserError: it is no folder of a run."""
    if not (folder / "config.json").exists():
        raise UserError(
            f"{folder} is not a run folder (it has no config.json): give the folder that `tgdp run` printed"
        )
