"""What a network has to offer. Only the call is required; the rest has defaults, so that any Linen module will do.

A denoiser is called as (x [B, *D], t [B], cond) -> [B, *D], a guidance network as (x [B, *D], t [B], cond) -> [B], a
domain classifier as (x [B, *D], cond) -> [B]. `cond` is None, or labels [B].
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import jax

Array = jax.Array


@runtime_checkable
class HasFeatures(Protocol):
    """A denoiser whose inner layers others can stand on or be read by probes."""

    def encode(self, x: Array, t: Array, cond: Any = None) -> list[Array]:
        """Features of inner layers, from input to output."""
        ...


@runtime_checkable
class HasModalities(Protocol):
    """A denoiser that takes a time for each modality, t [B, M]."""

    @property
    def modalities(self) -> Any:
        """What rows are made of, a `data.modalities.Modalities`."""
        ...


def num_classes(net: Any) -> int:
    """The network's attribute `num_classes`: how many labels it knows. A network without it sees no labels."""
    return getattr(net, "num_classes", 0)


def data_std(net: Any) -> Any:
    """The network's attribute `data_std`: the scale of the data that it was made for. A network without it has 1."""
    return getattr(net, "data_std", 1.0)
