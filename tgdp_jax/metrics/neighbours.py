"""Nearest-neighbour queries in double precision: a k-d tree in few dimensions, brute force in many.

Above about eight dimensions a tree visits most of its leaves (10,000 points in d = 12: 1 s, brute force 0.2 s).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial import KDTree
from sklearn.neighbors import NearestNeighbors

TREE_MAX_DIM = 8
BLOCK = 512  # rows of distances held at once by brute force
# Relative shrinkage that makes balls open: a copy of the row that sets the radius then lies outside, whatever the
# rounding of the two distances.
OPEN = 1 - 1e-9


def nearest_distance(points: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """Euclidean distance [N] from points [N, D] to the nearest row of pool [M, D]; exactly zero for copies."""
    return np.linalg.norm(points - pool[_neighbours(points, pool, 1)[:, 0]], axis=-1)


def kth_distance(points: np.ndarray, k: int) -> np.ndarray:
    """Distance [N] from each of points [N, D] to its k-th nearest other row, N > k."""
    # A point is among its own k + 1 nearest rows, at distance zero; where its twins crowd it out, zero is right too.
    found = points[_neighbours(points, points, k + 1)]
    return np.linalg.norm(points[:, None] - found, axis=-1).max(1)


def _neighbours(points: np.ndarray, pool: np.ndarray, k: int) -> np.ndarray:
    """Indices [N, k] of the nearest rows of the pool."""
    if points.shape[1] <= TREE_MAX_DIM:
        tree: Any = KDTree(pool)  # its stubs know k as a number only
        return tree.query(points, k=np.arange(1, k + 1), workers=-1)[1]
    points, pool = _centred(points, pool)
    return NearestNeighbors(n_neighbors=k, algorithm="brute").fit(pool).kneighbors(points, return_distance=False)


def ball_counts(centres: np.ndarray, radii: np.ndarray, points: np.ndarray) -> np.ndarray:
    """How many of points [M, D] lie in each open ball [N] with centres [N, D] and radii [N]."""
    if centres.shape[1] <= TREE_MAX_DIM:
        # A ball of radius zero is empty, but the tree's balls are closed.
        inside = KDTree(points).query_ball_point(centres, radii * OPEN, return_length=True, workers=-1)
        return np.where(radii > 0, inside, 0)
    return np.concatenate([inside.sum(1) for inside in _blocks(centres, radii, points)])


def covered(centres: np.ndarray, radii: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Whether each of points [M, D] lies in at least one open ball with centres [N, D] and radii [N]; bool [M]."""
    hit = np.zeros(len(points), bool)
    if centres.shape[1] <= TREE_MAX_DIM:
        keep = radii > 0
        if keep.any():
            lists = KDTree(points).query_ball_point(centres[keep], radii[keep] * OPEN, workers=-1)
            hit[np.concatenate([np.asarray(one, int) for one in lists])] = True
        return hit
    for inside in _blocks(centres, radii, points):
        hit |= inside.any(0)
    return hit


def _blocks(centres: np.ndarray, radii: np.ndarray, points: np.ndarray):
    """Blocks [BLOCK, M] of which point lies in which ball."""
    centres, points = _centred(centres, points)
    square = (points**2).sum(1)
    for start in range(0, len(centres), BLOCK):
        part = centres[start : start + BLOCK]
        distance = (part**2).sum(1)[:, None] + square - 2 * part @ points.T
        # Rounding may leave less than zero, which would put copies into balls of radius zero.
        yield np.maximum(distance, 0) < (OPEN * radii[start : start + BLOCK, None]) ** 2


def _centred(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both shifted by one vector, so that |a|^2 + |b|^2 - 2 a.b does not cancel; distances stay as they are."""
    middle = np.median(b, axis=0)
    return a - middle, b - middle
