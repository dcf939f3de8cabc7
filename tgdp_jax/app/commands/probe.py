"""`tgdp probe`: what source models learn of labels that they are not shown, by layer and noise level.

A fifth of the labelled source rows is kept from models and probes and is what accuracies are taken on; another fifth
chooses each model's layer and time. Of the target the n rows to learn from train a probe, and fresh ones judge it.
Beside the models stand the rows as they are and, where `--evaluation.encoder` is given, the features of that encoder.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np

from tgdp_jax.app.command_line import command_line, versions
from tgdp_jax.app.commands import pages
from tgdp_jax.app.console import Display, print_line, print_table
from tgdp_jax.app.encoder import image_encoder
from tgdp_jax.app.folder import check_folder, claim_folder, locked, lost_files, made_again, mark_complete
from tgdp_jax.app.identity import identity
from tgdp_jax.app.journal import Journal
from tgdp_jax.app.logs import check_trackers, numbers
from tgdp_jax.app.report import html
from tgdp_jax.app.report.accuracy import accuracies
from tgdp_jax.app.report.drawing import Drawing
from tgdp_jax.app.report.table import Cell, Column, Row
from tgdp_jax.app.stage_store import run_store
from tgdp_jax.data.arrays import ArraysConfig, read_rows
from tgdp_jax.data.problem import Data, Problem
from tgdp_jax.data.registry import load_problem
from tgdp_jax.data.tables.files import is_table
from tgdp_jax.errors import UserError
from tgdp_jax.metrics.encoded import EncoderFeatures
from tgdp_jax.metrics.probe import Labelled, better_beyond_chance, layer_features
from tgdp_jax.metrics.probe import probe as fit_probe
from tgdp_jax.runtime.engine import describe
from tgdp_jax.runtime.files import read_json, write_atomic, write_json
from tgdp_jax.runtime.parallel import agree, is_primary
from tgdp_jax.runtime.settings import EngineConfig
from tgdp_jax.settings.run import ProbeConfig
from tgdp_jax.settings.stored import to_json
from tgdp_jax.transfer.latents import refuse_captions
from tgdp_jax.transfer.networks import check_denoiser, denoiser
from tgdp_jax.transfer.pretrained import forward_process, pretrained_model
from tgdp_jax.transfer.stages import Trained, named_key, rows_done, train_method

PLAIN, RAW, ENCODER = "plain", "raw", "encoder"
KINDS = {"linear": "linear probe", "neighbours": "nearest neighbours"}
PARTS = 5  # of the source rows: one judges, one chooses, the others train
MOST = 4000  # rows that train a probe, and of each set that judges it
LEVEL = 0.05  # of claims that one representation is better than another


class Sets(NamedTuple):
    """Rows with labels; target rows are None where they have none."""

    train: Data
    validation: Data
    test: Data
    target_train: Data | None
    target_test: Data | None


class ProbeResult(NamedTuple):
    """One representation under both kinds of probe.

    Attributes:
      model: which.
      layer: of its network.
      time: of the noise; None for rows as they are and features of an image encoder.
      right: kind to (validation, test) rows that were put into their class, bool.
      target: kind to accuracy on fresh target rows; empty where target rows have no labels.
    """

    model: str
    layer: str
    time: float | None
    right: dict[str, tuple[np.ndarray, ...]]
    target: dict[str, float]

    def accuracy(self, kind: str, part: int = 1) -> float:
        return float(self.right[kind][part].mean())

    @property
    def name(self) -> str:
        return f"{self.model} {self.layer}" + ("" if self.time is None else f" at t = {self.time:g}")


def probe(config: ProbeConfig, out: Path, engine: EngineConfig = EngineConfig()) -> None:
    """Trains the models, probes them and writes probe.json, probe.png and report.html into folder `out`; goes on with
    what is there.

    Raises:
      UserError: whatever a user can put right, such as rows without labels.
    """
    check_trackers(engine.log)
    refuse_captions(config.problem, "tgdp probe")
    pretrained_model(config)  # a wrong one is said before the data are read
    problem, sets = labelled_sets(config)
    # These say what does not fit before anything is written.
    check_denoiser(config, problem)
    encoder = image_encoder(config.evaluation, problem)
    digests, of_problem = identity(config)
    home = out, "probe", config, digests
    known = check_folder(*home, resume=engine.resume)
    record, picture = out / "probe.json", out / "probe.png"
    page = out / "report.html"
    files = (record.name, picture.name, page.name)
    lost = lost_files(out, files) if known else None
    if lost is None and known and record.exists() and picture.exists():
        lost = []  # an earlier version finished it, and kept no record
    if agree(lost == []):
        if is_primary():
            show(config, read_json(record, Kept, remedy="delete it and run again to measure anew"))
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
        display.say(f"probe on {problem.name}: {len(problem.source)} source rows to train, {len(sets.test)} to judge")
        display.say(f"devices: {describe()}")
        store = run_store(out, engine, display)
        # The source rows that models see are this command's own.
        of_problem = {**of_problem, "probe": [PARTS, config.seed]}
        raw = "pixels" if len(problem.shape) == 3 else "coordinates"
        found = [_probed(ProbeResult(RAW, raw, None, {}, {}), [None if d is None else _flat(d.x) for d in sets], sets)]
        if encoder is not None and config.evaluation.encoder is not None:
            see = EncoderFeatures(encoder, problem.scaler.to_user).embed
            what = ProbeResult(ENCODER, config.evaluation.encoder.resolve().name, None, {}, {})
            found.append(_probed(what, [None if d is None else see(d.x) for d in sets], sets))
        facts = {}
        for name, training in _models(config).items():
            display.prefix = f"{name}: "
            trained = train_method(
                training,
                problem,
                of_problem,
                "source",
                config.seed,
                store,
                display,
                log=lambda stage, name=name: journal.stage(f"{name}/{stage}"),
            )
            facts[name] = _facts(trained)
            found += _probe_model(training, problem, sets, trained, name, display)
        result: dict[str, Any] = _record(config, problem, sets, found, facts) | {
            "total_seconds": time.perf_counter() - start
        }
        drawing = _picture(config, found)
        write_atomic(picture, lambda part: _save(part, drawing.png()))
        html.write(page, _page(config, problem, result, drawing))
        best = {one["name"]: {kind: values[1] for kind, values in one["source"].items()} for one in result["best"]}
        journal.finish(numbers(best), [picture])
        write_json(record, result)
        mark_complete(out, files)
    if is_primary():
        show(config, read_json(record, Kept, remedy="run again"))
        print(f"probe: {out}  (open {page}; every accuracy is in {record.name})")


def _save(part: Path, content: bytes) -> None:
    part.write_bytes(content)


def labelled_sets(config: ProbeConfig) -> tuple[Problem, Sets]:
    """(the problem whose source rows models may see, all rows with labels); no model sees labels.

    Raises:
      UserError: source rows without labels, or of one class.
    """
    settings = config.problem
    remedy = (
        "a probe needs classes: give integers under y (.npz), --label of a table, a labels file or one sub-folder a "
        "class"
    )
    if isinstance(settings, ArraysConfig):
        table = is_table(settings.source)
        if settings.label is None if table else read_rows(settings.source).y is None:
            raise UserError(f"{settings.source} has no labels: {remedy}")
        settings = dataclasses.replace(settings, conditional=True)  # labels are read where they are asked for
    problem = load_problem(settings, n_target=config.n_target, seed=config.seed)
    y = problem.source.y
    if y is None:
        raise UserError(f"the source rows of {problem.name} have no labels: {remedy}")
    train, validation, test = split(y, config.seed)
    if len(np.unique(y[train])) < 2:
        raise UserError(f"the source rows of {problem.name} are all of one class: a probe needs at least two")
    seen = dataclasses.replace(problem, source=problem.source.take(np.sort([*train, *validation])), num_classes=0)
    target, fresh = problem.target, problem.reference
    if fresh is None or fresh.y is None or target.y is None or len(np.unique(target.y)) < 2:
        target = fresh = None
    learned, chosen, judged = (problem.source.take(rows[:MOST]) for rows in (train, validation, test))
    return seen, Sets(learned, chosen, judged, target, None if fresh is None else fresh.take(slice(MOST)))


def split(y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers (train, validation, test) in random order; every class is dealt out evenly."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    place = np.empty(len(y), int)
    place[order[np.argsort(y[order], kind="stable")]] = np.arange(len(y)) % PARTS
    test, validation, train = (order[rule[order]] for rule in (place == 0, place == 1, place > 1))
    return train, validation, test


def _models(config: ProbeConfig) -> dict[str, ProbeConfig]:
    """The plain source model, the one of denoising diffusion autoencoders, and the self-supervised ones."""

    def source(objective: str | None) -> ProbeConfig:
        learned = config.representation
        return dataclasses.replace(
            config,
            source=dataclasses.replace(config.source, self_supervised=objective is not None),
            representation=dataclasses.replace(learned, objective=objective or learned.objective),
        )

    return {PLAIN: source(None), **{name: source(name) for name in (() if config.pretrained else config.objectives)}}


def _facts(trained: Trained) -> dict[str, Any]:
    held_out = trained.reports["source"].history.get("validation", np.array([math.nan]))
    return {"denoising_loss": float(np.min(held_out)), "seconds": trained.seconds}


def _probe_model(
    config: ProbeConfig, problem: Problem, sets: Sets, trained: Trained, name: str, display: Display
) -> Iterator[ProbeResult]:
    net, params = denoiser(config, problem), trained.trees["source"]["params"]
    num = len(config.times) * sum(len(data) for data in sets if data is not None)
    progress = rows_done(display, "probes", num)
    for done, t in enumerate(config.times):
        parts = [
            None
            if data is None
            else layer_features(net, params, forward_process(config), data.x, t, named_key(0, f"probe {i}"))
            for i, data in enumerate(sets)
        ]
        for layer in parts[0] or {}:
            features = [None if part is None else part[layer] for part in parts]
            yield _probed(ProbeResult(name, layer, t, {}, {}), features, sets)
        progress((done + 1) * num // len(config.times))


def _probed(what: ProbeResult, features: list[np.ndarray | None], sets: Sets) -> ProbeResult:
    """The same with what probes on its features find."""
    rows = [
        None if f is None or d is None or d.y is None else Labelled(f, d.y) for f, d in zip(features, sets, strict=True)
    ]
    train, validation, test, target, fresh = rows
    assert train is not None and validation is not None and test is not None
    right = fit_probe(train, (validation, test))._asdict()
    accuracy = {}
    if target is not None and fresh is not None:
        accuracy = {kind: float(hits[0].mean()) for kind, hits in fit_probe(target, (fresh,))._asdict().items()}
    return what._replace(right=right, target=accuracy)


def _flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1)


def _chosen(found: list[ProbeResult]) -> dict[str, ProbeResult]:
    """Each model's best layer and time by the linear probe on validation rows."""
    models = dict.fromkeys(one.model for one in found)
    return {m: max((o for o in found if o.model == m), key=lambda one: one.accuracy("linear", 0)) for m in models}


