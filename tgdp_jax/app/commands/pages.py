"""Titles, tables and pictures of runs and comparisons, from results."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from tgdp_jax.app.report import plots
from tgdp_jax.app.report.drawing import Drawing
from tgdp_jax.app.report.html import Picture
from tgdp_jax.app.report.table import Cell, Column, Row
from tgdp_jax.data.mixture import ExactLogRatio
from tgdp_jax.data.modalities import Modalities
from tgdp_jax.data.problem import Problem
from tgdp_jax.data.registry import problem_name
from tgdp_jax.metrics.evidence import MOST_ROWS
from tgdp_jax.metrics.registry import METRICS
from tgdp_jax.metrics.spread import Value
from tgdp_jax.runtime.files import write_atomic
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.transfer.heads import clean_log_ratio, noised_log_ratio
from tgdp_jax.transfer.pretrained import forward_process
from tgdp_jax.transfer.stages import StageReport

FIELD_TIME = 0.1
GRID_SIZE = 80
PANEL_POINTS = 4000
SHOWN_PICTURES, FIRST_ROW = 16, 4
RANK = Column(
    "rank", "mean rank", "lower", "Mean of the ranks in the metrics that all methods of the group have.", terminal=True
)
COSTS = [
    Column("seconds", "train s", "none", "Seconds of training, all stages, compiling included.", terminal=True),
    Column("sample_seconds", "sample s", "none", "Seconds to draw all samples, compiling left out.", terminal=True),
    Column(
        "trained_parameters", "trained", "none", "Numbers learned from target rows; every member of an ensemble counts."
    ),
    Column("parameters", "parameters", "none", "Numbers in all networks of the method, the source model included."),
    Column(
        "memory",
        "peak MiB",
        "none",
        "Memory that training (each stage where it was trained first) and sampling added at their peak to what was "
        "held before: on a CPU the process's resident set, on an accelerator the fullest device's. A dash where it can "
        "not be told apart from that of earlier work.",
    ),
]


def subject(problem: Any) -> str:
    """What a problem config is about: the files, for the user's own data, else the problem's name."""
    source, target = (getattr(problem, name, None) for name in ("source", "target"))
    if isinstance(target, Path):
        return f"{target.name} from {source.name}" if isinstance(source, Path) else target.name
    return problem_name(problem)


def titled(method: str, problem: Any) -> str:
    """What a run is called on its page and in the terminal."""
    about = subject(problem)
    return f"{method} on {about}" if about == problem_name(problem) else f"{method}: {about}"


def columns(values: Mapping[str, Mapping[str, Value]], *, goal_row: str | None = None) -> list[Column]:
    """A column for every metric that occurs, in the registry's order, and for every cost.

    Metrics whose best value lies in the middle aim at the metric's ideal, or at what `goal_row` reads.
    """
    out = []
    for name, metric in METRICS.items():
        if not any(name in row for row in values.values()):
            continue
        goal = metric.ideal
        if metric.better == "target" and goal is None:
            aim = values.get(goal_row or "", {}).get(name)
            goal = None if aim is None else aim.value
        most = f" Of at most {MOST_ROWS:,} samples and held-out rows." if metric.pairs else ""
        description = f"{metric.description}{most} In metrics.json: {name}."
        out.append(Column(name, metric.label, metric.better, description, goal, metric.terminal))
    return out + [cost for cost in COSTS if any(cost.key in row for row in values.values())]


def left_out(shown: Sequence[Column], judged: Iterable[Sequence[int]]) -> list[str]:
    """A sentence that says which metrics were computed on fewer rows than there are, if any (`evidence.MOST_ROWS`).

    Args:
      shown: columns of the table.
      judged: numbers of (samples, held-out rows) that rows of the table were measured on.
    """
    names = [column.label for column in shown if column.key in METRICS and METRICS[column.key].pairs]
    sides = []
    for what, counts in zip(("samples", "held-out rows"), zip(*judged, strict=True), strict=False):
        more = [f"{num:,}" for num in sorted(set(counts)) if num > MOST_ROWS]
        sides += [f"{MOST_ROWS:,} of {' or '.join(more)} {what}"] if more else []
    if not (names and sides):
        return []
    return [f"Computed on {' and '.join(sides)}, drawn by the seed: {', '.join(names)}."]


def for_terminal(shown: Sequence[Column]) -> list[Column]:
    """The columns that a terminal has room for; report.html and metrics.json have the rest."""
    return [column for column in shown if column.terminal]


def cell(value: Value) -> Cell:
    """A table cell."""
    return Cell(value.value, None if np.isnan(value.spread) else value.spread)


def row(
    name: str,
    values: Mapping[str, Value],
    *,
    reference: bool = False,
    group: str | None = None,
    failed: str = "",
) -> Row:
    """A table row."""
    return Row(name, {key: cell(v) for key, v in values.items()}, reference=reference, group=group, failed=failed)


def sample_picture(problem: Problem, samples: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]) -> Picture:
    """Source, target and samples of each method, side by side."""
    learned_from = f"target, {len(problem.target)} rows to learn from"
    panels = {"source": problem.source.x, learned_from: problem.target.x}
    if problem.reference is not None:
        panels["target, held out"] = problem.reference.x
    panels |= {f"samples: {name}": x for name, x in samples.items()}
    if problem.ecg_rate is not None:
        return _ecg_picture(problem, panels, labels)
    if problem.captions is not None:
        return _captioned_picture(problem, panels)
    panels = {name: x[:PANEL_POINTS] for name, x in panels.items()}
    planar = problem.kind == "vectors" and problem.shape[0] <= 2
    if problem.modalities is not None and len(problem.shape) == 1 and any(p.is_image for p in problem.modalities.parts):
        return _modal_picture(problem.modalities, panels)
    classes = None
    if problem.conditional:
        known = {"source": problem.source.y, learned_from: problem.target.y}
        if problem.reference is not None:
            known["target, held out"] = problem.reference.y
        known |= {f"samples: {name}": y for name, y in labels.items()}
        classes = {name: y[: len(panels[name])] for name, y in known.items() if y is not None}
    contours = None
    if problem.exact is not None and len(problem.shape) == 1 and problem.shape[0] == 2:
        xs, ys, points = _plane(problem)
        density = np.exp(np.asarray(problem.exact.target.log_prob(points))).reshape(len(ys), len(xs))
        contours = *_in_users_units(problem, xs, ys), density
    if planar:
        panels = {name: problem.scaler.to_user(x) for name, x in panels.items()}
    caption = "All panels share their axes."
    if problem.kind == "vectors" and not planar:
        caption += " They are the two directions in which standardised source and target rows vary most."
    elif problem.kind == "images":
        caption = "One row a class." if classes else "The first images of each, in the order given."
    named = {} if problem.columns is None else {"axis_names": problem.columns.names}
    drawing = plots.samples(panels, labels=classes, classes=problem.classes, contours=contours, **named)
    return Picture("Source, target and samples", caption, drawing)


def _captioned_picture(problem: Problem, panels: Mapping[str, np.ndarray]) -> Picture:
    """The first pictures of each set, decoded."""
    shown = {name: problem.scaler.to_user(x[:SHOWN_PICTURES]) for name, x in panels.items() if len(x)}
    caption = (
        f"The first {SHOWN_PICTURES} pictures of each, in the order given; samples.npz says the captions of samples."
    )
    if problem.asked is not None:
        texts = [problem.classes[label] for label in problem.asked[:FIRST_ROW]]
        caption += (
            f" Held-out pictures and samples are of the same captions; those of the first row are: {'; '.join(texts)}."
        )
    return Picture("Target and samples", caption, plots.samples(shown))


def _in_users_units(problem: Problem, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Grid lines of two coordinates."""
    longest = max(len(xs), len(ys))
    grid = np.stack([np.resize(xs, longest), np.resize(ys, longest)], 1)
    user = problem.scaler.to_user(grid)
    return user[: len(xs), 0], user[: len(ys), 1]


