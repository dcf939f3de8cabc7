"""What the numbers of a run mean, in words: is it closer to the target than the source, does it copy, is that expected.

Every sentence follows from measured numbers alone and claims no more than their errors allow. A difference counts where
it is more than `ERRORS` times its own error, the root of the sum of the two squared errors; both sets of samples are
measured by the same held-out rows, which can only make the true error smaller.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from tgdp_jax.app.report.recommend import MEMORISED, listed
from tgdp_jax.app.report.table import Cell, Column, format_cell, loss

ERRORS = 2.0
# Fewer target rows make a diagnosis a rough reading.
FEW_ROWS = 20

Outcome = Literal["closer", "unclear", "farther", "unknown"]
Diagnosis = Literal["transfer", "finetune", "same"]


class RunNumbers(NamedTuple):
    """What was measured of one run.

    Attributes:
      method: its name.
      column: the main metric.
      value: what the method's samples read; None where there was nothing to judge by.
      source: what those of the source model read; None where it was not measured.
      fresh: what fresh target data reads, the best that can be reached; None where it is not known.
      memorisation: the method's memorisation ratio, or None.
      diagnosis: the kind of advice that follows from the domain classifier; None where the method trains none.
      num_target: target rows that were learned from.
    """

    method: str
    column: Column | None
    value: Cell | None
    source: Cell | None = None
    fresh: Cell | None = None
    memorisation: Cell | None = None
    diagnosis: Diagnosis | None = None
    num_target: int = 0


def conclude(run: RunNumbers) -> str:
    """One paragraph for a reader who looks at nothing else."""
    if run.column is None or run.value is None or not math.isfinite(run.value.value):
        return "How close these samples are to the target is not known: there were no target rows left to judge by."
    outcome = compared(run.value, run.source, run.column)
    copies = run.method != "source" and _copies(run.memorisation)
    parts = [_distance(run, outcome), _fresh(run), _memorisation(run, outcome)]
    if run.diagnosis is not None:
        # What copies scored says nothing of the transfer.
        parts.append(agreement(run.diagnosis, "unknown" if copies else outcome, run.num_target))
    return " ".join(part for part in parts if part)


def compared(value: Cell, source: Cell | None, column: Column) -> Outcome:
    """Whether a value is better than the source's, beyond the error of the difference."""
    of = loss(column)
    if of is None or source is None or not math.isfinite(source.value):
        return "unknown"
    error = _error(value, source)
    gap = of(source.value) - of(value.value)
    if math.isnan(error) or abs(gap) <= ERRORS * error:
        return "unclear"
    return "closer" if gap > 0 else "farther"


def _error(a: Cell, b: Cell) -> float:
    """Of the difference; NaN where one of the two is not known."""
    spreads = [math.nan if cell.spread is None else cell.spread for cell in (a, b)]
    return math.hypot(*spreads)


def _distance(run: RunNumbers, outcome: Outcome) -> str:
    assert run.column is not None and run.value is not None
    label, value = run.column.label, format_cell(run.value)
    if run.method == "source":
        return (
            f"This is the source model as it is, before any transfer: its samples read a {label} of {value}{_way(run)}."
        )
    if run.source is None or outcome == "unknown":
        return (
            f"The samples of {run.method} read a {label} of {value}{_way(run)}; this run did not measure the source "
            "model beside them."
        )
    numbers = f"their {label} is {value} versus {format_cell(run.source)}{_way(run)}"
    if outcome == "unclear":
        known = not math.isnan(_error(run.value, run.source))
        why = "a difference within twice its error" if known else "and how far chance goes is not known"
        return (
            f"It is not clear that the samples of {run.method} are closer to the target than those of the source "
            f"model: {numbers}, {why}."
        )
    relation = "closer to" if outcome == "closer" else "farther from"
    return (
        f"The samples of {run.method} are {relation} the target than those of the source model: {numbers}, a "
        "difference of more than twice its error."
    )


def _way(run: RunNumbers) -> str:
    assert run.column is not None
    return {"lower": " (lower is better)", "higher": " (higher is better)"}.get(run.column.better, "")


def _fresh(run: RunNumbers) -> str:
    assert run.value is not None
    if run.fresh is None or not math.isfinite(run.fresh.value):
        return ""
    near = abs(run.value.value - run.fresh.value) <= ERRORS * _error(run.value, run.fresh)
    return f"Fresh target data scores {format_cell(run.fresh)}" + (", the same within the error." if near else ".")


def _copies(ratio: Cell | None) -> bool:
    """Whether samples are copies, beyond the error of the ratio."""
    return ratio is not None and ratio.value + ERRORS * _spread(ratio) < MEMORISED


def _spread(cell: Cell) -> float:
    return 0.0 if cell.spread is None or math.isnan(cell.spread) else cell.spread


