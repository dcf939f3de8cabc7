"""What every method is, as data: cards that the command line and reports show, one or several side by side.

The numbers of a run (parameters trained, seconds, memory) are no part of a card: reports put them beside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tgdp_jax.data.problem import Problem
    from tgdp_jax.settings.run import TrainingConfig
    from tgdp_jax.transfer.base import Generator, Stage, Trees


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
    """What a method is. All texts are plain ASCII, for every terminal; none ends in a full stop.

    Attributes:
      summary: one line on what it does.
      family: the idea that it shares with its relatives.
      originators: who proposed it, or who made it known; None where nobody in particular did.
      paper: title and venue of the founding paper; None where there is none.
      year: of the founding paper.
      aliases: other names of the field; the command line takes them too.
      trains: what is learned from the target rows.
      source_model: what it needs of the pretrained model: nothing, its score as a function, or its weights.
      source_rows: whether it needs rows of the source beside the pretrained model.
      labels: of the target rows: no use for them, optional (conditional problems), or required.
      fails: when not to use it.
    """

    summary: str
    family: str
    originators: str | None = None
    paper: str | None = None
    year: int | None = None
    aliases: tuple[str, ...] = ()
    trains: str
    source_model: Literal["nothing", "score", "weights"]
    source_rows: bool
    labels: Literal["unused", "optional", "required"] = "optional"
    fails: str

    def facts(self) -> dict[str, str]:
        """The card as heading to text, for display."""
        return {
            "summary": self.summary,
            "family": self.family,
            "originators": self.originators or "-",
            "founding paper": self.paper or "-",
            "year": "-" if self.year is None else str(self.year),
            "also called": ", ".join(self.aliases) or "-",
            "trains": self.trains,
            "needs of the source model": self.source_model,
            "needs source rows": "yes" if self.source_rows else "no",
            "target labels": self.labels,
            "fails with": self.fails,
        }


@dataclasses.dataclass(frozen=True)
class TransferMethod:
    """One row of a comparison.

    Attributes:
      name: as on the command line.
      card: what it is, see `cards`.
      settings: sections of `TrainingConfig` that it depends on, beside those of every run.
      stages: (config, problem) -> its training stages in order.
      generator: (config, problem, trees) -> the trained method.
      draws_rows: whether samples are made of the problem's rows themselves, so that they are needed to draw any.
      captions: whether it adapts a text-to-image pipeline to pictures with captions.
    """

    name: str
    card: Card
    settings: tuple[str, ...]
    stages: Callable[[TrainingConfig, Problem], tuple[Stage, ...]]
    generator: Callable[[TrainingConfig, Problem, Trees], Generator]
    draws_rows: bool = False
    captions: bool = False
