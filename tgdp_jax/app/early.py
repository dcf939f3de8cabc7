"""What is wrong with paths, said before what does the work is imported, which takes longer than to look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tgdp_jax.errors import FileError, UserError


def check_named_paths(config: Any) -> None:
    """Looks for the files and folders that a run, a comparison or a probe names.

    Raises:
      FileError: one is not there.
    """
    for path in (*vars(config.problem).values(), config.pretrained):
        if isinstance(path, Path):
            check_exists(path)


def check_exists(path: Path) -> None:
    """Raises:
    FileError: nothing is there."""
    try:
        path.stat()
    except FileNotFoundError:
        raise FileError(f"{path} does not exist: check the path") from None
    except (OSError, ValueError):  # who reads it says what is wrong
        pass


def check_run_folder(folder: Path) -> None:
    """Raises:
    UserError: it is no folder of a run."""
    if not (folder / "config.json").exists():
        raise UserError(
            f"{folder} is not a run folder (it has no config.json): give the folder that `tgdp run` printed"
        )
