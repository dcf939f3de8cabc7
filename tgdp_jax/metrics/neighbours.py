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
# Distances tie with a radius if they differ from it by less than this share: a copy of the row that sets the radius
# then lies exactly at it, whatever the rounding of the two distances.
TIE = 1e-9


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


def ball_counts(centres: np.ndarray, radii: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many of points [M, D] are nearer to each centre [N, D] than its radius [N], and how many exactly as far."""
    if centres.shape[1] <= TREE_MAX_DIM:
        tree = KDTree(points)
        # A ball of radius zero has no inside, but the tree's balls are closed.
        inside = np.where(radii > 0, _tree_counts(tree, centres, radii * (1 - TIE)), 0)
        return inside, _tree_counts(tree, centres, radii * (1 + TIE)) - inside
    found = [(inside.sum(1), closed.sum(1)) for inside, closed in _blocks(centres, radii, points)]
    inside, closed = (np.concatenate(counts) for counts in zip(*found, strict=True))
    return inside, closed - inside


def _tree_counts(tree: KDTree, centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    return np.asarray(tree.query_ball_point(centres, radii, return_length=True, workers=-1))


def covered(centres: np.ndarray, radii: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Whether each of points [M, D] lies in at least one closed ball; bool [M].

    Args:
      centres: [N, D].
      radii: [N], the same for equal centres.
      points: [M, D].
    """
    if centres.shape[1] <= TREE_MAX_DIM:
        # Each distinct row once: lists of who is in whose ball grow as the square of the repeats.
        centres, first = np.unique(centres, axis=0, return_index=True)
        points, which = np.unique(points, axis=0, return_inverse=True)
        lists = KDTree(points).query_ball_point(centres, radii[first] * (1 + TIE), workers=-1)
        hit = np.zeros(len(points), bool)
        hit[np.concatenate([np.asarray(one, int) for one in lists])] = True
        return hit[which.reshape(-1)]
    hit = np.zeros(len(points), bool)
    for _, closed in _blocks(centres, radii, points):
        hit |= closed.any(0)
    return hit


def _blocks(centres: np.ndarray, radii: np.ndarray, points: np.ndarray):
    """Blocks of two masks [BLOCK, M]: which point is nearer to which centre than its radius, and which no farther."""
    centres, points = _centred(centres, points)
    square = (points**2).sum(1)
    # |a|^2 + |b|^2 - 2 a.b is rounded by less than this share of |a|^2 + |b|^2.
    rounding = 2 * (centres.shape[1] + 2) * np.finfo(np.float64).eps
    for start in range(0, len(centres), BLOCK):
        part, radius = centres[start : start + BLOCK], radii[start : start + BLOCK] ** 2
        own, twice = (part**2).sum(1), 2 * part @ points.T
        # |a|^2 + |b|^2 - r^2 against 2 a.b, with what counts as a tie added or taken off.
        inside = (own * (1 + rounding) - radius * (1 - 2 * TIE))[:, None] + square * (1 + rounding)
        closed = (own * (1 - rounding) - radius * (1 + 2 * TIE))[:, None] + square * (1 - rounding)
        yield twice > inside, twice >= closed


def _centred(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both shifted by one vector, so that |a|^2 + |b|^2 - 2 a.b does not cancel; distances stay as they are."""
    middle = np.median(b, axis=0)
    return a - middle, b - middle