def _memorisation(run: RunNumbers, outcome: Outcome) -> str:
    if run.method == "source":
        return "It has not seen the target rows, so it cannot copy them."
    ratio = run.memorisation
    if ratio is None or not math.isfinite(ratio.value):
        return "Whether they are copies of the training rows was not measured."
    says = f"memorisation ratio {format_cell(ratio)}, where fresh data scores 1"
    reach = ERRORS * _spread(ratio)
    if _copies(ratio):
        merit = " Their distance to the target is no merit then, as copies of target rows are close to the target."
        return f"They copy the training rows ({says})." + (merit if outcome == "closer" else "")
    if ratio.value - reach < MEMORISED:
        return f"They may copy the training rows: {says}, and below {MEMORISED:g} samples count as copies."
    if ratio.value + reach < 1:
        return f"They are no copies of the training rows, though closer to them than fresh data ({says})."
    if ratio.value - reach > 1:
        return f"They are no copies of the training rows, and farther from them than fresh data ({says})."
    return f"They are no copies of the training rows ({says})."


_SAYS = {
    "transfer": "by the domain classifier source and target differ but overlap, where density-ratio transfer fits",
    "finetune": "by the domain classifier source and target hardly overlap, too little for density-ratio transfer",
    "same": "the domain classifier saw no difference between source and target",
}
_VERDICTS: dict[tuple[Diagnosis, Outcome], tuple[str, str]] = {
    ("transfer", "closer"): ("The diagnosis agrees", ""),
    ("transfer", "unclear"): ("The diagnosis expected more", "more samples or longer training may tell"),
    ("transfer", "farther"): ("The diagnosis disagrees", "look at the loss curves, and train longer"),
    ("finetune", "closer"): ("The diagnosis did not expect that", "compare it with finetune before relying on it"),
    ("finetune", "unclear"): ("The diagnosis agrees", "fine-tune the source instead"),
    ("finetune", "farther"): ("The diagnosis agrees", "fine-tune the source instead"),
    ("same", "closer"): ("The diagnosis did not expect that", ""),
    ("same", "unclear"): ("The diagnosis agrees", "there is little to gain over the source model as it is"),
    ("same", "farther"): ("The diagnosis agrees that nothing was to be gained", "use the source model as it is"),
}


def agreement(diagnosis: Diagnosis, outcome: Outcome, num_target: int) -> str:
    """Whether the outcome is what the domain classifier led to expect."""
    verdict, advice = _VERDICTS.get((diagnosis, outcome), ("The diagnosis", ""))
    rough = f" ({num_target} target rows make that a rough reading)" if num_target < FEW_ROWS else ""
    return f"{verdict}: {_SAYS[diagnosis]}{rough}{'; ' + advice if advice else ''}."


class GroupNumbers(NamedTuple):
    """What a comparison found with one number of target rows.

    Attributes:
      best: the method that can be recommended, or None.
      clear: whether its lead over the next is beyond the spread between seeds.
      gains: method to how much better than the source model it reads at each seed; empty where that was not compared.
      copies: methods whose samples are copies of the training rows.
      diagnosis: the kind of advice that follows from the domain classifier, or None.
      guided: the best method that trained one, or None.
    """

    best: str | None
    clear: bool
    gains: Mapping[str, Sequence[float]]
    copies: Sequence[str] = ()
    diagnosis: Diagnosis | None = None
    guided: str | None = None


def conclude_comparison(groups: Mapping[int, GroupNumbers], column: Column | None) -> str:
    """One paragraph for a reader who looks at nothing else: a comparison's answer for each number of target rows."""
    if column is None:
        return "Which method is best is not known: there were no target rows left to judge by."
    return " ".join(_group(n, group, column) for n, group in groups.items())


def _group(n: int, group: GroupNumbers, column: Column) -> str:
    where = f"With {n} target rows"
    if group.best is None:
        text = f"{where} no method can be recommended"
    elif group.best == "source":
        text = f"{where} no method has a better {column.label} than the source model as it is"
    else:
        lead = "is best" if group.clear else "scores best, though not clearly ahead of the next"
        text = f"{where} {group.best} {lead} by {column.label}"
        beside = gained(group.gains.get(group.best, ()))
        text += {
            "closer": ", and closer to the target than the source model",
            "unclear": "; that it is closer to the target than the source model is not clear",
            "farther": ", but farther from the target than the source model",
            "unknown": "",
        }[beside]
    if group.copies:
        text += f"; {listed(group.copies)} {'copies' if len(group.copies) == 1 else 'copy'} the training rows"
    if group.diagnosis is None or group.guided is None:
        return text + "."
    outcome = "unknown" if group.guided in group.copies else gained(group.gains.get(group.guided, ()))
    expected = agreement(group.diagnosis, outcome, n)
    return f"{text}. For {group.guided} {expected[0].lower()}{expected[1:]}"


def gained(gains: Sequence[float]) -> Outcome:
    """Whether paired gains over the source are beyond their spread between seeds, which a single seed does not show."""
    if not gains or not all(map(math.isfinite, gains)):
        return "unknown"
    mean = math.fsum(gains) / len(gains)
    spread = math.sqrt(math.fsum((g - mean) ** 2 for g in gains) / (len(gains) - 1)) if len(gains) > 1 else math.inf
    if abs(mean) <= spread:
        return "unclear"
    return "closer" if mean > 0 else "farther"