def finding(best: Mapping[str, ProbeResult]) -> str:
    """One sentence: which representation is best, at which layer and time, and what it is better than beyond chance."""
    winner = max(best.values(), key=lambda one: one.accuracy("linear", 0))
    verdicts = [_verdict(winner, one) for one in best.values() if one is not winner]
    return (
        f"A linear probe finds most in {winner.name}: it puts {winner.accuracy('linear'):.1%} of unseen source rows "
        f"into their class, {'; '.join(verdicts)}."
    )


def _verdict(winner: ProbeResult, other: ProbeResult) -> str:
    """How the representation that validation rows chose stands to another on test rows."""
    p = better_beyond_chance(winner.right["linear"][1], other.right["linear"][1])
    more = winner.accuracy("linear") > other.accuracy("linear")
    relation = "no more than chance apart from" if p >= LEVEL else "better than" if more else "worse than"
    return f"{relation} the {other.accuracy('linear'):.1%} of {other.name} (p = {p:.2g})"


def _record(
    config: ProbeConfig, problem: Problem, sets: Sets, found: list[ProbeResult], facts: dict[str, dict[str, float]]
) -> dict[str, Any]:
    best = _chosen(found)

    def entry(one: ProbeResult) -> dict[str, Any]:
        source = {kind: [one.accuracy(kind, 0), one.accuracy(kind, 1)] for kind in KINDS}
        return {"model": one.model, "layer": one.layer, "time": one.time, "source": source, "target": one.target}

    return {
        "problem": problem.name,
        "rows": {name: 0 if data is None else len(data) for name, data in sets._asdict().items()},
        "models": facts,
        "cells": [entry(one) for one in found],
        "best": [entry(one) | {"name": one.name} | facts.get(name, {}) for name, one in best.items()],
        "finding": finding(best),
        "settings": to_json(config),
    }


