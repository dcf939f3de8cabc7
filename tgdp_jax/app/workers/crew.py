"""Hands cells out to workers, takes up those of workers that die, and stops all of them where that is asked for."""

from __future__ import annotations

import signal
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tgdp_jax.app.workers.process import CELL, ENDED, LAST, REFUSED, STOPPED, Job
from tgdp_jax.errors import FileError, UserError
from tgdp_jax.runtime import preemption

# Workers that one cell may lose: what kills one after the other is the cell's own, such as too little memory for it.
LIVES = 3
WAIT = 0.2  # seconds between two looks at whether this process was asked to stop


class Crew(Protocol):
    """Workers, wherever they are."""

    def free(self) -> bool:
        """Whether a further cell can be handed out."""
        ...

    def start(self, job: Job) -> None:
        """Hands a cell out."""
        ...

    def next(self, seconds: float) -> tuple[Job, list[Any]] | None:
        """What a worker says of its cell; None where nothing is said for so long."""
        ...

    def stop(self) -> list[Job]:
        """Asks all to save and to end; returns the cells that none has begun."""
        ...


def fill_all(
    jobs: Sequence[Job],
    crew: Crew,
    *,
    hear: Callable[[Job, list[Any]], None],
    keep: Callable[[Job, dict[str, Any]], None],
    warn: Callable[[str], None],
    lost: Callable[[str], dict[str, Any]],
) -> None:
    """Fills cells side by side.

    Args:
      jobs: the cells, in the order in which they are handed out.
      crew: the workers.
      hear: told of everything that a worker says while it is at work.
      keep: called with every cell that is filled.
      warn: told of workers that die.
      lost: (reason) -> the cell of a method that cost too many workers.

    Raises:
      Preempted: the process was asked to stop; all workers have saved.
      UserError: what ends the comparison, in whichever worker; the others have saved. Or a worker broke down.
    """
    waiting, out, deaths = deque(jobs), set(), Counter()
    saved: list[str] = []
    end: Exception | None = None
    stopping = False
    with preemption.deferred():
        while out or (waiting and not stopping):
            while waiting and not stopping and crew.free():
                job = waiting.popleft()
                crew.start(job)
                out.add(job)
            said = crew.next(WAIT)
            if (preemption.asked() or end is not None) and not stopping:
                stopping = True
                out.difference_update(crew.stop())
            if said is None:
                continue
            job, (kind, *words) = said
            if kind not in LAST:
                hear(job, [kind, *words])
                continue
            out.discard(job)
            if kind == CELL:
                keep(job, words[0])
            elif kind == REFUSED:
                end = end or (FileError if words[1] else UserError)(words[0])
            elif stopping:
                saved += [words[0]] if kind == STOPPED and words[0] else []
            elif kind == ENDED and words[0] >= 0:
                end = end or UserError(f"a worker broke down at {_name(job)} (exit code {words[0]}): it says why above")
            else:
                deaths[job] += 1
                how = signal.Signals(-words[0]).name if kind == ENDED else signal.SIGTERM.name
                if deaths[job] < LIVES:
                    warn(f"a worker was ended by {how} at {_name(job)}, which another one goes on with")
                    waiting.appendleft(job)
                else:
                    keep(job, lost(f"{LIVES} workers were ended by {how}: if memory ran out, use fewer --workers"))
        if end is not None:
            raise end
        if stopping:
            raise preemption.Preempted(" and ".join(saved))


def _name(job: Job) -> str:
    return f"n={job.n} seed={job.seed} {job.method}"
