"""How far a metric would move had other samples been drawn.

Bootstrap (Efron 1979): rows of each array are drawn with replacement, and the standard deviation of the statistic over
such copies estimates its standard error.

A copy holds repeated rows, which ruins statistics made of nearest neighbours (a row's neighbour is then its own twin).
For those, rows are drawn *without* replacement, a fraction f of each array. A mean of f N such rows has variance
(1 - f)/f * s^2/N, hence

    standard error = sqrt(f / (1 - f)) * (standard deviation over subsamples)

(the delete-d jackknife, Shao & Wu 1989). At f = 1/2 the factor is one.

Both overstate the spread of a distance whose true value is zero, up to about 2.5 times, for there it no longer is a
smooth function of means: they err on the careful side.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tgdp_jax.errors import UserError
from tgdp_jax.metrics.inputs import positive


class Value(NamedTuple):
    """A measured number and its standard error, in the same units (NaN where it can not be told)."""

    value: float
    spread: float


def mean_value(values: Any) -> Value:
    """Mean of independent numbers [N] with its standard error."""
    values = np.asarray(values, np.float64)
    spread = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Value(float(values.mean()), float(spread))


def bootstrap(fn: Callable[..., Any], *arrays: Any, num: int = 20, seed: int = 0, strata: Any = None) -> Any:
    """Standard error of `fn(*arrays)` by resampling the rows of each array with replacement.

    Args:
      fn: (*arrays) -> a number, or an array of numbers.
      *arrays: arrays [N_i, ...], resampled independently of each other (zip paired data into one array).
      num: copies; the answer itself has a relative error of about 1/sqrt(2 num).
      seed: of the resampling.
      strata: integers [N] for arrays of N rows each: every row is drawn among those of its own number, so that a copy
        has each number as often as the whole.

    Returns:
      The standard deviation over copies: a float, or an array of the shape that `fn` returns.

    Raises:
      UserError: `num` below two, or an array without rows.
    """
    rng = np.random.default_rng(seed)
    if strata is not None:
        _, start, count = np.unique(np.sort(strata), return_index=True, return_counts=True)
        low, order = np.repeat(start, count), np.argsort(strata, kind="stable")
        high = low + np.repeat(count, count)
        return _deviation(fn, _checked(arrays, num), num, lambda size: order[rng.integers(low, high)])
    return _deviation(fn, _checked(arrays, num), num, lambda size: rng.integers(size, size=size))


def subsample_spread(fn: Callable[..., Any], *arrays: Any, num: int = 20, seed: int = 0, max_rows: int = 2000) -> Any:
    """Standard error of `fn(*arrays)` for nearest-neighbour statistics, from subsamples without repeated rows.

    Args:
      fn: (*arrays) -> a number, or an array of numbers.
      *arrays: arrays [N_i, ...]; the same fraction of each is drawn, half or what keeps the longest within `max_rows`.
      num: subsamples.
      seed: of the resampling.
      max_rows: most rows of one array handed to `fn`; fewer are faster.

    Returns:
      The scaled standard deviation: a float, or an array of the shape that `fn` returns.

    Raises:
      UserError: `num` below two, `max_rows` below one, or an array with fewer than two rows.
    """
    positive("max_rows", max_rows)
    rows = _checked(arrays, num)
    if min(map(len, rows)) < 2:
        raise UserError("every array needs at least two rows for a subsample to differ from the whole: pass more rows")
    fraction = min(0.5, max_rows / max(map(len, rows)))
    rng = np.random.default_rng(seed)
    deviation = _deviation(
        fn, rows, num, lambda size: rng.choice(size, max(1, round(fraction * size)), replace=False, shuffle=False)
    )
    return math.sqrt(fraction / (1 - fraction)) * deviation


def _checked(arrays: tuple[Any, ...], num: int) -> list[np.ndarray]:
    if num < 2:
        raise UserError(f"num must be at least 2 for a standard deviation, got {num}")
    rows = [np.asarray(a) for a in arrays]
    if not rows or any(a.ndim == 0 or len(a) == 0 for a in rows):
        raise UserError("resampling needs at least one array, and rows in each of them")
    return rows


def _deviation(fn, arrays, num, draw) -> Any:
    copies = np.array([fn(*(a[draw(len(a))] for a in arrays)) for _ in range(num)], np.float64)
    deviation = copies.std(axis=0, ddof=1)
    return float(deviation) if deviation.ndim == 0 else deviation
