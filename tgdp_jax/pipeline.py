"""The pipeline of a run: problem -> stages (checkpointed) -> samples -> metrics. Pure in its config, seed and data."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tgdp_jax.config import CompareConfig, ProbeConfig, RunConfig, fingerprint, to_json
from tgdp_jax.cost import Cost, Meter
from tgdp_jax.data import arrays, digit_pairs, digits, gaussians, images
from tgdp_jax.data.ecg import folders as ecg_folders
from tgdp_jax.data.ecg import sim as ecg_sim
from tgdp_jax.data.image_files import files_of
from tgdp_jax.data.mixture import ExactScore
from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import UserError, choose
from tgdp_jax.interop import unet_files
from tgdp_jax.metrics.closed_form import expected_density
from tgdp_jax.metrics.downstream import downstream
from tgdp_jax.metrics.ecg import evaluate_ecg
from tgdp_jax.metrics.evaluate import evaluate, evaluate_closed_form
from tgdp_jax.metrics.features import Features, fit_features
from tgdp_jax.metrics.images import evaluate_images
from tgdp_jax.metrics.spread import Value
from tgdp_jax.metrics.utility import utility
from tgdp_jax.nets.features import FeatureCNN
from tgdp_jax.parallel import barrier
from tgdp_jax.settings import TrainingConfig
from tgdp_jax.train.checkpoint import Store
from tgdp_jax.train.session import Log, Progress, Session
from tgdp_jax.transfer import METHODS
from tgdp_jax.transfer.base import Generator, StageResult

# Opens a progress display for a named piece of work; called with (name, known to be finished already).
Watch = Callable[[str, bool], Progress | None]
NUM_REFERENCE = 10_000


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


def load_problem(config: Any, *, n_target: int | None, seed: int, source_seed: int | None = None) -> Problem:
    """The problem that a problem config describes; `source_seed` (None: the seed) is of drawn source rows."""
    match config:
        case gaussians.GaussiansConfig():
            seeds = {"seed": seed, "source_seed": source_seed}
            return gaussians.load(config, n_target=n_target, num_reference=NUM_REFERENCE, **seeds)
        case digits.DigitsConfig():
            return digits.load(config, n_target=n_target, seed=seed)
        case digit_pairs.DigitPairsConfig():
            return digit_pairs.load(config, n_target=n_target, seed=seed)
        case images.ImagesConfig():
            return images.load(config, n_target=n_target, seed=seed)
        case ecg_sim.EcgSimConfig():
            return ecg_sim.load(config, n_target=n_target, seed=seed, source_seed=source_seed)
        case ecg_folders.EcgConfig():
            return ecg_folders.load(config, n_target=n_target, seed=seed)
        case _:
            return arrays.load(config, n_target=n_target, seed=seed)


def file_digests(config: RunConfig | CompareConfig | ProbeConfig) -> dict[str, str]:
    """Hash of the contents of every file that the settings name, by the option that names it."""
    return _data_digests(config.problem) | _model_digest(config)


def _data_digests(config: Any) -> dict[str, str]:
    if isinstance(config, ecg_folders.EcgConfig):
        return {name: _digest(files) for name, files in ecg_folders.data_files(config).items()}
    paths = {name: value for name, value in vars(config).items() if isinstance(value, Path)}
    return {name: _digest(files_of(path)) for name, path in paths.items() if path.exists()}


def _model_digest(config: TrainingConfig) -> dict[str, str]:
    # Loaded first, which says what is wrong with a folder that is none.
    if config.model is None or config.pretrained is None:
        return {}
    place = config.pretrained
    return {"pretrained": _digest(unet_files(place) if place.is_dir() else {place.name: place})}


def _digest(files: Mapping[str, Path]) -> str:
    """Of a file's contents; of several files that belong together, with their names."""
    parts = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
    return fingerprint(parts) if len(parts) > 1 else next(iter(parts.values()))


def problem_identity(config: Any) -> dict[str, Any]:
    """JSON-able facts that fix a problem's data: settings, and for files their contents."""
    return {"kind": type(config).__name__, **to_json(config), **_data_digests(config)}


