"""Kernel density estimate of the target rows, isotropic Gaussian kernel, bandwidth by leave-one-out likelihood
(Duin 1976, Habbema et al. 1974):

    q_h(x) = 1/n sum_i N(x; x_i, h^2 I),     h = argmax_h 1/n sum_i log [ 1/(n-1) sum_{j != i} N(x_i; x_j, h^2 I) ].

Copies of a row are left out together with it: else the likelihood would grow without bound as h -> 0.

Of a conditional problem every class is a density of its own, q(x | y), with a bandwidth of its own.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
from scipy.optimize import minimize_scalar
from scipy.spatial.distance import cdist

from tgdp_jax.data.copies import copy_groups
from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import UserError
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.train.session import Session
from tgdp_jax.transfer.artefacts import Bandwidth
from tgdp_jax.transfer.base import Stage, StageResult, Trees
from tgdp_jax.transfer.resampling import ReferenceGenerator, weighted_choice

Array = jax.Array
LEFT_OUT = 1000  # rows left out in turn; all others always serve as kernels, so fewer only add noise
GRID = 16  # bandwidths tried before the search is refined: the likelihood can have several maxima


def kde_fit(x: Any) -> float:
    """The bandwidth with the best leave-one-out likelihood of rows x [n, *D], in units of x.

    Raises:
      UserError: bad rows, fewer than two that differ, or every one a value that the data take again and again.
    """
    x = np.asarray(x, np.float64)
    if x.ndim == 0 or x.size == 0 or not np.isfinite(x).all():
        raise UserError("x must be finite numbers with one sample a row: remove rows with NaN or infinity")
    x = x.reshape(len(x), -1)
    n, d = x.shape
    if n < 2:
        raise UserError(f"leave-one-out needs at least two rows, got {n}: fix the bandwidth by hand")
    chosen = np.arange(n) if n <= LEFT_OUT else np.random.default_rng(0).choice(n, LEFT_OUT, replace=False)
    square = cdist(x[chosen], x, "sqeuclidean")
    groups = copy_groups(x)
    square[groups[chosen][:, None] == groups] = np.inf
    nearest = square.min(1)
    if not (np.isfinite(nearest) & (nearest > 0)).any():
        raise UserError("x has only rows that occur again and again, so that no bandwidth fits best: remove those")

    def loss(log_h: float) -> float:
        # Up to a constant. The nearest kernel is taken out, or all could vanish; scipy's logsumexp does that too, in
        # three times the time.
        rate = 0.5 * math.exp(-2 * log_h)
        others = np.log(np.exp(rate * (nearest[:, None] - square)).sum(1))
        return float((d * log_h + rate * nearest - others).mean())

    # One pair of points prefers h^2 = distance^2/d, so the best h lies between those of the closest and farthest pair.
    low = 0.5 * math.log(nearest[nearest > 0].min() / d)
    high = 0.5 * math.log(square[np.isfinite(square)].max() / d)
    grid = np.linspace(low, high, GRID)
    best = int(np.argmin([loss(v) for v in grid]))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, GRID - 1)])
    log_h = low
    if bounds[0] < bounds[1]:
        found: Any = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
        log_h = float(found.x)

    return math.exp(log_h)


def kde_fit_classes(x: Any, y: Any, num_classes: int) -> np.ndarray:
    """A bandwidth for every class [num_classes], in units of x: `kde_fit` of its rows.

    A class of one row and its copies, or of rows alone that occur again and again, fixes none: it gets the median of
    the others' bandwidths, or where no class has one, that of all rows together.

    Args:
      x: rows [n, *D].
      y: their classes [n], integers in [0, num_classes).
      num_classes: classes; some may have no row.

    Raises:
      UserError: bad rows, or nothing that a bandwidth could be fitted to.
    """
    x, y = np.asarray(x), np.asarray(y)
    found = {c: kde_fit(x[y == c]) for c in range(num_classes) if _fixes_one(x[y == c])}
    other = float(np.median(list(found.values()))) if found else kde_fit(x)
    return np.array([found.get(c, other) for c in range(num_classes)])


def _fixes_one(x: np.ndarray) -> bool:
    """Whether rows fix a bandwidth: some row has none like it but its copies, and there are others."""
    if len(x) < 2:
        return False
    groups = copy_groups(x)
    _, of, equal = np.unique(x.reshape(len(x), -1), axis=0, return_inverse=True, return_counts=True)
    copies = np.bincount(groups, minlength=1)[groups]
    return len(np.unique(groups)) > 1 and bool((copies == equal[of.reshape(-1)]).any())


def _kde_stage(config: TrainingConfig, problem: Problem) -> Stage:
    def run(key: Array, trees: Trees, session: Session) -> StageResult:
        data = problem.target
        if problem.conditional:
            bandwidths = kde_fit_classes(data.x, data.y, problem.num_classes)
            return StageResult(Bandwidth(np.float32(bandwidths)), {}, {"bandwidth": bandwidths.tolist()})
        bandwidth = kde_fit(data.x)
        return StageResult(Bandwidth(np.float32(bandwidth)), {}, {"bandwidth": bandwidth})

    return Stage("kde", (), {"bandwidth": "by class"} if problem.conditional else {}, uses_target=True, run=run)


def stages(config: TrainingConfig, problem: Problem) -> tuple[Stage, ...]:
    """The training stages in order."""
    return (_kde_stage(config, problem),)


def generator(config: TrainingConfig, problem: Problem, trees: Trees) -> ReferenceGenerator:
    """The trained method."""
    data, labels = problem.target, problem.target.y if problem.conditional else None
    bandwidth = np.asarray(Bandwidth.from_tree(trees["kde"]).bandwidth)
    choose = weighted_choice(np.ones(len(data)), labels)
    return ReferenceGenerator(data.x, bandwidth if labels is None else bandwidth[labels], choose)
