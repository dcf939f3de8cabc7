"""What stages leave behind, by name. On disk each is a nested dict of arrays; here its parts have types."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self


@dataclasses.dataclass(frozen=True)
class Artefact:
    """Base of what a stage leaves. A field that is None is absent on disk."""

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> Self:
        """Reads the dict that `to_tree` made."""
        return cls(**tree)

    def to_tree(self) -> dict[str, Any]:
        """The artefact as the dict of arrays that checkpoints hold."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value is not None}


@dataclasses.dataclass(frozen=True)
class Network(Artefact):
    """The trained variables of one network, or of what is trained beside a frozen one."""

    params: Any


@dataclasses.dataclass(frozen=True)
class ScaledNetwork(Network):
    """An autoencoder, and what brings its latents to unit scale (`nets.autoencoder.to_denoiser`)."""

    scale: Any


@dataclasses.dataclass(frozen=True)
class Adapted(Network):
    """A network adapted to the target, or what was trained beside a frozen one.

    Its folds' [K, ...] are there where they are small. Where held-out rows chose some, there are the weights [1, B] of
    what it changes of the source's score (`train.stacking`).
    """

    folds: Any = None
    shrink: Any = None


@dataclasses.dataclass(frozen=True)
class Stack(Artefact):
    """Weights [J, B] of what J adaptations change of the source (`guidance.stacking`)."""

    weights: Any


@dataclasses.dataclass(frozen=True)
class CleanRatio(Artefact):
    """log q/p at the source rows [m] and the target rows [n], and the ensemble that gives it.

    The closed-form ratio has no ensemble.
    """

    source_log_r: Any
    target_log_r: Any
    params: Any = None
    weights: Any = None


@dataclasses.dataclass(frozen=True)
class NoisedRatio(Artefact):
    """The ensemble that gives log h on noised data: members' variables (leading axis M) and their weights [M].

    Where held-out rows chose some, there are the weights [1, B] of its gradient (`train.stacking`).
    """

    params: Any
    weights: Any
    shrink: Any = None


@dataclasses.dataclass(frozen=True)
class Prior(Artefact):
    """Samples of the frozen source model x [N, *D], with labels y [N] in conditional problems."""

    x: Any
    y: Any = None


@dataclasses.dataclass(frozen=True)
class Encoded(Artefact):
    """Pictures as latents [N, h, w, c]: those to learn from, and those to judge by where there are any."""

    target: Any
    reference: Any = None


@dataclasses.dataclass(frozen=True)
class Bandwidth(Artefact):
    """The bandwidth of a kernel density estimate, in the models' units; of a conditional problem one a class."""

    bandwidth: Any


def params_of(trees: Mapping[str, Any], stage: str) -> Any:
    """The variables of the network that a stage left."""
    return trees[stage]["params"]
