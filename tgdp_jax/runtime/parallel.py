"""Devices and processes: every sum over devices and every mapping onto them is here.

Other files may ask JAX how many there are; what they compute is written as per-device functions. A training step takes
a `Shard`; where that has an axis name it sums over devices, without one it is a plain function of one device. `mapped`
maps such functions with `jax.pmap` over all devices of all processes, `in_chunks` maps functions of independent rows
over the devices at hand. Where the one device is a CPU, the members of an ensemble train in threads, one for each core.
Networks that are too large for one device are split over all instead, see `use_devices` and `runtime.sharding`.

A batch of U rows is split evenly, ceil(U / devices) rows each; the surplus at the end repeats the last row with weight
zero. So any number of devices serves any batch, and sums over devices are sums over the same rows.
"""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tgdp_jax.errors import UserError
from tgdp_jax.runtime import sharding
from tgdp_jax.runtime.sharding import AXIS

Array = jax.Array
Tree = Any
T = TypeVar("T")
# Chunks an accelerator is given before the oldest is back: copies to the host overlap with computing.
IN_FLIGHT = 2

_limit: int | None = None
_sharded = False


def use_devices(num: int | None, *, shard: bool = False) -> None:
    """Restricts everything that follows to the first `num` devices; None: all.

    Args:
      num: how many.
      shard: whether weights are split over them in place of being copied to each.

    Raises:
      UserError: more than there are, fewer than one, or a part of them in a run of several processes; one device, or
        several processes, to split weights over.
    """
    global _limit, _sharded
    have = jax.device_count()
    if num is not None and not 1 <= num <= have:
        kind = jax.devices()[0].platform
        raise UserError(f"{num} devices were asked for, but there are {have} ({kind}): ask for 1 to {have}")
    if num not in (None, have) and jax.process_count() > 1:
        raise UserError(f"a run of several processes uses all of their {have} devices: leave out --devices")
    if shard and jax.process_count() > 1:
        raise UserError("weights are split over the devices of one process, and here are several: leave out --shard")
    if shard and (num or have) == 1:
        raise UserError("there is one device, and no other to split weights over: leave out --shard")
    _limit, _sharded = num, shard


def splits_weights() -> bool:
    """Whether weights are split over the devices in use."""
    return _sharded


def _mesh() -> Mesh | None:
    """What weights are split over, or None where every device has a copy."""
    return sharding.mesh_of(devices()) if _sharded else None


def devices() -> tuple[Any, ...]:
    """The devices in use, of all processes."""
    return tuple(jax.devices()[:_limit])


def local_devices() -> tuple[Any, ...]:
    """The devices in use that belong to this process."""
    return tuple(d for d in devices() if d.process_index == jax.process_index())


def is_primary() -> bool:
    """Whether this process is the one that writes files and talks."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Waits for all processes."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def agree(number: int) -> int:
    """The primary process's number, on every process."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.broadcast_one_to_all(np.asarray(number, np.int64)))


def anyone(yes: bool) -> bool:
    """Whether any process says yes."""
    if jax.process_count() == 1:
        return yes
    return bool(multihost_utils.process_allgather(np.asarray(yes)).any())


class Shard(NamedTuple):
    """Where a per-device function runs: device `index` (traced) of `count`, or with a mesh on all of them at once."""

    index: Array | int
    count: int
    axis_name: str | None
    mesh: Mesh | None = None


ALONE = Shard(0, 1, None)


def everywhere() -> Shard:
    """Where a program runs that is not mapped over the devices: on one, or where weights are split on all of them."""
    mesh = _mesh()
    return ALONE if mesh is None else _all_of(mesh)


def _all_of(mesh: Mesh) -> Shard:
    return Shard(0, mesh.size, None, mesh)


def planned(tree: Tree, *, rows: bool = False) -> Tree:
    """Shapes with the places where arrays of them will be kept: weights and their like, or rows."""
    mesh = _mesh()
    if mesh is None:
        return tree

    def one(leaf: Any) -> Any:
        if not hasattr(leaf, "shape"):  # a number
            return leaf
        place = sharding.of_rows(mesh) if rows and leaf.shape[0] % mesh.size == 0 else sharding.share(leaf.shape, mesh)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)

    return jax.tree.map(one, tree)


