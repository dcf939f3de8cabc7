"""What programs take by the compiler's own analysis, of shapes alone: nothing is allocated."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import UserError
from tgdp_jax.nets.attention import at_once
from tgdp_jax.runtime import parallel
from tgdp_jax.runtime.parallel import over_members
from tgdp_jax.train.batches import Rows
from tgdp_jax.train.fit import Task, start, train_step
from tgdp_jax.train.optimiser import OptimiserConfig, course


class Estimate(NamedTuple):
    """What a program takes.

    Attributes:
      flops: floating-point operations.
      memory: bytes at its peak, on each device: what it is given, makes on the way and returns.
    """

    flops: float
    memory: int


def estimate(fn: Any, *args: Any, donate: bool = False) -> Estimate:
    """Of fn(*args), where the body of a loop counts once.

    Args:
      fn: a function.
      args: shapes in the place of arrays.
      donate: whether the first one's memory is taken for the result.

    Raises:
      UserError: the device's compiler does not say.
    """
    compiled = jax.jit(fn, donate_argnums=0 if donate else ()).lower(*args).compile()
    memory = compiled.memory_analysis()
    if memory is None:
        raise UserError("this device's compiler does not say what programs take: leave out --dry-run")
    # A function of its own: of the one above JAX would take the trace again, with its loops.
    with at_once():
        costs = jax.jit(lambda *args: fn(*args)).lower(*args).cost_analysis() or {}
    given = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return Estimate(float(costs.get("flops", 0.0)), given + memory.temp_size_in_bytes)


def of_step(
    task: Task,
    settings: OptimiserConfig,
    data: Any,
    frozen: Any,
    *,
    base: Any = None,
    member: Any = None,
    count: int = 1,
) -> Estimate:
    """Of an optimiser step.

    Args:
      task: what is trained.
      settings: of the optimiser.
      data: what it draws from.
      frozen: what it sees beside.
      base: what the training starts from; None: what the task makes.
      member: what each member of an ensemble has as its own; None: there is one network.
      count: members.
    """
    along = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, course(settings)))

    def of(settings: OptimiserConfig) -> Estimate:
        begin = functools.partial(start, task=task, config=settings, count=1, groups=1)
        state = jax.eval_shape(begin, key(), None, base, along).state
        step = functools.partial(train_step, task=task, config=settings, shard=parallel.everywhere())
        state, weights = parallel.planned((state, frozen))
        if member is None:
            return estimate(step, state, weights, data, None, key(), along, donate=True)

        def one(state: Any, member: Any, key: Any, frozen: Any, data: Any, along: Any) -> Any:
            return step(state, frozen, data, member, key, along)

        each = over_members(one, (0, 0, 0, None, None, None))
        own = jax.tree.map(lambda leaf: like((count, *leaf.shape), leaf.dtype), (state, member, key()))
        return estimate(each, *parallel.planned(own), weights, data, along, donate=True)

    found = of(settings)
    # Where a loop goes over the parts of a batch, operations are those without it.
    flops = found.flops if settings.parts == 1 else of(dataclasses.replace(settings, parts=1)).flops
    return found._replace(flops=flops * (1 if member is None else loops(count)))


def loops(members: int) -> int:
    """How often the operations of a loop over an ensemble's members count beyond once."""
    return members if jax.default_backend() == "cpu" else 1


def rows_of(problem: Problem, num: int) -> dict[str, Any]:
    """Rows of a problem, as trainings have them."""
    labels = {"y": like((num,), jnp.int32)} if problem.conditional else {}
    return {"x": like((num, *problem.shape)), **labels}


def row_numbers(num: int) -> Rows:
    """Of so many rows."""
    return Rows(like((num,), jnp.int32), like((), jnp.int32))


def key() -> Any:
    """A key."""
    return jax.eval_shape(lambda: jax.random.key(0))


def like(shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
    """An array of a shape."""
    return jax.ShapeDtypeStruct(shape, dtype)


def size(tree: Any) -> int:
    """Numbers in a tree."""
    return int(sum(leaf.size for leaf in jax.tree.leaves(tree)))
