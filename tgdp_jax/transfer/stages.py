"""Runs a method's training stages, each loaded from the store where it is finished already."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import time
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple, TypedDict

import jax
import numpy as np

from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import FileError, UserError, choose
from tgdp_jax.runtime.cost import Cost, Meter
from tgdp_jax.runtime.files import checked
from tgdp_jax.runtime.parallel import barrier
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.settings.stored import fingerprint
from tgdp_jax.train.checkpoint import Store
from tgdp_jax.train.session import Log, Progress, Session
from tgdp_jax.transfer.base import Generator, StageResult
from tgdp_jax.transfer.pretrained import model_digest
from tgdp_jax.transfer.registry import METHODS

# Opens a progress display for a named piece of work; called with (name, known to be finished already).
Watch = Callable[[str, bool], Progress | None]


def rows_done(watch: Watch, name: str, num: int) -> Callable[[int], None]:
    """Opens a progress display for `num` rows, shown with their rate; called with how many are done."""
    progress, start = watch(name, False), time.perf_counter()

    def report(done: int) -> None:
        if progress is not None:
            progress(done, num, math.nan, done / max(time.perf_counter() - start, 1e-9))

    return report


def silent(name: str, finished: bool) -> Progress | None:
    """A `Watch` that shows nothing."""
    return None


def named_key(seed: int, name: str) -> jax.Array:
    """A key of the seed that is the name's own, whatever else is drawn."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))


