"""`tgdp bench`: what sampling and training cost on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tgdp_jax.app.bench import pages
from tgdp_jax.app.bench.against_torch import load_torch
from tgdp_jax.app.bench.models import Case, of_run
from tgdp_jax.app.bench.settings import DEFAULT, QUICK, BenchConfig, Effort
from tgdp_jax.app.bench.suite import measure
from tgdp_jax.app.command_line import bench_line, versions
from tgdp_jax.app.commands.pages import write_pictures
from tgdp_jax.app.console import Display, print_line, print_table
from tgdp_jax.app.folder import claim_folder
from tgdp_jax.app.model import load
from tgdp_jax.app.report import html
from tgdp_jax.runtime.files import write_atomic, write_json
from tgdp_jax.settings.stored import to_json

PICTURES = "pictures"


def bench(config: BenchConfig, out: Path, *, effort: Effort | None = None) -> dict[str, Any]:
    """Measures, prints, and writes `bench.json`, `bench.md`, `report.html` and pictures into folder `out`.

    What is there of an earlier run with the same settings is replaced.

    Args:
      config: what is asked.
      out: folder.
      effort: how much is measured; None: as `config.quick` says.

    Returns:
      What was written as `bench.json`.

    Raises:
      UserError: whatever a user can put right.
    """
    if config.against is not None:
        load_torch()  # before a folder is made
    cases = None if config.run is None else [run_case(config.run)]
    claim_folder(out, "bench", config)
    with Display() as display:
        for warning in _warnings():
            display.warn(warning)
        effort = effort or (QUICK if config.quick else DEFAULT)
        record = measure(config, effort, cases=cases, say=display.say)
        record["settings"] = to_json(config)
    tables, pictures = pages.tables(record), pages.pictures(record)
    device, load = record["machine"]["device"], record["machine"]["load"]
    page = html.render(
        title=f"Throughput on {device}",
        intro=pages.machine(record),
        warnings=_warnings(load),
        tables=tables,
        pictures=pictures,
        config=record["settings"],
        command=bench_line(config, BenchConfig()),
        footer=f"Made with {versions()}.",
    )
    html.write(out / "report.html", page)
    write_pictures(out / PICTURES, pictures)
    write_atomic(out / "bench.md", lambda part: _save(part, pages.as_markdown(record)))
    # Last, so that its presence means that the rest is there.
    write_json(out / "bench.json", record)
    for table in tables:
        columns = pages.for_terminal(table)
        print_table(list(table.rows), columns, title=table.title, group=table.group, names=table.names)
    print_line(pages.machine(record))
    print(f"bench: {out}  (open {out / 'report.html'}; every number is in bench.json, tables to keep are in bench.md)")
    return record


def _save(part: Path, text: str) -> None:
    part.write_text(text, "utf-8")


def _warnings(load: float | None = None) -> list[str]:
    """A sentence where others use the machine, now or at the given load."""
    load, cores = os.getloadavg()[0] if load is None else load, os.cpu_count() or 1
    if load < 0.5 * cores:
        return []
    return [
        f"other jobs keep {load:.1f} of {cores} cores busy: even ratios are off then, those against PyTorch most, "
        "whose threads wait for each other; repeat on a quiet machine"
    ]


def run_case(folder: Path) -> Case:
    """The sampler of a finished run.

    Raises:
      UserError: not a finished run, or one whose method has no network to measure.
    """
    model = load(folder)

    def labels(rows: int) -> Any:
        return model.labels(rows)

    conditional = model.problem.conditional
    return of_run(model.method, model.generator, model.config.precision, labels if conditional else None)
