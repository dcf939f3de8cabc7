"""The numbers that forward processes take: for the processes, and for settings, which are checked without JAX."""

from __future__ import annotations

import math

from tgdp_jax.errors import UserError


def check_betas(beta_min: float, beta_max: float) -> None:
    """Raises:
    UserError: not positive, finite and increasing."""
    _check_order(beta_min, beta_max, "beta_min and beta_max")


def check_sigmas(sigma_min: float, sigma_max: float) -> None:
    """Raises:
    UserError: not positive, finite and increasing."""
    _check_order(sigma_min, sigma_max, "sigma_min and sigma_max")


def check_chain(beta_start: float, beta_end: float, num_steps: int) -> None:
    """Raises:
    UserError: betas that are no shares, or decrease, or no step."""
    if not 0 < beta_start <= beta_end < 1:
        raise UserError(f"beta_start and beta_end must lie in (0, 1), in order, got {beta_start} and {beta_end}")
    if num_steps < 1:
        raise UserError(f"a chain has at least one step, got {num_steps}")


def _check_order(low: float, high: float, names: str) -> None:
    if not 0 < low < high < math.inf:
        raise UserError(f"{names} must be positive, finite and increasing, got {low} and {high}")
