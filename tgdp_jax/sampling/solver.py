"""What a solver is: one step from time t down to s < t, as a pure function.

All solvers see the model through one call, `predict(x, t) -> (x0, eps)`, the clean-data and noise predictions that a
score implies: eps = -sigma score and x0 = (x - sigma eps) / alpha (x0 clipped if asked, eps then recomputed).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tgdp_jax.sde import SDE

Array = jax.Array
Predict = Callable[[Array, Array], tuple[Array, Array]]


class Point(NamedTuple):
    """One interval of the grid, all scalars.

    Attributes:
      t: the time at its start, where x is known.
      s: the time at its end.
      before: the time at the start of the interval before (equal to t in the first).
      first: whether this is the first interval.
      data_std: the data's standard deviation, of a shape that broadcasts against a sample.
      plan: what the solver's `plan` says of this interval.
    """

    t: Array
    s: Array
    before: Array
    first: Array
    data_std: Any = 1.0
    plan: Any = None


Step = Callable[[SDE, Predict, Point, Array, Any, Callable[[int], Array]], tuple[Array, Any]]


class Solver(NamedTuple):
    """step(sde, predict, point, x, memory, noise) -> (x, memory).

    Attributes:
      step: the step; `noise(i)` gives the i-th unit noise of the step.
      evaluations: score evaluations a step.
      start: x -> the first step's memory; zeros of the shape of x unless it says otherwise.
      plan: (sde, times [K + 1], data_std) -> what is computed once for all steps: a tree of arrays [K, ...].
      grid: name of the time grid that it takes where none is asked for.
      num_steps: steps that it takes where no number is asked for.
    """

    step: Step
    evaluations: int = 1
    start: Callable[[Array], Any] = jnp.zeros_like
    plan: Callable[[SDE, Array, Array], Any] = lambda sde, times, data_std: None
    grid: str = "log_snr"
    num_steps: int = 25
