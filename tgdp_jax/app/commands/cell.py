"""One cell of a comparison: a method trained, sampled and judged at one number of target rows and one seed.

A method that fails (training diverges, samples are not finite, memory runs out, it refuses the problem) leaves a cell
that says why; what is no fault of its own, such as a full disk, ends the comparison.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import jax
import numpy as np

from tgdp_jax.app.commands import pages
from tgdp_jax.app.commands.run import FLOOR, judged_rows, stage_warnings
from tgdp_jax.app.console import Shown
from tgdp_jax.app.evaluation import draw_samples, evaluate_samples, ideal_metrics, image_features
from tgdp_jax.app.folder import check_still_there
from tgdp_jax.app.identity import problem_identity
from tgdp_jax.data.problem import Problem
from tgdp_jax.data.registry import load_problem
from tgdp_jax.errors import FileError, UserError, out_of_memory
from tgdp_jax.metrics.encoded import EncoderFeatures, Seen
from tgdp_jax.metrics.features import Features
from tgdp_jax.metrics.spread import Value
from tgdp_jax.runtime.cost import Meter
from tgdp_jax.runtime.engine import spare_memory_maps
from tgdp_jax.runtime.files import write_npz
from tgdp_jax.settings.run import CompareConfig
from tgdp_jax.train.checkpoint import Store
from tgdp_jax.train.session import Log
from tgdp_jax.transfer.latents import encoded, planned
from tgdp_jax.transfer.stages import num_parameters, train_method

Cell = dict[str, Any]
Problems = Callable[[int, int], Problem]  # (n, seed) ->


class _Measured(TypedDict):
    metrics: dict[str, tuple[float | None, float | None]]
    warnings: list[str]
    parameters: int
    trained_parameters: int


class Kept(_Measured, total=False):
    """A cell that did not fail, as its file holds it."""

    source_parameters: int
    calibration: dict[str, float | None]
    judged: tuple[int, int]


MIB = 2**20


def fill_cell(
    config: CompareConfig,
    problem: Problem,
    identity: dict[str, Any],
    method: str,
    seed: int,
    out: Path,
    store: Store,
    display: Shown,
    log: Callable[[str], Log],
    seen: Seen,
) -> Cell:
    """What is measured of a method, or under "failed" why nothing is. JSON-able but for numbers that are not finite.

    Raises:
      FileError: the disk is full, or a checkpoint damaged.
    """
    if method == FLOOR:
        return _cell(ideal_metrics(config, problem, seed), judged=judged_rows(problem, config.sampling.num))
    features = image_features(problem, identity, store, display, log=log, evaluation=config.evaluation, seen=seen)
    try:
        run = config.cell(method, len(problem.target), seed)
        problem = encoded(run, planned(run, problem), identity, store, display, log=log)
        return _measure(config, problem, identity, method, seed, out, store, display, log, features)
    except FileError:
        raise
    except UserError as error:
        reason = str(error)
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        # With several processes the others wait for this one: it must end, and they with it.
        if not out_of_memory(error) or jax.process_count() > 1:
            raise
        reason = f"out of memory ({(str(error).splitlines() or ['no more is known'])[0][:200]})"
    display.warn(f"{method} failed: {reason}")
    return failed_cell(reason)


def failed_cell(reason: str) -> Cell:
    """The cell of a method that failed."""
    return _cell({}, failed=reason)


@dataclasses.dataclass(frozen=True)
class Filler:
    """Fills cells of one comparison, one after the other.

    Attributes:
      config: what is compared.
      problems: the data.
      identity: what fixes them.
      out: folder of the comparison.
      store: trained stages.
      seen: what an image encoder saw for earlier cells.
    """

    config: CompareConfig
    problems: Problems
    identity: dict[str, Any]
    out: Path
    store: Store
    seen: Seen = dataclasses.field(default_factory=Seen)

    @staticmethod
    def make(config: CompareConfig, out: Path, store: Store) -> Filler:
        """One that loads the data as they are needed."""
        problems = functools.lru_cache(maxsize=1)(functools.partial(load, config))
        return Filler(config, problems, problem_identity(config.problem), out, store)

    def __call__(self, method: str, n: int, seed: int, display: Shown, log: Callable[[str], Log]) -> Cell:
        """See `fill_cell`.

        Raises:
          FileError: also where the folder is gone.
        """
        spare_memory_maps()
        check_still_there(self.out)
        problem = self.problems(n, seed)
        return fill_cell(
            self.config, problem, self.identity, method, seed, self.out, self.store, display, log, self.seen
        )


def load(config: CompareConfig, n: int, seed: int) -> Problem:
    """The data of a comparison at a number of target rows and a seed."""
    problem = load_problem(config.problem, n_target=n, seed=seed, source_seed=config.source_seed)
    return planned(config.cell("source", n, seed), problem)


def samples_path(out: Path, method: str, n: int) -> Path:
    """Where samples of the first seed are kept, for pictures."""
    return out / "samples" / f"{method}-n{n}-seed0.npz"


def _cell(values: dict[str, Value], **facts: Any) -> Cell:
    metrics = {name: list(value) for name, value in values.items()}
    return {"metrics": metrics, "warnings": [], "parameters": 0, "trained_parameters": 0, **facts}


def _measure(
    config: CompareConfig,
    problem: Problem,
    identity: dict[str, Any],
    method: str,
    seed: int,
    out: Path,
    store: Store,
    display: Shown,
    log: Callable[[str], Log],
    features: Features | EncoderFeatures | None,
) -> Cell:
    trained = train_method(config, problem, identity, method, seed, store, display, log=log)
    meter = Meter()
    samples, labels = draw_samples(trained.generator, problem, seed, config.sampling.num, display)
    sampling = meter.read()
    values = evaluate_samples(config, problem, samples, labels, trained.generator.score, seed, features)
    values["seconds"] = Value(trained.seconds, math.nan)
    values["sample_seconds"] = Value(sampling.seconds - sampling.compile_seconds, math.nan)
    if trained.memory is not None and sampling.memory is not None:
        values["memory"] = Value(max(trained.memory, sampling.memory) / MIB, math.nan)
    n = len(problem.target)
    calibrations = [r.info["calibration"] for r in trained.reports.values() if "calibration" in r.info]
    if seed == 0:
        _keep_samples(samples_path(out, method, n), samples, labels)
    return _cell(
        values,
        judged=judged_rows(problem, config.sampling.num),
        warnings=[f"n={n}, seed {seed}: {warning}" for warning in stage_warnings(trained, n)],
        parameters=num_parameters(trained.trees),
        trained_parameters=trained.trained_parameters,
        source_parameters=num_parameters({"source": trained.trees.get("source", {})}),
        **({"calibration": calibrations[0]} if calibrations else {}),
    )


def _keep_samples(path: Path, samples: np.ndarray, labels: np.ndarray | None) -> None:
    """Keeps the first rows for the pictures, in the models' units."""
    content: dict[str, Any] = {"x": samples[: pages.PANEL_POINTS]} | (
        {} if labels is None else {"y": labels[: pages.PANEL_POINTS]}
    )
    write_npz(path, content)
