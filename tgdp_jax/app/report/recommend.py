"""What a comparison's numbers say to do, in a sentence: from measured numbers only, and no more than they carry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tgdp_jax.app.report.ranks import MIN_SEEDS
from tgdp_jax.app.report.table import Cell, Column, format_cell, loss

# Samples that lie less than half as far from the training rows as fresh data does are taken for copies.
MEMORISED = 0.5


class Contender(NamedTuple):
    """A method's numbers at one number of target rows.

    Attributes:
      name: of the method.
      values: the main metric at each seed, the same seeds in the same order for all; empty where nothing was measured.
      memorisation: its memorisation ratio, see `metrics.registry`; NaN where it is not known.
      train_seconds: mean over seeds.
      sample_seconds: mean over seeds.
      failed: whether it failed at any seed.
    """

    name: str
    values: tuple[float, ...] = ()
    memorisation: float = math.nan
    train_seconds: float = math.nan
    sample_seconds: float = math.nan
    failed: bool = False


class Recommendation(NamedTuple):
    """What to use.

    Attributes:
      best: the method, or None where none can be named.
      clear: whether its lead over the runner-up exceeds the spread of that lead over seeds.
      sentence: the above with its reasons.
    """

    best: str | None
    clear: bool
    sentence: str


def recommend(contenders: Sequence[Contender], column: Column, *, where: str) -> Recommendation:
    """Names the best method by one metric, and says what the lead is worth.

    The lead is the mean over seeds of the paired difference to the runner-up; its spread is their standard deviation.
    Methods that failed at any seed are left out, and so are those that copy the training rows.

    Args:
      contenders: all methods, with one value a seed.
      column: the main metric; it must have a better and a worse.
      where: what the numbers hold for, such as "100 target rows".

    Raises:
      ValueError: the metric has no direction.
    """
    of = loss(column)
    if of is None:
        raise ValueError(f"{column.label} has no better and no worse")
    failed = [c.name for c in contenders if c.failed]
    measured = [c for c in contenders if not c.failed and c.values and np.isfinite(c.values).all()]
    left_out = f" Left out, as they failed: {listed(failed)}." if failed and measured else ""
    if not measured:
        why = "every method failed" if failed and len(failed) == len(contenders) else "nothing was measured"
        return Recommendation(None, False, f"With {where} {why}: there is nothing to recommend.")

    def mean_loss(c: Contender) -> float:
        return float(np.mean([of(v) for v in c.values]))

    measured.sort(key=mean_loss)
    honest = [c for c in measured if not c.memorisation < MEMORISED]
    if not honest:
        copies = f"every method that finished copies its training rows (memorisation ratio below {MEMORISED})"
        return Recommendation(None, False, f"With {where} {copies}: none can be recommended.{left_out}")
    copying = measured[: measured.index(honest[0])]
    warned = "".join(
        f" {c.name} scores {_value(c)} but memorises: its samples lie {c.memorisation:.2f} times as far from the "
        "training rows as fresh data."
        for c in copying
    )
    best, rest = honest[0], honest[1:]
    cost = f" It trained in {_seconds(best.train_seconds)} and drew its samples in {_seconds(best.sample_seconds)}."
    if not rest:
        only = "is the only method left" if len(contenders) > 1 else "was run alone: nothing is compared"
        sentence = f"With {where} {best.name} {only}, {column.label} {_value(best)}.{cost}{warned}{left_out}"
        return Recommendation(best.name, False, sentence)

    def lead(c: Contender) -> tuple[float, float]:
        d = np.array([of(b) - of(a) for a, b in zip(best.values, c.values, strict=True)])
        return float(d.mean()), float(d.std(ddof=1)) if len(d) > 1 else math.nan

    seeds, (gap, spread) = len(best.values), lead(rest[0])
    leads = f"{best.name} has the best {column.label}, {_value(best)}"
    if seeds == 1:
        sentence = (
            f"With {where} {leads}, before {rest[0].name} with {_value(rest[0])}, at a single seed: whether that is "
            f"chance can not be told, run with --seeds {MIN_SEEDS} or more.{cost}{warned}{left_out}"
        )
        return Recommendation(best.name, False, sentence)
    if gap > spread:
        sentence = (
            f"With {where} use {best.name}: {column.label} {_value(best)}, ahead of {rest[0].name} by "
            f"{format_cell(Cell(gap, spread))} over {seeds} paired seeds.{cost}{warned}{left_out}"
        )
        return Recommendation(best.name, True, sentence)
    tied = [best, *(c for c in rest if not lead(c)[0] > lead(c)[1])]
    cheapest = min(tied, key=lambda c: c.train_seconds if math.isfinite(c.train_seconds) else math.inf)
    sentence = (
        f"With {where} {leads}, but its lead over {rest[0].name}, {format_cell(Cell(gap, spread))}, is within its "
        f"spread over {seeds} paired seeds: no clear winner among {listed([c.name for c in tied])}, of which "
        f"{cheapest.name} trains fastest ({_seconds(cheapest.train_seconds)}).{warned}{left_out}"
    )
    return Recommendation(best.name, False, sentence)


def _value(c: Contender) -> str:
    spread = float(np.std(c.values, ddof=1)) if len(c.values) > 1 else None
    return format_cell(Cell(float(np.mean(c.values)), spread))


def _seconds(value: float) -> str:
    if not math.isfinite(value):
        return "unknown time"
    return f"{value:.0f} s" if value >= 10 else f"{value:.2g} s"


def listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
