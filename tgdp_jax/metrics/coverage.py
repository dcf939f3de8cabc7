"""Fidelity and diversity from k-nearest-neighbour balls.

With B(x) the ball around x that reaches to its k-th nearest row of its own set (N real, M fake rows):

    precision = share of fake in the union of B(real)               (Kynkaanniemi et al. 2019)
    recall    = share of real in the union of B(fake)
    density   = 1/(k M) sum_fake sum_real 1[fake in B(real)]        (Naeem et al. 2020)
    coverage  = share of B(real) that hold at least one fake

For equal distributions density is 1 on average and coverage is 1 - prod_{i=1..k} (N - i)/(N + M - i), about 1 - 2^-k at
N = M. Precision and recall are then the share of points that are among the k nearest neighbours of any other: 1 - 4^-k
on the line at large N = M, less in many dimensions. Balls shrink where real rows are dense, so density is about 1
wherever the target has mass and less off it: it does not tell collapse in few dimensions, and in many it exceeds 1 for
samples near the centre, which lies in very many balls (hubness). Read it together with coverage, which sees collapse.
One real outlier with its large ball inflates precision more than either. Compare values at equal N, M and k alone.

Distances tie where rows are repeated, discrete or blank. Balls are closed for precision and recall, as published. For
density and coverage neither kind of ball will do: where 60 % of the rows are zero, the balls of these are empty when
open, and hold most rows instead of k when closed. So ties are broken by lot: a fake row is in B(x) if it comes before
the k-th real row, and both values are expectations over the lot, which leave nothing to chance. Let a of the other
N - 1 real rows be nearer to x than the radius and b of them as far, a < k <= a + b, and let v fake rows be as far, too.
In a random order of these b + v rows, those that precede the (k - a)-th real row are in B(x):

    each of the v is in B(x) with probability    (k - a)/(b + 1),
    none of them is with probability             prod_{j=0..k-a-1} (b - j)/(b + v - j).

In a ball of radius zero, for example, each of the v counts k/(b + 1) in place of 1: the number of rows that tie
replaces k. Seen from x, the N - 1 real rows and fresh rows of the same distribution come in a random order, ties or
not. So a fresh row is in B(x) with probability k/N, and density 1 and the coverage above are what every distribution
gives, not continuous ones alone. Without ties both values are those of open balls.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tgdp_jax.errors import UserError
from tgdp_jax.metrics.inputs import pair, positive
from tgdp_jax.metrics.neighbours import ball_counts, covered, kth_distance

NEIGHBOURS = 5  # that set a ball's radius in tables


def density_coverage(real: Any, fake: Any, k: int = NEIGHBOURS) -> tuple[float, float]:
    """Average number of real balls around a fake row, over k; and the share of real balls with a fake row in them.

    Args:
      real: target data [N, *D], N > k.
      fake: samples [M, *D].
      k: neighbours that set a ball's radius.

    Returns:
      (density, coverage): at least 0, and 1 on average for equal distributions; between 0 and 1, and higher the more of
      the target is reached.

    Raises:
      UserError: bad arrays, or too few rows for k.
    """
    real, fake = _checked(real, fake, k)
    _enough("real", real, k)
    radii = kth_distance(real, k)
    inside, edge = ball_counts(real, radii, fake)
    counts, held = inside.astype(np.float64), (inside > 0).astype(np.float64)
    tied = np.flatnonzero(edge)
    if tied.size:
        own, own_edge = ball_counts(real[tied], radii[tied], real)
        nearer = np.maximum(own - 1, 0)  # without the centre, which is at the edge where the radius is zero
        equal = own + own_edge - 1 - nearer
        places = np.clip(k - nearer, 0, equal)
        counts[tied] += edge[tied] * places / (equal + 1)
        held[tied] = np.where(inside[tied] > 0, 1.0, 1.0 - _none_first(places, equal, edge[tied], k))
    return float(counts.sum() / (k * len(fake))), float(held.mean())


def _none_first(places: np.ndarray, real: np.ndarray, fake: np.ndarray, k: int) -> np.ndarray:
    """Probability that the first `places` <= k, `real` of a random order of `real` and `fake` >= 1 rows are real."""
    j = np.arange(k)[:, None]
    factors = (real - j) / np.maximum(real + fake - j, 1)
    return np.where(j < places, factors, 1.0).prod(0)


def precision_recall(real: Any, fake: Any, k: int = NEIGHBOURS) -> tuple[float, float]:
    """Share of fake rows within the balls of real rows, and of real rows within the balls of fake rows.

    Args:
      real: target data [N, *D], N > k.
      fake: samples [M, *D], M > k.
      k: neighbours that set a ball's radius.

    Returns:
      (precision, recall), between 0 and 1; higher is more realistic, and more of the target reached.

    Raises:
      UserError: bad arrays, or too few rows of either for k.
    """
    real, fake = _checked(real, fake, k)
    _enough("real", real, k)
    _enough("fake", fake, k)
    return _share_inside(real, fake, k), _share_inside(fake, real, k)


def _share_inside(centres: np.ndarray, points: np.ndarray, k: int) -> float:
    """Share of points [M, D] within the closed balls of centres [N, D]."""
    return float(covered(centres, kth_distance(centres, k), points).mean())


def expected_coverage(num_real: int, num_fake: int, k: int = NEIGHBOURS) -> float:
    """Mean coverage where real and fake rows have one distribution (Naeem et al. 2020, appendix)."""
    return 1 - math.prod((num_real - i) / (num_real + num_fake - i) for i in range(1, k + 1))


def _checked(real: Any, fake: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
    positive("k", k)
    return pair("real", real, "fake", fake)


def _enough(name: str, rows: np.ndarray, k: int) -> None:
    if len(rows) <= k:
        raise UserError(
            f"{name} has {len(rows)} rows but its {k}-th neighbours are asked for: pass more rows or a lower k"
        )
