"""Trained numbers apart from frozen ones: how a network's parameters are made of both.

A `Reparam` is a pair of pure functions on trees,

    trainable = init(key, base),      params = merge(base, trainable),      merge(base, init(key, base)) = base,

so that training starts where the base stands. An optimiser is handed the trainable tree alone: gradients, clipping,
weight decay and moments can not reach the base. Low-rank adaptation (LoRA, Hu et al. 2022) is

    W = W_0 + (alpha / rank) B A,      B = 0 at the start,

for a kernel W_0 of Linen, whose rows are inputs: there the product is A B with A [inputs, rank], B [rank, outputs].
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from typing import Any, Protocol

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.errors import UserError

Array = jax.Array
Tree = Any


class Reparam(Protocol):
    """Hashable, so that a training task can hold one. Trees are nested dicts of arrays, as Linen's parameters."""

    def init(self, key: Array, base: Tree) -> Tree:
        """What is trained, at its start."""
        ...

    def merge(self, base: Tree, trainable: Tree) -> Tree:
        """The parameters, shaped as `base`."""
        ...

    def average(self, members: Tree) -> Tree:
        """The trainable tree whose parameters are the mean of those that members [K, ...] make of one base."""
        ...


@functools.partial(jax.jit, static_argnums=0)
def started(reparam: Reparam, key: Array, base: Tree) -> Tree:
    """`reparam.init`, compiled."""
    return reparam.init(key, base)


@functools.partial(jax.jit, static_argnums=0)
def merged(reparam: Reparam, base: Tree, trainable: Tree) -> Tree:
    """`reparam.merge`, compiled."""
    return reparam.merge(base, trainable)


def averaged(reparam: Reparam | None, members: Tree) -> Tree:
    """`reparam.average`; without one, where the weights themselves are trained, their mean."""
    return _mean(members) if reparam is None else reparam.average(members)


def _mean(members: Tree) -> Tree:
    return jax.tree.map(lambda leaf: jnp.mean(leaf, 0), members)


def flat(tree: Tree) -> dict[str, Any]:
    """Leaves by their path, such as params/MLP_0/Dense_0/kernel."""
    return flax.traverse_util.flatten_dict(tree, sep="/")


def nested(leaves: dict[str, Any]) -> Tree:
    """Inverse of `flat`."""
    return flax.traverse_util.unflatten_dict(leaves, sep="/")


def carried_over(known: Tree, fresh: Tree) -> Tree:
    """`fresh` with the leaves of `known` that have the same path and shape; what `known` has no path of is zero.

    Args:
      known: arrays.
      fresh: arrays, or their shapes where all of `known`'s fit.
    """
    old = flat(known)

    def leaf(path: str, new: Any) -> Any:
        if path not in old:
            return jnp.zeros(new.shape)
        return old[path] if old[path].shape == new.shape else new

    return nested({path: leaf(path, new) for path, new in flat(fresh).items()})


def _chosen(pattern: str, leaves: dict[str, Any]) -> list[str]:
    """Paths in which the pattern is found.

    Raises:
      UserError: there is none.
    """
    found = sorted(path for path in leaves if re.search(pattern, path))
    if not found:
        raise UserError(
            f"no parameters match {pattern!r}: choose among {', '.join(sorted(leaves)[:4])} and {len(leaves)} in all"
        )
    return found


@dataclasses.dataclass(frozen=True)
class Chosen:
    """Some leaves are trained as they are: those whose path has the regular expression `pattern` in it."""

    pattern: str

    def init(self, key: Array, base: Tree) -> Tree:
        leaves = flat(base)
        return nested({path: leaves[path] for path in _chosen(self.pattern, leaves)})

    def merge(self, base: Tree, trainable: Tree) -> Tree:
        return nested({**flat(base), **flat(trainable)})

    def average(self, members: Tree) -> Tree:
        return _mean(members)


@dataclasses.dataclass(frozen=True)
class LastRow:
    """The last row of some leaves is trained, such as a new token's embedding below those of all others.

    A trainable tree has, in the place of each leaf, {"row": [...]}.

    Attributes:
      pattern: regular expression, found in the paths of these leaves.
      count: rows; of several, a trainable tree has them all as one array.
    """

    pattern: str
    count: int = 1

    def init(self, key: Array, base: Tree) -> Tree:
        leaves = flat(base)
        which = -1 if self.count == 1 else slice(-self.count, None)
        return nested({f"{path}/row": leaves[path][which] for path in _chosen(self.pattern, leaves)})

    def merge(self, base: Tree, trainable: Tree) -> Tree:
        leaves = flat(base)
        for name, row in flat(trainable).items():
            path = name.removesuffix("/row")
            leaves[path] = leaves[path].at[-self.count :].set(row)
        return nested(leaves)

    def average(self, members: Tree) -> Tree:
        return _mean(members)


