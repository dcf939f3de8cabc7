"""Rows that occur more than once: which are copies, so that none is learned from and judged by at once.

Equal rows are copies unless chance explains them: columns of few values (a binary table) make equal rows by themselves,
and some rows are values that the data take again and again (a blank image). Both are part of what is to be learned and
have to be on either side of a split. A row is taken for such a value where

    N prod_j f_j >= 1/10,    f_j = share of the N rows that have its j-th number,

that is where so many rows are expected to equal it if columns were independent, or where more than a tenth of all rows
equal it. Half of the rows that equal it do not count in f_j: with all of them copies would explain themselves, and
without them a code with a column for each value could not. Single numbers are never told to be copies.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np

# A row that more rows equal than COMMON_SHARE of all, and than COMMON_ROWS, is a value of the data and no copy.
COMMON_SHARE, COMMON_ROWS = 0.1, 10
# So many rows equal it by chance.
EXPECTED = 0.1


def copy_groups(x: np.ndarray) -> np.ndarray:
    """For every row of x [N, *D] the number of the first row that it is a copy of, or its own; int [N]."""
    _, first, of, count = np.unique(_digests(x), return_index=True, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(count > 1)
    common = repeated[_common(x, x[first[repeated]], count[repeated])]
    apart = np.isin(of, common)
    return np.where(apart, np.arange(len(x)), first[of])


def copies_together(order: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Row numbers [N] in the given order, but copies next to one another, where the first of them stood."""
    _, first, of = np.unique(groups[order], return_index=True, return_inverse=True)
    return order[np.argsort(first[of], kind="stable")]


def copy_notes(groups: np.ndarray, rows: str, *, split: bool) -> tuple[str, ...]:
    """What is said of copies among the target's rows; `rows` says what they are, `split` whether some of them judge."""
    copies = int((groups != np.arange(len(groups))).sum())
    if not copies:
        return ()
    side = "; all copies of one are learned from, or all judge" if split else ""
    return (f"target: {copies} of {len(groups)} {rows} are copies of others{side}",)


def judging_notes(judges: np.ndarray, rows: str, **learned: np.ndarray) -> tuple[str, ...]:
    """What is said of rows to judge by that are copies of rows that are learned from, by the name of these."""
    found = {name: copies_between(x, judges) for name, x in learned.items()}
    return tuple(
        f"{copies} of {len(judges)} {rows} to judge by are copies of {name} {rows}"
        for name, copies in found.items()
        if copies
    )


def copies_between(x: np.ndarray, others: np.ndarray) -> int:
    """How many rows of `others` [M, *D] are copies of rows of x [N, *D]."""
    values, count = np.unique(_digests(x), return_counts=True)
    theirs = _digests(others)
    place = np.minimum(np.searchsorted(values, theirs), len(values) - 1)
    found = np.flatnonzero(values[place] == theirs)
    return int((~_common(x, others[found], count[place[found]])).sum())


def _digests(x: np.ndarray) -> np.ndarray:
    """A number for each row [N], the same for equal rows; two unlike rows of a million share one with chance 3e-8."""

    def digest(row: np.ndarray) -> int:
        # Zero has two signs.
        content = (row + 0.0 if row.dtype.kind == "f" else row).tobytes()
        return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest())

    return np.fromiter((digest(row) for row in x), np.uint64, len(x))


def _common(x: np.ndarray, rows: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Which of some rows [G, *D], each equal to `count` [G] rows of x, are values of the data and no copies; bool."""
    expected = np.full(len(rows), math.log(len(x)))
    columns, numbers = x.reshape(len(x), -1), rows.reshape(len(rows), math.prod(x.shape[1:]))
    for j in range(numbers.shape[1]):
        # Of images, a few columns settle it.
        if not (expected >= math.log(EXPECTED)).any():
            break
        values, frequency = np.unique(columns[:, j], return_counts=True)
        expected += np.log((frequency[np.searchsorted(values, numbers[:, j])] - count / 2) / len(x))
    return (expected >= math.log(EXPECTED)) | (count > max(COMMON_ROWS, COMMON_SHARE * len(x)))
