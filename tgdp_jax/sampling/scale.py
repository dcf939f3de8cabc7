"""The standard deviation of the data, as samplers and likelihoods take it."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import numpy as np

from tgdp_jax.errors import UserError
from tgdp_jax.prediction import NetworkScore


def deviation(given: Any, score: Any, shape: tuple[int, ...]) -> np.ndarray:
    """What is given, or the largest of what the score's networks say, else 1; broadcasts against a row [*shape].

    Raises:
      UserError: not positive, or of another shape.
    """
    if given is None:
        nodes = jax.tree.leaves(score, is_leaf=lambda node: isinstance(node, NetworkScore))
        known = [getattr(node.net, "data_std", 1.0) for node in nodes if isinstance(node, NetworkScore)]
        given = functools.reduce(np.maximum, known) if known else 1.0
    std = np.asarray(given, np.float32)
    if std.size == math.prod(shape):
        std = std.reshape(shape)
    try:
        usable = (np.broadcast_to(std, shape) > 0).all()
    except ValueError:
        usable = False
    if not usable:
        raise UserError(f"data_std must be positive and broadcast against a sample of shape {shape}")
    return std
