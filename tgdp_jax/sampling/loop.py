"""The sampler: one jitted lax.scan over a time grid.

Noise of sample i comes from fold_in(key, id_i) alone, and samples are drawn in chunks of one fixed shape (the last one
padded), because matrix products of another shape round differently. So sample i has the same bits however many are
asked for and however many devices draw them, and one program is compiled. The scan carries x and what a multistep
solver remembers, nothing is stacked.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.errors import UserError
from tgdp_jax.prediction import ScoreFn, as_score, x0_and_eps
from tgdp_jax.runtime.parallel import in_chunks
from tgdp_jax.sampling.grids import Grid, make_grid
from tgdp_jax.sampling.scale import deviation
from tgdp_jax.sampling.solver import Point, Solver, Step
from tgdp_jax.sampling.steps import make_solver
from tgdp_jax.sde import SDE

Array = jax.Array
CHUNK = 1024
ROUNDING = 1e-6
RUNAWAY = 1000.0  # times the scale of data and prior: no sample any more


def checked_ids(ids: Any, cond: Any) -> np.ndarray:
    """Sample identities [N] as they are folded into keys, uint32; a single number is a count, of samples 0, 1, ...

    Raises:
      UserError: not integers in [0, 2^32), or a cond that does not match them.
    """
    ids = np.asarray(ids)
    if not ids.ndim and np.issubdtype(ids.dtype, np.integer) and ids >= 0:
        ids = np.arange(ids)
    ids = ids.reshape(-1)
    if ids.size and not (np.issubdtype(ids.dtype, np.integer) and ids.min() >= 0 and ids.max() < 2**32):
        raise UserError("ids must be integers in [0, 2^32): give each sample a number of its own, or a count")
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
    solver: str | Solver | Step = "centre_3m",
    grid: str | Grid | None = None,
    num_steps: int | None = None,
    cond: Any = None,
    init: Any = None,
    start: float = 1.0,
    clip: float | None = None,
    data_std: Any = None,
    chunk: int = CHUNK,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Draws samples by integrating the reverse process from t = 1 to `sde.t_min`.

    Warns of samples that ran away: not finite, or a thousand times the scale of data and prior.

    Args:
      key: typed PRNG key of the run.
      score_fn: (x [B, *D], t [B], cond) -> score [B, *D]; or of (x, t), where there is no cond. A function that is a
        pytree (everything this library returns; `jax.tree_util.Partial(fn, params)`) is compiled once for all its
        parameter values. One with a method `x0_and_eps` of the same arguments is asked for both predictions by that:
        where hardly any signal is left, clean data that come from a score are imprecise.
      sde: the forward process of the score.
      ids: how many samples, N; or their identities [N], integers in [0, 2^32). Sample i depends on (key, ids[i],
        cond[i]) alone, and those of a count are 0, 1, ..., N - 1.
      shape: shape *D of one sample.
      solver: name in `SOLVERS`, a `Solver` such as `ddim(eta=0.5)`, or a step of your own, see `Solver`.
      grid: name in `GRIDS`, or a function (sde, num_steps) -> times. None: the solver's own, "blend" for the default
        one and "log_snr" for most others.
      num_steps: steps; the cost is num_steps * solver.evaluations score evaluations. None: the solver's own number, 10
        for the default one and 25 for most others.
      cond: None, or a tree of arrays with leading axis N, handed to the score.
      init: clean rows [N, *D] that samples are to be variations of: they start from these, noised to the time `start`
        (Meng et al. 2022). None: from noise alone.
      start: with `init`, the time in (t_min, 1]: what the grid has before it is not taken, and little of `init` is left
        at 1.
      clip: if given, the predicted x_0 is clipped to [-clip, clip].
      data_std: standard deviation of the data, a number or an array that broadcasts against a sample, for solvers that
        use it (`centre_3m`); wrong by a factor of two costs little. None: as the score's networks say, or 1.
      chunk: rows a device takes at a time; memory is bounded by it. Part of what fixes a sample's bits.
      progress: called with the number of samples finished after each chunk.

    Returns:
      Samples [N, *D], float32, on the host.

    Raises:
      UserError: unknown solver or grid, bad counts, or a cond or init that does not match ids.
    """
    solver = make_solver(solver)
    if chunk < 1:
        raise UserError(f"chunk must be at least 1, got {chunk}")
    ids = checked_ids(ids, cond)
    if not ids.size:
        return np.empty((0, *shape), np.float32)
    score = as_score(score_fn)
    std = deviation(data_std, score, tuple(shape))
    times = make_grid(
        solver.grid if grid is None else grid, sde, solver.num_steps if num_steps is None else num_steps, std
    )
    x = in_chunks(
        sample_chunk,
        (ids, cond) if init is None else (ids, cond, _checked_init(init, (ids.size, *shape))),
        key,
        score,
        times if init is None else _from(start, times),
        std,
        chunk=chunk,
        static={"sde": sde, "shape": tuple(shape), "solver": solver, "clip": clip},
        progress=progress,
    )
    _warn_of_runaways(x, max(sde.prior_scale, float(std.max())))
    return x


