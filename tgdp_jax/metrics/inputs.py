"""What every metric asks of its inputs: finite numbers, one sample a row, rows of one length."""

from __future__ import annotations

from typing import Any

import numpy as np

from tgdp_jax.errors import UserError


def rows(name: str, x: Any, *, at_least: int = 1) -> np.ndarray:
    """`x` [N, *D] as float64 rows [N, prod D]; scalars samples [N] become [N, 1].

    Args:
      name: what the caller calls this argument, for the message.
      x: samples, leading axis N.
      at_least: fewest rows the metric is defined for.

    Raises:
      UserError: not numbers, no leading axis, too few rows, empty rows, or a NaN or infinity.
    """
    try:
        x = np.asarray(x, np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name} must be an array of real numbers with one sample a row, got {type(x)}") from error
    if x.ndim == 0:
        raise UserError(f"{name} must have one sample a row, got a single number")
    if len(x) < at_least:
        raise UserError(f"{name} has {len(x)} rows but this metric needs at least {at_least}: pass more samples")
    if x.size == 0:
        raise UserError(f"{name} of shape {x.shape} holds no numbers: pass samples with at least one coordinate")
    finite = np.isfinite(x.reshape(len(x), -1)).all(1)
    if not finite.all():
        raise UserError(
            f"{name} has NaN or infinity in {(~finite).sum()} of {len(x)} rows: the sampler or its network diverged, "
            "lower the learning rate or the guidance scale, or remove these rows"
        )
    return x.reshape(len(x), -1)


def pair(name_x: str, x: Any, name_y: str, y: Any, *, at_least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 rows [N, D] and [M, D].

    Raises:
      UserError: as `rows`, or rows of different lengths.
    """
    x, y = rows(name_x, x, at_least=at_least), rows(name_y, y, at_least=at_least)
    if x.shape[1] != y.shape[1]:
        raise UserError(
            f"{name_x} has {x.shape[1]} numbers a row and {name_y} {y.shape[1]}: compare samples of the same shape"
        )
    return x, y


def positive(name: str, number: int) -> None:
    """Refuses counts below one.

    Raises:
      UserError: `number` < 1.
    """
    if number < 1:
        raise UserError(f"{name} must be at least 1, got {number}")
