"""`--log`: what a run is, how it learns and what comes out, told to a tracker of experiments while it goes on.

A tracker is one file that has a class with the methods of `Tracker`, and one entry of `TRACKERS`. It is imported where
it is asked for, so that its package may be missing. Training never depends on it: a tracker that fails is dropped with
a warning.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tgdp_jax.errors import UserError, choose, first_line


class About(NamedTuple):
    """What a tracker is told at the start.

    Attributes:
      folder: of the run. The same one again is the same run, continued.
      settings: JSON-able, nested.
      key: keeps an identifier for this tracker in the folder: given one, it is what was kept before or else that one.
    """

    folder: Path
    settings: Mapping[str, Any]
    key: Callable[[Callable[[], str]], str]


class Tracker(Protocol):
    """Follows one run. Whatever a method raises drops the tracker."""

    def __init__(self, about: About):
        """Starts to follow the run, or goes on."""
        ...

    def curve(self, name: str, row: Mapping[str, float], *, again: bool) -> None:
        """A launch of training.

        Args:
          name: of the stage and its part, such as source/fit.
          row: "step", the loss and its terms, "validation", "steps_per_second".
          again: the row was told to this tracker before, by a process that has ended since: training went on from an
            earlier checkpoint, and gives the same numbers.
        """
        ...

    def finish(self, metrics: Mapping[str, float], pictures: Sequence[Path]) -> None:
        """The results: numbers by name, and PNG files."""
        ...

    def close(self) -> None:
        """The run has ended, finished or not."""
        ...


class Entry(NamedTuple):
    """One tracker: the module and class of its adapter, the package that it needs, and the extra that has it."""

    module: str
    kind: str
    package: str = ""
    extra: str = ""


TRACKERS: dict[str, Entry] = {
    "jsonl": Entry("json_lines", "JsonLines"),
    "tensorboard": Entry("tensorboard_files", "TensorBoard", "tensorboardX", "tensorboard"),
    "wandb": Entry("wandb_runs", "WeightsAndBiases", "wandb", "wandb"),
    "mlflow": Entry("mlflow_runs", "MLflow", "mlflow", "mlflow"),
}


def check_trackers(names: Sequence[str]) -> None:
    """Raises:
    UserError: a name that is not known, or a package that is not installed."""
    for name in names:
        choose("tracker of --log", name, TRACKERS)
        entry = TRACKERS[name]
        if entry.package:
            try:
                importlib.import_module(entry.package)
            except ImportError as error:
                raise UserError(f"--log {name} needs another package: pip install 'tgdp-jax[{entry.extra}]'") from error


class Trackers:
    """Several trackers of one run, of which none can stop it. They start with the first that there is to tell.

    Args:
      names: of trackers.
      about: name -> what it is told at the start.
      warn: shows a warning.
    """

    def __init__(self, names: Sequence[str], about: Callable[[str], About], warn: Callable[[str], None]):
        self.about = about
        self.warn = warn
        from tgdp_jax.runtime.parallel import is_primary  # late: names are checked without JAX

        self._waiting = list(dict.fromkeys(names)) if is_primary() else []
        self._running: dict[str, Tracker] = {}

    def curve(self, name: str, row: Mapping[str, float], *, again: Collection[str] = ()) -> None:
        """See `Tracker.curve`; `again` has the names of the trackers that were told before."""
        self._each(lambda tracker, of: of.curve(name, row, again=tracker in again))

    def finish(self, metrics: Mapping[str, float], pictures: Sequence[Path]) -> None:
        """See `Tracker.finish`."""
        self._each(lambda _, of: of.finish(metrics, pictures))

    def close(self) -> None:
        """See `Tracker.close`."""
        self._waiting = []
        self._each(lambda _, of: of.close())

    def _each(self, work: Callable[[str, Tracker], None]) -> None:
        while self._waiting:
            name = self._waiting.pop(0)
            self._try(name, lambda name=name: self._running.update({name: self._started(name)}))
        for name, tracker in list(self._running.items()):
            self._try(name, lambda name=name, tracker=tracker: work(name, tracker))

    def _started(self, name: str) -> Tracker:
        entry = TRACKERS[name]
        return getattr(importlib.import_module(f"{__name__}.{entry.module}"), entry.kind)(self.about(name))

    def _try(self, name: str, work: Callable[[], Any]) -> None:
        try:
            work()
        except Exception as error:  # whatever a tracker does, it must not cost the run
            self._running.pop(name, None)
            self.warn(f"--log {name} failed ({first_line(error)}): the run goes on without it")


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names."""
    out: dict[str, Any] = {}
    for name, value in settings.items():
        out |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return out


def numbers(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The finite numbers of a table of results, by row/column; those with a spread are [number, spread]."""
    plain = {f"{r}/{c}": v[0] if isinstance(v, (list, tuple)) else v for r, row in rows.items() for c, v in row.items()}
    return {name: float(v) for name, v in plain.items() if isinstance(v, (int, float)) and math.isfinite(v)}
