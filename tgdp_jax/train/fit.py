"""One training loop for every stage: several optimiser steps a launch, validation between launches, early stopping.

A stage is a `Task`: four pure functions and an optimiser. Data live on the device and batches are drawn there. Launches
scan K steps; between two of them the host looks at the validation loss of the averaged weights, keeps the best, and
reports progress. An ensemble (members, each with its own data split or hyperparameters) trains in the same launch by
vmap.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tgdp_jax.errors import UserError
from tgdp_jax.train.optimiser import OptimiserConfig, make_optimiser

Array = jax.Array
Tree = Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What one stage optimises. Static: two runs with equal tasks share one compiled program.

    Attributes:
      init: key -> trainable.
      draw: (key, data, member) -> batch.
      loss: (trainable, frozen, batch, key, step, member) -> (scalar, metrics).
      validate: (trainable, frozen, data, member) -> scalar, lower is better, deterministic.
    """

    init: Callable[[Array], Tree]
    draw: Callable[[Array, Tree, Tree], Tree]
    loss: Callable[..., tuple[Array, dict[str, Array]]]
    validate: Callable[[Tree, Tree, Tree, Tree], Array]


class TrainState(NamedTuple):
    """Everything that a step changes."""

    params: Tree
    ema: Tree
    opt_state: Tree
    step: Array


class Fitted(NamedTuple):
    """Result of a stage.

    Attributes:
      params: averaged weights at the chosen step; leading axis M for an ensemble.
      best_step: chosen step a group, [G].
      best_value: validation loss there, [G].
      history: curves: "step", "loss", "validation" (one row a launch, averaged over members), and the loss's parts.
    """

    params: Tree
    best_step: np.ndarray
    best_value: np.ndarray
    history: dict[str, np.ndarray]


def _step(state: TrainState, frozen: Tree, data: Tree, member: Tree, key: Array, task: Task, config: OptimiserConfig):
    key = jax.random.fold_in(key, state.step)
    draw_key, loss_key = jax.random.split(key)
    batch = task.draw(draw_key, data, member)
    (value, metrics), grads = jax.value_and_grad(task.loss, has_aux=True)(
        state.params, frozen, batch, loss_key, state.step, member
    )
    decay = None if member is None else member.get("weight_decay")
    updates, opt_state = make_optimiser(config, weight_decay=decay).update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    # A running average that forgets its start: short runs are not averages over random weights.
    rate = jnp.minimum(config.ema, (1.0 + state.step) / (10.0 + state.step))
    ema = optax.incremental_update(params, state.ema, 1.0 - rate)
    return TrainState(params, ema, opt_state, state.step + 1), {"loss": value, **metrics}


def _over_members(fn: Callable[..., Any], members: Tree, member_axes: tuple[int, ...], num_args: int):
    """vmaps fn over the arguments in member_axes where there is an ensemble."""
    if members is None:
        return fn
    return jax.vmap(fn, in_axes=tuple(0 if i in member_axes else None for i in range(num_args)))


@functools.partial(jax.jit, static_argnames=("task", "config", "count"))
def _start(key: Array, members: Tree, initial: Tree, *, task: Task, config: OptimiserConfig, count: int):
    def one(key: Array, params: Tree, member: Tree) -> TrainState:
        params = task.init(key) if params is None else params
        decay = None if member is None else member.get("weight_decay")
        opt_state = make_optimiser(config, weight_decay=decay).init(params)
        return TrainState(params, params, opt_state, jnp.zeros((), jnp.int32))

    if members is None:
        return one(key, initial, None)
    return jax.vmap(one, in_axes=(0, None, 0))(jax.random.split(key, count), initial, members)


@functools.partial(jax.jit, static_argnames=("task", "config", "steps"))
def _launch(state, frozen, data, members, keys, *, task: Task, config: OptimiserConfig, steps: int):
    def one(state, frozen, data, member, key):
        def body(state, _):
            return _step(state, frozen, data, member, key, task, config)

        state, metrics = jax.lax.scan(body, state, None, length=steps)
        return state, jax.tree.map(lambda m: jnp.mean(m, 0), metrics)

    state, metrics = _over_members(one, members, (0, 3, 4), 5)(state, frozen, data, members, keys)
    value = _over_members(task.validate, members, (0, 3), 4)(state.ema, frozen, data, members)
    return state, metrics, value