def own_rows(batch: Tree, shard: Shard) -> tuple[Tree, Array]:
    """This device's rows of a batch whose leaves have leading axis U, and a mask of those that are not surplus."""
    num = jax.tree.leaves(batch)[0].shape[0]
    if shard.count == 1:
        return batch, jnp.ones(num, bool)
    size = -(-num // shard.count)
    if shard.mesh is None:
        rows = shard.index * size + jnp.arange(size)
    else:
        rows = jnp.arange(shard.count * size)
    own = jax.tree.map(lambda leaf: leaf[jnp.minimum(rows, num - 1)], batch)
    return own if shard.mesh is None else sharding.split_rows(own, shard.mesh), rows < num


def total(tree: Tree, shard: Shard) -> Tree:
    """Sum over devices."""
    return tree if shard.axis_name is None else jax.lax.psum(tree, shard.axis_name)


def over_members(fn: Callable[..., Tree], in_axes: tuple[int | None, ...]) -> Callable[..., Tree]:
    """fn over the leading axis of the arguments whose entry of in_axes is 0, results stacked: an ensemble's members.

    For use within a program; `mapped` has cores of its own for members. On accelerators all at once (vmap). On CPU one
    after the other: its batched matrix products take two to four times as long as plain ones.
    """
    if jax.default_backend() != "cpu":
        return jax.vmap(fn, in_axes=in_axes)

    def one_by_one(*args: Tree) -> Tree:
        def call(member: tuple[Tree, ...]) -> Tree:
            own = iter(member)
            return fn(*(next(own) if axis == 0 else arg for arg, axis in zip(args, in_axes, strict=True)))

        return jax.lax.map(call, tuple(arg for arg, axis in zip(args, in_axes, strict=True) if axis == 0))

    return one_by_one


def sum_over_members(fn: Callable[..., Tree], *args: Tree) -> Tree:
    """The sum of what fn gives for members, along the arguments' leading axes. For use within a program.

    On accelerators all at once, as in `over_members`. On CPU a member's is added before the next one's is computed.
    """
    if jax.default_backend() != "cpu":
        return jax.tree.map(lambda leaf: leaf.sum(0), jax.vmap(fn)(*args))
    shapes = jax.eval_shape(fn, *jax.tree.map(lambda leaf: leaf[0], args))
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def add(total: Tree, member: tuple[Tree, ...]) -> tuple[Tree, None]:
        return jax.tree.map(jnp.add, total, fn(*member)), None

    return jax.lax.scan(add, zero, args)[0]


def placed(tree: Tree) -> Tree:
    """Every leaf on the devices in use of this process: a copy on each, which `mapped` joins, or its share."""
    mesh = _mesh()
    if mesh is not None:
        return sharding.placed(tree, mesh)
    return jax.device_put(tree, NamedSharding(sharding.mesh_of(local_devices()), PartitionSpec()))


class Stoppable(NamedTuple):
    """Result of a mapped call, and whether any process had been asked to stop when it was done."""

    out: Tree
    stop: bool


# Trees are handed to pmap as plain lists of leaves: jax 0.10 assigns the wrong axes to arguments once a tree without
# leaves (None, a function) stands among them.
@functools.cache
def _pmapped(fn: Callable[..., Tree], static: Any, tree: Any, donated: int, on: Any):
    def one(index: Array, *leaves: Array) -> Tree:
        return fn(*jax.tree.unflatten(tree, leaves), shard=Shard(index, len(on), AXIS), **dict(static))

    in_axes = (0, *[None] * tree.num_leaves)
    donate = tuple(range(1, 1 + donated))
    return jax.pmap(one, axis_name=AXIS, in_axes=in_axes, out_axes=None, devices=on, donate_argnums=donate)


@functools.cache
def _global(fn: Callable[..., Tree], static: Any, tree: Any, donated: int, mesh: Mesh):
    def one(*leaves: Array) -> Tree:
        return sharding.kept(fn(*jax.tree.unflatten(tree, leaves), shard=_all_of(mesh), **dict(static)), mesh)

    return jax.jit(one, donate_argnums=tuple(range(donated)))


@functools.cache
def _of_all_members(fn: Callable[..., Tree], in_axes: tuple[int | None, ...]) -> Callable[..., Tree]:
    def every(*args: Tree, **kwargs: Any) -> Tree:
        return over_members(functools.partial(fn, **kwargs), in_axes)(*args)

    return every


@functools.cache
def _of_one_member(fn: Callable[..., Tree], in_axes: tuple[int | None, ...]) -> Callable[..., Tree]:
    """(number, what all members have) -> what fn makes of one of them: one program for all."""

    def one(number: Array, *args: Tree, **kwargs: Any) -> Tree:
        own = [
            jax.tree.map(lambda leaf: leaf[number], arg) if axis == 0 else arg
            for arg, axis in zip(args, in_axes, strict=True)
        ]
        return fn(*own, **kwargs)

    return one


def _members_in_threads(
    fn: Callable[..., Tree], args: tuple[Tree, ...], in_axes: tuple[int | None, ...], static: Any, donate: bool
) -> Tree:
    """fn of every member on the one CPU device, as many at a time as there are cores; results stacked."""
    place, first = np.zeros(1, np.int32), np.int32(0)
    leaves, tree = jax.tree.flatten((first, *args))
    # For other threads compiled here (once): JAX's settings are a thread's own, and the caller's are to hold.
    program = _pmapped(_of_one_member(fn, in_axes), static, tree, 0, devices()).lower(place, *leaves).compile()

    def run(number: np.int32) -> Tree:
        return jax.block_until_ready(program(place, number, *leaves[1:]))

    count = len(jax.tree.leaves(args[in_axes.index(0)])[0])
    done = list(_in_threads(run, [(number,) for number in np.arange(count, dtype=np.int32)], _cores()))
    if donate:  # before as much is taken again
        for leaf in jax.tree.leaves(args[0]):
            leaf.delete()
    return placed(jax.tree.map(lambda *results: np.stack(results), *done))


def mapped(
    fn: Callable[..., Tree],
    *args: Tree,
    static: dict[str, Hashable],
    in_axes: tuple[int | None, ...] = (),
    donate: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Stoppable:
    """Runs fn(*args, shard=..., **static) on every device; arguments and result are the same on all of them.

    Args:
      fn: per-device function; what it returns must not differ between devices (see `total`).
      args: trees of arrays; those of `placed` are not copied.
      static: arguments that programs are compiled for.
      in_axes: where fn is one member's of an ensemble: of every argument whether it has a leading axis of members (0)
        or is shared by them (None). The results are stacked.
      donate: whether the first argument's memory may be reused; it must not be touched afterwards.
      stop: whether this process wishes to stop, asked when the call is done; the result tells whether any does.
    """
    on, fixed = devices(), tuple(sorted(static.items()))
    if 0 in in_axes:
        if len(on) == 1 and on[0].platform == "cpu":
            return Stoppable(_members_in_threads(fn, args, in_axes, fixed, donate), anyone(stop()))
        fn = _of_all_members(fn, in_axes)
    leaves, tree = jax.tree.flatten(args)
    donated = len(jax.tree.leaves(args[0])) if donate else 0
    mesh = _mesh()
    if mesh is None:
        mine = [i for i, d in enumerate(on) if d.process_index == jax.process_index()]
        call, inputs = _pmapped(fn, fixed, tree, donated, on), [np.asarray(mine, np.int32), *leaves]
    else:
        call, inputs = _global(fn, fixed, tree, donated, mesh), sharding.placed(leaves, mesh)
    # Waited for: on CPU a second sum over devices, in the same program or the next, can overtake the first and meet it
    # in another order on another device. So the processes ask each other afterwards.
    out = jax.block_until_ready(call(*inputs))
    return Stoppable(out, anyone(stop()))


# One program for one device, run on each. `pmap` over several compiles another one, which rounds differently.
@functools.cache
def _of_rows(fn: Callable[..., Array], static: Any, tree: Any):
    def one(*leaves: Array) -> Array:
        return fn(*jax.tree.unflatten(tree, leaves), **dict(static))

    return jax.jit(one)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _threads(on: tuple[Any, ...]) -> int:
    """Calls at a time. A CPU device runs what one thread asks of it one after the other, on cores that small products
    leave idle, so there every core has a thread."""
    if on[0].platform == "cpu":
        return max(len(on), _cores())
    return IN_FLIGHT * len(on)


def _in_threads(run: Callable[..., T], calls: Sequence[tuple[Any, ...]], threads: int) -> Iterator[T]:
    """run(*call) of every call, in order, so many at a time."""
    if len(calls) == 1 or threads == 1:  # threads take longer to start than a small chunk to compute
        for call in calls:
            yield run(*call)
        return
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[T]] = deque()
    try:
        for call in calls:
            if len(waiting) == 2 * threads:
                yield waiting.popleft().result()
            waiting.append(pool.submit(run, *call))
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _all_at_hand(tree: Tree) -> bool:
    """Whether all arrays are on the first device, or on the host and JAX takes them there."""
    first = local_devices()[0]
    if first != jax.local_devices()[0] or getattr(jax.config, "jax_default_device", None) is not None:
        return False
    return all(leaf.devices() == {first} for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array))


