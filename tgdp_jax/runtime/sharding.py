"""Networks that one device can not hold: weights, their moments and averages split over the devices.

Programs are written as of one device here, and XLA splits them (GSPMD, Xu et al. 2021): the rows of a batch go to
different devices, a layer's weights are gathered where it is computed, and gradients are summed where their weights are
kept (ZeRO, Rajbhandari et al. 2020). Sums over weights are added in another order than on one device.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

Tree = Any
AXIS = "devices"
LEAST = 2**12  # numbers that are worth splitting


@functools.cache
def mesh_of(on: Sequence[Any]) -> Mesh:
    """A line of devices."""
    return Mesh(np.array(on), (AXIS,))


def share(shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    """How an array is kept: split along its longest axis that the devices divide, or a copy on each of them."""
    axes = [axis for axis, length in enumerate(shape) if length % mesh.size == 0]
    if math.prod(shape) < LEAST or not axes:
        return NamedSharding(mesh, PartitionSpec())
    longest = max(axes, key=lambda axis: shape[axis])
    return NamedSharding(mesh, PartitionSpec(*[None] * longest, AXIS))


def placed(tree: Tree, mesh: Mesh) -> Tree:
    """Every leaf where it is kept; those that are there are not copied."""
    return jax.device_put(tree, jax.tree.map(lambda leaf: share(np.shape(leaf), mesh), tree))


def kept(tree: Tree, mesh: Mesh) -> Tree:
    """The same within a program."""
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, share(leaf.shape, mesh)), tree)


def of_rows(mesh: Mesh) -> NamedSharding:
    """Every device has its own rows, whose number the devices divide."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def split_rows(tree: Tree, mesh: Mesh) -> Tree:
    """The rows of a batch, each on its own device, within a program."""
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, of_rows(mesh)), tree)
