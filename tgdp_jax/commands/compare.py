"""`tgdp compare`: methods x numbers of target rows x seeds, as one table. Every finished cell is a file, so that a
comparison that was cut off goes on where it stopped; stages that methods share are trained once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from tgdp_jax.commands import pages
from tgdp_jax.commands.run import FLOOR, stage_warnings
from tgdp_jax.config import CompareConfig, to_json
from tgdp_jax.console import Display, print_table
from tgdp_jax.data.arrays import read_rows
from tgdp_jax.data.problem import Problem
from tgdp_jax.engine import EngineConfig, describe
from tgdp_jax.errors import UserError, choose
from tgdp_jax.folder import claim_folder, locked, read_json, write_atomic, write_json
from tgdp_jax.journal import Journal
from tgdp_jax.metrics.spread import Value
from tgdp_jax.parallel import is_primary
from tgdp_jax.pipeline import (
    draw_samples,
    file_digests,
    floor,
    image_features,
    judge,
    load_problem,
    num_parameters,
    problem_identity,
    train,
)
from tgdp_jax.report import html
from tgdp_jax.report.table import Column, Row
from tgdp_jax.train.checkpoint import Store
from tgdp_jax.train.session import Log
from tgdp_jax.transfer import METHODS
from tgdp_jax.transfer.networks import denoiser

Cell = dict[str, Any]


def compare(config: CompareConfig, out: Path, engine: EngineConfig = EngineConfig()) -> None:
    """Fills every cell of the comparison and writes metrics.json and report.html into folder `out`.

    Raises:
      UserError: whatever a user can put right; cells that are finished stay.
    """
    for name in config.method_list:
        choose("method", name, METHODS)
    problems = {(n, seed): load_problem(config.problem, n_target=n, seed=seed) for n, seed in _grid(config)}
    denoiser(config, next(iter(problems.values())))  # says what does not fit before anything is written
    claim_folder(out, "compare", config, file_digests(config), resume=engine.resume)
    with locked(out):
        _fill(config, problems, out, engine)


def _fill(config: CompareConfig, problems: Mapping[tuple[int, int], Problem], out: Path, engine: EngineConfig) -> None:
    names = [*config.method_list, FLOOR] if next(iter(problems.values())).exact is not None else config.method_list
    todo = [(method, n, seed) for n, seed in _grid(config) for method in names]
    cells: dict[tuple[str, int, int], Cell] = {}
    identity = problem_identity(config.problem)  # of files read whole: once for all cells
    with Display() as display, closing(Journal(out, tensorboard=engine.tensorboard)) as journal:
        display.say(f"devices: {describe()}")
        store = Store(out / "checkpoints", seconds=engine.checkpoint_seconds, warn=display.warn)
        for index, (method, n, seed) in enumerate(todo):
            path = out / "cells" / f"{method.replace(' ', '_')}-n{n}-seed{seed}.json"
            display.prefix = f"[{index + 1}/{len(todo)}] n={n} seed={seed} {method}: "
            # The samples of the first seed are drawn in the report.
            if path.exists() and (seed or method == FLOOR or _samples_path(out, method, n).exists()):
                remedy = "delete it and run again to compute this cell anew"
                cells[method, n, seed] = read_json(path, needs=("metrics", "warnings"), remedy=remedy)
                continue

            def log(stage: str, cell: str = f"n{n}-seed{seed}/{method}") -> Log:
                return journal.stage(f"{cell}/{stage}")

            cell = _cell(config, problems[n, seed], identity, method, seed, out, store, display, log)
            write_json(path, cell)
            cells[method, n, seed] = cell
        warnings = list(dict.fromkeys(w for c in cells.values() for w in c["warnings"]))
        for warning in warnings:
            display.warn(warning)
    rows, shown = summary(cells, config.n_list, range(config.seeds), names)
    problem = problems[config.n_list[0], 0]
    pictures = [_picture(problems[n, 0], config, n, out) for n in config.n_list]
    if len(config.n_list) > 1:
        by_n = {float(n): [row for row in rows if row.group == str(n)] for n in config.n_list}
        pictures = pages.line_pictures(by_n, shown) + pictures
    note = f"Mean over seeds 0 to {config.seeds - 1}; ± is the standard deviation between seeds."
    page = html.render(
        title=f"Transfer methods on {problem.name}",
        intro="\n\n".join(f"{name}: {METHODS[name].card}." for name in config.method_list),
        warnings=warnings,
        tables=[html.TableData("Metrics", rows, shown, note, group="target rows")],
        pictures=pictures,
        config=to_json(config),
        footer=f"Made by: tgdp compare {problem.name} (with the settings above).",
    )
    html.write(out / "report.html", page)
    pages.write_pictures(out / "pictures", pictures)
    write_json(
        out / "metrics.json",
        {
            "cells": [{"method": m, "num_target": n, "seed": seed, **cell} for (m, n, seed), cell in cells.items()],
            "summary": [
                {"method": row.name, "num_target": int(row.group or 0), **{k: list(c) for k, c in row.cells.items()}}
                for row in rows
            ],
        },
    )
    if not is_primary():
        return
    print_table(rows, pages.for_terminal(shown), title=f"{problem.name}. {note}", group="target rows")
    print(f"comparison: {out}  (open {out / 'report.html'}; every metric is in metrics.json)")


def _grid(config: CompareConfig) -> list[tuple[int, int]]:
    # One seed after the other: what is there after a while shows every n.
    return [(n, seed) for seed in range(config.seeds) for n in config.n_list]


def _cell(
    config: CompareConfig,
    problem: Problem,
    identity: dict[str, Any],
    method: str,
    seed: int,
    out: Path,
    store: Store,
    display: Display,
    log: Callable[[str], Log],
) -> Cell:
    if method == FLOOR:
        values, warnings, parameters = floor(config, problem, seed), [], 0
    else:
        trained = train(config, problem, identity, method, seed, store, display, log=log)
        features = image_features(problem, identity, store, display, log=log)
        samples, labels = draw_samples(trained.generator, problem, seed, config.sampling.num, display)
        values = judge(config, problem, samples, labels, trained.generator.score, seed, features)
        values["seconds"] = Value(trained.seconds, math.nan)
        n = len(problem.target)
        warnings = [f"n={n}, seed {seed}: {warning}" for warning in stage_warnings(trained, n)]
        parameters = num_parameters(trained.trees)
        if seed == 0:
            _keep_samples(_samples_path(out, method, len(problem.target)), samples, labels)
    metrics = {name: list(value) for name, value in values.items()}
    return {"metrics": metrics, "warnings": warnings, "parameters": parameters}


def _samples_path(out: Path, method: str, n: int) -> Path:
    return out / "samples" / f"{method}-n{n}-seed0.npz"


def _keep_samples(path: Path, samples: np.ndarray, labels: np.ndarray | None) -> None:
    """Keeps the first rows for the pictures, in the models' units."""
    content: dict[str, Any] = {"x": samples[: pages.PANEL_POINTS]} | (
        {} if labels is None else {"y": labels[: pages.PANEL_POINTS]}
    )

    def save(part: Path) -> None:
        with part.open("wb") as file:
            np.savez(file, **content)

    write_atomic(path, save)