def named_key(seed: int, name: str) -> jax.Array:
    """A key of the seed that is the name's own, whatever else is drawn."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))


@dataclasses.dataclass(frozen=True)
class Trained:
    """A method after its stages.

    Attributes:
      generator: draws samples.
      trees: what each stage left.
      results: each stage's curves and facts (no arrays).
      costs: what each stage took; of stages found finished, what they took then.
      on_target: names of the stages that see target rows.
    """

    generator: Generator
    trees: dict[str, Any]
    results: dict[str, StageResult]
    costs: dict[str, Cost]
    on_target: tuple[str, ...]

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


def train(
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
    results: dict[str, StageResult] = {}
    marks: dict[str, str] = {}
    costs: dict[str, Cost] = {}
    model = _model_digest(config)
    stages = METHODS[method].stages(config, problem)
    for stage in stages:
        own_seed = seed if stage.uses_target or config.source_seed is None else config.source_seed
        marks[stage.name] = fingerprint(
            {
                "stage": stage.name,
                "uses": stage.uses,
                "precision": config.precision,
                "needs": [marks[name] for name in stage.needs],
                "problem": identity,
                "source_rows": problem.source.digest,
                "seed": own_seed,
                "n_target": len(problem.target) if stage.uses_target else None,
                **model,
            }
        )
        run = functools.partial(stage.run, named_key(own_seed, stage.name), problem, trees)
        result, costs[stage.name] = _run_stage(
            stage.name, run, marks[stage.name], store, watch, log=log, only_load=only_load
        )
        trees[stage.name] = jax.tree.map(jax.numpy.asarray, result.tree)
        results[stage.name] = result._replace(tree=None)
    on_target = tuple(stage.name for stage in stages if stage.uses_target)
    return Trained(METHODS[method].generator(config, problem, trees), trees, results, costs, on_target)


def _run_stage(
    name: str,
    run: Callable[[Session], StageResult],
    mark: str,
    store: Store,
    watch: Watch,
    *,
    log: Callable[[str], Log] | None,
    only_load: bool = False,
) -> tuple[StageResult, Cost]:
    """(what the stage leaves, what it took), from the store where it is finished already."""
    found = store.load(name, mark)
    if found is None and only_load:
        raise UserError(
            f"{store.root} holds no finished {name!r} stage for these settings and data: finish the run "
            "first, with `tgdp run` and the same options, or put back the data files that it was made from"
        )
    progress = watch(name, found is not None)
    if found is not None:
        if not only_load:
            store.under_way(name, mark).discard()  # left where a run died between the two
        tree, facts = found
        history = {name: np.asarray(values) for name, values in facts["history"].items()}
        cost = Cost(facts["seconds"], facts.get("compile_seconds", math.nan), facts.get("memory"))
        return StageResult(tree, history, facts["info"]), cost
    meter = Meter()
    partial = store.under_way(name, mark)
    session = Session(progress, partial, None if log is None else log(name))
    try:
        result = run(session)
    finally:
        partial.close()
    result = result._replace(tree=jax.tree.map(np.asarray, result.tree))
    cost = meter.read()
    cost = cost._replace(seconds=cost.seconds + partial.earlier)
    history = {name: np.asarray(values).tolist() for name, values in result.history.items()}
    store.save(name, mark, result.tree, {"history": history, "info": result.info, **cost._asdict()})
    partial.discard()
    barrier(f"{name} {mark}")
    return result, cost


def image_features(
    problem: Problem, identity: dict[str, Any], store: Store, watch: Watch, *, log: Callable[[str], Log] | None = None
) -> Features | None:
    """What metrics of images and series compare: features of a classifier of the source's classes, one for all methods
    and numbers of target rows, and for all seeds that have the same source rows. None for other problems, and for rows
    without labels.
    """
    source = problem.source
    if len(problem.shape) not in (2, 3) or source.y is None:
        return None
    num_classes = int(source.y.max()) + 1

    def run(session: Session) -> StageResult:
        fitted = fit_features(named_key(0, "features"), source.x, source.y, num_classes=num_classes, session=session)
        return StageResult({"params": fitted.params}, {}, {"accuracy": fitted.accuracy})

    mark = fingerprint(
        {"stage": "features", "problem": identity, "source_rows": source.digest, "num_classes": num_classes}
    )
    result, _ = _run_stage("features", run, mark, store, watch, log=log)
    return Features(result.tree["params"], result.info["accuracy"], FeatureCNN(num_classes), problem.shape)


def draw_samples(
    generator: Generator, problem: Problem, seed: int, num: int, watch: Watch
) -> tuple[np.ndarray, np.ndarray | None]:
    """(x [num, *D] in the models' units, labels [num] or None). Sample i is the same for every num.

    Raises:
      UserError: samples are not finite.
    """
    ids = np.arange(num)
    labels = problem.target_labels(named_key(seed, "labels"), ids)
    progress = rows_done(watch, "sampling", num)
    x = generator.draw(named_key(seed, "sample"), ids, labels, progress=progress)
    bad = ~np.isfinite(x).reshape(num, -1).all(1)
    if bad.any():
        raise UserError(
            f"{int(bad.sum())} of {num} samples are not finite: use more --sampling.steps, a smaller --sampling.scale, "
            "or --sampling.clip"
        )
    return x, labels


def judge(
    config: TrainingConfig,
    problem: Problem,
    samples: np.ndarray,
    labels: np.ndarray | None,
    score: Any,
    seed: int,
    features: Features | None = None,
) -> dict[str, Value]:
    """Every metric that the problem allows; empty where there is nothing to judge by."""
    out: dict[str, Value] = {}
    reference = problem.reference
    # A single sample is no distribution.
    if reference is not None and len(samples) > 1:
        rows = samples, reference.x, problem.target.x
        if features is None:
            known = labels is not None and reference.y is not None
            asked, truth = (labels, reference.y) if known else (None, None)
            out |= evaluate(*rows, seed=seed, labels=asked, reference_labels=truth)
        else:
            out |= evaluate_images(*rows, features, seed=seed, labels=labels)
            out |= _utility_values(problem, samples, labels, seed, features)
        if problem.ecg_rate is not None:
            in_mv = (problem.scaler.to_user(x) for x in (samples, reference.x))
            out |= evaluate_ecg(*in_mv, rate=problem.ecg_rate, seed=seed)
    if problem.exact is not None:
        sde = config.sde
        out |= evaluate_closed_form(
            samples,
            score,
            problem.exact.target,
            sde if score is not None else None,
            key=named_key(seed, "metrics"),
            conditional=problem.conditional,
        )
    return out


def _utility_values(
    problem: Problem, samples: np.ndarray, labels: np.ndarray | None, seed: int, features: Features
) -> dict[str, Value]:
    """What classifiers of target rows gain from samples; empty where samples or rows have no labels."""
    reference = problem.reference
    if labels is None or reference is None or reference.y is None or problem.target.y is None:
        return {}
    real, fresh = (problem.target.x, problem.target.y), (reference.x, reference.y)
    key = named_key(seed, "utility")
    if problem.ecg_rate is not None:
        return downstream(key, real, (samples, labels), fresh, features)
    found = utility(key, real, (samples, labels), fresh, num_classes=problem.num_classes)
    return {"utility": found.augmented, "utility_gain": found.gain}


def floor(config: TrainingConfig, problem: Problem, seed: int) -> dict[str, Value]:
    """Metrics of fresh target samples: what a perfect sampler would read. Empty where the target is not known."""
    if problem.exact is None:
        return {}
    x, y = problem.exact.target.sample(named_key(seed, "fresh"), config.sampling.num)
    labels = np.asarray(y) if problem.conditional else None
    score = ExactScore(problem.exact.target, config.sde)
    values = judge(config, problem, np.asarray(x), labels, score, seed)
    goal = expected_density(problem.exact.target)
    return values | {"avg_density": Value(goal, 0.0)}


def num_parameters(trees: dict[str, Any]) -> int:
    """Numbers in the networks of a method."""
    return int(sum(np.size(leaf) for tree in trees.values() for leaf in jax.tree.leaves(tree.get("params", {}))))
