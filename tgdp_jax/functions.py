"""Functions that carry arrays across a jit boundary.

A score function is a plain callable. If it is also a pytree (its parameters are leaves), jit takes it as an argument:
two functions that differ in their parameters alone share one compiled program, and no weight is baked into it as a
constant. `as_pytree` gives any callable that form.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Opaque:
    """A callable without array leaves: known to jit by identity, what it closes over becomes constants."""

    fn: Callable[..., Any] = dataclasses.field(metadata={"static": True})

    def __call__(self, *args: Any) -> Any:
        return self.fn(*args)


def as_pytree(fn: Callable[..., Any]) -> Any:
    """`fn` itself where it is a pytree (a registered class, `jax.tree_util.Partial`), else wrapped in `Opaque`."""
    return Opaque(fn) if jax.tree_util.all_leaves([fn]) else fn