class _Entry(TypedDict):
    model: str
    layer: str
    time: float | None
    source: dict[str, list[float]]
    target: dict[str, float]


class _Named(_Entry):
    name: str


class _Best(_Named, total=False):
    denoising_loss: float | None


class _Rows(TypedDict):
    train: int
    validation: int
    test: int
    target_train: int
    target_test: int


class Kept(TypedDict):
    """What is shown of `probe.json`."""

    problem: str
    rows: _Rows
    cells: list[_Entry]
    best: list[_Best]
    finding: str


def show(config: ProbeConfig, record: Kept) -> None:
    """Prints the tables of a finished probe, and its finding."""
    for table in _tables(pages.subject(config.problem), record):
        print_table(list(table.rows), list(table.columns), title=table.title, group=table.group, names=table.names)
    print_line(record["finding"])


def _page(config: ProbeConfig, problem: Problem, record: Any, drawing: Drawing) -> str:
    about, rows = pages.subject(config.problem), record["rows"]
    *details, chosen = (t._replace(title=t.title[0].upper() + t.title[1:]) for t in _tables("", record))
    caption = (
        "Share of unseen source rows that probes of the features put into their class; dashed: of rows as they are."
    )
    return html.render(
        title=f"What source models know of the labels: {about}",
        lead=record["finding"],
        intro=f"{rows['train']:,} source rows train the probes, {rows['test']:,} others judge them.",
        warnings=problem.notes,
        tables=[chosen, *details],
        pictures=[html.Picture("Accuracy by layer and noise level", caption, drawing)],
        config=record["settings"],
        command=command_line("probe", ProbeConfig, config),
        footer=f"Made with {versions()}.",
    )


