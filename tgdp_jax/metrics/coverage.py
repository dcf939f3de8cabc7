"""Fidelity and diversity from k-nearest-neighbour balls.

With B(x) the open ball around x that reaches to its k-th nearest row of its own set (N real, M fake rows):

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
    counts = ball_counts(real, kth_distance(real, k), fake)
    return float(counts.sum() / (k * len(fake))), float((counts > 0).mean())


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
    """Share of points [M, D] within the balls of centres [N, D]."""
    return float(covered(centres, kth_distance(centres, k), points).mean())


def expected_coverage(num_real: int, num_fake: int, k: int = NEIGHBOURS) -> float:
    """Mean coverage where real and fake rows have one continuous distribution (Naeem et al. 2020, appendix)."""
    return 1 - math.prod((num_real - i) / (num_real + num_fake - i) for i in range(1, k + 1))


def _checked(real: Any, fake: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
    positive("k", k)
    return pair("real", real, "fake", fake)


def _enough(name: str, rows: np.ndarray, k: int) -> None:
    if len(rows) <= k:
        raise UserError(
            f"{name} has {len(rows)} rows but its {k}-th neighbours are asked for: pass more rows or a lower k"
        )
