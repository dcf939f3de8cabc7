"""Exact log-likelihood under a score model, by the probability-flow ODE.

With v = alpha^2 s^2 + sigma^2, s the data's standard deviation, y = x / sqrt(v) and the angle
a = atan(sigma / (alpha s)) the flow is dy/da = F, the residual that preconditioned networks put out
(`sampling.linear_multistep`): zero for N(0, s^2 I) data, bounded and smooth for others, whatever the process. Along it
d log p(y) / da = -div F (Song et al. 2021, eq. 39), so that in D dimensions

    log p(x_{t_min}) = log p_1(x_1) + D/2 log(v_1 / v_{t_min}) + integral of div F da  from t_min to 1.

Integrated with classical fourth-order Runge-Kutta over the angle as one lax.scan. The grid "blend" sees how rough a
trained network is at small times, which equal steps of the angle pass over.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.errors import UserError, choose
from tgdp_jax.prediction import ScoreFn, as_score, x0_and_eps
from tgdp_jax.runtime.parallel import in_chunks
from tgdp_jax.sampling.grids import make_grid
from tgdp_jax.sampling.linear_multistep import FORMS
from tgdp_jax.sampling.scale import deviation
from tgdp_jax.sde import SDE

Array = jax.Array
DIVERGENCES = ("exact", "hutchinson")
# Twice the number that judges trained models (`metrics.likelihood`): the error is that of single precision.
NUM_STEPS = 24


def log_likelihood(
    x: Any,
    score_fn: ScoreFn,
    sde: SDE,
    *,
    cond: Any = None,
    num_steps: int = NUM_STEPS,
    divergence: str = "exact",
    key: Array | None = None,
    data_std: Any = None,
    chunk: int = 1024,
) -> np.ndarray:
    """log density [N], in nats, of x [N, *D] under the model that `score_fn` defines.

    Args:
      x: points, taken as being at t_min.
      score_fn: (x [B, *D], t [B], cond) -> score [B, *D].
      sde: the forward process.
      cond: None, or a tree of arrays with leading axis N.
      num_steps: Runge-Kutta steps (four score evaluations each).
      divergence: "exact" (D derivatives an evaluation) or "hutchinson" (one, unbiased, noisy).
      key: PRNG key of Hutchinson's probes; default a fixed one.
      data_std: standard deviation of the data, a number or an array that broadcasts against a row, whose root mean
        square is taken; wrong by a factor of two costs little. None: as the score's networks say, or 1.
      chunk: rows a device takes at a time.

    Raises:
      UserError: unknown divergence, no rows or steps, or a cond or data_std that does not match x.
    """
    choose("divergence", divergence, DIVERGENCES)
    key = jax.random.key(0) if key is None else key
    x = np.asarray(x, np.float32)
    if min(len(x), num_steps, chunk) < 1:
        raise UserError(f"rows, num_steps and chunk must be at least 1, got {len(x)}, {num_steps} and {chunk}")
    for leaf in jax.tree.leaves(cond):
        if np.shape(leaf)[:1] != x.shape[:1]:
            raise UserError(f"cond has leading shape {np.shape(leaf)[:1]} but there are {len(x)} rows")
    score = as_score(score_fn)
    std = np.sqrt(np.mean(np.square(deviation(data_std, score, x.shape[1:]))))
    times = np.asarray(make_grid("blend", sde, num_steps, std), np.float64)[::-1]
    angles = np.arctan(np.exp(-0.5 * np.asarray(sde.log_snr(jnp.asarray(times)), np.float64)) / std)
    return in_chunks(
        _chunk,
        (np.arange(len(x), dtype=np.uint32), x, cond),
        key,
        score,
        angles.astype(np.float32),
        std,
        chunk=chunk,
        static={"sde": sde, "divergence": divergence},
    )


def _chunk(rows: Any, key: Array, score: Any, angles: Array, std: Array, *, sde: SDE, divergence: str) -> Array:
    index, x, cond = rows
    size = int(np.prod(x.shape[1:]))
    probe = jax.vmap(lambda i: jax.random.rademacher(jax.random.fold_in(key, i), x.shape[1:], x.dtype))(index)
    form = FORMS["residual"]

    def at(angle: Array) -> tuple[Array, Array, Array, Array]:
        """(t, alpha, sigma, x / y)."""
        t = jnp.clip(sde.t_of_log_snr(-2.0 * jnp.log(std * jnp.tan(angle))), sde.t_min, 1.0)
        return t, sde.alpha(t), sde.sigma(t), form.unit(sde.alpha(t), sde.sigma(t), std)

    def velocity(y: Array, angle: Array) -> Array:
        t, alpha, sigma, unit = at(angle)
        x = unit * y
        return form.output(x, *x0_and_eps(score, x, t, cond, alpha, sigma), alpha, sigma, std)

    def rates(y: Array, angle: Array) -> tuple[Array, Array]:
        def along(direction: Array) -> tuple[Array, Array]:
            v, dv = jax.jvp(lambda z: velocity(z, angle), (y,), (direction,))
            return v, jnp.sum((dv * direction).reshape(y.shape[0], -1), -1)

        if divergence == "hutchinson":
            return along(probe)
        basis = jnp.eye(size).reshape(size, 1, *y.shape[1:])
        _, parts = jax.lax.map(lambda e: along(jnp.broadcast_to(e, y.shape)), basis)
        return velocity(y, angle), jnp.sum(parts, 0)

    def body(carry: tuple[Array, Array], ends: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
        y, total = carry
        a, b = ends
        h = b - a
        k1, d1 = rates(y, a)
        k2, d2 = rates(y + 0.5 * h * k1, a + 0.5 * h)
        k3, d3 = rates(y + 0.5 * h * k2, a + 0.5 * h)
        k4, d4 = rates(y + h * k3, b)
        return (y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), total + h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)), None

    first, last = at(angles[0])[-1], at(angles[-1])[-1]
    (y, total), _ = jax.lax.scan(body, (x / first, jnp.zeros(x.shape[:1])), (angles[:-1], angles[1:]))
    return sde.prior_log_prob(last * y) + size * (jnp.log(last) - jnp.log(first)) + total
