"""Training curves on disk while a run goes on, one line of JSON a launch, and what trackers are told of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from tgdp_jax.app.logs import About, Trackers
from tgdp_jax.app.logs.lines import LineFile
from tgdp_jax.errors import UserError
from tgdp_jax.runtime.files import read_json, write_json
from tgdp_jax.runtime.parallel import is_primary

NAME, KEYS = "train.jsonl", ".trackers.json"


def warn(text: str) -> None:
    """Shows a warning where there is no display."""
    print(f"warning: {text}", file=sys.stderr)


class _Keys(TypedDict):
    keys: dict[str, str]


class Journal:
    """Appends to `train.jsonl` in a run folder, and tells trackers.

    A line has "stage", "part", "step", the loss and its terms, "validation", and "steps_per_second". Training that is
    continued from a checkpoint takes back the lines after it, so that every step stands there once.

    Args:
      folder: the run folder.
      log: names of trackers, see `logs`.
      settings: of the run, for trackers.
      warn: shows a warning where one of them fails.
    """

    def __init__(
        self,
        folder: Path,
        *,
        log: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
        warn: Callable[[str], None] = warn,
    ):
        self.folder = folder
        self.lines = LineFile(folder / NAME)
        # Trackers that followed this run in an earlier process.
        self.known = set(self._keys())
        self.trackers = Trackers(log, lambda name: About(folder, settings or {}, self._key_of(name)), warn)

    def stage(self, name: str) -> Callable[[str, dict[str, float]], None]:
        """What one stage logs to: (part, row)."""
        clocks: dict[str, tuple[float, float]] = {}
        told: dict[str, float] = {}

        def log(part: str, row: dict[str, float]) -> None:
            if not is_primary():
                return
            if part not in clocks:
                taken = self.lines.take_back(
                    lambda line: (line["stage"], line["part"]) == (name, part) and line["step"] >= row["step"]
                )
                told[part] = max((line["step"] for line in taken), default=float("-inf"))
            now, (before, step) = time.perf_counter(), clocks.get(part, (float("nan"), 0.0))
            rate = (row["step"] - step) / (now - before) if part in clocks else None
            clocks[part] = now, row["step"]
            line = {**row, "steps_per_second": rate}
            self.lines.append({"stage": name, "part": part, **line})
            self.trackers.curve(f"{name}/{part}", line, again=self.known if row["step"] <= told[part] else ())

        return log

    def finish(self, metrics: Mapping[str, float], pictures: Sequence[Path]) -> None:
        """Tells trackers the results: numbers by name, and PNG files."""
        self.trackers.finish(metrics, pictures)

    def close(self) -> None:
        """Finishes the files."""
        self.trackers.close()

    def _keys(self) -> dict[str, str]:
        try:
            return dict(read_json(self.folder / KEYS, _Keys, remedy="")["keys"])
        except UserError:  # none yet, or damaged: the run is a new one to its trackers
            return {}

    def _key_of(self, name: str) -> Callable[[Callable[[], str]], str]:
        def key(fresh: Callable[[], str]) -> str:
            keys = self._keys()
            if name not in keys:
                keys[name] = fresh()
                write_json(self.folder / KEYS, {"keys": keys})
            return keys[name]

        return key
