"""Which differences between methods are more than chance: ranks, and a paired test over seeds.

Methods of one comparison share data and seed, so that their numbers are paired: the draw of the target rows moves all
alike and cancels in the difference d_s between a method's loss and the best one's at seed s. The paired t-test compares
mean(d) / (sd(d) / sqrt(S)) with Student's t of S - 1 degrees of freedom; it takes differences for normal, which few
seeds can not show. A rank test would be of no use: Wilcoxon's smallest two-sided p-value is 2^(1 - S), 1/4 at three
seeds and .06 at five.

The best is chosen by the same numbers that it is tested with, so any of the k (k - 1) / 2 pairs of k methods may be
looked at, and p-values are multiplied by their number (Bonferroni). With independent equal methods, k = 7, that marks
one or more in 2 to 3 % of tables of 3 to 10 seeds; counting only the k - 1 tests against the best would do so in 8 to
10 %. The price is power: at three seeds only a difference many times its spread is marked (k = 2: 2.5 times, k = 7: 12
times), and below three nothing is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from tgdp_jax.app.report.table import Column, Row, loss

LEVEL = 0.05
MIN_SEEDS = 3


def paired_p_value(differences: Sequence[float]) -> float:
    """Two-sided p-value of the paired t-test that differences [S] have mean zero; 1 for fewer than `MIN_SEEDS`."""
    d = np.asarray(differences, np.float64)
    if len(d) < MIN_SEEDS or not np.isfinite(d).all() or not d.any():
        return 1.0
    spread = d.std(ddof=1) / math.sqrt(len(d))
    # Differences that are all the same to rounding come from numbers without any chance in them.
    return float(2 * stats.t.sf(abs(d.mean()) / max(spread, np.finfo(float).tiny), len(d) - 1))


def worse_than_best(losses: Mapping[str, Sequence[float]]) -> set[str]:
    """Names whose loss is above that of the best beyond chance, at `LEVEL` for the whole table column.

    Args:
      losses: name to its loss at each seed, the same seeds in the same order for all.
    """
    found = {name: np.asarray(values, np.float64) for name, values in losses.items() if np.isfinite(values).all()}
    if len(found) < 2:
        return set()
    best = min(found, key=lambda name: found[name].mean())
    pairs = len(found) * (len(found) - 1) / 2
    return {
        name
        for name, values in found.items()
        if name != best and paired_p_value((values - found[best]).tolist()) * pairs < LEVEL
    }


def ranks(rows: Sequence[Row], columns: Sequence[Column]) -> dict[str, dict[str, float]]:
    """Rank of each competing row, from 1, in every column that all of them have; ties share the mean of their ranks.

    A column that some row lacks would rank the others among fewer, so it is left out.

    Args:
      rows: of one group.
      columns: those without a better and a worse are left out.

    Returns:
      Column key to row name to rank.
    """
    rows = [row for row in rows if row.competes]
    out = {}
    for column in columns:
        of = loss(column)
        cells = [row.cells.get(column.key) for row in rows]
        values = [cell.value for cell in cells if cell is not None and math.isfinite(cell.value)]
        if of is not None and len(values) == len(rows) > 1:
            places = stats.rankdata([of(value) for value in values])
            out[column.key] = {row.name: float(place) for row, place in zip(rows, places, strict=True)}
    return out


def mean_ranks(found: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Row name to the mean of its `ranks` over columns."""
    names = dict.fromkeys(name for places in found.values() for name in places)
    return {name: float(np.mean([places[name] for places in found.values()])) for name in names}
