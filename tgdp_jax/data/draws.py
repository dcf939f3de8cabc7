"""Rows drawn one key a sample."""

from __future__ import annotations

from typing import Any

import jax


@jax.jit
def choose_rows(key: Any, ids: Any, num: Any) -> Any:
    """Row numbers [N] below num, one for each id [N]; compiled once a number of ids."""
    return jax.vmap(lambda i: jax.random.randint(jax.random.fold_in(key, i), (), 0, num))(ids)