@functools.partial(jax.jit, static_argnames=("groups",))
def _keep_best(best, best_value, candidate, value, *, groups: int):
    """Keeps, group by group, the weights whose mean validation loss over the group's members is lowest."""
    mean = jnp.mean(value.reshape(groups, -1), axis=1)
    better = mean < best_value
    if value.ndim == 0:
        take = better[0]
    else:
        take = jnp.repeat(better, value.shape[0] // groups)

    def pick(old, new):
        mask = take if value.ndim == 0 else take.reshape((-1,) + (1,) * (new.ndim - 1))
        return jnp.where(mask, new, old)

    return jax.tree.map(pick, best, candidate), jnp.where(better, mean, best_value), better


def fit(
    key: Array,
    task: Task,
    config: OptimiserConfig,
    *,
    data: Tree,
    frozen: Tree = None,
    members: Tree = None,
    groups: int = 1,
    initial: Tree = None,
    keep: str = "best",
    progress: Callable[[int, int, float, float], None] | None = None,
) -> Fitted:
    """Trains a task and returns the averaged weights at the best validation loss.

    Args:
      key: PRNG key; the result is a pure function of it and the data.
      task: what to optimise.
      config: optimiser and length.
      data: device-resident tree, shared by all members.
      frozen: tree that the loss sees and no gradient touches.
      members: None for one model, else a dict of arrays with leading axis M: one row a member.
      groups: members come in `groups` runs of equal length; each group (the folds of one setting) stops at the minimum
        of its mean validation curve.
      initial: starting weights (all members alike); None: `task.init`.
      keep: "best" (lowest validation loss) or "last".
      progress: called as (step, steps, loss, validation) after each launch.

    Raises:
      UserError: the loss became NaN or infinite.
    """
    count = 1 if members is None else jax.tree.leaves(members)[0].shape[0]
    init_key, run_key = jax.random.split(key)
    state = _start(init_key, members, initial, task=task, config=config, count=count)
    keys = run_key if members is None else jax.random.split(run_key, count)
    best, best_value = state.ema, jnp.full((groups,), jnp.inf)
    best_step = np.zeros(groups, np.int64)
    history: dict[str, list[float]] = {}
    step = 0
    while step < config.steps:
        length = min(config.steps_per_launch, config.steps - step)
        state, metrics, value = _launch(state, frozen, data, members, keys, task=task, config=config, steps=length)
        step += length
        best, best_value, better = _keep_best(best, best_value, state.ema, value, groups=groups)
        best_step[np.asarray(better)] = step
        row = {"step": step, "validation": float(jnp.mean(value))}
        row |= {name: float(jnp.mean(m)) for name, m in metrics.items()}
        if not np.isfinite(row["loss"]):
            raise UserError(
                f"training diverged: the loss is {row['loss']} at step {step}; lower the learning rate "
                f"(now {config.learning_rate:g}) or check the data for extreme values"
            )
        for name, number in row.items():
            history.setdefault(name, []).append(number)
        given_up = bool(config.patience) and step - best_step.max() >= config.patience
        if progress is not None:
            progress(step, step if given_up else config.steps, row["loss"], row["validation"])
        if given_up:
            break
    if keep == "last":
        best, best_step = state.ema, np.full(groups, step)
    return Fitted(best, best_step, np.asarray(best_value), {k: np.asarray(v) for k, v in history.items()})


def candidate_weights(held_out_loss: np.ndarray, rows: int, *, negligible: float = 0.05) -> np.ndarray:
    """Weights [G] proportional to exp(-rows * (loss - best)); those below `negligible` are set to zero."""
    weights = np.exp(-rows * (held_out_loss - held_out_loss.min()))
    weights = np.where(weights < negligible * weights.sum(), 0.0, weights)
    return weights / weights.sum()
