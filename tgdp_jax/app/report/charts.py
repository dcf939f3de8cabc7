"""Pictures of fields and numbers: log-ratio maps, loss curves, measures by method and by sample size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from tgdp_jax.app.report import style
from tgdp_jax.app.report.drawing import Drawing, Mark, Panel
from tgdp_jax.app.report.table import Cell, Column, Row, Section, format_cell, heading, sections
from tgdp_jax.errors import UserError

# On a map, whose colours are the same on a light and a dark page.
_ON_MAP = "#222222"


def fields(
    learned: np.ndarray,
    exact: np.ndarray | None,
    xs: np.ndarray,
    ys: np.ndarray,
    *,
    title: str,
    labels: Sequence[str] = ("x1", "x2"),
) -> Drawing:
    """A learned log-ratio as a heat map, next to the exact one and the difference where that is known.

    The first two share one diverging scale, symmetric about 0, that holds 99 % of the exact values (of the learned ones
    where there is no exact); their zero line is drawn. The difference has a scale of its own.

    Args:
      learned: [Y, X].
      exact: [Y, X], or None.
      xs: [X].
      ys: [Y].
      title: above the picture.
      labels: of the axes.

    Raises:
      UserError: a shape does not fit the grid.
    """
    xs, ys = np.asarray(xs, np.float64), np.asarray(ys, np.float64)
    maps = {"learned": np.asarray(learned, np.float64)}
    if exact is not None:
        maps["exact"] = np.asarray(exact, np.float64)
    for name, values in maps.items():
        if values.shape != (ys.size, xs.size):
            raise UserError(f"the {name} field has shape {values.shape}: [Y, X] = {(ys.size, xs.size)} is needed")
    spans = (float(xs.min()), float(xs.max())), (float(ys.min()), float(ys.max()))
    one_scale = style.comparable(*spans)

    def draw(axes: Axes, values: np.ndarray, bound: float, colours: str, text: str) -> None:
        mesh = axes.pcolormesh(
            xs, ys, values, cmap=colours, vmin=-bound, vmax=bound, shading="nearest", rasterized=True
        )
        if text == "log ratio" and _extent(values)[0] < 0 < _extent(values)[1]:
            axes.contour(xs, ys, values, levels=[0.0], colors=_ON_MAP, linewidths=0.8, linestyles="dashed")
        axes.set(xlim=spans[0], ylim=spans[1], aspect="equal" if one_scale else "auto")
        axes.set_xlabel(labels[0], parse_math=False)
        axes.set_ylabel(labels[1], parse_math=False)
        _colour_bar(axes, mesh, values, bound, text)

    bound = _bound(maps["learned" if exact is None else "exact"])
    panels = [Panel(n, lambda axes, v=v: draw(axes, v, bound, "RdBu_r", "log ratio")) for n, v in maps.items()]
    if exact is not None:
        with np.errstate(invalid="ignore"):
            gap = maps["learned"] - maps["exact"]
        panels.append(Panel("learned - exact", lambda axes: draw(axes, gap, _bound(gap), "PuOr_r", "difference")))
    # The map's own height beside its colour bar, with room for labels: anything else leaves empty bands.
    shape = float(np.clip(np.ptp(ys) / max(np.ptp(xs), 1e-12), 0.3, 1.6)) if one_scale else 0.9
    return Drawing(
        panels=panels,
        key=[Mark("log ratio = 0", {"color": style.INK, "linewidth": 0.8, "linestyle": "dashed"})],
        aspect=0.62 * shape,
        extra=0.45,
        heading=title,
    )


def _bound(values: np.ndarray) -> float:
    finite = np.abs(values[np.isfinite(values)])
    return float(np.quantile(finite, 0.99)) or 1.0 if finite.size else 1.0


def _extent(values: np.ndarray) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)


def _colour_bar(axes: Axes, mesh: Any, values: np.ndarray, bound: float, text: str) -> None:
    low, high = _extent(values)
    # Arrows at the bar's ends where values go beyond it.
    extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[low < -bound, high > bound]
    # Not more of them the more room there is: their widths would change once the room has been dealt out.
    ticks = MaxNLocator(6, steps=[1, 2, 5, 10])
    bar = axes.figure.colorbar(mesh, ax=axes, extend=extend, aspect=22, pad=0.03, ticks=ticks)
    bar.set_label(text)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]


def _smooth(values: np.ndarray) -> np.ndarray:
    """Centred mean over a tenth of the curve."""
    half = max(1, len(values) // 20)
    finite = np.isfinite(values)
    total = np.cumsum(np.concatenate([[0.0], np.where(finite, values, 0.0)]))
    count = np.cumsum(np.concatenate([[0.0], finite]))
    # At the start, where curves fall, the window shrinks on both sides alike; at the end, where they are flat, it loses
    # only what lies beyond, or the last values would be those of single steps.
    place = np.arange(len(values))
    first, last = place - np.minimum(half, place), np.minimum(place + np.minimum(half, place), len(values) - 1) + 1
    with np.errstate(invalid="ignore"):
        return (total[last] - total[first]) / (count[last] - count[first])


def _is_validation(name: str) -> bool:
    return name.lower().startswith(("valid", "held"))


def _view(curves: Sequence[np.ndarray]) -> tuple[float, float]:
    """Vertical range of some curves without the spike of the first steps."""
    values = np.concatenate([c[len(c) // 50 :] for c in curves] or [np.zeros(0)])
    return style.robust_range(values, 0.01)


def _apart(first: tuple[float, float], second: tuple[float, float]) -> bool:
    """Whether two ranges are so different that on common axes one of the curves would be a flat line."""
    union = max(first[1], second[1]) - min(first[0], second[0])
    return union > 4 * max(min(first[1] - first[0], second[1] - second[0]), 1e-12)


# A stage's loss is that of one batch, and noisy.
_FAINT_LINE: dict[str, Any] = {"alpha": 0.3, "linewidth": 0.9}
_CHOSEN = {"color": style.INK, "linewidth": 1.0, "linestyle": "dashed"}


def curves(
    histories: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]],
    *,
    chosen: Mapping[str, float] | None = None,
) -> Drawing:
    """Loss curves, one panel a stage; a curve has one colour in all of them.

    Curves whose name begins with "valid" or "held" are drawn as they are, with dots; all others faintly, with a
    smoothed line on top. Validation gets an axis of its own on the right where the two would not fit one scale. Values
    that are not finite leave gaps.

    Args:
      histories: stage to curve to (steps [N], values [N]).
      chosen: stage to the step whose weights are used, drawn as a vertical line.
    """
    data = {
        stage: {name: (np.asarray(x, np.float64), np.asarray(y, np.float64)) for name, (x, y) in named.items()}
        for stage, named in histories.items()
    }
    shown = {stage: {name: xy for name, xy in named.items() if len(xy[0])} for stage, named in data.items()}
    names = list(dict.fromkeys(name for named in shown.values() for name in named))
    names.sort(key=_is_validation)
    looks = {name: _look(name, style.colour(i)) for i, name in enumerate(names)}
    steps = {stage: step for stage, step in (chosen or {}).items() if stage in data}

    def draw(axes: Axes, stage: str) -> None:
        training = {name: xy for name, xy in shown[stage].items() if not _is_validation(name)}
        held_out = {name: xy for name, xy in shown[stage].items() if _is_validation(name)}
        views = [_view([y for _, y in part.values()]) for part in (training, held_out) if part]
        second = axes
        if training and held_out and _apart(*views):
            second = axes.twinx()
            second.spines["right"].set_visible(True)
            second.set_ylabel(", ".join(held_out), parse_math=False)
            axes.set_ylabel(", ".join(training), parse_math=False)
        else:
            views = [(min(v[0] for v in views), max(v[1] for v in views))] if views else []
            axes.set_ylabel("loss")
        for name, (x, y) in training.items():
            axes.plot(x, y, color=looks[name]["color"], **_FAINT_LINE)
            axes.plot(x, _smooth(y), **looks[name] | ({"marker": "o", "markersize": 4} if len(x) == 1 else {}))
        for name, (x, y) in held_out.items():
            second.plot(x, y, **looks[name])
        for target, view in zip((axes, second), views, strict=False):
            target.set_ylim(*style.widened(*view, 0.1))
        if stage in steps:
            axes.axvline(steps[stage], **_CHOSEN)
        first, last = axes.get_xlim()
        # A single point would get ticks a hundredth of a step apart.
        axes.set_xlim(min(first, (first + last) / 2 - 1), max(last, (first + last) / 2 + 1))
        axes.set_xlabel("step" if stage not in steps else f"step (chosen: {steps[stage]:,.0f})")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        axes.grid(True)

    return Drawing(
        panels=[Panel(stage, lambda axes, stage=stage: draw(axes, stage)) for stage in data],
        key=[*(Mark(name, looks[name]) for name in names), *([Mark("chosen step", _CHOSEN)] if steps else [])],
        aspect=0.7,
    )


def _look(name: str, colour: str) -> dict[str, Any]:
    dots = {"marker": "o", "markersize": 3, "linewidth": 1.3} if _is_validation(name) else {}
    return {"color": colour, **dots}


def bars(rows: Sequence[Row], column: Column) -> Drawing:
    """One measure across methods as horizontal bars with their numbers; one panel a group, on a common scale.

    The best bars are starred as in the tables, reference rows are grey, missing values are a dash, and a column's goal
    is a vertical line.

    Args:
      rows: names must differ within a group.
      column: what is shown.
    """
    parts = sections(rows, [column])
    tallest = max((len(part.lines) for part in parts), default=1)
    cells = {id(row): row.cells.get(column.key, Cell(math.nan)) for row in rows}
    finite = [c for c in cells.values() if math.isfinite(c.value)]
    ends = [0.0, *(c.value + sign * _spread(c) for c in finite for sign in (-1, 1))]
    ends += [column.goal] if column.better == "target" and column.goal is not None else []
    low, high = min(ends), max(ends)
    room = (high - low) or 1.0

    def draw(axes: Axes, part: Section) -> None:
        for y, line in enumerate(part.lines):
            cell = cells[id(line.row)]
            shown = cell.value if math.isfinite(cell.value) else 0.0
            tone = style.FAINT if line.row.reference else style.colour(0)
            axes.barh(y, shown, height=0.66, color=tone, alpha=1.0 if line.best[0] or line.row.reference else 0.6)
            if math.isfinite(cell.value) and cell.spread:
                axes.errorbar(shown, y, xerr=_spread(cell), color=style.INK, linewidth=1.2, capsize=2.5)
            # Beside the bar's end, outside it and its error bar.
            edge = max(shown, 0.0) + (_spread(cell) if shown >= 0 else 0.0)
            text = line.texts[0] + ("*" if line.best[0] else "")
            weight = "bold" if line.best[0] else "normal"
            shade = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.8}
            axes.text(edge + 0.03 * room, y, text, va="center", fontsize=8.5, fontweight=weight, bbox=shade)
        if column.better == "target" and column.goal is not None:
            axes.axvline(column.goal, color=style.INK, linewidth=1.0, linestyle="dashed")
        axes.axvline(0.0, color="#8A929C", linewidth=0.8)
        axes.set_yticks(range(len(part.lines)), [line.name for line in part.lines], parse_math=False)
        axes.set(ylim=(tallest - 0.4, -0.6), xlim=(low - (0.03 * room if low < 0 else 0.0), high + 0.6 * room))
        axes.set_xlabel(heading(column), parse_math=False)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(True, axis="x")

    panels = [Panel(part.heading or "", lambda axes, part=part: draw(axes, part)) for part in parts]
    return Drawing(panels=panels, aspect=0.0, extra=0.6 + 0.34 * tallest)


def _spread(cell: Cell) -> float:
    return abs(cell.spread) if cell.spread is not None and math.isfinite(cell.spread) else 0.0


def lines(groups: Mapping[float, Sequence[Row]], column: Column, *, xlabel: str = "target samples") -> Drawing:
    """One measure against the number of target samples (or another size), one line a method, on a log axis.

    Error bars are the spreads; reference rows are grey and dashed; a column's goal is a horizontal line. The vertical
    axis is logarithmic too where all methods' values are positive and all span more than a factor of ten; references
    that are not positive are then left out.

    Args:
      groups: size to the rows measured at it; methods are matched by name.
      column: what is shown.
      xlabel: what the size counts.

    Raises:
      UserError: a size is not positive.
    """
    sizes = sorted(float(n) for n in groups)
    if sizes and sizes[0] <= 0:
        raise UserError(f"sizes on a log axis must be positive: {sizes[0]:g} is not")
    by_size = {float(n): {row.name: row for row in rows} for n, rows in groups.items()}
    names = dict.fromkeys(row.name for rows in groups.values() for row in rows)
    is_reference = {name: any(rows[name].reference for rows in by_size.values() if name in rows) for name in names}
    contenders = [name for name in names if not is_reference[name]]
    points = {
        name: [
            (n, cell)
            for n in sizes
            if name in by_size[n]
            and (cell := by_size[n][name].cells.get(column.key)) is not None
            and math.isfinite(cell.value)
        ]
        for name in names
    }
    seen = [cell.value for name in names for _, cell in points[name] if cell.value > 0 or not is_reference[name]]
    logarithmic = bool(seen) and min(seen) > 0 and max(seen) > 10 * min(seen)
    kept = {name: [(n, c) for n, c in points[name] if c.value > 0 or not logarithmic] for name in names}
    kept = {name: found for name, found in kept.items() if found}
    references = [name for name in kept if is_reference[name]]
    looks: dict[str, dict[str, Any]] = {
        name: {"color": style.NEUTRAL, "linestyle": ("dashed", "dotted", "dashdot")[references.index(name) % 3]}
        if is_reference[name]
        else {"markersize": 5, **style.look(contenders.index(name))}
        for name in kept
    }
    goal = column.goal if column.better == "target" else None
    dashes = {"color": style.INK, "linewidth": 1.0, "linestyle": "dashed"}

    def draw(axes: Axes) -> None:
        for name, found in kept.items():
            # Methods stand a little apart, or their error bars would cover each other.
            middle = (len(contenders) - 1) / 2
            shift = 1.0 if is_reference[name] else 1.03 ** (contenders.index(name) - middle)
            spreads = [_spread(c) for _, c in found]
            axes.errorbar(
                [n * shift for n, _ in found],
                [c.value for _, c in found],
                yerr=spreads if any(spreads) else None,
                capsize=2.5,
                elinewidth=1.0,
                **looks[name],
            )
        if goal is not None:
            axes.axhline(goal, **dashes)
        axes.set_xscale("log")
        if sizes:
            axes.set_xticks(sizes, [f"{n:,g}" for n in sizes])
            axes.set_xlim(sizes[0] / 1.25, sizes[-1] * 1.25)
        axes.xaxis.set_minor_locator(NullLocator())
        if logarithmic:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if max(seen) < 1000 * min(seen) else (1.0,)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(xlabel, parse_math=False)
        axes.set_ylabel(heading(column), parse_math=False)
        axes.grid(True)

    key = [Mark(name, looks[name]) for name in kept]
    key += [] if goal is None else [Mark(f"goal: {format_cell(Cell(goal))}", dashes)]
    return Drawing(panels=[Panel("", draw)], key=key, aspect=0.8)
