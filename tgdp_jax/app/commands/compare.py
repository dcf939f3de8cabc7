"""`tgdp compare`: methods x numbers of target rows x seeds, as one table. Every finished cell is a file, so that a
comparison that was cut off goes on where it stopped; stages that methods share are trained once. A method that fails is
a row that says so; its cells are no files, and are tried again by the next call."""

from __future__ import annotations

import functools
from contextlib import closing
from pathlib import Path
from typing import Any

from tgdp_jax.app.command_line import command_line, versions
from tgdp_jax.app.commands import pages
from tgdp_jax.app.commands.cell import Cell, Filler, Kept, Problems, load, samples_path
from tgdp_jax.app.commands.leads import comparison_lead
from tgdp_jax.app.commands.methods import card_sheet, trained_fact
from tgdp_jax.app.commands.run import FLOOR
from tgdp_jax.app.commands.summary import Summary, failures, overlap, summarise
from tgdp_jax.app.console import Display, print_line, print_table
from tgdp_jax.app.encoder import image_encoder
from tgdp_jax.app.folder import check_folder, check_still_there, claim_folder, locked
from tgdp_jax.app.identity import identity
from tgdp_jax.app.journal import Journal
from tgdp_jax.app.logs import check_trackers, numbers
from tgdp_jax.app.report import html
from tgdp_jax.app.report.ranks import LEVEL, MIN_SEEDS
from tgdp_jax.app.stage_store import comparison_store
from tgdp_jax.app.workers.process import Job
from tgdp_jax.data.arrays import read_rows
from tgdp_jax.data.problem import Problem
from tgdp_jax.data.registry import problem_name
from tgdp_jax.errors import UserError, choose
from tgdp_jax.runtime.engine import describe
from tgdp_jax.runtime.files import read_json, write_json
from tgdp_jax.runtime.parallel import is_primary
from tgdp_jax.runtime.settings import CompareEngineConfig, EngineConfig
from tgdp_jax.settings.run import CompareConfig
from tgdp_jax.settings.stored import to_json
from tgdp_jax.train.session import Log
from tgdp_jax.transfer import METHODS
from tgdp_jax.transfer.latents import encoded
from tgdp_jax.transfer.networks import check_denoiser
from tgdp_jax.transfer.pretrained import pretrained_model

Cells = dict[tuple[str, int, int], Cell]


def compare(
    config: CompareConfig, out: Path, engine: EngineConfig = EngineConfig(), *, stages: Path | None = None
) -> None:
    """Fills every cell of the comparison and writes metrics.json and report.html into folder `out`.

    Args:
      config: what is compared.
      out: folder for the results.
      engine: how it is carried out.
      stages: where trained stages are kept; comparisons that name one folder share what they train. Default: in `out`,
        and what the runs beside it have finished is taken from there.

    Raises:
      UserError: whatever a user can put right; cells that are finished stay. Also where every method failed.
    """
    for name in config.methods:
        choose("method", name, METHODS)
    check_trackers(engine.log)
    pretrained_model(config)  # a wrong one is said before the data are read
    problems = _problems(config)
    # These say what does not fit before anything is written.
    check_denoiser(config, _first(config, problems))
    image_encoder(config.evaluation, _first(config, problems))
    digests, of_problem = identity(config)
    home = out, "compare", config, digests
    check_folder(*home, resume=engine.resume)
    with locked(out), closing(Journal(out, log=engine.log, settings=to_json(config))) as journal:
        claim_folder(*home, resume=engine.resume)
        cells, warnings, shown = _fill(config, problems, of_problem, out, engine, stages, journal)
        _report(config, problems, shown, cells, warnings, out, journal)


def _problems(config: CompareConfig) -> Problems:
    """The problems, made as they are needed; those of the first seed are there, and so every n is possible."""
    first = {n: load(config, n, 0) for n in config.n_targets}
    # All methods follow each other at one n and seed.
    later = functools.lru_cache(maxsize=1)(functools.partial(load, config))
    return lambda n, seed: later(n, seed) if seed else first[n]


def _first(config: CompareConfig, problems: Problems) -> Problem:
    return problems(config.n_targets[0], 0)


def _grid(config: CompareConfig) -> list[tuple[int, int]]:
    # One seed after the other: what is there after a while shows every n.
    return [(n, seed) for seed in range(config.seeds) for n in config.n_targets]


