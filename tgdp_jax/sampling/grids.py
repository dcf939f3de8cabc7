"""Time grids: num_steps + 1 decreasing times from 1 to the process's t_min.

The grid matters more than the solver: steps must crowd where the score changes fast, at small t (on the paper's
simulation DPM-Solver++(2M) at 25 evaluations is at the floor on a uniform log-SNR grid and far from it on uniform t).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.errors import UserError, named_or_own
from tgdp_jax.sampling.registry import GRIDS
from tgdp_jax.sde import SDE

Array = jax.Array


def uniform(sde: SDE, num_steps: int) -> Array:
    """Equal steps in t."""
    return jnp.linspace(1.0, sde.t_min, num_steps + 1)


def trailing(sde: SDE, num_steps: int) -> Array:
    """Equal steps in t that would end at zero, the last of them cut at t_min: diffusers' timestep_spacing "trailing".

    Times of a discrete chain are steps of it (Lin et al. 2023, section 3.3).

    Raises:
      UserError: the last step has no room before t_min.
    """
    if not 1.0 / num_steps > 1.5 * sde.t_min:
        raise UserError(f"a trailing grid that ends at {sde.t_min:g} has fewer steps than {num_steps}: take fewer")
    times = np.linspace(1.0, 0.0, num_steps + 1)
    if chain := getattr(sde, "num_steps", None):
        times = np.round(times * chain) / chain
    return jnp.asarray(times).at[-1].set(sde.t_min)


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


def blend(sde: SDE, num_steps: int, data_std: Array | float = 1.0) -> Array:
    """Equal steps in 3/4 of the angle atan(sigma / (alpha data_std)) and 1/4 of the log-SNR, both scaled to [0, 1].

    The angle crowds steps where data and noise are alike, the log-SNR towards small t; few steps need both.
    """
    half = 0.5 * sde.log_snr(jnp.array([1.0, sde.t_min]))
    fine = jnp.linspace(half[0], half[1], 4001)
    angle = jnp.arctan(jnp.exp(-fine) / data_std)
    evenly = 0.25 * (fine - fine[0]) / (fine[-1] - fine[0]) + 0.75 * (angle[0] - angle) / (angle[0] - angle[-1])
    grid = sde.t_of_log_snr(2.0 * jnp.interp(jnp.linspace(0.0, 1.0, num_steps + 1), evenly, fine))
    return grid.at[0].set(1.0).at[-1].set(sde.t_min)


Grid = Callable[[SDE, int], Array]  # (sde, num_steps) -> times [num_steps + 1]


def make_grid(grid: str | Grid, sde: SDE, num_steps: int, data_std: Any = 1.0) -> Array:
    """Times [num_steps + 1], float32, from 1 down to `sde.t_min`.

    Args:
      grid: a name in `GRIDS`, or a function (sde, num_steps) -> times.
      sde: the process.
      num_steps: steps.
      data_std: standard deviation of the data, which `blend` uses; of an array its root mean square.

    Raises:
      UserError: unknown name, fewer than one step, or a function that does not return decreasing times from 1 to t_min.
    """
    make = named_or_own("time grid", grid, GRIDS, "(sde, num_steps)")
    if num_steps < 1:
        raise UserError(f"num_steps must be at least 1, got {num_steps}")
    if isinstance(grid, str):
        std = np.asarray(data_std, jnp.result_type(float))
        return _known(make, sde, num_steps, std.dtype.name, std.shape, std.tobytes())
    return _checked(make(sde, num_steps), sde, num_steps)


def _checked(times: Any, sde: SDE, num_steps: int) -> Array:
    times = np.asarray(times, np.float32)
    wanted = f"a time grid of {num_steps} steps is {num_steps + 1} decreasing times from 1 to t_min = {sde.t_min:g}"
    if times.shape != (num_steps + 1,):
        raise UserError(f"{wanted}, not an array of shape {times.shape}")
    ends = np.isclose(times[[0, -1]], [1.0, sde.t_min], rtol=1e-4, atol=0).all()
    if not (ends and (np.diff(times) < 0).all()):
        raise UserError(f"{wanted}, not from {times[0]:g} to {times[-1]:g} with steps up to {np.diff(times).max():g}")
    return jnp.asarray(times)


@functools.lru_cache(maxsize=64)
def _known(
    make: Callable[..., Array], sde: SDE, num_steps: int, dtype: str, shape: tuple[int, ...], data_std: bytes
) -> Array:
    """A grid that was made before: making one takes a tenth of the time that a few samples do."""
    std = np.frombuffer(data_std, dtype).reshape(shape)
    # Compiled apart and called: within a program that is being traced, too, it gives numbers, which can be kept. They
    # have the bits of a jitted call, which `jax.ensure_compile_time_eval` would change, and with them all samples.
    return _grid.lower(make, sde, num_steps, std).compile()(std)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _grid(make: Callable[..., Array], sde: SDE, num_steps: int, data_std: Array) -> Array:
    if make is blend:
        return blend(sde, num_steps, jnp.sqrt(jnp.mean(jnp.square(data_std))))
    return make(sde, num_steps)
