"""One training loop for every stage: several optimiser steps a launch, validation between launches, early stopping.

A stage is a `Task`: pure functions and an optimiser. Data live on the devices and batches are drawn there: every
device draws the whole batch, with the same keys, and computes the loss of its own rows; gradients are summed over
devices. So the batches, and up to rounding the training, do not depend on the number of devices. Launches scan K steps;
at the end of one the validation loss of the averaged weights decides whether they are the best so far. Between two the
host reports, saves and stops. An ensemble (members, each with its own data split or hyperparameters) trains in the same
launch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tgdp_jax.data.memory import check_fits
from tgdp_jax.errors import UserError
from tgdp_jax.runtime import parallel, preemption
from tgdp_jax.runtime.parallel import ALONE, Shard
from tgdp_jax.train.optimiser import Course, OptimiserConfig, course, form, make_optimiser
from tgdp_jax.train.session import QUIET, Session

Array = jax.Array
Tree = Any
Parts = dict[str, Array]


def _adam(config: OptimiserConfig, along: Course, weight_decay: Array | None) -> optax.GradientTransformation:
    return make_optimiser(config, along, weight_decay=weight_decay)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What one stage optimises. Static: two runs with equal tasks share one compiled program.

    Attributes:
      init: key -> trainable.
      draw: (key, data, member) -> batch, every leaf with the same leading axis U. All that is random is drawn here.
      loss: (trainable, frozen, batch, step, member) -> named terms, each [U]; the loss is the mean of their sum.
      held_out: (data, member) -> (batch, weights [V]): what is held out, the same at every call; weights sum to one.
      evaluate: (trainable, frozen, held-out batch) -> [V]; lower is better.
      optimiser: (form, course, weight decay or None) -> what makes updates of gradients; see `train.optimiser`. One
        with a part for each of several players, whose losses hold one another's weights constant, plays a game in place
        of descending a loss.
      monitor: (averaged trainable, frozen, data, held-out batch with weights) -> further numbers by name, added to the
        curves after each launch; every device computes them whole.
    """

    init: Callable[[Array], Tree]
    draw: Callable[[Array, Tree, Tree], Tree]
    loss: Callable[[Tree, Tree, Tree, Array, Tree], Parts]
    held_out: Callable[[Tree, Tree], tuple[Tree, Array]]
    evaluate: Callable[[Tree, Tree, Tree], Array]
    optimiser: Callable[[OptimiserConfig, Course, Array | None], optax.GradientTransformation] = _adam
    monitor: Callable[[Tree, Tree, Tree, tuple[Tree, Array]], Parts] | None = None


class TrainState(NamedTuple):
    """Everything that a step changes."""

    params: Tree
    ema: Tree
    opt_state: Tree
    step: Array


class Best(NamedTuple):
    """The best so far of each group of members.

    Attributes:
      params: averaged weights at the group's best step, leading axis M for an ensemble.
      value: validation loss there, [G].
      step: [G].
    """

    params: Tree
    value: Array
    step: Array


class Carry(NamedTuple):
    """Everything that a launch changes; the training state has leading axis M for an ensemble."""

    state: TrainState
    best: Best


class Fitted(NamedTuple):
    """Result of a stage.

    Attributes:
      params: averaged weights at the chosen step; leading axis M for an ensemble.
      best_step: chosen step a group, [G].
      best_value: validation loss there, [G].
      history: curves: "step", "loss", "validation" (one row a launch, averaged over members), the loss's parts and what
        the task monitors.
    """

    params: Tree
    best_step: np.ndarray
    best_value: np.ndarray
    history: dict[str, np.ndarray]