def _tables(about: str, record: Kept) -> list[html.TableData]:
    """Every accuracy on unseen source rows, and what is chosen of each representation; titles begin with `about`."""
    rows, found = record["rows"], []
    start = f"{about}, " if about else ""
    for kind, text in KINDS.items():
        cells = [c for c in record["cells"] if c["time"] is not None]
        times = list(dict.fromkeys(c["time"] for c in cells))
        lines: dict[tuple[str, str], dict[str, Cell]] = {}
        for c in cells:
            lines.setdefault((c["model"], c["layer"]), {})[f"{c['time']:g}"] = Cell(100 * c["source"][kind][1])
        columns = [Column(f"{t:g}", f"t = {t:g}", "higher") for t in times]
        table = [Row(layer, values, group=model) for (model, layer), values in lines.items()]
        title = f"{start}{text}: % of {rows['test']} unseen source rows put into their class"
        found.append(html.TableData(title, table, columns, group="model", names="layer"))
    columns = [
        *(Column(f"source_{kind}", f"{text} %", "higher") for kind, text in KINDS.items()),
        *(
            Column(f"target_{kind}", f"target: {text} %", "higher")
            for kind, text in KINDS.items()
            if rows["target_train"]
        ),
        Column("denoising_loss", "denoising loss", "lower"),
    ]
    title = f"{start}the layer and time of each that {rows['validation']} other rows choose" + (
        f"; target: probes of {rows['target_train']} rows, judged on {rows['target_test']}" * bool(rows["target_train"])
    )
    chosen = [_summary(b, rows) for b in record["best"]]
    return [*found, html.TableData(title, chosen, columns, names="representation")]


def _summary(best: _Best, rows: _Rows) -> Row:
    def share(value: float, num: int) -> Cell:
        return Cell(100 * value, 100 * math.sqrt(value * (1 - value) / num))

    cells = {f"source_{kind}": share(values[1], rows["test"]) for kind, values in best["source"].items()}
    cells |= {f"target_{kind}": share(value, rows["target_test"]) for kind, value in best["target"].items()}
    if (loss := best.get("denoising_loss")) is not None:
        cells["denoising_loss"] = Cell(loss)
    return Row(best["name"], cells, reference=best["model"] in (RAW, ENCODER))


def _picture(config: ProbeConfig, found: list[ProbeResult]) -> Drawing:
    panels: dict[str, dict[str, list[float]]] = {}
    baselines: dict[str, float] = {}
    (raw,) = (one for one in found if one.model == RAW)
    models = list(dict.fromkeys(one.model for one in found if one.time is not None))
    for kind, text in KINDS.items():
        for model in models:
            title = f"{model}, {text}"
            baselines[title] = raw.accuracy(kind)
            lines = panels.setdefault(title, {})
            for one in found:
                if one.model == model:
                    lines.setdefault(one.layer, []).append(one.accuracy(kind))
    return accuracies(panels, config.times, baselines=baselines, baseline=raw.name, columns=len(models))
