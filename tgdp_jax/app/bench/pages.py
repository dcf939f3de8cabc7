"""Tables and pictures of a bench record."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tgdp_jax.app.report import plots
from tgdp_jax.app.report.html import Picture, TableData
from tgdp_jax.app.report.table import Cell, Column, Row, markdown

Record = Mapping[str, Any]
SPREAD = "± is half the distance between the quartiles of the rounds."
_BATCH = [
    Column("samples", "samples/s", "higher", "Samples per second."),
    Column("evaluations", "M eval/s", "none", "Millions of evaluations of the guided score per second, row by row."),
    Column("gflops", "GFLOP/s", "none", "Matrix products of the networks, two operations a multiply-add."),
    Column("peak", "% of peak", "higher", "Of the best matrix-product rate in the same rounds and precision."),
    Column("utilisation", "MFU %", "higher", "Model FLOPs utilisation: of the peak of one device by its data sheet."),
    Column("guidance", "guided/plain", "none", "Time of guided over unguided sampling."),
    Column("floor", "over floor", "none", "The same over the ratio of their operations, the least it can be."),
    Column(
        "gbytes", "GB/s", "none", "Traffic by XLA's count, where at full rates it would take longer than arithmetic."
    ),
    Column("memory", "MiB", "none", "Memory of the program: arguments, results and intermediates."),
    Column("compile", "compile s", "none", "Tracing and compiling, apart from the run."),
]
_TERMINAL = ("samples", "gflops", "peak", "utilisation", "guidance", "floor", "memory", "compile")
_DEVICES = [
    Column("samples", "samples/s", "none", "Samples per second of the whole call."),
    Column("speedup", "speed-up", "none", "Rate over that of one device; the number of devices would be perfect."),
]
_TRAINING = [
    Column("step", "µs/step", "none", "Microseconds of an optimiser step."),
    Column("bare", "over bare", "none", "Over a bare scan of the same steps."),
    Column("validated", "over bare + held-out", "none", "Over a bare scan that evaluates held-out rows as often."),
]
_AGAINST = [
    Column("samples", "samples/s", "none", "Ours."),
    Column("theirs", "PyTorch", "none", "Samples per second of the plain loop."),
    Column("ours_n", "eval", "none", "Evaluations a sample, ours."),
    Column("theirs_n", "PyTorch eval", "none", "Evaluations a sample, theirs."),
    Column("ratio", "ratio", "none", "Our samples per second over theirs."),
    Column(
        "best", "to best", "none", "The same over the fastest of the loop in one batch, in chunks, with one thread."
    ),
]


def tables(record: Record) -> list[TableData]:
    """Every table that the record has numbers for."""
    found = [_sampler_table(record["samplers"])]
    rows = [
        Row(str(d["devices"]), {"samples": Cell(d["samples_per_s"]), "speedup": _cell(d["speedup"])})
        for d in record["devices"]
    ]
    found.append(TableData(f"Devices: {record['devices'][0]['name']}", rows, _DEVICES, SPREAD, names="devices"))
    if "solvers" in record:
        found += [_solver_table(record["solvers"]), _cost_table(record["cost"]), _training_table(record["training"])]
    if "against" in record:
        found.append(_against_table(record["against"]))
    return found


def as_markdown(record: Record) -> str:
    """All tables in Markdown, ready to be kept beside what they were measured with."""
    parts = [f"# Throughput on {record['machine']['device']}", machine(record)]
    for table in tables(record):
        parts += [f"## {table.title}", markdown(table.rows, table.columns, group=table.group, names=table.names)]
        parts += [table.note] if table.note else []
    return "\n\n".join(part.strip() for part in parts) + "\n"


def machine(record: Record) -> str:
    """What was measured on, and when."""
    m = record["machine"]
    return (
        f"{m['devices']} x {m['device']} ({m['platform']}), {m['cpus']} CPU cores; jax {m['jax']}; "
        f"{record['settings']['precision']}; {m['date']}; load {m['load']:.1f}."
    )


def for_terminal(table: TableData) -> list[Column]:
    """The columns that a terminal has room for."""
    return [c for c in table.columns if c not in _BATCH or c.key in _TERMINAL]


def pictures(record: Record) -> list[Picture]:
    """Every picture that the record has numbers for."""
    peak, samples = (next(c for c in _BATCH if c.key == key) for key in ("peak", "samples"))
    by_batch: dict[float, list[Row]] = {}
    for sampler in record["samplers"]:
        for b in sampler["batches"]:
            by_batch.setdefault(b["batch"], []).append(Row(sampler["name"], _batch_cells(b)))
    found = [
        Picture("Samples per second by batch", "Guided sampling.", plots.lines(by_batch, samples, xlabel="batch")),
        Picture(
            "Share of the matrix-product rate",
            "Guided sampling, against the best rate measured in the same rounds.",
            plots.lines(by_batch, peak, xlabel="batch"),
        ),
    ]
    if "solvers" in record:
        found.append(_quality_picture(record["solvers"]))
    if "against" in record:
        rivals = {"ratio": "over the plain loop", "ratio_to_best": "over its fastest variant"}
        rows = [
            Row(_comparison(c), {"ratio": _cell(c[key])}, group=rival)
            for key, rival in rivals.items()
            for c in record["against"]["comparisons"]
        ]
        caption = "Our samples per second over PyTorch's: at 1 both are as fast."
        found.append(
            Picture("Against PyTorch", caption, plots.bars(rows, Column("ratio", "times PyTorch's samples/s")))
        )
    return found


def _cell(spread: Record | None) -> Cell:
    return Cell(math.nan) if spread is None else Cell(spread["median"], (spread["high"] - spread["low"]) / 2)


def _batch_cells(b: Record) -> dict[str, Cell]:
    return {
        "samples": Cell(b["samples_per_s"]),
        "evaluations": Cell(b["evaluations_per_s"] / 1e6),
        "gflops": Cell(b["flops_per_s"] / 1e9),
        "peak": Cell(100 * b["fraction_of_peak"]),
        "utilisation": Cell(math.nan if b["utilisation"] is None else 100 * b["utilisation"]),
        "guidance": _cell(b["guided_over_unguided"]),
        "floor": Cell(b["guidance_over_floor"]),
        "gbytes": Cell(b["bytes_per_s"] / 1e9 if b["memory_bound"] else math.nan),
        "memory": Cell(b["program_bytes"] / 2**20),
        "compile": Cell(b["compile_seconds"]),
    }


def _sampler_table(samplers: Sequence[Record]) -> TableData:
    rows = [
        Row(f"batch {b['batch']}", _batch_cells(b), group=_sampler_heading(s)) for s in samplers for b in s["batches"]
    ]
    known = any(s["peak_flops_per_s"] is not None for s in samplers)
    columns = [column for column in _BATCH if known or column.key != "utilisation"]
    return TableData("Guided sampling", rows, columns, SPREAD, names="chunk")


def _sampler_heading(s: Record) -> str:
    floor = "" if math.isnan(s["guidance_floor"]) else f", guided/plain floor {s['guidance_floor']:.2f}"
    shape = " x ".join(map(str, s["shape"]))
    return f"{s['name']}: d = {shape}, {s['evaluations']} evaluations{floor}, ended by {s['stopped_by']}"


def _solver_table(solvers: Record) -> TableData:
    tried = sorted({n for s in solvers["solvers"] for n, _ in s["curve"]})
    columns = [Column(f"w2_{n}", f"{n} eval", "lower", f"Sliced W2 after {n} evaluations.") for n in tried]
    columns += [
        Column("needed", "needed", "none", f"Evaluations for the quality of {solvers['goal_of']}."),
        Column("rate", "samples/s", "higher", f"There, with networks {solvers['networks']}."),
    ]
    rows = []
    for s in solvers["solvers"]:
        cells = {f"w2_{n}": Cell(value) for n, value in s["curve"]}
        cells |= {"needed": Cell(s["evaluations_needed"] or math.nan), "rate": Cell(s["samples_per_s"])}
        rows.append(Row(f"{s['solver']}, {s['grid']}", cells))
    note = f"Fresh target samples read {solvers['floor']:.4f}. Needed for {solvers['goal']:.4f}: {solvers['goal_of']}."
    return TableData("Solvers: sliced W2 with the exact score", rows, columns, note, names="solver, time grid")


def _cost_table(cost: Sequence[Record]) -> TableData:
    evaluations = sorted({c["evaluations"] for c in cost})
    columns = [
        column
        for n in evaluations
        for column in (
            Column(f"s_{n}", f"{n} eval: s", "none", f"Seconds of a batch with {n} evaluations."),
            Column(f"us_{n}", "µs", "none", "Microseconds an evaluation and a row."),
        )
    ]
    rows: dict[tuple[int, int], Row] = {}
    for c in cost:
        row = rows.setdefault((c["dim"], c["batch"]), Row(f"batch {c['batch']}", {}, group=c["dim"]))
        row.cells[f"s_{c['evaluations']}"] = _cell(c["seconds"])
        row.cells[f"us_{c['evaluations']}"] = Cell(c["microseconds_per_evaluation"])
    return TableData("Cost with the default networks", list(rows.values()), columns, SPREAD, "dimension", "chunk")


def _training_table(training: Record) -> TableData:
    cells = {
        "step": Cell(1e6 * training["seconds_per_step"]["median"]),
        "bare": _cell(training["over_bare"]),
        "validated": _cell(training["over_bare_with_validation"]),
    }
    widths = "x".join(map(str, training["features"]))
    rows = [Row(f"{widths}, batch {training['batch']}, {training['steps_per_launch']} steps a launch", cells)]
    return TableData("Training loop", rows, _TRAINING, SPREAD, names="denoiser")


def _comparison(c: Record) -> str:
    return f"{c['networks']}, {c['kind']}, {c['samples']} samples"


def _against_table(against: Record) -> TableData:
    rows = [
        Row(
            _comparison(c),
            {
                "samples": Cell(c["samples_per_s"]),
                "theirs": Cell(c["rival_samples_per_s"]),
                "ours_n": Cell(c["evaluations"]),
                "theirs_n": Cell(c["rival_evaluations"]),
                "ratio": _cell(c["ratio"]),
                "best": _cell(c["ratio_to_best"]),
            },
        )
        for c in against["comparisons"]
    ]
    title = f"Against PyTorch {against['version']} on {against['device']}, {against['threads']} threads"
    return TableData(title, rows, _AGAINST, SPREAD, names="comparison")


def _quality_picture(solvers: Record) -> Picture:
    column = Column("w2", "sliced W2", "target", goal=solvers["goal"])
    groups: dict[float, list[Row]] = {}
    for s in solvers["solvers"]:
        for n, value in s["curve"]:
            groups.setdefault(n, []).append(Row(f"{s['solver']}, {s['grid']}", {"w2": Cell(value)}))
    caption = f"Exact score and guidance. The dashed line is the quality of {solvers['goal_of']}."
    return Picture("Speed and quality", caption, plots.lines(groups, column, xlabel="evaluations"))
