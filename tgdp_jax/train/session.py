"""What a training loop reports to, saves to and continues from.

A stage hands one `Session` to each of its training loops (`part`). The host side of training: nothing here is traced.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax

from tgdp_jax.runtime import preemption

if TYPE_CHECKING:  # orbax takes long to import, and options know sessions
    from tgdp_jax.train.checkpoint import Partial

Array = jax.Array
Tree = Any
# (step, steps, loss, validation) after each launch.
Progress = Callable[[int, int, float, float], None]
# (part, row) after each launch, and (part, step) where everything after that step is taken back.
Log = Callable[[str, dict[str, float]], None]
FIT = "fit"  # the part of a stage that has only one


@dataclasses.dataclass(frozen=True)
class Session:
    """Host side of one training loop.

    Attributes:
      progress: called as (step, steps, loss, validation) after each launch; None: silent.
      partial: checkpoints of training that is under way; None: nothing is saved.
      log: called as (part, row of numbers) after each launch.
      name: of this part of the stage, in files.
      stage: its name, for messages.
    """

    progress: Progress | None = None
    partial: Partial | None = None
    log: Log | None = None
    name: str = FIT
    stage: str = ""

    def part(self, name: str, *, index: int = 0, parts: int = 1) -> Session:
        """The session of one of several training loops of a stage, whose steps count as one of `parts` equal shares."""

        def progress(step: int, steps: int, loss: float, value: float) -> None:
            if self.progress is not None:
                self.progress(index * steps + step, parts * steps, loss, value)

        return dataclasses.replace(self, name=name, progress=progress)

    def report(self, row: dict[str, float], steps: int) -> None:
        """Tells of a finished launch; `steps` is the length that training is now known to have."""
        if self.log is not None:
            self.log(self.name, row)
        if self.progress is not None:
            self.progress(int(row["step"]), steps, row["loss"], row["validation"])

    def stop_asked(self) -> bool:
        """Whether this process was asked to stop (SIGTERM, Ctrl-C)."""
        return preemption.asked()

    def restore(self, like: Tree, key: Array) -> tuple[Tree, dict[str, list[float]]] | None:
        """(state, history) of the newest intact checkpoint of this part, or None."""
        if self.partial is None:
            return None
        return self.partial.restore(self.name, like, key)

    def save(self, state: Tree, key: Array, history: dict[str, list[float]], *, now: bool) -> None:
        """Saves if it is time; with `now` in any case, and ends the process when that is done.

        Raises:
          Preempted: after saving with `now`.
          UserError: the checkpoint can not be written.
        """
        if self.partial is not None:
            self.partial.save(self.name, state, key, history, now=now)
        if now:
            of = self.stage if self.name == FIT else f"{self.stage}, {self.name}"
            raise preemption.Preempted(f"step {history['step'][-1]:.0f} of {of}" if self.partial is not None else "")


QUIET = Session()
