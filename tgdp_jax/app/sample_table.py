"""Samples as a table: of the kind that the source's rows came from, or that was asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tgdp_jax.data.problem import Problem
from tgdp_jax.data.tables.columns import plain_columns
from tgdp_jax.data.tables.files import WRITABLE, check_packages, write_table
from tgdp_jax.errors import UserError


def table_names(problem: Problem) -> tuple[str, ...]:
    """Names of the files in a run folder that hold samples as a table: one where the source's rows are a table."""
    return () if problem.columns is None else (f"samples{problem.columns.ending}",)


def check_table(path: Path, problem: Problem) -> None:
    """Refuses samples that make no table, and a kind of table that can not be written here.

    Raises:
      UserError: rows are no vectors, or a package is missing.
    """
    if problem.kind != "vectors" or len(problem.shape) != 1:
        raise UserError(f"{path} can not hold samples of shape {problem.shape}: give a name that ends in .npz")
    check_packages(path.suffix, str(path))


def write_sample_table(path: Path, problem: Problem, x: np.ndarray, labels: np.ndarray | None) -> None:
    """Writes samples in the user's units as a table, atomically.

    Columns have the names of the source's; of rows that come from no table, x1, x2, ... and y.

    Raises:
      UserError: see `check_table`.
      FileError: the place can not be written or is full.
    """
    check_table(path, problem)
    size, ending = problem.shape[0], path.suffix
    columns = problem.columns or plain_columns(size, labels=labels is not None, ending=ending)
    write_table(path, columns.decode(x, labels, problem.classes))


def is_sample_table(path: Path) -> bool:
    """Whether samples written to this path are a table."""
    return path.suffix in WRITABLE