def _modal_picture(modalities: Modalities, panels: Mapping[str, np.ndarray]) -> Picture:
    """The first modality that is an image; by the text that stands beside it, where there is one."""
    image = next(part for part in modalities.parts if part.is_image)
    text = next((part for part in modalities.parts if part.alphabet), None)
    rows = {name: modalities.split(x) for name, x in panels.items()}
    shown, classes = {name: x[image.name] for name, x in rows.items()}, None
    caption = f"The {image.name} of the first rows of each, in the order given."
    if text is not None:
        texts = {name: np.array(text.decode(x[text.name])) for name, x in rows.items()}
        known = {name: np.isin(of, texts["source"]) for name, of in texts.items()}
        shown = {name: x[known[name]] for name, x in shown.items()}
        classes = {name: of[known[name]] for name, of in texts.items()}
        caption = f"The {image.name} beside each {text.name}; what stands beside none of the source's is left out."
    return Picture("Source, target and samples", caption, plots.samples(shown, labels=classes))


def _ecg_picture(problem: Problem, panels: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]) -> Picture:
    """A record of each set; of one class, the target's most frequent, where models see labels."""
    first = {name: 0 for name in panels}
    sets = (problem.source, problem.target, *([] if problem.reference is None else [problem.reference]))
    known = dict(zip(panels, (data.y for data in sets), strict=False))
    known |= {f"samples: {name}": y for name, y in labels.items()}
    said = "The first record of each set."
    if problem.conditional and problem.target.y is not None:
        common = int(np.bincount(problem.target.y).argmax())
        first = {name: _first_of(common, known.get(name)) for name in panels}
        said = f"The first record of each set with the target's most frequent label, {problem.classes[common]}."
    one = {name: problem.scaler.to_user(x[first[name] : first[name] + 1]) for name, x in panels.items()}
    caption = f"{said} Four leads a row, 2.5 s each where records have 10 s, and lead II below."
    return Picture("Source, target and samples", caption, plots.ecg_sheets(one, rate=problem.ecg_rate or 1))


