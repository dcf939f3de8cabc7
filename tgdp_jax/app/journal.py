"""Training curves on disk while a run goes on: one line of JSON a launch, and TensorBoard's files if asked for."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tgdp_jax.errors import FileError, UserError, first_line, write_remedy
from tgdp_jax.runtime.files import write_atomic
from tgdp_jax.runtime.parallel import is_primary

NAME = "train.jsonl"


class Journal:
    """Appends to `train.jsonl` in a run folder.

    A line has "stage", "part", "step", the loss and its terms, "validation", and "steps_per_second". Training that is
    continued from a checkpoint takes back the lines after it, so that every step stands there once.

    Args:
      folder: the run folder.
      tensorboard: write event files to its folder `tensorboard` too.

    Raises:
      UserError: `tensorboard` without the package that writes it.
    """

    def __init__(self, folder: Path, *, tensorboard: bool = False):
        self.path = folder / NAME
        self.tensorboard = folder / "tensorboard" if tensorboard else None
        self._writers: dict[str, Any] = {}
        if tensorboard:
            _writer_class()

    def stage(self, name: str) -> Callable[[str, dict[str, float]], None]:
        """What one stage logs to: (part, row)."""
        clocks: dict[str, tuple[float, float]] = {}

        def log(part: str, row: dict[str, float]) -> None:
            if not is_primary():
                return
            if part not in clocks:
                self._take_back(name, part, row["step"])
            now, (before, step) = time.perf_counter(), clocks.get(part, (float("nan"), 0.0))
            rate = (row["step"] - step) / (now - before) if part in clocks else None
            clocks[part] = now, row["step"]
            line = {"stage": name, "part": part, **row, "steps_per_second": rate}
            try:
                with self.path.open("a") as file:
                    file.write(json.dumps(line) + "\n")
            except OSError as error:
                raise FileError(
                    f"{self.path} can not be written ({first_line(error)}): {write_remedy(error)}"
                ) from error
            if self.tensorboard is not None:
                self._tensorboard(f"{name}/{part}", row)

        return log

    def _take_back(self, stage: str, part: str, step: float) -> None:
        """Removes the lines of a part from `step` on: they are about to be written again."""
        if not self.path.exists():
            return
        kept = []
        for text in self.path.read_text(errors="replace").splitlines():
            try:
                line = json.loads(text)
                if (line["stage"], line["part"]) != (stage, part) or line["step"] < step:
                    kept.append(text + "\n")
            except (ValueError, TypeError, KeyError):  # cut off in the middle, or damaged
                continue

        def save(path: Path) -> None:
            path.write_text("".join(kept))

        write_atomic(self.path, save)

    def _tensorboard(self, name: str, row: dict[str, float]) -> None:
        step = int(row["step"])
        if name not in self._writers:
            self._writers[name] = _writer_class()(str(self.tensorboard / name), purge_step=step)  # type: ignore
        for key, value in row.items():
            if key != "step":
                self._writers[name].add_scalar(key, value, step)

    def close(self) -> None:
        """Finishes the files."""
        for writer in self._writers.values():
            writer.close()


def _writer_class() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise UserError("--tensorboard needs another package: pip install 'tgdp-jax[tensorboard]'") from error
    return SummaryWriter
