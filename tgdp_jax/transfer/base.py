"""The protocol that every transfer method follows.

A method is a list of stages and a way to sample from what they leave. A stage is a pure function of (key, what earlier
stages left) to an artefact; as a tree of arrays the artefact is what checkpoints hold. Two methods that share a stage
(the same name, settings and data) share its result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from tgdp_jax.prediction import ScoreFn
from tgdp_jax.sampling import sample
from tgdp_jax.sde import SDE
from tgdp_jax.settings.sampling import SamplingConfig
from tgdp_jax.train.session import Session
from tgdp_jax.transfer.artefacts import Artefact

Array = jax.Array
Trees = Mapping[str, Any]


class StageResult(NamedTuple):
    """What a stage leaves.

    Attributes:
      artefact: what later stages and the generator use; checkpointed.
      history: curves by name, the first being "step"; for reports.
      info: JSON-able facts (chosen step, calibration ...); for reports. Sentences in a list "warnings" are shown to
        whoever asked for the stage.
    """

    artefact: Artefact
    history: dict[str, np.ndarray]
    info: dict[str, Any]


class Stage(NamedTuple):
    """One training stage.

    Attributes:
      name: unique within a method.
      needs: names of the stages whose trees it uses.
      uses: the settings it depends on, JSON-able; with the problem they identify its result.
      uses_target: whether it sees target rows.
      run: (key, trees of earlier stages by name, session) -> StageResult.
    """

    name: str
    needs: tuple[str, ...]
    uses: Any
    uses_target: bool
    run: Callable[[Array, Trees, Session], StageResult]


class Generator(Protocol):
    """A trained method. Sample i depends on (key, ids[i], cond[i]) alone."""

    @property
    def score(self) -> ScoreFn | None:
        """The score that it integrates; None for a method without one."""
        ...

    def draw(
        self, key: Array, ids: Any, cond: Any = None, *, progress: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """One sample an id, [N, *D], in the models' units."""
        ...


@dataclasses.dataclass(frozen=True)
class ScoreGenerator:
    """Samples by integrating the reverse process of a score."""

    score: ScoreFn
    sde: SDE
    shape: tuple[int, ...]
    sampling: SamplingConfig

    def draw(
        self, key: Array, ids: Any, cond: Any = None, *, progress: Callable[[int], None] | None = None
    ) -> np.ndarray:
        s = self.sampling
        return sample(
            key,
            self.score,
            self.sde,
            ids,
            self.shape,
            solver=s.solver,
            grid=s.grid,
            num_steps=s.steps,
            cond=cond,
            clip=s.clip,
            chunk=s.chunk,
            progress=progress,
        )
