"""Exact log-likelihood under a score model, by the probability-flow ODE.

dx/dt = v(x, t) = f x - g^2 score / 2 transports p_t; along it d log p_t(x_t) / dt = -div v
(Song et al. 2021, eq. 39), so

    log p(x_{t_min}) = log p_1(x_1) + integral of div v dt  from t_min to 1.

Integrated with classical fourth-order Runge-Kutta on the grid t = u^2 as one lax.scan.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.errors import UserError, choose
from tgdp_jax.prediction import ScoreFn, as_score
from tgdp_jax.runtime.parallel import in_chunks
from tgdp_jax.sampling.grids import quadratic
from tgdp_jax.sde import SDE, expand

Array = jax.Array
DIVERGENCES = ("exact", "hutchinson")


def log_likelihood(
    x: Any,
    score_fn: ScoreFn,
    sde: SDE,
    *,
    cond: Any = None,
    num_steps: int = 64,
    divergence: str = "exact",
    key: Array | None = None,
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
      chunk: rows a device takes at a time.

    Raises:
      UserError: unknown divergence, no rows or steps, or a cond that does not match x.
    """
    choose("divergence", divergence, DIVERGENCES)
    key = jax.random.key(0) if key is None else key
    x = np.asarray(x, np.float32)
    if min(len(x), num_steps, chunk) < 1:
        raise UserError(f"rows, num_steps and chunk must be at least 1, got {len(x)}, {num_steps} and {chunk}")
    for leaf in jax.tree.leaves(cond):
        if np.shape(leaf)[:1] != x.shape[:1]:
            raise UserError(f"cond has leading shape {np.shape(leaf)[:1]} but there are {len(x)} rows")
    return in_chunks(
        _chunk,
        (np.arange(len(x), dtype=np.uint32), x, cond),
        key,
        as_score(score_fn),
        quadratic(sde, num_steps)[::-1],
        chunk=chunk,
        static={"sde": sde, "divergence": divergence},
    )


def _chunk(rows: Any, key: Array, score: Any, times: Array, *, sde: SDE, divergence: str) -> Array:
    index, x, cond = rows
    size = int(np.prod(x.shape[1:]))
    probe = jax.vmap(lambda i: jax.random.rademacher(jax.random.fold_in(key, i), x.shape[1:], x.dtype))(index)

    def velocity(x: Array, t: Array) -> Array:
        batch_t = jnp.broadcast_to(t, x.shape[:1])
        return sde.drift(x, batch_t) - 0.5 * expand(sde.diffusion(batch_t), x) ** 2 * score(x, batch_t, cond)

    def rates(x: Array, t: Array) -> tuple[Array, Array]:
        def along(direction: Array) -> tuple[Array, Array]:
            v, dv = jax.jvp(lambda z: velocity(z, t), (x,), (direction,))
            return v, jnp.sum((dv * direction).reshape(x.shape[0], -1), -1)

        if divergence == "hutchinson":
            return along(probe)
        basis = jnp.eye(size).reshape(size, 1, *x.shape[1:])
        _, parts = jax.lax.map(lambda e: along(jnp.broadcast_to(e, x.shape)), basis)
        return velocity(x, t), jnp.sum(parts, 0)

    def body(carry: tuple[Array, Array], ends: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
        x, total = carry
        t, s = ends
        h = s - t
        k1, d1 = rates(x, t)
        k2, d2 = rates(x + 0.5 * h * k1, t + 0.5 * h)
        k3, d3 = rates(x + 0.5 * h * k2, t + 0.5 * h)
        k4, d4 = rates(x + h * k3, s)
        return (x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), total + h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)), None

    (x, total), _ = jax.lax.scan(body, (x, jnp.zeros(x.shape[:1])), (times[:-1], times[1:]))
    return sde.prior_log_prob(x) + total
