"""Training on few rows with nothing left to judge by: step count and learning rate are cross-validated, then all rows
train for the chosen number of steps, or the folds' weights are averaged."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from tgdp_jax.train.batches import Rows, all_rows, cross_validation_rows
from tgdp_jax.train.fit import Fitted, Task, fit
from tgdp_jax.train.optimiser import OptimiserConfig
from tgdp_jax.train.session import QUIET, Session

Array = jax.Array
Tree = Any


class CrossValidated(NamedTuple):
    """Result of `fit_cross_validated`.

    Attributes:
      params: averaged weights after `steps` on all rows, or what `average` makes of the folds'.
      folds: the folds' weights at the chosen step, leading axis K; None where nothing was chosen.
      held: the rows that each fold did not train on, leading axis K; likewise.
      history: curves of the chosen rate's folds, averaged; where nothing was chosen, those of the one training.
      info: "steps", "learning_rate" and the "held_out_loss" that chose them, if one did.
    """

    params: Tree
    folds: Tree
    held: Rows | None
    history: dict[str, np.ndarray]
    info: dict[str, Any]


def fit_cross_validated(
    key: Array,
    task: Task,
    optimiser: OptimiserConfig,
    *,
    data: dict[str, Any],
    learning_rates: tuple[float, ...],
    folds: int,
    members: dict[str, Any] | None = None,
    frozen: Tree = None,
    initial: Tree = None,
    average: Callable[[Tree], Tree] | None = None,
    session: Session = QUIET,
) -> CrossValidated:
    """Trains a task on all rows for as many steps, and at the rate, at which K folds' mean held-out loss was lowest.

    Args:
      key: PRNG key.
      task: takes its rows from data["train"] and data["held"], or a member's own.
      optimiser: settings and greatest length; its schedule should be constant, for a course that is cut off is not the
        beginning of a longer one otherwise.
      data: {"x" [n, *D], ...}.
      learning_rates: candidates.
      folds: see `num_folds`; copies of one row are in one fold. 1: nothing is chosen, and all rows train for all steps
        at the one rate that there is.
      members: what the folds have of their own beside their rows, each with leading axis K.
      frozen: tree that the loss sees and no gradient touches.
      initial: starting weights; None: the task's own, of each fold.
      average: makes one network of the folds' weights [K, ...], in the place of training on all rows. The folds must
        have started from the same `initial`, which may be the best of all steps.
      session: what training reports to and continues from.
    """
    num = len(data["x"])
    if folds == 1:
        (rate,) = learning_rates
        plain = dataclasses.replace(optimiser, learning_rate=rate, patience=0)
        # A few rows show how the loss falls; nothing hangs on them.
        shown = all_rows(min(num, optimiser.validation_rows))
        whole = fit(
            key,
            task,
            plain,
            data={**data, "train": all_rows(num), "held": shown},
            frozen=frozen,
            initial=initial,
            keep="last",
            session=session,
        )
        return CrossValidated(whole.params, None, None, whole.history, {"steps": plain.steps, "learning_rate": rate})
    train, held = cross_validation_rows(data["x"], folds)
    parts = len(learning_rates) + (average is None)
    best: tuple[float, float, Fitted] | None = None
    for i, rate in enumerate(learning_rates):
        trial = fit(
            jax.random.fold_in(key, i),
            task,
            dataclasses.replace(optimiser, learning_rate=rate),
            data=data,
            frozen=frozen,
            members={**(members or {}), "train": train, "held": held},
            initial=initial,
            judge_start=average is not None,
            session=session.part(f"rate{i}", index=i, parts=parts),
        )
        if best is None or trial.best_value[0] < best[0]:
            best = float(trial.best_value[0]), rate, trial
    assert best is not None
    value, rate, trial = best
    steps = int(trial.best_step[0])
    info = {"steps": steps, "learning_rate": rate, "held_out_loss": value}
    if average is not None:
        return CrossValidated(average(trial.params), trial.params, held, trial.history, info)
    # The last weights are kept: the step count is already chosen, and no row is left to judge by.
    final = fit(
        jax.random.fold_in(key, len(learning_rates)),
        task,
        dataclasses.replace(optimiser.shortened(steps), learning_rate=rate, patience=0),
        data={**data, "train": all_rows(num), "held": all_rows(num)},
        frozen=frozen,
        initial=initial,
        keep="last",
        session=session.part("all_rows", index=parts - 1, parts=parts),
    )
    return CrossValidated(final.params, trial.params, held, trial.history, info)