def _checked_init(init: Any, shape: tuple[int, ...]) -> np.ndarray:
    init = np.asarray(init, np.float32)
    if init.shape != shape:
        raise UserError(f"init has shape {init.shape}, and the samples {shape}: give a row for each")
    return init


def _from(start: float, times: Array) -> Array:
    """The part of a grid from a time on.

    Raises:
      UserError: nothing of it is left.
    """
    if not float(times[-1]) < start <= 1.0:
        raise UserError(f"sampling from init starts at {start}: give a time above {float(times[-1]):g} and at most 1")
    below = np.asarray(times)
    # A time of the grid that is the start but for rounding is the start.
    return jnp.asarray(np.concatenate([[start], below[below < start - ROUNDING]]), jnp.float32)


def _warn_of_runaways(x: np.ndarray, scale: float) -> None:
    # The largest number of a row is NaN where one is.
    largest = np.abs(x).reshape(len(x), -1).max(1)
    away = ~(largest <= RUNAWAY * scale)
    if away.any():
        infinite = int((~np.isfinite(largest)).sum())
        warnings.warn(
            f"{int(away.sum())} of {len(x)} samples ran away ({infinite} are not finite, the others lie beyond "
            f"{RUNAWAY * scale:g}): take more steps, less guidance, another solver or clip",
            stacklevel=3,
        )


def sample_chunk(
    rows: tuple[Any, ...],
    key: Array,
    score: Any,
    times: Array,
    data_std: Array | float = 1.0,
    *,
    sde: SDE,
    shape: tuple[int, ...],
    solver: Solver,
    clip: float | None,
) -> Array:
    """One chunk of samples [B, *shape], the work of one device.

    Args:
      rows: (ids [B], cond), or (ids [B], cond, init [B, *D]), see `sample`.
      key: typed PRNG key.
      score: (x [B, *D], t [B], cond) -> score, a pytree.
      times: decreasing [K + 1].
      data_std: the data's standard deviation, of a shape that broadcasts against a sample.
      sde: the forward process.
      shape: of one sample.
      solver: one step.
      clip: bound on the predicted x_0, or None.
    """
    (ids, cond, *init), data_std = rows, jnp.asarray(data_std)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(ids)

    def noise_at(step: Array) -> Callable[[int], Array]:
        def noise(draw: int) -> Array:
            def one(k: Array) -> Array:
                return jax.random.normal(jax.random.fold_in(jax.random.fold_in(k, step), draw), shape)

            return jax.vmap(one)(keys)

        return noise

    def predict(x: Array, t: Array) -> tuple[Array, Array]:
        alpha, sigma = sde.alpha(t), sde.sigma(t)
        x0, eps = x0_and_eps(score, x, t, cond, alpha, sigma)
        if clip is not None:
            x0 = jnp.clip(x0, -clip, clip)
            eps = (x - alpha * x0) / sigma
        return x0, eps

    def body(carry: tuple[Array, Any], interval: tuple[Array, Any]) -> tuple[tuple[Array, Any], None]:
        x, memory = carry
        step, plan = interval
        before = times[jnp.maximum(step - 1, 0)]
        point = Point(times[step], times[step + 1], before, step == 0, data_std=data_std, plan=plan)
        return solver.step(sde, predict, point, x, memory, noise_at(step + 1)), None

    x = noise_at(jnp.zeros((), jnp.int32))(0)
    x = sde.alpha(times[0]) * init[0] + sde.sigma(times[0]) * x if init else sde.prior_scale * x
    steps = jnp.arange(times.shape[0] - 1)
    (x, _), _ = jax.lax.scan(body, (x, solver.start(x)), (steps, solver.plan(sde, times, data_std)))
    return x