def _first_of(label: int, labels: np.ndarray | None) -> int:
    """Number of the first row with the label; past the end where there is none."""
    found = np.flatnonzero(np.asarray([] if labels is None else labels) == label)
    return int(found[0]) if len(found) else np.iinfo(np.int32).max


def field_pictures(config: TrainingConfig, problem: Problem, trees: Mapping[str, Any]) -> list[Picture]:
    """Learned and exact log-ratios over the plane of two-dimensional problems: clean, and noised at t = 0.1."""
    if problem.shape != (2,):
        return []
    xs, ys, points = _plane(problem)
    shown = _in_users_units(problem, xs, ys)
    named = {} if problem.columns is None else {"labels": problem.columns.names}
    out = []
    exact = None
    if problem.exact is not None:
        exact = ExactLogRatio(problem.exact.source, problem.exact.target, forward_process(config))
    classes = sorted(set(problem.target.y.tolist())) if problem.conditional and problem.target.y is not None else [None]
    for label in classes:
        cond = None if label is None else jnp.full(len(points), label)
        suffix = "" if label is None else f", class {problem.classes[label] if problem.classes else label}"

        def field(values: Any) -> np.ndarray:
            return np.clip(np.asarray(values), -50, 50).reshape(len(ys), len(xs))

        if "params" in trees.get("classifier", {}):
            learned = field(clean_log_ratio(config, problem, trees)(points, cond))
            truth = None if exact is None else field(exact.clean(points, cond))
            title = f"log q/p on clean data{suffix}"
            drawing = plots.fields(learned, truth, *shown, title=title, **named)
            out.append(Picture(title, "The domain classifier's log-ratio.", drawing))
        stage = "guidance" if "guidance" in trees else "noisy_classifier"
        if stage in trees:
            t = jnp.full(len(points), FIELD_TIME)
            learned = field(noised_log_ratio(config, problem, trees, stage)(points, t, cond))
            truth = None if exact is None else field(exact(points, t, cond))
            title = f"log h at t = {FIELD_TIME}{suffix}"
            caption = "The guidance network: log E[q/p | x_t]. Its gradient is added to the source's score."
            out.append(Picture(title, caption, plots.fields(learned, truth, *shown, title=title, **named)))
    return out


def curve_picture(results: Mapping[str, StageReport]) -> list[Picture]:
    """Loss curves, one panel a stage; empty where no stage left any."""
    histories = {
        name: {key: (result.history["step"], v) for key, v in result.history.items() if key != "step"}
        for name, result in results.items()
        if "step" in result.history
    }
    if not histories:
        return []
    chosen = {name: r.info["best_step"] for name, r in results.items() if "best_step" in r.info}
    caption = "Training and held-out loss of every stage; ensembles show their mean."
    return [Picture("Loss curves", caption, plots.curves(histories, chosen=chosen))]


def line_pictures(groups: Mapping[float, Sequence[Row]], shown: Sequence[Column]) -> list[Picture]:
    """Metrics against the number of target rows."""
    wanted = [c for c in shown if c.key in ("sw2", "path_kl")]
    caption = "Mean over seeds; error bars are the standard deviation between seeds."
    return [Picture(f"{c.label} against target rows", caption, plots.lines(groups, c)) for c in wanted]


def tradeoff_pictures(groups: Mapping[str, Sequence[Row]], quality: Column) -> list[Picture]:
    """The main metric against what it costs: training time, and sampling time."""
    caption = f"Lower left is better: {quality.label} against seconds, means over seeds; the dashed line is fresh data."
    out = []
    for cost, word in ((COSTS[0], "Training"), (COSTS[1], "Sampling")):
        if any(cost.key in row.cells and quality.key in row.cells for rows in groups.values() for row in rows):
            title = f"{word} time and {quality.label}"
            out.append(Picture(title, caption, plots.tradeoff(groups, cost, quality)))
    return out


def write_pictures(folder: Path, pictures: Sequence[Picture]) -> list[Path]:
    """Writes the pictures as PNG files named after their titles, for slides and papers, and returns these files."""
    out = []
    for picture in pictures:
        name = re.sub(r"[^a-z0-9]+", "-", picture.title.lower()).strip("-")

        def save(part: Path, drawing: Drawing = picture.drawing) -> None:
            part.write_bytes(drawing.png())

        write_atomic(folder / f"{name}.png", save)
        out.append(folder / f"{name}.png")
    return out


def _plane(problem: Problem) -> tuple[np.ndarray, np.ndarray, jnp.ndarray]:
    """A grid (xs, ys, points [GRID_SIZE^2, 2]) that covers source and target."""
    both = np.concatenate([problem.source.x, problem.target.x])
    low, high = np.quantile(both, [0.0005, 0.9995], axis=0)
    pad = 0.15 * (high - low)
    xs, ys = (np.linspace(a, b, GRID_SIZE) for a, b in zip(low - pad, high + pad, strict=True))
    points = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2)
    return xs, ys, jnp.asarray(points, jnp.float32)