@dataclasses.dataclass(frozen=True)
class LowRank:
    """Low-rank adapters beside kernels of dense, convolutional and attention layers.

    A trainable tree has, in the place of a kernel, {"a": [inputs, r], "b": [r, outputs]}. A convolution's inputs are
    windows; an attention projection's inputs or outputs are all heads together. r is `rank`, or as many rows or columns
    as the kernel has where that is less.

    Attributes:
      rank: of the change to a kernel.
      alpha: the change is scaled by alpha / rank.
      targets: regular expression, found in the paths of the kernels that are adapted.
    """

    rank: int
    alpha: float
    targets: str = "kernel$"

    @property
    def scale(self) -> float:
        """alpha / rank."""
        return self.alpha / self.rank

    def init(self, key: Array, base: Tree) -> Tree:
        """A normal with variance 1 / inputs, B zero.

        Raises:
          UserError: no kernel matches.
        """
        leaves = {path: leaf for path, leaf in flat(base).items() if leaf.ndim > 1}
        sizes = {path: matrix_shape(path, leaves[path].shape) for path in _chosen(self.targets, leaves)}
        ranks = {path: min(self.rank, *size) for path, size in sizes.items()}
        ends = np.cumsum([size[0] * rank for size, rank in zip(sizes.values(), ranks.values(), strict=True)])
        # One draw for all: it compiles once, not once a kernel.
        draws = jnp.split(jax.random.normal(key, (ends[-1],)), ends[:-1])
        out = {}
        for (path, (inputs, outputs)), draw in zip(sizes.items(), draws, strict=True):
            out[f"{path}/a"] = draw.reshape(inputs, ranks[path]) / math.sqrt(inputs)
            out[f"{path}/b"] = jnp.zeros((ranks[path], outputs))
        return nested(out)

    def merge(self, base: Tree, trainable: Tree) -> Tree:
        return self._moved(base, trainable, self.scale)

    def average(self, members: Tree) -> Tree:
        """Adapters of K times the rank and alpha (or of the kernel's own rank, where that is less).

        The mean of the products A B is one product, of the A side by side and the B on top of one another; the mean of
        the factors would be something else.
        """
        factors, out = flat(members), {}
        for path in _adapted(factors):
            a, b = factors[f"{path}/a"], factors[f"{path}/b"]
            wide = jnp.concatenate(list(a), 1)
            tall = jnp.concatenate(list(b), 0) / len(b)
            inputs, outputs = len(wide), tall.shape[1]
            if wide.shape[1] > min(inputs, outputs):
                change = jnp.matmul(wide, tall, precision=jax.lax.Precision.HIGHEST)
                wide, tall = (jnp.eye(inputs), change) if inputs <= outputs else (change, jnp.eye(outputs))
            out[f"{path}/a"], out[f"{path}/b"] = wide, tall
        return nested(out)

    def unmerge(self, params: Tree, trainable: Tree) -> Tree:
        """The base of merged parameters, up to rounding."""
        return self._moved(params, trainable, -self.scale)

    def _moved(self, params: Tree, trainable: Tree, scale: float) -> Tree:
        leaves, factors = flat(params), flat(trainable)
        for path in _adapted(factors):
            a, b = factors[f"{path}/a"], factors[f"{path}/b"]
            change = jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
            leaves[path] = leaves[path] + scale * change.reshape(leaves[path].shape)
        return nested(leaves)


def _adapted(factors: dict[str, Any]) -> dict[str, None]:
    """Paths of the kernels that adapters change."""
    return dict.fromkeys(name.rsplit("/", 1)[0] for name in factors)


def matrix_shape(path: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """(inputs, outputs) of a kernel of this shape: the last axis is outputs, except in Linen's query, key and value
    projections [inputs, heads, channels]."""
    split = 1 if len(shape) == 3 and path.split("/")[-2] in ("query", "key", "value") else len(shape) - 1
    return math.prod(shape[:split]), math.prod(shape[split:])


@dataclasses.dataclass(frozen=True)
class Joint:
    """Several reparametrisations of disjoint leaves together."""

    parts: tuple[Reparam, ...]

    def init(self, key: Array, base: Tree) -> Tree:
        return {str(i): part.init(jax.random.fold_in(key, i), base) for i, part in enumerate(self.parts)}

    def merge(self, base: Tree, trainable: Tree) -> Tree:
        for i, part in enumerate(self.parts):
            base = part.merge(base, trainable[str(i)])
        return base

    def average(self, members: Tree) -> Tree:
        return {str(i): part.average(members[str(i)]) for i, part in enumerate(self.parts)}
