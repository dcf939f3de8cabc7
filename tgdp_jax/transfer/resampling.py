"""Samples that are rows, chosen with weights, plus Gaussian noise: what the references without a network draw."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.errors import UserError

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class ReferenceGenerator:
    """Draws by id from kernels around rows: sample i is row `choose(u_i, cond_i)` plus noise, both of its own key.

    Attributes:
      rows: [n, *D].
      bandwidth: standard deviation of the kernels, one for all rows or one a row [n].
      choose: (u [N] in [0, 1), cond) -> row numbers [N].
      score: none.
    """

    rows: np.ndarray
    bandwidth: float | np.ndarray
    choose: Callable[[np.ndarray, Any], np.ndarray]
    score: None = None

    def draw(
        self, key: Array, ids: Any, cond: Any = None, *, progress: Callable[[int], None] | None = None
    ) -> np.ndarray:
        ids = jnp.asarray(np.asarray(ids, np.uint32).reshape(-1))
        uniform = jax.vmap(lambda i: jax.random.uniform(jax.random.fold_in(jax.random.fold_in(key, i), 0)))(ids)
        chosen = self.choose(np.asarray(uniform, np.float64), cond)
        shape = self.rows.shape[1:]
        noise = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(jax.random.fold_in(key, i), 1), shape))(ids)
        if progress is not None:
            progress(len(ids))
        width = np.broadcast_to(np.asarray(self.bandwidth, np.float32), len(self.rows))[chosen]
        return self.rows[chosen] + width.reshape(-1, *(1 for _ in shape)) * np.asarray(noise)


def weighted_choice(weights: np.ndarray, labels: np.ndarray | None) -> Callable[[np.ndarray, Any], np.ndarray]:
    """(u [N] in [0, 1), cond) -> row numbers, by inverse distribution function; within the class cond where given."""

    def choose(u: np.ndarray, cond: Any) -> np.ndarray:
        if cond is None:
            ends = np.cumsum(weights)
            return np.minimum(np.searchsorted(ends, u * ends[-1], side="right"), len(weights) - 1)
        if labels is None:
            raise UserError("labels were asked for but the rows have none: leave cond out")
        out = np.empty(len(u), np.int64)
        for label in np.unique(cond):
            mine, mask = np.flatnonzero(labels == label), cond == label
            if not len(mine):
                raise UserError(f"no row has label {label}: ask for labels that occur")
            ends = np.cumsum(weights[mine])
            out[mask] = mine[np.minimum(np.searchsorted(ends, u[mask] * ends[-1], side="right"), len(mine) - 1)]
        return out

    return choose