def _picture(problem: Problem, config: CompareConfig, n: int, out: Path) -> html.Picture:
    samples, labels = {}, {}
    for method in config.method_list:
        path = _samples_path(out, method, n)
        try:
            kept = read_rows(path)
        except UserError as error:
            raise UserError(f"{path} is damaged: delete it and run again to draw it anew") from error
        samples[method] = kept.x
        if kept.y is not None:
            labels[method] = kept.y
    picture = pages.sample_picture(problem, samples, labels)
    return picture._replace(title=f"{picture.title}, {n} target rows, seed 0")


def summary(
    cells: Mapping[tuple[str, int, int], Cell], n_targets: Iterable[int], seeds: Iterable[int], methods: Iterable[str]
) -> tuple[list[Row], list[Column]]:
    """Rows (mean and standard deviation over seeds, grouped by n) and their columns."""
    seeds, rows, means = list(seeds), [], {}
    for n in n_targets:
        for method in methods:
            found = [cells[method, n, seed]["metrics"] for seed in seeds]
            values = {}
            for name in found[0]:
                numbers = np.array([f[name][0] for f in found if name in f], np.float64)
                spread = float(numbers.std(ddof=1)) if len(numbers) > 1 else math.nan
                values[name] = Value(float(numbers.mean()), spread)
            means.setdefault(method, values)
            rows.append(pages.row(method, values, reference=method == FLOOR, group=str(n)))
    return rows, pages.columns(means, goal_row=FLOOR)
