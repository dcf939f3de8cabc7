"""Metrics of rows as they are, against held-out target rows.

With labels all but memorisation are computed within each class and averaged with the reference's class shares, so that
a sampler which ignores its label is found out even where its samples are right as a whole. Of images and series, which
are compared by features (`on_features`), only mmd2 is of the rows themselves, and of all at once. mmd2, coverage and
density look at pairs of rows, and therefore at no more than `MOST_ROWS` of either kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tgdp_jax.errors import UserError
from tgdp_jax.metrics.coverage import NEIGHBOURS, density_coverage
from tgdp_jax.metrics.evidence import COPIES, Evidence
from tgdp_jax.metrics.memorisation import nearest_training_distance, ratio_of_medians
from tgdp_jax.metrics.neighbours import TREE_MAX_DIM
from tgdp_jax.metrics.spread import Value, bootstrap, subsample_spread
from tgdp_jax.metrics.two_sample import median_bandwidth, mmd2_value, sliced_wasserstein2_value, wasserstein2_value


def sw2(e: Evidence) -> Value:
    return _within_classes(e, lambda x, y: sliced_wasserstein2_value(x, y, num=COPIES, seed=e.seed))


def w2(e: Evidence) -> Value:
    return _within_classes(e, lambda x, y: wasserstein2_value(x, y, num=COPIES // 2, seed=e.seed))


def mmd2(e: Evidence) -> Value:
    bandwidth = median_bandwidth(e.rows[1], seed=e.seed) if e.bandwidth is None else e.bandwidth
    few = e.once(fewer)
    if e.features is not None:
        return mmd2_value(*few.rows, bandwidth=bandwidth, num=COPIES, seed=e.seed)
    return _within_classes(few, lambda x, y: mmd2_value(x, y, bandwidth=bandwidth, num=COPIES, seed=e.seed))


def density(e: Evidence) -> Value:
    few = e.once(fewer)
    return _mean(few, [found[0] for found in few.once(_density_coverage)])


def coverage(e: Evidence) -> Value:
    few = e.once(fewer)
    return _mean(few, [found[1] for found in few.once(_density_coverage)])


def memorisation(e: Evidence) -> Value:
    return memorisation_value(*e.rows, e.train, seed=e.seed)


def memorisation_value(samples: Any, reference: Any, train: Any, *, seed: int) -> Value:
    """`ratio_of_medians` of distances to the nearest training row; NaN where all of the reference's are zero."""
    near = nearest_training_distance(samples, train), nearest_training_distance(reference, train)
    return Value(_safe_ratio(*near), bootstrap(_safe_ratio, *near, num=COPIES, seed=seed))


def _safe_ratio(distance: np.ndarray, reference: np.ndarray) -> float:
    # Of discrete rows fresh data may all be copies, and then a copy says nothing; a resampled reference may consist of
    # training rows where the whole does not.
    return ratio_of_medians(distance, reference) if reference.any() else math.nan


def fewer(e: Evidence) -> Evidence:
    """The evidence itself, or the rows that are drawn of it where there are more than `MOST_ROWS` of either kind.

    Raises:
      UserError: not one label a row.
    """
    (x, y), (of_x, of_y) = e.rows, e.drawn
    if isinstance(of_x, slice) and isinstance(of_y, slice):
        return e
    labels, reference_labels = None, None
    if e.labels is not None and e.reference_labels is not None:
        e.once(classes)  # says where labels do not fit
        labels, reference_labels = np.asarray(e.labels)[of_x], np.asarray(e.reference_labels)[of_y]
    return Evidence(samples=x[of_x], reference=y[of_y], labels=labels, reference_labels=reference_labels, seed=e.seed)


def _density_coverage(e: Evidence) -> list[tuple[Value, Value]]:
    """Of every class."""
    return [_density_coverage_of(x, y, e.seed) for _, x, y in e.once(classes)]


def _density_coverage_of(x: np.ndarray, y: np.ndarray, seed: int) -> tuple[Value, Value]:
    # A run with few held-out rows of some class should not fail over two of its metrics.
    values = density_coverage(y, x) if len(y) > NEIGHBOURS else (math.nan, math.nan)
    # Half of the reference must still have k-th neighbours.
    enough = len(y) >= 2 * (NEIGHBOURS + 1)
    # Brute force, which many dimensions take, costs the square of the rows.
    most = 2000 if y.shape[1] <= TREE_MAX_DIM else 500
    spreads = math.nan, math.nan
    if enough:
        spreads = subsample_spread(density_coverage, y, x, num=COPIES, seed=seed, max_rows=most)
    return Value(values[0], float(spreads[0])), Value(values[1], float(spreads[1]))


def _within_classes(e: Evidence, metric: Callable[[np.ndarray, np.ndarray], Value]) -> Value:
    return _mean(e, [metric(x, y) for _, x, y in e.once(classes)])


def _mean(e: Evidence, found: list[Value]) -> Value:
    """Mean over the classes, weighted by their shares; spreads are of independent classes."""
    shares = [share for share, _, _ in e.once(classes)]
    return Value(
        sum(share * one.value for share, one in zip(shares, found, strict=True)),
        math.sqrt(sum((share * one.spread) ** 2 for share, one in zip(shares, found, strict=True))),
    )


def classes(e: Evidence) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """(share, samples, reference) of every class with two rows on both sides; all in one where there are none.

    Shares are those of the reference among these classes.

    Raises:
      UserError: not one label a row.
    """
    samples, reference = e.rows
    if e.labels is None or e.reference_labels is None:
        return [(1.0, samples, reference)]
    labels, reference_labels = np.asarray(e.labels), np.asarray(e.reference_labels)
    for name, given, rows in (("labels", labels, samples), ("reference_labels", reference_labels, reference)):
        if given.shape != (len(rows),):
            raise UserError(f"{name} has shape {given.shape} but {len(rows)} rows: pass one label a row")
    out = []
    for label in np.union1d(labels, reference_labels):
        x, y = samples[labels == label], reference[reference_labels == label]
        if min(len(x), len(y)) >= 2:
            out.append((len(y), x, y))
    total = sum(count for count, _, _ in out)
    return [(count / total, x, y) for count, x, y in out] or [(1.0, samples, reference)]