def train_step(
    state: TrainState,
    frozen: Tree,
    data: Tree,
    member: Tree,
    key: Array,
    along: Course,
    task: Task,
    config: OptimiserConfig,
    shard: Shard = ALONE,
) -> tuple[TrainState, Parts]:
    """One optimiser step and the terms of its loss; a per-device function, see `Shard`."""
    batch = task.draw(jax.random.fold_in(key, state.step), data, member)
    num = jax.tree.leaves(batch)[0].shape[0]
    own, real = parallel.own_rows(batch, shard)

    def loss(params: Tree, rows: Tree, real: Array) -> tuple[Array, Parts]:
        terms = task.loss(params, frozen, rows, state.step, member)
        terms = {name: jnp.sum(jnp.where(real, term, 0.0)) / num for name, term in terms.items()}
        return jnp.sum(jnp.stack(list(terms.values()))), terms

    (value, terms), grads = _in_parts(jax.value_and_grad(loss, has_aux=True), state.params, own, real, config.parts)
    value, terms, grads = parallel.total((value, terms, grads), shard)
    decay = None if member is None else member.get("weight_decay")
    updates, opt_state = task.optimiser(config, along, decay).update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    # A running average that forgets its start: short runs are not averages over random weights.
    rate = jnp.minimum(config.ema, (1.0 + state.step) / (10.0 + state.step))
    ema = optax.incremental_update(params, state.ema, 1.0 - rate)
    return TrainState(params, ema, opt_state, state.step + 1), {"loss": value, **terms}


