"""A log-ratio that an ensemble of equal networks gives, on clean data or on noised."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from tgdp_jax.guidance import grad_log_ratio
from tgdp_jax.nets.protocols import HasShared
from tgdp_jax.nets.readout import FeatureReadout
from tgdp_jax.runtime.parallel import over_members, sum_over_members

Array = jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class EnsembleLogRatio:
    """The weighted sum of an ensemble's outputs: log q/p (x [B, *D], cond) -> [B], or log h (x, t [B], cond) -> [B].

    Members of a cross-validation are ordered by candidate and then by fold; a candidate's have all the same weight.

    Attributes:
      params: members' trained variables, leading axis M.
      weights: [M], summing to one or to what the outputs are shrunk by.
      net: the network they share.
      variables: its variables that are not trained, shared too.
    """

    params: Any
    weights: Array
    net: Any = dataclasses.field(metadata={"static": True})
    variables: Any = dataclasses.field(default_factory=dict)

    def members(self, *args: Any) -> Array:
        """Each member's output, [M, B]."""
        return self._each(lambda params: self._apply(params, *args))

    def __call__(self, *args: Any) -> Array:
        return jnp.tensordot(self.weights, self.members(*args), 1)

    def gradient(self, x: Array, *args: Any) -> Array:
        """Gradient in x [B, *D], member by member: nothing of a member is kept once its gradient is known."""
        shared = self.net.shared(self.variables) if isinstance(self.net, HasShared) else None
        if shared is not None:
            return self._through_shared(shared, x, *args)

        def one(params: Any) -> Array:
            return grad_log_ratio(lambda *inner: self._apply(params, *inner), x, *args)

        return jnp.tensordot(self.weights, self._each(one), 1)

    def _through_shared(self, shared: Callable[..., Any], x: Array, *args: Any) -> Array:
        """The gradient by one pass through what members share, forth and back: it is linear in theirs."""
        seen, back = jax.vjp(lambda z: shared(z, *args), x)

        def one(params: Any, weight: Array) -> tuple[Array, Any]:
            def value(z: Array, given: Any) -> Array:
                return weight * jnp.sum(self._apply(params, z, *args, given=given))

            return jax.grad(value, (0, 1))(x, seen)

        own, through = sum_over_members(one, self.params, self.weights)
        return own + back(through)[0]

    def of_fold(self, fold: int, folds: int) -> EnsembleLogRatio:
        """The members of one of `folds` folds alone, with as much weight together as all have."""
        params, weights = _every(fold, folds, (self.params, self.weights))
        return dataclasses.replace(self, params=params, weights=folds * weights)

    def _apply(self, params: Any, *args: Any, **given: Any) -> Array:
        return self.net.apply({**params, **self.variables}, *args, **given)

    def _each(self, fn: Callable[[Any], Array]) -> Array:
        if isinstance(self.net, FeatureReadout):  # all but a product is the same for all members, and computed once
            return jax.vmap(fn)(self.params)
        return over_members(fn, (0,))(self.params)


@functools.partial(jax.jit, static_argnums=1)
def _every(start: Any, step: int, tree: Any) -> Any:
    """Leaves at start, start + step and so on; their number is a multiple of the step."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, step, *leaf.shape[1:])[:, start], tree)