def _names(config: CompareConfig, problems: Problems) -> list[str]:
    """The rows of every group."""
    known = _first(config, problems).exact is not None
    return [*config.methods, *([FLOOR] if known else [])]


def _fill(
    config: CompareConfig,
    problems: Problems,
    of_problem: dict[str, Any],
    out: Path,
    engine: EngineConfig,
    stages: Path | None,
    journal: Journal,
) -> tuple[Cells, list[str], dict[int, Problem]]:
    """All cells, from their files where they are finished, the warnings among them, and the first seed's problems."""
    every = [Job(method, n, seed) for n, seed in _grid(config) for method in _names(config, problems)]
    found: Cells = {}

    def path(job: Job) -> Path:
        return out / "cells" / f"{job.method.replace(' ', '_')}-n{job.n}-seed{job.seed}.json"

    def keep(job: Job, cell: Cell) -> None:
        if "failed" not in cell:
            write_json(path(job), cell)
        found[job] = cell

    def log(job: Job, stage: str) -> Log:
        return journal.stage(f"n{job.n}-seed{job.seed}/{job.method}/{stage}")

    def prefix(job: Job) -> str:
        return f"[{every.index(job) + 1}/{len(every)}] n={job.n} seed={job.seed} {job.method}: "

    with Display(quiet=engine.quiet) as display:
        display.say(f"devices: {describe()}")
        for note in _first(config, problems).notes:
            display.say(note)
        for job in every:
            # The samples of the first seed are drawn in the report.
            drawn = job.seed or job.method == FLOOR or samples_path(out, job.method, job.n).exists()
            if path(job).exists() and drawn:
                remedy = "delete it and run again to compute this cell anew"
                found[job] = {**read_json(path(job), Kept, remedy=remedy)}
        left = [job for job in every if job not in found]
        store = comparison_store(out, engine, display, stages)
        if isinstance(engine, CompareEngineConfig) and engine.side_by_side:
            from tgdp_jax.app.workers.fill import fill_side_by_side  # few need it

            fill_side_by_side(left, out, stages, engine, display, prefix=prefix, log=log, keep=keep)
        else:
            fill = Filler(config, problems, of_problem, out, store)
            for job in left:
                display.prefix = prefix(job)
                keep(job, fill(*job, display, functools.partial(log, job)))
        cells: Cells = {job: found[job] for job in every}
        warnings = list(dict.fromkeys(w for c in cells.values() for w in c["warnings"]))
        for warning in warnings:
            display.warn(warning)
        shown = {
            n: encoded(config.cell("source", n, 0), problems(n, 0), of_problem, store, display)
            for n in config.n_targets
        }
    return cells, warnings, shown


def _report(
    config: CompareConfig,
    problems: Problems,
    shown: dict[int, Problem],
    cells: Cells,
    warnings: list[str],
    out: Path,
    journal: Journal,
) -> None:
    """Writes the page, the pictures and metrics.json, and prints the table."""
    seeds = range(config.seeds)
    found = summarise(cells, config.n_targets, seeds, _names(config, problems))
    problem = _first(config, problems)
    note = f"Mean over seeds 0 to {config.seeds - 1}; ± is the standard deviation between seeds."
    judged = [cell["judged"] for cell in cells.values() if "judged" in cell]
    notes = [note, *pages.left_out(found.columns, judged), _chance(config)]
    failed = failures(found.rows)
    overlaps = overlap(cells, config.n_targets, seeds)
    pictures = _pictures(config, shown, cells, found, out)
    source = f"{len(problem.source):,} source rows" if problem.captions is None else "a pretrained pipeline"
    page = html.render(
        title=_title(config),
        lead=comparison_lead(cells, found.rows, found.main, found.recommendations),
        intro=f"{source}; {', '.join(f'{n:,}' for n in config.n_targets)} target rows.",
        warnings=[*failed, *warnings],
        findings=[one.sentence for one in found.recommendations.values()],
        tables=[
            html.TableData("Metrics", found.rows, found.columns, "\n\n".join(notes), group="target rows"),
            *([overlaps] if overlaps else []),
        ],
        pictures=pictures,
        sheets=[card_sheet(config.methods, _measured(config, cells))],
        config=to_json(config),
        command=command_line("compare", CompareConfig, config),
        footer=f"Made with {versions()}.",
    )
    check_still_there(out)
    html.write(out / "report.html", page)
    drawn = pages.write_pictures(out / "pictures", pictures)
    rows = {f"{r.name}, {r.group} target rows": {k: c.value for k, c in r.cells.items()} for r in found.rows}
    journal.finish(numbers(rows), drawn)
    write_json(out / "metrics.json", _record(cells, found))
    if not is_primary():
        return
    title = f"{pages.subject(config.problem)}. {note}"
    columns = pages.for_terminal(found.columns)
    print_table(found.rows, columns, title=title, group="target rows")
    recommended = (one.sentence for one in found.recommendations.values())
    for sentence in (*pages.left_out(columns, judged), *failed, *recommended):
        print_line(sentence)
    print(f"comparison: {out}  (open {out / 'report.html'}; every metric is in metrics.json)")
    if all("failed" in cell for (method, _, _), cell in cells.items() if method != FLOOR):
        raise UserError(f"every method failed: {failed[0]}")