def _in_parts(fn: Callable[..., Tree], params: Tree, rows: Tree, real: Array, parts: int) -> Tree:
    """fn(params, rows, real), a sum over rows, as that of so many parts, of which one is in memory at a time."""
    if parts == 1:
        return fn(params, rows, real)
    size = -(-len(real) // parts)
    place = jnp.arange(parts * size)

    def part(leaf: Array) -> Array:
        return leaf[jnp.minimum(place, len(real) - 1)].reshape(parts, size, *leaf.shape[1:])

    split = jax.tree.map(part, rows), part(real) & (place < len(real)).reshape(parts, size)
    shapes = jax.eval_shape(fn, params, *jax.tree.map(lambda leaf: leaf[0], split))
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def add(total: Tree, one: Tree) -> tuple[Tree, None]:
        return jax.tree.map(jnp.add, total, fn(params, *one)), None

    return jax.lax.scan(add, zero, split)[0]


def start(
    key: Array,
    members: Tree,
    initial: Tree,
    along: Course,
    *,
    task: Task,
    config: OptimiserConfig,
    count: int,
    groups: int,
    shard: Shard = ALONE,
) -> Carry:
    """The state before the first step; a per-device function, the same on all devices."""

    def one(key: Array, params: Tree, member: Tree) -> TrainState:
        params = task.init(key) if params is None else params
        decay = None if member is None else member.get("weight_decay")
        opt_state = task.optimiser(config, along, decay).init(params)
        return TrainState(params, params, opt_state, jnp.zeros((), jnp.int32))

    if members is None:
        state = one(key, initial, None)
    else:
        state = jax.vmap(one, in_axes=(0, None, 0))(jax.random.split(key, count), initial, members)
    # Of one type from the start: a weak one would be compiled for anew in the second launch.
    never = jnp.full((groups,), jnp.inf, jnp.float32)
    return Carry(state, Best(state.ema, never, jnp.zeros((groups,), jnp.int32)))


def hold_out(data: Tree, member: Tree, *, task: Task, shard: Shard = ALONE) -> tuple[Tree, Array]:
    """`task.held_out`, once for all launches; a per-device function, the same on all devices."""
    return task.held_out(data, member)


def launch(
    state: TrainState,
    frozen: Tree,
    data: Tree,
    held: tuple[Tree, Array],
    member: Tree,
    key: Array,
    along: Course,
    *,
    task: Task,
    config: OptimiserConfig,
    steps: int,
    shard: Shard = ALONE,
) -> tuple[TrainState, Parts, Array]:
    """`steps` optimiser steps, their mean terms and the validation loss after them.

    A per-device function, see `Shard`.
    """

    def body(state: TrainState, _: None):
        return train_step(state, frozen, data, member, key, along, task, config, shard)

    state, terms = jax.lax.scan(body, state, None, length=steps)
    value = validate(state.ema, frozen, held, task=task, shard=shard)
    terms = jax.tree.map(lambda m: jnp.mean(m, 0), terms)
    if task.monitor is not None:
        terms |= task.monitor(state.ema, frozen, data, held)
    return state, terms, value


def validate(params: Tree, frozen: Tree, held: tuple[Tree, Array], *, task: Task, shard: Shard = ALONE) -> Array:
    """The validation loss; a per-device function, see `Shard`."""
    (own, weights), real = parallel.own_rows(held, shard)
    return parallel.total(jnp.sum(jnp.where(real, weights * task.evaluate(params, frozen, own), 0.0)), shard)


def keep_best(
    best: Best, params: Tree, step: Array, value: Array, terms: Parts, *, shard: Shard = ALONE
) -> tuple[Best, Parts]:
    """Keeps, group by group, the weights whose mean validation loss over the group's members is lowest.

    A per-device function, the same on all devices. Also returns the row of the curves, averaged over members.
    """
    groups = best.value.shape[0]
    mean = jnp.mean(value.reshape(groups, -1), axis=1)
    better = mean < best.value
    take = better[0] if value.ndim == 0 else jnp.repeat(better, value.shape[0] // groups)

    def pick(old: Array, new: Array) -> Array:
        return jnp.where(take.reshape(take.shape + (1,) * (new.ndim - take.ndim)), new, old)

    best = Best(
        params=jax.tree.map(pick, best.params, params),
        value=jnp.where(better, mean, best.value),
        step=jnp.where(better, jnp.max(step), best.step),
    )
    return best, {"validation": jnp.mean(value), **{name: jnp.mean(term) for name, term in terms.items()}}


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
    judge_start: bool = False,
    session: Session = QUIET,
) -> Fitted:
    """Trains a task and returns the averaged weights at the best validation loss.

    Args:
      key: PRNG key; the result is a pure function of it and the data (up to rounding that depends on the number of
        devices).
      task: what to optimise.
      config: optimiser and length.
      data: tree of arrays, shared by all members.
      frozen: tree that the loss sees and no gradient touches.
      members: None for one model, else a dict of arrays with leading axis M: one row a member.
      groups: members come in `groups` runs of equal length; each group (the folds of one setting) stops at the minimum
        of its mean validation curve.
      initial: starting weights (all members alike); None: `task.init`.
      keep: "best" (lowest validation loss) or "last".
      judge_start: whether the weights before the first step may be the best.
      session: what is told of the progress, and the checkpoints that training continues from.

    Raises:
      UserError: it does not fit into memory, the loss became NaN or infinite, or a checkpoint can not be written.
      Preempted: the process was asked to stop; the state is saved.
    """
    count = 1 if members is None else jax.tree.leaves(members)[0].shape[0]
    init_key, run_key = jax.random.split(key)
    keys = run_key if members is None else jax.random.split(run_key, count)
    static, along = {"task": task, "config": form(config)}, course(config)
    begun = {**static, "count": count, "groups": groups}
    _check_memory(config.batch_size, init_key, members, initial, data, along, **begun)
    state, best = parallel.mapped(start, init_key, members, initial, along, static=begun).out
    history: dict[str, list[float]] = {}
    found = session.restore(Carry(state, best), key)
    if found is not None:
        (state, best), history = parallel.placed(found[0]), found[1]
    step = int(history["step"][-1]) if history else 0
    frozen, data, members, keys, along = parallel.placed((frozen, data, members, keys, along))
    own = 0 if members is not None else None
    held = parallel.mapped(hold_out, data, members, static={"task": task}, in_axes=(None, own)).out
    if judge_start and not history:
        axes = (own, None, own)
        value = parallel.mapped(validate, state.ema, frozen, held, static={"task": task}, in_axes=axes).out
        best, _ = parallel.mapped(keep_best, best, state.ema, state.step, value, {}, static={}, donate=True).out
    with preemption.deferred():
        while step < config.steps and not _given_up(config, best, step):
            length = min(config.steps_per_launch, config.steps - step)
            # Waited for before the next one starts: virtual devices that share cores can deadlock in the sums of two.
            (state, terms, value), stop = parallel.mapped(
                launch,
                state,
                frozen,
                data,
                held,
                members,
                keys,
                along,
                static={**static, "steps": length},
                in_axes=(own, None, None, own, own, own, None),
                donate=True,
                stop=session.stop_asked,
            )
            kept = parallel.mapped(keep_best, best, state.ema, state.step, value, terms, static={}, donate=True)
            best, means = kept.out
            step += length
            row = {"step": step, **{name: float(value) for name, value in jax.device_get(means).items()}}
            if not np.isfinite([row["loss"], row["validation"]]).all():
                raise UserError(
                    f"training diverged: loss {row['loss']}, held-out loss {row['validation']} at step {step}; "
                    f"lower the learning rate (now {config.learning_rate:g}) or check the data for extreme values"
                )
            for name, number in row.items():
                history.setdefault(name, []).append(number)
            over = step >= config.steps or _given_up(config, best, step)
            session.report(row, step if over else config.steps)
            session.save(Carry(state, best), key, history, now=stop)
    params, best_step = (best.params, best.step) if keep == "best" else (state.ema, np.full(groups, step))
    curves = {name: np.asarray(values) for name, values in history.items()}
    return Fitted(jax.tree.map(np.asarray, params), np.asarray(best_step), np.asarray(best.value), curves)


def _check_memory(
    batch_size: int, key: Array, members: Tree, initial: Tree, data: Tree, along: Course, **begun: Any
) -> None:
    """Refuses a CPU's training that does not fit into memory, which the system would kill; other devices say so.

    Raises:
      UserError: weights or a batch are too large.
    """
    if parallel.devices()[0].platform != "cpu":
        return

    def size(tree: Tree) -> int:
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))

    state = size(_START.eval_shape(key, members, initial, along, **begun))
    check_fits(state, "training, which keeps weights several times over,", "choose smaller networks or fewer folds")
    batch = begun["count"] * size(_BATCH.eval_shape(key, data, members, task=begun["task"]))
    check_fits(batch, f"a batch of {batch_size:,} rows", "choose a smaller batch-size")
    held = begun["count"] * size(_HELD.eval_shape(data, members, task=begun["task"]))
    check_fits(held, "what training is judged by", "choose fewer validation-rows")


def _first(members: Tree) -> Tree:
    return None if members is None else jax.tree.map(lambda leaf: leaf[0], members)


def _batch(key: Array, data: Tree, members: Tree, *, task: Task) -> Tree:
    return task.draw(key, data, _first(members))


def _held(data: Tree, members: Tree, *, task: Task) -> Tree:
    return task.held_out(data, _first(members))


# Shapes alone, once for a task: none of them is run.
_START = jax.jit(start, static_argnames=("task", "config", "count", "groups"))
_BATCH = jax.jit(_batch, static_argnames="task")
_HELD = jax.jit(_held, static_argnames="task")


def _given_up(config: OptimiserConfig, best: Best, step: int) -> bool:
    return bool(config.patience) and step - int(np.max(best.step)) >= config.patience


def candidate_weights(held_out_loss: np.ndarray, rows: int, *, negligible: float = 0.05) -> np.ndarray:
    """Weights [G] proportional to exp(-rows * (loss - best)); those below `negligible` are set to zero."""
    weights = np.exp(-rows * (held_out_loss - held_out_loss.min()))
    weights = np.where(weights < negligible * weights.sum(), 0.0, weights)
    return weights / weights.sum()
