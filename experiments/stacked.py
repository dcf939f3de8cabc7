"""Stacked transfer on Gaussian mixtures: what each of its parts is worth, by path KL in nats.

    python -m experiments.stacked                          d = 2, 8, 32; n = 10, 100, 1000; seeds 0-2
    python -m experiments.stacked --dims 32 --n-targets 10 100

Problem, networks and source model are those of `experiments.methods_gaussians`. All adaptations are trained alike:
adapters at a rate of 3e-3, a look at the held-out rows every 20 steps, no better one for 100 steps ends it. Without
`shrink` a row is the method as its last training left it; with it, what it changes of the source's score is weighed at
each noise level by rows out of fold. Members are trained once for all rows that share them. A second table has the
differences to `stacked`, seed by seed: methods of one seed have the same rows and the same source. Each study goes on
where it was cut off; results go to runs/ (--out).
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.adjust import optimised
from experiments.command import command
from experiments.methods_gaussians import training
from tgdp_jax.app.console import Display, print_table
from tgdp_jax.app.identity import problem_identity
from tgdp_jax.app.report.table import Cell, Column, Row
from tgdp_jax.data.gaussians import GaussiansConfig
from tgdp_jax.data.registry import load_problem
from tgdp_jax.metrics.closed_form import path_kl
from tgdp_jax.runtime.files import write_json
from tgdp_jax.settings.methods import LoraConfig, StackedConfig
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.train.checkpoint import Store
from tgdp_jax.transfer import METHODS
from tgdp_jax.transfer.pretrained import forward_process
from tgdp_jax.transfer.stages import named_key, train_method

MAIN = "stacked"


class Variant(NamedTuple):
    """A row of the table: a method with its settings, and whether it is shrunk, if it can be."""

    method: str
    config: TrainingConfig
    shrunk: bool = True


def variants() -> Iterator[tuple[str, Variant]]:
    """Rows by name."""
    given = TrainingConfig(source_seed=0, **training("cpu"))
    rival = optimised(given.rival, steps_per_launch=20, patience=100, ema=0.95)
    base = dataclasses.replace(given, rival=rival, lora=LoraConfig(learning_rates=(3e-3,)))

    yield MAIN, Variant("stacked", base)
    for left_out in StackedConfig().members:
        members = tuple(name for name in StackedConfig().members if name != left_out)
        config = dataclasses.replace(base, stacked=StackedConfig(members=members))
        yield f"stacked without {left_out}", Variant("stacked", config)
    one = dataclasses.replace(base, stacked=StackedConfig(knots=1))
    yield "stacked, one weight for all noise levels", Variant("stacked", one)
    for method in ("tgdp_denoising", "lora", "textual_inversion", "finetune"):
        yield f"{method}, shrunk", Variant(method, base)
        yield method, Variant(method, base, shrunk=False)
    soup = dataclasses.replace(base, rival=dataclasses.replace(rival, finish="soup"))
    yield "lora, soup, shrunk", Variant("lora", soup)
    yield "lora, soup", Variant("lora", soup, shrunk=False)
    yield "tgdp", Variant("tgdp", base)
    yield "source", Variant("source", base)


def measured(
    dim: int, n: int, seed: int, rows: Sequence[str], folder: Path, display: Display
) -> dict[str, dict[str, Any]]:
    """What each row reads at one dimension, number of target rows and seed; kept in a file."""
    path = folder / "cells" / f"d{dim}-n{n}-seed{seed}.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    problem_config = GaussiansConfig(dim=dim, num_source=10_000)
    problem = load_problem(problem_config, n_target=n, seed=seed, source_seed=0)
    assert problem.exact is not None
    store, identity = Store(folder / "checkpoints"), problem_identity(problem_config)
    for name, (method, config, shrunk) in variants():
        if name in found or (rows and name not in rows):
            continue
        display.prefix = f"d={dim} n={n} seed={seed} {name}: "
        trained = train_method(config, problem, identity, method, seed, store, display)
        trees, info = trained.trees, trained.reports[list(trained.reports)[-1]].info
        if not shrunk:
            trees = {**trees, method: {key: part for key, part in trees[method].items() if key != "shrink"}}
        score = METHODS[method].generator(config, problem, trees).score
        assert score is not None
        value = path_kl(named_key(seed, "metrics"), score, problem.exact.target, forward_process(config)).value
        weights = info.get("weights") if shrunk else None
        found[name] = {"path_kl": value, "seconds": trained.seconds, "weights": weights}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, found)
    return found


def _cell(values: list[float]) -> Cell:
    """Mean and standard error over seeds."""
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None
    return Cell(float(np.mean(values)), error)


def main(
    dims: tuple[int, ...] = (2, 8, 32),
    n_targets: tuple[int, ...] = (10, 100, 1000),
    seeds: int = 3,
    rows: tuple[str, ...] = (),
    out: Path = Path("runs"),
) -> None:
    """Runs the study.

    Args:
      dims: dimensions.
      n_targets: numbers of target rows.
      seeds: seeds 0, 1, ... up to this number.
      rows: names of rows; none for all.
      out: folder for the results.
    """
    folder = out / "stacked-gaussians"
    with Display() as display:
        found = {
            (dim, n, seed): measured(dim, n, seed, rows, folder, display)
            for seed in range(seeds)
            for dim in dims
            for n in n_targets
        }
    columns = [Column(f"{d}-{n}", f"d={d} n={n}", "lower") for d in dims for n in n_targets]
    names = [name for name, _ in variants() if not rows or name in rows]

    def values(name: str, d: int, n: int) -> list[float]:
        return [found[d, n, seed][name]["path_kl"] for seed in range(seeds)]

    def table(title: str, of: Any) -> None:
        cells = {name: {f"{d}-{n}": _cell(of(name, d, n)) for d in dims for n in n_targets} for name in names}
        print_table([Row(name, cells[name]) for name in names], columns, title=title)
        write_json(folder / f"{title.split(',')[0].replace(' ', '-')}.json", cells)

    table(f"path KL, mean and standard error of {seeds} seeds", values)
    if MAIN in names:
        table(
            f"difference to {MAIN}, paired by seed",
            lambda name, d, n: [a - b for a, b in zip(values(name, d, n), values(MAIN, d, n), strict=True)],
        )


if __name__ == "__main__":
    command(main)
