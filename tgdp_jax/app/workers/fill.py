"""Fills cells of a comparison side by side, and shows what the workers say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from tgdp_jax.app.commands.cell import Cell, failed_cell
from tgdp_jax.app.console import Display
from tgdp_jax.app.workers.crew import fill_all
from tgdp_jax.app.workers.local import LocalCrew
from tgdp_jax.app.workers.process import Job, make_setup
from tgdp_jax.errors import UserError
from tgdp_jax.runtime.settings import CompareEngineConfig
from tgdp_jax.train.session import Log


def fill_side_by_side(
    jobs: Sequence[Job],
    out: Path,
    stages: Path | None,
    engine: CompareEngineConfig,
    display: Display,
    *,
    prefix: Callable[[Job], str],
    log: Callable[[Job, str], Log],
    keep: Callable[[Job, Cell], None],
) -> None:
    """Fills cells in other processes.

    Args:
      jobs: the cells.
      out: folder of the comparison.
      stages: folder of trained stages where that is not in `out`.
      engine: how many workers, or whose.
      display: shows what they say.
      prefix: what progress of a cell begins with.
      log: (cell, stage) -> what is told of the curves of a stage.
      keep: called with every cell that is filled.

    Raises:
      Preempted: the process was asked to stop; all workers have saved.
      UserError: see `fill_all`; several workers on one machine's accelerators, or no answer from the cluster.
    """
    if jax.process_count() > 1:
        raise UserError("cells are filled side by side by one process that asks others: start one process alone")
    setup = make_setup(out, stages, engine)
    bars: dict[tuple[Job, int], Any] = {}
    logs: dict[tuple[Job, str], Log] = {}

    def hear(job: Job, words: list[Any]) -> None:
        match words:
            case ["say", text]:
                display.say(text)
            case ["warn", text]:
                display.warn(text)
            case ["open", number, name, finished]:
                display.prefix = prefix(job)
                logs.pop((job, name), None)  # of a worker that died: its curves may be longer than what it saved
                bars[job, number] = display(name, finished)
            case ["progress", number, step, steps, loss, value]:
                bars[job, number](round(step), round(steps), loss, value)
            case ["log", stage, part, row]:
                if (job, stage) not in logs:
                    logs[job, stage] = log(job, stage)
                logs[job, stage](part, row)

    def fill(crew: Any) -> None:
        fill_all(jobs, crew, hear=hear, keep=keep, warn=display.warn, lost=failed_cell)

    if not jobs:
        return
    if engine.scheduler is not None:
        from tgdp_jax.app.workers.cluster import ClusterCrew  # the extra of that name

        with ClusterCrew(setup, engine.scheduler) as crew:
            fill(crew)
    else:
        if jax.default_backend() != "cpu":
            raise UserError(
                f"workers is {engine.workers}, and they would share the memory of one {jax.default_backend().upper()}: "
                "leave out --workers, or start a dask worker for each device and give --scheduler"
            )
        with LocalCrew(setup, min(engine.workers, len(jobs))) as crew:
            fill(crew)
