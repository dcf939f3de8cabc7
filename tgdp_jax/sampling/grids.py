"""Time grids: num_steps + 1 decreasing times from 1 to the process's t_min.

The grid matters more than the solver: steps must crowd where the score changes fast, at small t (on the paper's
simulation DPM-Solver++(2M) at 25 evaluations is at the floor on a uniform log-SNR grid and far from it on uniform t).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from tgdp_jax.errors import UserError, choose
from tgdp_jax.sde import SDE

Array = jax.Array


def uniform(sde: SDE, num_steps: int) -> Array:
    """Equal steps in t."""
    return jnp.linspace(1.0, sde.t_min, num_steps + 1)


def quadratic(sde: SDE, num_steps: int) -> Array:
    """t = u^2 with u equally spaced."""
    return jnp.linspace(1.0, sde.t_min**0.5, num_steps + 1) ** 2


def log_snr(sde: SDE, num_steps: int) -> Array:
    """Equal steps in log-SNR (Lu et al. 2022)."""
    ends = sde.log_snr(jnp.array([1.0, sde.t_min]))
    grid = sde.t_of_log_snr(jnp.linspace(ends[0], ends[1], num_steps + 1))
    return grid.at[0].set(1.0).at[-1].set(sde.t_min)


def edm(sde: SDE, num_steps: int, *, rho: float = 7.0) -> Array:
    """Equal steps in (sigma/alpha)^(1/rho) (Karras et al. 2022, eq. 5)."""
    ends = jnp.exp(-0.5 * sde.log_snr(jnp.array([1.0, sde.t_min]))) ** (1 / rho)
    ratio = jnp.linspace(ends[0], ends[1], num_steps + 1) ** rho
    grid = sde.t_of_log_snr(-2.0 * jnp.log(ratio))
    return grid.at[0].set(1.0).at[-1].set(sde.t_min)


GRIDS: dict[str, Callable[[SDE, int], Array]] = {
    "uniform": uniform,
    "quadratic": quadratic,
    "log_snr": log_snr,
    "edm": edm,
}


def make_grid(name: str, sde: SDE, num_steps: int) -> Array:
    """The named grid, [num_steps + 1], float32, from 1 down to `sde.t_min`.

    Raises:
      UserError: unknown name, or fewer than one step.
    """
    choose("time grid", name, GRIDS)
    if num_steps < 1:
        raise UserError(f"num_steps must be at least 1, got {num_steps}")
    return _grid(name, sde, num_steps)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _grid(name: str, sde: SDE, num_steps: int) -> Array:
    return GRIDS[name](sde, num_steps)
