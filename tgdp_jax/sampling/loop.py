"""The sampler: one jitted lax.scan over a time grid.

Noise of sample i comes from fold_in(key, id_i) alone, and samples are drawn in chunks of one fixed shape (the last one
padded), because matrix products of another shape round differently. So sample i has the same bits however many are
asked for and however many devices draw them, and one program is compiled. The scan carries x (and the multistep
solver's last prediction), nothing is stacked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.errors import UserError, choose
from tgdp_jax.prediction import ScoreFn, as_pytree
from tgdp_jax.runtime.parallel import in_chunks
from tgdp_jax.sampling.grids import make_grid
from tgdp_jax.sampling.steps import SOLVERS, Point, Solver
from tgdp_jax.sde import SDE

Array = jax.Array
CHUNK = 1024


def checked_ids(ids: Any, cond: Any) -> np.ndarray:
    """Sample identities [N] as they are folded into keys, uint32.

    Raises:
      UserError: not integers in [0, 2^32), or a cond that does not match them.
    """
    ids = np.asarray(ids).reshape(-1)
    if ids.size and not (np.issubdtype(ids.dtype, np.integer) and ids.min() >= 0 and ids.max() < 2**32):
        raise UserError("ids must be integers in [0, 2^32): give each sample a number of its own, such as range(n)")
    for leaf in jax.tree.leaves(cond):
        if np.shape(leaf)[:1] != ids.shape:
            raise UserError(f"cond has leading shape {np.shape(leaf)[:1]} but {ids.size} samples were asked for")
    return ids.astype(np.uint32)


def sample(
    key: Array,
    score_fn: ScoreFn,
    sde: SDE,
    ids: Any,
    shape: tuple[int, ...],
    *,
    solver: str | Solver = "dpmpp_2m",
    grid: str = "log_snr",
    num_steps: int = 25,
    cond: Any = None,
    clip: float | None = None,
    chunk: int = CHUNK,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Draws one sample per id by integrating the reverse process from t = 1 to `sde.t_min`.

    Args:
      key: typed PRNG key of the run.
      score_fn: (x [B, *D], t [B], cond) -> score [B, *D]. A function that is a pytree (everything this library
        returns; `jax.tree_util.Partial(fn, params)`) is compiled once for all its parameter values.
      sde: the forward process of the score.
      ids: sample identities [N], integers in [0, 2^32); sample i depends on (key, ids[i], cond[i]) alone.
      shape: shape *D of one sample.
      solver: name in `SOLVERS`, or a `Solver` such as `ddim(eta=0.5)`.
      grid: name in `GRIDS`.
      num_steps: steps; the cost is num_steps * solver.evaluations score evaluations.
      cond: None, or a tree of arrays with leading axis N, handed to the score.
      clip: if given, the predicted x_0 is clipped to [-clip, clip].
      chunk: rows a device takes at a time; memory is bounded by it. Part of what fixes a sample's bits.
      progress: called with the number of samples finished after each chunk.

    Returns:
      Samples [N, *D], float32, on the host.

    Raises:
      UserError: unknown solver or grid, bad counts, or a cond that does not match ids.
    """
    if isinstance(solver, str):
        choose("solver", solver, SOLVERS)
        solver = SOLVERS[solver]
    if chunk < 1:
        raise UserError(f"chunk must be at least 1, got {chunk}")
    ids = checked_ids(ids, cond)
    if not ids.size:
        return np.empty((0, *shape), np.float32)
    return in_chunks(
        sample_chunk,
        (ids, cond),
        key,
        as_pytree(score_fn),
        make_grid(grid, sde, num_steps),
        chunk=chunk,
        static={"sde": sde, "shape": tuple(shape), "solver": solver, "clip": clip},
        progress=progress,
    )


def sample_chunk(
    rows: tuple[Array, Any],
    key: Array,
    score: Any,
    times: Array,
    *,
    sde: SDE,
    shape: tuple[int, ...],
    solver: Solver,
    clip: float | None,
) -> Array:
    """One chunk of samples [B, *shape], the work of one device.

    Args:
      rows: (ids [B], cond).
      key: typed PRNG key.
      score: (x [B, *D], t [B], cond) -> score, a pytree.
      times: decreasing [K + 1].
      sde: the forward process.
      shape: of one sample.
      solver: one step.
      clip: bound on the predicted x_0, or None.
    """
    ids, cond = rows
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(ids)

    def noise_at(step: Array) -> Callable[[int], Array]:
        def noise(draw: int) -> Array:
            def one(k: Array) -> Array:
                return jax.random.normal(jax.random.fold_in(jax.random.fold_in(k, step), draw), shape)

            return jax.vmap(one)(keys)

        return noise

    def predict(x: Array, t: Array) -> tuple[Array, Array]:
        batch_t = jnp.broadcast_to(t, x.shape[:1])
        alpha, sigma = sde.alpha(t), sde.sigma(t)
        eps = -sigma * score(x, batch_t, cond)
        x0 = (x - sigma * eps) / alpha
        if clip is not None:
            x0 = jnp.clip(x0, -clip, clip)
            eps = (x - alpha * x0) / sigma
        return x0, eps

    def body(carry: tuple[Array, Array], step: Array) -> tuple[tuple[Array, Array], None]:
        x, memory = carry
        point = Point(t=times[step], s=times[step + 1], before=times[jnp.maximum(step - 1, 0)], first=step == 0)
        return solver.step(sde, predict, point, x, memory, noise_at(step + 1)), None

    x = sde.prior_scale * noise_at(jnp.zeros((), jnp.int32))(0)
    (x, _), _ = jax.lax.scan(body, (x, jnp.zeros_like(x)), jnp.arange(times.shape[0] - 1))
    return x
