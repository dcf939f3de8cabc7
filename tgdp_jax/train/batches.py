"""Drawing on the device: rows, stratified times, and the folds of a cross-validation."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.data.copies import copies_together, copy_groups
from tgdp_jax.errors import UserError
from tgdp_jax.sde import SDE

Array = jax.Array


class Rows(NamedTuple):
    """A subset of row numbers of fixed capacity: `index` [C], of which the first `count` are real."""

    index: Array
    count: Array

    @classmethod
    def put(cls, index: Any, count: Any) -> Rows:
        """From numbers on the host; `jnp.asarray` would compile a program for every shape."""
        return cls(*jax.device_put((index, count)))


def as_rows(data: Any) -> dict[str, Array]:
    """Rows {"x" [N, *D], "y" [N]?} on the device, from such a dict or from x alone.

    Raises:
      UserError: no x, or not one integer label a row.
    """
    data = data if isinstance(data, dict) else {"x": data}
    if "x" not in data or jnp.ndim(data["x"]) < 2:
        raise UserError("rows must be an array [N, *D], or a dict that has one under x and may have labels [N] under y")
    if "y" in data and jnp.shape(data["y"]) != jnp.shape(data["x"])[:1]:
        shapes = jnp.shape(data["y"]), jnp.shape(data["x"])
        raise UserError(f"labels have shape {shapes[0]} but rows {shapes[1]}: give one label a row")
    if "y" in data and not jnp.issubdtype(np.asarray(data["y"]).dtype, np.integer):
        raise UserError(f"labels are {np.asarray(data['y']).dtype}: give integers 0, 1, 2 and so on")
    return {name: jax.device_put(v if isinstance(v, jax.Array) else np.asarray(v)) for name, v in data.items()}


def split_rows(data: dict[str, Array], held_out: float) -> dict[str, Any]:
    """Rows {"x" [N, *D], "y"?} with "train": Rows and "held": Rows, about a share of them; the same for the same rows.

    Copies of one row are on one side.

    Raises:
      UserError: a share outside of (0, 1), or no two different rows.
    """
    if not 0 < held_out < 1:
        raise UserError(f"held_out is {held_out}: it must lie between 0 and 1")
    num = len(data["x"])
    order, starts = _shuffled(copy_groups(np.asarray(data["x"])), seed=0)
    if len(starts) < 2:
        raise UserError(f"{num} rows have nothing to hold out: give at least two that differ")
    held = int(starts[min(np.searchsorted(starts, max(1, int(held_out * num))), len(starts) - 1)])
    parts = {"train": Rows.put(order[held:], num - held), "held": Rows.put(order[:held], held)}
    return {**jax.device_put(data), **parts}


def _shuffled(groups: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers [N] in a random order in which copies follow one another, and where each group of them starts."""
    order = copies_together(np.random.default_rng(seed).permutation(len(groups)), groups)
    return order, np.flatnonzero(np.diff(groups[order], prepend=-1))


def all_rows(num: int) -> Rows:
    """Every one of `num` rows."""
    return Rows.put(np.arange(num), num)


@functools.partial(jax.jit, static_argnums=1)
def repeated(tree: Any, times: int) -> Any:
    """Leaves [K, ...] so many times in a row, [times * K, ...]: what the folds of every candidate have."""
    return jax.tree.map(lambda a: jnp.tile(a, (times,) + (1,) * (a.ndim - 1)), tree)


def draw_rows(key: Array, rows: Rows, num: int) -> Array:
    """`num` row numbers, uniform with replacement."""
    position = jnp.floor(jax.random.uniform(key, (num,)) * rows.count).astype(jnp.int32)
    return rows.index[jnp.minimum(position, rows.count - 1)]


def stratified_times(key: Array, num: int, sde: SDE) -> Array:
    """Times [num] at `sde.training_time` of a stratified u: one draw in each of num equal cells of [0, 1].

    At t < 0.1 it puts 0.6 to 1 times the draws that uniform log-SNR would, and at least 0.3 of all at t > 0.5: small
    times, where the score changes fast, get their share without starving large ones. Measured to matter as much as the
    solver's grid.
    """
    return sde.training_time((jnp.arange(num) + jax.random.uniform(key, (num,))) / num)


def modal_times(key: Array, num: int, modalities: int, sde: SDE) -> Array:
    """Times [num, modalities], independent between the modalities of a row and stratified within each."""
    keys = jax.random.split(key, modalities)
    return jnp.stack([jax.random.permutation(k, stratified_times(k, num, sde)) for k in keys], 1)


def num_folds(folds: int, num: int) -> int:
    """How many folds `num` different rows are split into: `folds`, twice as many up to 20 rows, never more than rows.

    With ten rows, leaving a fifth out costs more than the held-out rows tell; a tenth left out is measurably better.
    """
    return min(num, 2 * folds if num <= 20 else folds)


def cross_validation_rows(x: Any, folds: int) -> tuple[Rows, Rows]:
    """(training, held-out) rows of the K folds, see `num_folds`, that rows x [N, *D] are split into everywhere."""
    groups = copy_groups(np.asarray(x))
    return fold_rows(groups, num_folds(folds, len(np.unique(groups))), seed=0)


def fold_rows(groups: np.ndarray, folds: int, seed: int) -> tuple[Rows, Rows]:
    """(training, held-out) rows of a K-fold split, each with leading axis K; a pure function of its arguments.

    Args:
      groups: rows of the same number are copies of one another [N], which one fold holds; see `copies.copy_groups`.
      folds: K.
      seed: of the order.

    Raises:
      UserError: a fold would be empty, or nothing left to train on.
    """
    order, starts = _shuffled(groups, seed)
    num = len(starts)
    if not 2 <= folds <= num:
        raise UserError(
            f"{num} different rows can not be split into {folds} folds: give at least two, and 2 to {num} folds"
        )
    held = np.split(order, [part[0] for part in np.array_split(starts, folds)[1:]])
    train = [np.concatenate([h for j, h in enumerate(held) if j != k]) for k in range(folds)]

    def pack(parts: list[np.ndarray]) -> Rows:
        capacity = max(len(p) for p in parts)
        index = np.stack([np.resize(p, capacity) for p in parts])
        return Rows.put(index, np.array([len(p) for p in parts]))

    return pack(train), pack(held)


def mean_weights(rows: Rows) -> Array:
    """Weights [C] that make a sum over `rows.index` the mean over the rows that are real."""
    return jnp.where(jnp.arange(rows.index.shape[0]) < rows.count, 1.0, 0.0) / rows.count
