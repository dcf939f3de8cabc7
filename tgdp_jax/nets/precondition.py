"""Preconditioning that all networks share.

For data of standard deviation s the variance of x_t is v = alpha^2 s^2 + sigma^2. If the data were Gaussian,
E[eps | x_t] = sigma x_t / v exactly, with residual standard deviation alpha s / sqrt(v). Noise prediction is therefore

    eps_hat = (sigma / v) x_t + (alpha s / sqrt(v)) F(x_t / sqrt(v), t),

so that F has unit-scale inputs and targets at every t (Karras et al. 2022, section 5, written for eps). Log-ratios are
multiplied by alpha / sqrt(alpha^2 + sigma^2): log q_t/p_t vanishes with the signal.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from tgdp_jax.errors import UserError
from tgdp_jax.sde import SDE, expand

Array = jax.Array


def checked_std(data_std: float | tuple[float, ...], x: Array, row: str, of: str) -> Array:
    """data_std as a float array that broadcasts to x [B, *, C]; a row is, say, "an image" of C "channels".

    Raises:
      UserError: it has neither one entry nor C.
    """
    # Not x's type alone: among integers a deviation below one would be zero.
    std = jnp.asarray(data_std, jnp.promote_types(x.dtype, jnp.float32))
    if std.ndim and std.shape != x.shape[-1:]:
        raise UserError(f"data_std has {std.size} entries but {row} has {x.shape[-1]} {of}")
    return std


def scaled_input(x: Array, t: Array, sde: SDE, std: Array | float) -> Array:
    """x_t / sqrt(v), [B, *D].

    Args:
      x: noised rows [B, *D].
      t: times [B].
      sde: the forward process.
      std: standard deviation of the data, one number or one that broadcasts to a row.
    """
    return x / _root_variance(x, t, sde, std)


def noise_of_residual(residual: Array, x: Array, t: Array, sde: SDE, std: Array | float) -> Array:
    """eps_hat [B, *D] from the network's output F [B, *D]; further arguments as of `scaled_input`."""
    root = _root_variance(x, t, sde, std)
    alpha, sigma = expand(sde.alpha(t), x), expand(sde.sigma(t), x)
    return (sigma / root) * (x / root) + (alpha * std / root) * residual


def residual_weight(x: Array, t: Array, sde: SDE, std: Array | float) -> Array:
    """v / (alpha s)^2, [B, *D] or what broadcasts to it: the squared error of eps_hat times this is that of F.

    Weighted so (1 / c_out^2 of Karras et al. 2022, table 1) all times count alike: as noise, large ones hardly count.
    """
    return (_root_variance(x, t, sde, std) / (expand(sde.alpha(t), x) * std)) ** 2


def signal_share(t: Array, sde: SDE) -> Array:
    """alpha / sqrt(alpha^2 + sigma^2), [B]: what a log-ratio is multiplied by."""
    alpha, sigma = sde.alpha(t), sde.sigma(t)
    return alpha / jnp.sqrt(alpha**2 + sigma**2)


def _root_variance(x: Array, t: Array, sde: SDE, std: Array | float) -> Array:
    return jnp.sqrt(expand(sde.alpha(t), x) ** 2 * std**2 + expand(sde.sigma(t), x) ** 2)