def _title(config: CompareConfig) -> str:
    about = pages.subject(config.problem)
    return f"Transfer methods on {about}" if about == problem_name(config.problem) else f"Transfer methods: {about}"


def _chance(config: CompareConfig) -> str:
    """What the table claims of differences between methods."""
    if config.seeds < MIN_SEEDS:
        return f"With fewer than {MIN_SEEDS} seeds no difference is called more than chance."
    return (
        f"A dagger marks what is worse than the best of its column beyond chance: paired t-test over {config.seeds} "
        f"seeds at {LEVEL:g}, corrected for the number of pairs of methods. Few seeds show large differences only; "
        "no dagger is no proof of equality."
    )


def _measured(config: CompareConfig, cells: Cells) -> dict[str, dict[str, str]]:
    """What this comparison knows of its methods' networks, for their cards."""
    source = max((cell.get("source_parameters", 0) for cell in cells.values()), default=0)
    out = {}
    for name in config.methods:
        # Ensembles have more folds for few rows.
        counts = [c["trained_parameters"] for (m, _, _), c in cells.items() if m == name and "failed" not in c]
        out[name] = trained_fact(counts, source)
    return out


def _pictures(
    config: CompareConfig, shown: dict[int, Problem], cells: Cells, found: Summary, out: Path
) -> list[html.Picture]:
    groups = {float(n): [row for row in found.rows if row.group == str(n)] for n in config.n_targets}
    pictures = pages.line_pictures(groups, found.columns) if len(config.n_targets) > 1 else []
    if found.main is not None:
        pictures += pages.tradeoff_pictures({f"{n:.0f} target rows": rows for n, rows in groups.items()}, found.main)
    drawn = {n: [m for m in config.methods if "failed" not in cells[m, n, 0]] for n in config.n_targets}
    return pictures + [_picture(shown[n], methods, n, out) for n, methods in drawn.items()]


def _picture(problem: Problem, methods: list[str], n: int, out: Path) -> html.Picture:
    samples, labels = {}, {}
    for method in methods:
        path = samples_path(out, method, n)
        try:
            kept = read_rows(path)
        except UserError as error:
            raise UserError(f"{path} is damaged: delete it and run again to draw it anew") from error
        samples[method] = kept.x
        if kept.y is not None:
            labels[method] = kept.y
    picture = pages.sample_picture(problem, samples, labels)
    return picture._replace(title=f"{picture.title}, {n} target rows, seed 0")


def _record(cells: Cells, found: Summary) -> dict[str, object]:
    """The comparison as JSON."""
    rows = [
        {
            "method": row.name,
            "num_target": int(row.group or 0),
            **({"failed": row.failed} if row.failed else {}),
            "worse_than_best": [key for key, cell in row.cells.items() if cell.worse],
            **{key: [cell.value, cell.spread] for key, cell in row.cells.items()},
        }
        for row in found.rows
    ]
    return {
        "cells": [{"method": m, "num_target": n, "seed": seed, **cell} for (m, n, seed), cell in cells.items()],
        "summary": rows,
        "ranks": {str(n): places for n, places in found.ranks.items()},
        "recommendations": {str(n): one._asdict() for n, one in found.recommendations.items()},
    }