@dataclasses.dataclass(frozen=True)
class Trained:
    """A method after its stages.

    Attributes:
      generator: draws samples.
      trees: what each stage left.
      reports: each stage's curves and facts.
      costs: what each stage took; of stages found finished, what they took then.
      on_target: names of the stages that see target rows.
      fingerprints: what identifies each stage's result.
    """

    generator: Generator
    trees: dict[str, Any]
    reports: dict[str, StageReport]
    costs: dict[str, Cost]
    on_target: tuple[str, ...]
    fingerprints: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Training time, all stages, compiling included."""
        return sum(cost.seconds for cost in self.costs.values())

    @property
    def memory(self) -> int | None:
        """Bytes at the peak of all stages; None where that of some is not known."""
        peaks = [cost.memory for cost in self.costs.values()]
        return max((peak for peak in peaks if peak is not None), default=None) if None not in peaks else None

    @property
    def trained_parameters(self) -> int:
        """Numbers that were learned from target rows."""
        return num_parameters({name: self.trees[name] for name in self.on_target})


def train_method(
    config: TrainingConfig,
    problem: Problem,
    identity: dict[str, Any],
    method: str,
    seed: int,
    store: Store,
    watch: Watch,
    *,
    log: Callable[[str], Log] | None = None,
    only_load: bool = False,
) -> Trained:
    """Runs a method's stages, each loaded from the store where it is finished already, or continued where it stopped.

    Args:
      config: settings of the models.
      problem: data.
      identity: what fixes the data, see `problem_identity`.
      method: name in `METHODS`.
      seed: of training.
      store: finished stages, and training under way.
      watch: opens progress displays.
      log: stage name -> what is told of every launch.
      only_load: train nothing.

    Raises:
      Preempted: the process was asked to stop; training is saved.
      UserError: unknown method, diverged training, a damaged checkpoint, or a place that can not be written; with
        `only_load` also a stage that is not finished.
    """
    choose("method", method, METHODS)
    trees: dict[str, Any] = {}
    reports: dict[str, StageReport] = {}
    fingerprints: dict[str, str] = {}
    costs: dict[str, Cost] = {}
    model = model_digest(config)
    stages = METHODS[method].stages(config, problem)
    for stage in stages:
        # A pipeline is taken as it is; its samples are made for those stages that compare them with target rows.
        sees_source = problem.captions is None or stage.uses_target
        own_seed = seed if stage.uses_target or config.source_seed is None else config.source_seed
        fingerprints[stage.name] = fingerprint(
            {
                "stage": stage.name,
                "uses": stage.uses,
                "precision": config.precision,
                "needs": [fingerprints[name] for name in stage.needs],
                "problem": identity,
                "source_rows": problem.source.digest if sees_source else None,
                "seed": own_seed,
                "n_target": len(problem.target) if stage.uses_target else None,
                **model,
            }
        )
        run = functools.partial(stage.run, named_key(own_seed, stage.name), trees)
        finished = run_stage(stage.name, run, fingerprints[stage.name], store, watch, log=log, only_load=only_load)
        trees[stage.name] = jax.device_put(finished.tree)
        reports[stage.name], costs[stage.name] = finished.report, finished.cost
    on_target = tuple(stage.name for stage in stages if stage.uses_target)
    return Trained(METHODS[method].generator(config, problem, trees), trees, reports, costs, on_target, fingerprints)


class StageReport(NamedTuple):
    """What reports say of a finished stage: curves by name, the first being "step", and JSON-able facts."""

    history: dict[str, np.ndarray]
    info: dict[str, Any]


class Finished(NamedTuple):
    """A finished stage: what it left as a tree of arrays, what reports say of it, and what it took."""

    tree: dict[str, Any]
    report: StageReport
    cost: Cost


def run_stage(
    name: str,
    run: Callable[[Session], StageResult],
    identity: str,
    store: Store,
    watch: Watch,
    *,
    log: Callable[[str], Log] | None,
    only_load: bool = False,
) -> Finished:
    """Runs one stage, or takes it from the store where it is finished already.

    Args:
      name: of the stage.
      run: does the work.
      identity: fingerprint of everything that the result depends on.
      store: finished stages, and training under way.
      watch: opens progress displays.
      log: stage name -> what is told of every launch.
      only_load: train nothing.

    Raises:
      Preempted: the process was asked to stop; training is saved.
      UserError: with `only_load`, the stage is not finished.
    """
    found = store.load(name, identity)
    if found is None and only_load:
        raise UserError(
            f"{store.root} holds no finished {name!r} stage for these settings and data: finish the run "
            "first, with `tgdp run` and the same options, or put back the data files that it was made from"
        )
    if found is None:
        with store.alone(name, identity):
            # Another process may have finished it while this one waited.
            found = store.load(name, identity) or store.take(name, identity)
            if found is None:
                return _trained(name, run, identity, store, watch, log)
    watch(name, True)
    if not only_load:
        store.under_way(name, identity).discard()  # left where a run died between the two
    tree, facts = found[0], _checked_facts(store, name, identity, found[1])
    history = {name: np.asarray(values) for name, values in facts["history"].items()}
    cost = Cost(facts["seconds"], facts.get("compile_seconds", math.nan), facts.get("memory"))
    return Finished(tree, StageReport(history, facts["info"]), cost)


def _trained(
    name: str,
    run: Callable[[Session], StageResult],
    identity: str,
    store: Store,
    watch: Watch,
    log: Callable[[str], Log] | None,
) -> Finished:
    """Runs one stage and keeps what it leaves."""
    progress = watch(name, False)
    meter = Meter()
    partial = store.under_way(name, identity)
    session = Session(progress, partial, None if log is None else log(name), stage=name)
    try:
        result = run(session)
    except BaseException:
        with contextlib.suppress(FileError):  # not in the place of what is known to be wrong already
            partial.close()
        raise
    partial.close()
    tree = jax.tree.map(np.asarray, result.artefact.to_tree())
    cost = meter.read()
    cost = cost._replace(seconds=cost.seconds + partial.earlier)
    history = {name: np.asarray(values).tolist() for name, values in result.history.items()}
    store.save(name, identity, tree, {"history": history, "info": result.info, **cost._asdict()})
    partial.discard()
    barrier(f"{name} {identity}")
    return Finished(tree, StageReport(result.history, result.info), cost)


class _Told(TypedDict):
    history: dict[str, list[float]]
    info: dict[str, Any]
    seconds: float


class _Facts(_Told, total=False):
    """What stands beside a finished stage's arrays; the last two since later versions."""

    compile_seconds: float
    memory: int | None


def _checked_facts(store: Store, name: str, identity: str, facts: Any) -> _Facts:
    try:
        return checked(facts, _Facts)
    except ValueError as error:
        raise store.damaged(name, identity, error) from error


def num_parameters(trees: dict[str, Any]) -> int:
    """Numbers in the networks of a method: of what a stage left, the parameters, and no other variables."""
    networks = (tree.get("params", {}) for tree in trees.values())
    return int(sum(np.size(leaf) for net in networks for leaf in jax.tree.leaves(net.get("params", net))))
