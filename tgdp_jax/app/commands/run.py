"""`tgdp run`: one method on one problem, from data to report."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from tgdp_jax.app import model_file
from tgdp_jax.app.command_line import command_line, versions
from tgdp_jax.app.commands import pages
from tgdp_jax.app.commands.leads import run_lead
from tgdp_jax.app.commands.methods import card_sheet, trained_fact
from tgdp_jax.app.commands.modalities import draw_modalities
from tgdp_jax.app.console import Display, print_table
from tgdp_jax.app.early import check_run_folder
from tgdp_jax.app.evaluation import draw_samples, evaluate_samples, ideal_metrics, image_features
from tgdp_jax.app.folder import (
    Record,
    check_folder,
    check_not_own,
    check_still_there,
    claim_folder,
    locked,
    lost_files,
    made_again,
    mark_complete,
    write_samples,
)
from tgdp_jax.app.identity import file_digests, problem_identity
from tgdp_jax.app.journal import Journal
from tgdp_jax.app.logs import check_trackers, numbers
from tgdp_jax.app.report import html
from tgdp_jax.app.sample_table import check_table, is_sample_table, table_names, write_sample_table
from tgdp_jax.data.arrays import read_rows
from tgdp_jax.data.problem import Problem
from tgdp_jax.data.registry import load_problem
from tgdp_jax.density_ratio import Calibration
from tgdp_jax.errors import UserError, check_finite, choose
from tgdp_jax.metrics.overlap import advise
from tgdp_jax.metrics.spread import Value
from tgdp_jax.runtime.engine import EngineConfig, describe
from tgdp_jax.runtime.files import check_place, read_json, write_json, write_npz
from tgdp_jax.runtime.parallel import agree, is_primary
from tgdp_jax.settings.run import RunConfig
from tgdp_jax.settings.stored import from_json, to_json
from tgdp_jax.train.checkpoint import Store
from tgdp_jax.transfer import METHODS
from tgdp_jax.transfer.networks import denoiser
from tgdp_jax.transfer.stages import Trained, Watch, num_parameters, silent, train_method

FLOOR = "fresh target data"
FIRST_FILES = ("samples.npz", "metrics.json", "report.html")  # those that every version left
FILES = (*FIRST_FILES, model_file.NAME)


class Metrics(TypedDict):
    """What is shown of `metrics.json`."""

    method: str
    problem: str
    num_target: int
    metrics: dict[str, dict[str, tuple[float | None, float | None]]]


def stage_warnings(trained: Trained, num_target: int) -> list[str]:
    """What the stages warn of, and what the domain classifier says where density-ratio transfer will fail."""
    out: list[str] = []
    for result in trained.reports.values():
        out += result.info.get("warnings", [])
        if "calibration" in result.info:
            advice = advise(Calibration(**result.info["calibration"]), num_target=num_target)
            out += [] if advice.kind == "transfer" else [advice.sentence]
    return out


def run(config: RunConfig, out: Path, engine: EngineConfig = EngineConfig()) -> None:
    """Trains, samples, judges and reports into folder `out`; continues what is already there.

    Raises:
      UserError: whatever a user can put right.
    """
    choose("method", config.method, METHODS)
    check_trackers(engine.log)
    problem = load_problem(config.problem, n_target=config.n_target, seed=config.seed, source_seed=config.source_seed)
    # These say what does not fit before anything is written.
    denoiser(config, problem)
    METHODS[config.method].stages(config, problem)
    home = out, "run", config, file_digests(config)
    known = check_folder(*home, resume=engine.resume)
    files = (*FILES, *table_names(problem))
    lost = _lost(config, out, files) if known else None
    if agree(lost == []):
        if is_primary():
            show(config, read_json(out / "metrics.json", Metrics, remedy="delete it and run again to measure anew"))
            print(f"already complete: {out}")
        return
    start = time.perf_counter()
    identity = problem_identity(config.problem)
    with (
        locked(out),
        Display(quiet=engine.quiet) as display,
        closing(Journal(out, log=engine.log, settings=to_json(config), warn=display.warn)) as journal,
    ):
        claim_folder(*home, resume=engine.resume)
        if lost:
            display.warn(made_again(lost))
        display.say(f"{config.method} on {problem.name}: {_counts(problem)}")
        for note in problem.notes:
            display.say(note)
        display.say(f"devices: {describe()}")
        store = Store(out / "checkpoints", seconds=engine.checkpoint_seconds, warn=display.warn)
        trained = train_method(config, problem, identity, config.method, config.seed, store, display, log=journal.stage)
        samples, labels = draw_samples(trained.generator, problem, config.seed, config.sampling.num, display)
        check_still_there(out)
        write_samples(out / "samples.npz", problem, samples, labels)
        for name in table_names(problem):
            write_sample_table(out / name, problem, samples, labels)
        features = image_features(problem, identity, store, display, log=journal.stage)
        pictured = {config.method: samples}
        classes = {} if labels is None else {config.method: labels}
        values: dict[str, dict[str, Value]] = {}
        reference = ideal_metrics(config, problem, config.seed)
        if reference:
            values[FLOOR] = reference
        if "source" in trained.trees and config.method != "source":
            plain = train_method(config, problem, identity, "source", config.seed, store, silent)
            base, base_labels = draw_samples(plain.generator, problem, config.seed, config.sampling.num, silent)
            pictured = {"source": base} | pictured
            if base_labels is not None:
                classes["source"] = base_labels
            values["source"] = evaluate_samples(
                config, problem, base, base_labels, plain.generator.score, config.seed, features
            )
            values["source"]["seconds"] = Value(plain.seconds, float("nan"))
        values[config.method] = evaluate_samples(
            config, problem, samples, labels, trained.generator.score, config.seed, features
        )
        values[config.method]["seconds"] = Value(trained.seconds, float("nan"))
        warnings = stage_warnings(trained, len(problem.target))
        if problem.reference is None:
            warnings.append(
                "no target rows were left to judge by: give --reference FILE or a smaller --n-target to get metrics"
            )
        for warning in warnings:
            display.warn(warning)
        metrics = {
            "method": config.method,
            "problem": problem.name,
            "num_target": len(problem.target),
            "metrics": {name: {k: list(v) for k, v in row.items()} for name, row in values.items()},
            "stages": {name: result.info for name, result in trained.reports.items()},
            "parameters": num_parameters(trained.trees),
            "trained_parameters": trained.trained_parameters,
            "source_parameters": num_parameters({"source": trained.trees.get("source", {})}),
            "train_seconds": trained.seconds,
            "total_seconds": time.perf_counter() - start,
            "warnings": warnings,
        }
        pictures = [
            pages.sample_picture(problem, pictured, classes),
            *pages.field_pictures(config, problem, trained.trees),
            *pages.curve_picture(trained.reports),
        ]
        check_still_there(out)
        model_file.write_model(out, problem, trained)
        html.write(out / "report.html", _page(config, problem, pictures, metrics))
        drawn = pages.write_pictures(out / "pictures", pictures)
        journal.finish(numbers(metrics["metrics"]), drawn)
        write_json(out / "metrics.json", metrics)
        mark_complete(out, files)
    if not is_primary():
        return
    show(config, metrics)
    print(f"run folder: {out}  (open {out / 'report.html'})")


def _lost(config: RunConfig, out: Path, files: Sequence[str]) -> list[str] | None:
    """Which files of a finished run are damaged or gone; None where it is not finished."""
    lost = lost_files(out, files)
    if lost is not None or not all((out / name).exists() for name in FIRST_FILES):
        return lost
    try:  # an earlier version finished it, and kept no record
        return [] if len(read_rows(out / "samples.npz").x) == config.sampling.num else ["samples.npz"]
    except UserError:
        return ["samples.npz"]


def _table(metrics: Metrics | dict[str, Any]) -> tuple[list, list]:
    # Files have null for what is not a number.
    values = {
        name: {k: Value(*(math.nan if n is None else n for n in v)) for k, v in row.items()}
        for name, row in metrics["metrics"].items()
        if row
    }
    shown = pages.columns(values, goal_row=FLOOR)
    return [pages.row(name, row, reference=name == FLOOR) for name, row in values.items()], shown


def show(config: RunConfig, metrics: Metrics | dict[str, Any]) -> None:
    """Prints the table of a finished run."""
    rows, shown = _table(metrics)
    if rows and shown:
        title = f"{pages.titled(config.method, config.problem)}, {metrics['num_target']} target rows"
        print_table(rows, pages.for_terminal(shown), title=title)


def _page(config: RunConfig, problem: Problem, pictures: list[html.Picture], metrics: dict[str, Any]) -> str:
    rows, shown = _table(metrics)
    card = trained_fact([metrics["trained_parameters"]], metrics["source_parameters"])
    summary = METHODS[config.method].card.summary
    note = "± is the standard error of the metric for these samples (bootstrap), not the spread between seeds."
    return html.render(
        title=pages.titled(config.method, config.problem),
        lead=run_lead(config.method, rows, shown, metrics["stages"].values(), len(problem.target)),
        intro=f"{summary[0].upper()}{summary[1:]}.\n\n{_counts(problem)}",
        warnings=metrics["warnings"],
        tables=[html.TableData("Metrics", rows, shown, note, turned=True)] if shown else [],
        pictures=pictures,
        sheets=[card_sheet([config.method], {config.method: card})],
        config=to_json(config),
        command=command_line("run", RunConfig, config),
        footer=f"Made with {versions()}.",
    )


def _counts(problem: Problem) -> str:
    return f"{len(problem.source):,} source rows, {len(problem.target):,} target rows."


def read_run(folder: Path) -> RunConfig:
    """The config of a run folder.

    Raises:
      UserError: not a run folder, or one of another version.
    """
    check_run_folder(folder)
    stored = read_json(folder / "config.json", Record, remedy="run again to a new --out")
    if stored["command"] != "run":
        raise UserError(f"{folder} holds no run: give the folder that `tgdp run` printed")
    return from_json(RunConfig, stored["config"])


def _check_paths(folder: Path, config: RunConfig) -> None:
    """Raises:
    UserError: a file that the run was made from is named from elsewhere."""
    for path in (*vars(config.problem).values(), config.pretrained):
        if isinstance(path, Path) and not path.is_absolute() and not path.exists():
            raise UserError(
                f"{folder} was made from {path}, a path relative to the folder that the run was started in, and there "
                "is no such file here: call this from that folder"
            )


def load_run(folder: Path, watch: Watch) -> tuple[RunConfig, Problem, Trained]:
    """A finished run.

    Raises:
      UserError: not a finished run, or a damaged checkpoint.
    """
    config = read_run(folder)
    _check_paths(folder, config)
    problem = load_problem(config.problem, n_target=config.n_target, seed=config.seed, source_seed=config.source_seed)
    store, identity = Store(folder / "checkpoints"), problem_identity(config.problem)
    return (
        config,
        problem,
        train_method(config, problem, identity, config.method, config.seed, store, watch, only_load=True),
    )


def sample_run(
    folder: Path,
    num: int,
    out: Path,
    *,
    modality: Sequence[str] = (),
    given: Sequence[str] = (),
    scale: float = 1.0,
    quiet: bool = False,
) -> None:
    """`tgdp sample`: draws `num` samples from a finished run; sample i is the same for every num.

    With modalities to draw or given the file has those by name, see `draw_modalities`. `quiet` shows no
    progress.

    Raises:
      UserError: not a finished run, a damaged checkpoint, or a place that can not be written.
    """
    if not 1 <= num < 2**32:
        raise UserError(f"num is {num}: ask for at least one sample, and fewer than 2^32, which have an id each")
    check_finite(scale, "scale")
    if out.suffix != ".npz" and not is_sample_table(out):
        raise UserError(f"{out} does not end in .npz: samples are written as .npz, or as a table (.csv, .parquet)")
    if is_sample_table(out) and (modality or given):
        raise UserError(f"{out} does not end in .npz: samples of modalities are written as .npz")
    check_not_own(out)
    check_place(out)
    with Display(quiet=quiet) as display:
        config, problem, trained = load_run(folder, display)
        if is_sample_table(out):
            check_table(out, problem)
        if modality or given or scale != 1.0:
            parts = draw_modalities(
                config, problem, trained, num, drawn=modality, given=given, scale=scale, watch=display
            )
            write_npz(out, parts)
            if is_primary():
                print(f"{num} samples of {', '.join(parts)}: {out}")
            return
        samples, labels = draw_samples(trained.generator, problem, config.seed, num, display)
    write = write_sample_table if is_sample_table(out) else write_samples
    write(out, problem, samples, labels)
    if is_primary():
        print(f"{num} samples of shape {np.shape(samples)[1:]}: {out}")
