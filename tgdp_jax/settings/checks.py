"""Checks that several settings share."""

from __future__ import annotations

import re

from tgdp_jax.errors import UserError, choose
from tgdp_jax.nets.registry import EMBEDDINGS

# Of a network: more take hours to compile.
MAX_LAYERS = 1000


def check_seed(seed: int, name: str = "seed") -> None:
    """Raises:
    UserError: it is no seed."""
    if not 0 <= seed < 2**32:
        raise UserError(f"{name} is {seed}: it must lie in 0..2^32-1")


def check_layers(name: str, layers: int) -> None:
    """Raises:
    UserError: there are too many."""
    if layers > MAX_LAYERS:
        raise UserError(f"{name} is {layers}: give at most {MAX_LAYERS} layers")


def check_rates(learning_rates: tuple[float, ...]) -> None:
    """Raises:
    UserError: no rate, or one that is not positive."""
    if not learning_rates or not min(learning_rates) > 0:
        raise UserError(f"learning-rates is {learning_rates}: give at least one positive rate")


def check_network(features: tuple[int, ...], embedding: str = EMBEDDINGS[0]) -> None:
    choose("time embedding", embedding, EMBEDDINGS)
    if not features or min(features) < 1:
        raise UserError(f"features is {features}: give at least one width of at least 1")


def check_folds(folds: int, batch_size: int) -> None:
    """Raises:
    UserError: too few folds or rows in a batch."""
    if folds < 2:
        raise UserError(f"folds is {folds}: at least 2 are needed to hold rows out")
    if batch_size < 2:
        raise UserError(f"batch_size is {batch_size}: source and target rows share a batch, give at least 2")


def check_pattern(pattern: str) -> None:
    """Raises:
    UserError: not a regular expression."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise UserError(f"{pattern!r} is not a regular expression ({error}): give one such as 'kernel$'") from error


def check_sample_number(num: int) -> None:
    """Raises:
    UserError: so many samples can not be drawn."""
    if not 1 <= num < 2**32:
        raise UserError(f"num is {num}: ask for at least one sample, and fewer than 2^32, which have an id each")
