"""Data whose distances tie, each beside a sampler that never emits the value that ties."""

from collections.abc import Callable

import numpy as np

Draw = Callable[[np.random.Generator, int, int], np.ndarray]  # (rng, rows, columns) -> [rows, columns]
ZEROS = 0.6


def continuous(rng, n, dim):
    return rng.normal(size=(n, dim))


def zeros_in_one_column(rng, n, dim):
    x = rng.normal(size=(n, dim))
    x[rng.uniform(size=n) < ZEROS, 0] = 0
    return x


def zeros_in_every_column(rng, n, dim):
    return np.where(rng.uniform(size=(n, dim)) < ZEROS, 0, rng.normal(size=(n, dim)))


def rows_of_zeros(rng, n, dim):
    return np.where(rng.uniform(size=(n, 1)) < ZEROS, 0, rng.normal(size=(n, dim)))


def binary(rng, n, dim):
    return rng.integers(2, size=(n, dim)).astype(float)


def counts(rng, n, dim):
    return rng.poisson(2, size=(n, dim)).astype(float)


def half_blank(rng, n, dim):
    return np.where(rng.uniform(size=(n, 1)) < 0.5, -1, rng.uniform(-1, 1, size=(n, dim)))


def constant_column(rng, n, dim):
    return np.concatenate([np.full((n, 1), 0.1), rng.normal(size=(n, dim - 1))], 1)


KINDS: dict[str, Draw] = {
    draw.__name__: draw
    for draw in (
        continuous,
        zeros_in_one_column,
        zeros_in_every_column,
        rows_of_zeros,
        binary,
        counts,
        half_blank,
        constant_column,
    )
}


def never_blank(rng, n, dim):
    return rng.uniform(-1, 1, size=(n, dim))


def never_a_zero_in_the_first(rng, n, dim):
    return np.concatenate([np.ones((n, 1)), binary(rng, n, dim - 1)], 1)


NEVER: dict[str, Draw] = {
    "zeros_in_one_column": continuous,
    "zeros_in_every_column": continuous,
    "rows_of_zeros": continuous,
    "binary": never_a_zero_in_the_first,
    "half_blank": never_blank,
}