def in_chunks(
    fn: Callable[..., Array],
    rows: Tree,
    *args: Tree,
    chunk: int,
    static: dict[str, Hashable],
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """fn(rows, *args, **static) in chunks of one fixed shape, the last one padded, on every device of every process.

    A row's result does not depend on how many rows or devices there are: it is always computed in a chunk of the same
    shape, at the same place in it whenever it stands at the same place in `rows`. Where weights are split over devices,
    these compute one chunk together, and results depend on their number by rounding.

    Args:
      fn: (rows, *args, **static) -> [chunk, ...], each row on its own.
      rows: tree of arrays with leading axis N, N >= 1.
      args: trees of arrays that all rows share.
      chunk: rows of one call; memory is bounded by two calls a device, on CPU by one a core.
      static: arguments that programs are compiled for.
      progress: called with the number of rows finished.

    Returns:
      [N, ...] on the host of every process.
    """
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(rows)]
    num = leaves[0].shape[0]
    # Every process takes the same number of chunks, the last ones perhaps in vain.
    processes, process = jax.process_count(), jax.process_index()
    share = -(-num // (chunk * processes)) * chunk
    call = _of_rows(fn, tuple(sorted(static.items())), jax.tree.structure((rows, *args)))
    mesh, width = _mesh(), chunk
    if mesh is None:
        # Chunks that only fill up cost time where devices share cores: no more devices than chunks.
        on = local_devices()[: share // chunk]
        # A single chunk is handed over as it is where JAX brings it to the device itself, in less time.
        alone = share == chunk and _all_at_hand(args)
        shared = [jax.tree.leaves(args)] if alone else [jax.device_put(jax.tree.leaves(args), device) for device in on]
    else:
        alone, on, width = False, (sharding.of_rows(mesh),), -(-chunk // mesh.size) * mesh.size
        shared = [sharding.placed(jax.tree.leaves(args), mesh)]

    def inputs(start: int, place: int) -> list[Any]:
        # Surplus rows repeat the last: valid input, thrown away afterwards.
        take = np.minimum(np.arange(start, start + width), num - 1)
        own = [leaf[take] for leaf in leaves]
        return [*(own if alone else jax.device_put(own, on[place])), *shared[place]]

    starts = range(process * share, (process + 1) * share, chunk)
    # For other threads compiled here (once): JAX's settings are a thread's own, and the caller's are to hold.
    programs = [call] if len(starts) == 1 else [call.lower(*inputs(0, i)).compile() for i in range(len(on))]

    def run(start: int, place: int) -> np.ndarray:
        return np.asarray(programs[place](*inputs(start, place)))[:chunk]

    parts: list[np.ndarray] = []
    threads = _threads(on) if mesh is None else 1
    for part in _in_threads(run, [(start, i % len(on)) for i, start in enumerate(starts)], threads):
        parts.append(part)
        if progress is not None:
            progress(min(num, len(parts) * chunk * processes))
    out = np.concatenate(parts)
    if processes > 1:
        out = multihost_utils.process_allgather(out).reshape(-1, *out.shape[1:])
    return out[:num]
