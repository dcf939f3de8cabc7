"""`tgdp run`: one method on one problem, from data to report."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypedDict

from tgdp_jax.app import model_file
from tgdp_jax.app.command_line import command_line, versions
from tgdp_jax.app.commands import pages
from tgdp_jax.app.commands.leads import run_lead
from tgdp_jax.app.commands.methods import card_sheet, trained_fact
from tgdp_jax.app.console import Display, print_line, print_table
from tgdp_jax.app.early import check_run_folder
from tgdp_jax.app.encoder import image_encoder
from tgdp_jax.app.evaluation import draw_samples, evaluate_samples, ideal_metrics, image_features
from tgdp_jax.app.folder import (
    Record,
    check_folder,
    check_still_there,
    claim_folder,
    locked,
    lost_files,
    made_again,
    mark_complete,
    write_samples,
)
from tgdp_jax.app.identity import identity, problem_identity
from tgdp_jax.app.journal import Journal
from tgdp_jax.app.logs import check_trackers, numbers
from tgdp_jax.app.report import html
from tgdp_jax.app.sample_table import table_names, write_sample_table
from tgdp_jax.app.stage_store import run_store
from tgdp_jax.data.arrays import read_rows
from tgdp_jax.data.problem import Problem
from tgdp_jax.data.registry import load_problem
from tgdp_jax.density_ratio import Calibration
from tgdp_jax.errors import UserError, choose
from tgdp_jax.interop.files import INDEX
from tgdp_jax.metrics.overlap import advise
from tgdp_jax.metrics.spread import Value
from tgdp_jax.runtime.engine import describe
from tgdp_jax.runtime.files import read_json, write_json
from tgdp_jax.runtime.parallel import agree, is_primary
from tgdp_jax.runtime.settings import EngineConfig
from tgdp_jax.settings.run import RunConfig
from tgdp_jax.settings.stored import from_json, to_json
from tgdp_jax.train.checkpoint import Store
from tgdp_jax.transfer import METHODS
from tgdp_jax.transfer.blueprint import trains_own
from tgdp_jax.transfer.exports import export_names, write_exports
from tgdp_jax.transfer.latents import encoded, planned
from tgdp_jax.transfer.networks import denoiser
from tgdp_jax.transfer.own_pipeline import FOLDER as OWN_PIPELINE
from tgdp_jax.transfer.own_pipeline import located, with_own_pipeline
from tgdp_jax.transfer.pretrained import pretrained_model
from tgdp_jax.transfer.stages import Trained, Watch, num_parameters, silent, train_method

FLOOR = "fresh target data"
FIRST_FILES = ("samples.npz", "metrics.json", "report.html")  # those that every version left
FILES = (*FIRST_FILES, model_file.NAME)


class _Measured(TypedDict):
    method: str
    problem: str
    num_target: int
    metrics: dict[str, dict[str, tuple[float | None, float | None]]]


class Metrics(_Measured, total=False):
    """What is shown of `metrics.json`."""

    judged: tuple[int, int]


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
    pretrained_model(config)  # a wrong one is said before the data are read
    problem = load_problem(config.problem, n_target=config.n_target, seed=config.seed, source_seed=config.source_seed)
    # These say what does not fit before anything is written.
    plan = planned(config, problem)
    denoiser(config, plan)
    METHODS[config.method].stages(config, plan)
    image_encoder(config.evaluation, plan)
    digests, of_problem = identity(config)
    home = out, "run", config, digests
    known = check_folder(*home, resume=engine.resume)
    exports = export_names(config, plan, config.method)
    own = (f"{OWN_PIPELINE}/{INDEX}",) if trains_own(config) else ()
    files = (*FILES, *table_names(problem), *own, *exports)
    lost = _lost(config, out, files) if known else None
    if agree(lost == []):
        if is_primary():
            show(config, read_json(out / "metrics.json", Metrics, remedy="delete it and run again to measure anew"))
            print(f"already complete: {out}")
        return
    start = time.perf_counter()
    with (
        locked(out),
        Display(quiet=engine.quiet) as display,
        closing(Journal(out, log=engine.log, settings=to_json(config), warn=display.warn)) as journal,
    ):
        claim_folder(*home, resume=engine.resume)
        if lost:
            display.warn(made_again(lost))
        display.say(f"{config.method} on {problem.name}: {_counts(plan)}")
        for note in problem.notes:
            display.say(note)
        display.say(f"devices: {describe()}")
        store = run_store(out, engine, display)
        given, config = config, with_own_pipeline(config, out, store, display, log=journal.stage)
        problem = encoded(config, planned(config, problem), of_problem, store, display, log=journal.stage)
        trained = train_method(
            config, problem, of_problem, config.method, config.seed, store, display, log=journal.stage
        )
        samples, labels = draw_samples(trained.generator, problem, config.seed, config.sampling.num, display)
        check_still_there(out)
        write_samples(out / "samples.npz", problem, samples, labels)
        for name in table_names(problem):
            write_sample_table(out / name, problem, problem.scaler.to_user(samples), labels)
        features = image_features(problem, of_problem, store, display, log=journal.stage, evaluation=config.evaluation)
        pictured = {config.method: samples}
        classes = {} if labels is None else {config.method: labels}
        values: dict[str, dict[str, Value]] = {}
        reference = ideal_metrics(config, problem, config.seed)
        if reference:
            values[FLOOR] = reference
        if "source" in trained.trees and config.method != "source":
            plain = train_method(config, problem, of_problem, "source", config.seed, store, silent)
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
        if problem.reference is None and problem.captions is None:
            warnings.append(
                "no target rows were left to judge by: give --reference FILE or a smaller --n-target to get metrics"
            )
        for warning in warnings:
            display.warn(warning)
        metrics = {
            "method": config.method,
            "problem": problem.name,
            "num_target": len(problem.target),
            "judged": judged_rows(problem, config.sampling.num),
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
        model_file.write_model(out, config.method, problem, trained)
        write_exports(out, config, problem, config.method, trained.trees)
        html.write(out / "report.html", _page(given, problem, pictures, metrics))
        drawn = pages.write_pictures(out / "pictures", pictures)
        journal.finish(numbers(metrics["metrics"]), drawn)
        write_json(out / "metrics.json", metrics)
        mark_complete(out, files)
    if not is_primary():
        return
    show(config, metrics)
    for name in (*own, *exports):
        print(f"for diffusers and tgdp generate: {out / name}")
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
        columns = pages.for_terminal(shown)
        print_table(rows, columns, title=title)
        for note in _left_out(columns, metrics):
            print_line(note)


def _left_out(shown: list, metrics: Metrics | dict[str, Any]) -> list[str]:
    return pages.left_out(shown, [metrics["judged"]] if "judged" in metrics else [])


def judged_rows(problem: Problem, num: int) -> tuple[int, int]:
    """How many samples, and how many held-out rows, metrics compare."""
    return num, 0 if problem.reference is None else len(problem.reference)


def _page(config: RunConfig, problem: Problem, pictures: list[html.Picture], metrics: dict[str, Any]) -> str:
    rows, shown = _table(metrics)
    card = trained_fact([metrics["trained_parameters"]], metrics["source_parameters"])
    summary = METHODS[config.method].card.summary
    notes = [
        "± is the standard error of the metric for these samples (bootstrap), not the spread between seeds.",
        *_left_out(shown, metrics),
    ]
    return html.render(
        title=pages.titled(config.method, config.problem),
        lead=run_lead(config.method, rows, shown, metrics["stages"].values(), len(problem.target)),
        intro=f"{summary[0].upper()}{summary[1:]}.\n\n{_counts(problem)}",
        warnings=metrics["warnings"],
        tables=[html.TableData("Metrics", rows, shown, "\n\n".join(notes), turned=True)] if shown else [],
        pictures=pictures,
        sheets=[card_sheet([config.method], {config.method: card})],
        config=to_json(config),
        command=command_line("run", RunConfig, config),
        footer=f"Made with {versions()}.",
    )


def _counts(problem: Problem) -> str:
    if problem.captions is not None:
        captions = len(set(problem.target.y.tolist())) if problem.target.y is not None else 0
        return f"{len(problem.target):,} pictures to learn from; {captions:,} different captions."
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


def check_paths(folder: Path, paths: Iterable[Any], why: str) -> None:
    """Says which file of a run is gone, and why it is needed.

    Args:
      folder: of the run.
      paths: settings, of which those that are no path are ignored.
      why: the reason that they are needed for.

    Raises:
      UserError: one is not there.
    """
    for path in paths:
        if isinstance(path, Path) and not path.exists():
            absolute = path.is_absolute()
            where = "" if absolute else ", a path relative to the folder that the run was started in"
            remedy = "put it back" if absolute else "call this from that folder, or put it back"
            raise UserError(f"{folder} was made from {path}{where}, and there is no such file; {why}: {remedy}")


def load_run(folder: Path, watch: Watch) -> tuple[RunConfig, Problem, Trained]:
    """A finished run.

    Raises:
      UserError: not a finished run, a damaged checkpoint, or data that are gone.
    """
    config = located(read_run(folder), folder)
    rows = f"{config.method} draws samples from the rows themselves"
    kept = "the run kept nothing of it, as those of earlier versions did not and those that are not finished do not"
    check_paths(
        folder, (*vars(config.problem).values(), config.pretrained), rows if METHODS[config.method].draws_rows else kept
    )
    problem = load_problem(config.problem, n_target=config.n_target, seed=config.seed, source_seed=config.source_seed)
    store, of_problem = Store(folder / "checkpoints"), problem_identity(config.problem)
    problem = encoded(config, planned(config, problem), of_problem, store, watch, only_load=True)
    return (
        config,
        problem,
        train_method(config, problem, of_problem, config.method, config.seed, store, watch, only_load=True),
    )
