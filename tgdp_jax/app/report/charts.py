"""Pictures of fields and numbers, as PNG bytes: log-ratio maps, loss curves, measures by method and by sample size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from tgdp_jax.app.report import style
from tgdp_jax.app.report.table import Cell, Column, Row, format_cell, heading, sections
from tgdp_jax.errors import UserError


@style.picture
def fields(
    learned: np.ndarray,
    exact: np.ndarray | None,
    xs: np.ndarray,
    ys: np.ndarray,
    *,
    title: str,
) -> Figure:
    """A learned log-ratio as a heat map, next to the exact one and the difference where that is known.

    The first two share one diverging scale, symmetric about 0, that holds 99 % of the exact values (of the learned ones
    where there is no exact); their zero line is drawn. The difference has a scale of its own.

    Args:
      learned: [Y, X].
      exact: [Y, X], or None.
      xs: [X].
      ys: [Y].
      title: above the picture.

    Returns:
      PNG bytes.

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
    count = len(maps) if exact is None else 3
    width = style.PAGE / 3
    # The maps' own height, with room for the titles and the legend: anything else leaves empty bands.
    shape = float(np.clip(np.ptp(ys) / max(np.ptp(xs), 1e-12), 0.3, 2.0))
    figure = Figure(figsize=(width * count, (width - (1.1 if count > 1 else 1.6)) * shape + 1.3), layout="constrained")
    axes = figure.subplots(1, count, squeeze=False)[0]
    mesh = None
    bound = _bound(maps["learned" if exact is None else "exact"])
    for panel, (name, values) in zip(axes, maps.items(), strict=False):
        mesh = panel.pcolormesh(xs, ys, values, cmap="RdBu_r", vmin=-bound, vmax=bound, shading="nearest")
        if _extent(values)[0] < 0 < _extent(values)[1]:
            panel.contour(xs, ys, values, levels=[0.0], colors=style.INK, linewidths=0.8, linestyles="dashed")
        style.set_title(panel, name)
    _colour_bar(figure, mesh, list(axes[: len(maps)]), list(maps.values()), bound, "log ratio")
    if exact is not None:
        with np.errstate(invalid="ignore"):
            gap = maps["learned"] - maps["exact"]
        own = _bound(gap)
        mesh = axes[2].pcolormesh(xs, ys, gap, cmap="PuOr_r", vmin=-own, vmax=own, shading="nearest")
        style.set_title(axes[2], "learned - exact")
        _colour_bar(figure, mesh, [axes[2]], [gap], own, "difference")
    for panel in axes:
        panel.set(aspect="equal", xlim=(xs.min(), xs.max()), ylim=(ys.min(), ys.max()))
    dashes = Line2D([], [], color=style.INK, linewidth=0.8, linestyle="dashed")
    style.key_below(figure, [dashes], ["log ratio = 0"])
    figure.suptitle(title, parse_math=False, fontsize=11)
    return figure


def _bound(values: np.ndarray) -> float:
    finite = np.abs(values[np.isfinite(values)])
    return float(np.quantile(finite, 0.99)) or 1.0 if finite.size else 1.0


def _extent(values: np.ndarray) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)


def _colour_bar(figure: Figure, mesh, axes: list[Axes], shown: list[np.ndarray], bound: float, text: str) -> None:
    low, high = (_extent(v)[0] < -bound for v in shown), (_extent(v)[1] > bound for v in shown)
    # Arrows at the bar's ends where values go beyond it.
    extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[int(any(low)), int(any(high))]
    bar = figure.colorbar(mesh, ax=axes, extend=extend, aspect=22, pad=0.02)
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


@style.picture
def curves(
    histories: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]],
    *,
    chosen: Mapping[str, float] | None = None,
) -> Figure:
    """Loss curves, one panel a stage.

    Curves whose name begins with "valid" or "held" are drawn as they are, with dots; all others faintly, with a
    smoothed line on top. Validation gets an axis of its own on the right where the two would not fit one scale. Values
    that are not finite leave gaps.

    Args:
      histories: stage to curve to (steps [N], values [N]).
      chosen: stage to the step whose weights are used, drawn as a vertical line.

    Returns:
      PNG bytes.
    """
    figure, axes = style.grid_figure(len(histories), columns=3, aspect=0.7, extra=0.4, widest=4.6)
    for panel, (stage, named) in zip(axes, histories.items(), strict=True):
        data = {name: (np.asarray(x, np.float64), np.asarray(y, np.float64)) for name, (x, y) in named.items()}
        training = {name: xy for name, xy in data.items() if not _is_validation(name) and len(xy[0])}
        held_out = {name: xy for name, xy in data.items() if _is_validation(name) and len(xy[0])}
        views = [_view([y for _, y in part.values()]) for part in (training, held_out) if part]
        second = panel
        if training and held_out and _apart(*views):
            second = panel.twinx()
            second.spines["right"].set_visible(True)
        handles = _draw_training(panel, training) + _draw_held_out(second, held_out, len(training))
        names = [*training, *held_out]
        if second is panel:
            views = [(min(v[0] for v in views), max(v[1] for v in views))] if views else []
        else:
            names = [name + " (right axis)" if name in held_out else name for name in names]
        for target, view in zip((panel, second), views, strict=False):
            target.set_ylim(*style.widened(*view, 0.1))
        if chosen is not None and stage in chosen:
            handles.append(panel.axvline(chosen[stage], color=style.INK, linewidth=1.0, linestyle="dashed"))
            names.append(f"chosen: step {chosen[stage]:,.0f}")
        first, last = panel.get_xlim()
        # A single point would get ticks a hundredth of a step apart.
        panel.set_xlim(min(first, (first + last) / 2 - 1), max(last, (first + last) / 2 + 1))
        panel.set_xlabel("step")
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        panel.grid(True)
        style.set_title(panel, stage, 44)
        # On the upper axes, or the right axis' curve would run through the text.
        style.legend(second, handles, names, loc="upper right", framealpha=0.85, frameon=True, edgecolor="none")
    return figure


def _draw_training(axes: Axes, curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> list:
    handles = []
    for i, (x, y) in enumerate(curves.values()):
        axes.plot(x, y, color=style.colour(i), alpha=0.3, linewidth=0.9)
        handles += axes.plot(x, _smooth(y), color=style.colour(i), marker="o" if len(x) == 1 else None, markersize=4)
    return handles


def _draw_held_out(axes: Axes, curves: Mapping[str, tuple[np.ndarray, np.ndarray]], used: int) -> list:
    handles = []
    for i, (x, y) in enumerate(curves.values(), start=max(used, 1)):
        handles += axes.plot(x, y, color=style.colour(i), marker="o", markersize=3, linewidth=1.3)
    return handles


@style.picture
def bars(rows: Sequence[Row], column: Column) -> Figure:
    """One measure across methods as horizontal bars with their numbers; one panel a group, on a common scale.

    The best bars are starred as in the tables, reference rows are grey, missing values are a dash, and a column's goal
    is a vertical line.

    Args:
      rows: names must differ within a group.
      column: what is shown.

    Returns:
      PNG bytes.
    """
    parts = sections(rows, [column])
    tallest = max((len(part.lines) for part in parts), default=1)
    # The names once a row where all groups have the same ones.
    same = all([line.name for line in part.lines] == [line.name for line in parts[0].lines] for part in parts)
    height = 0.75 + 0.34 * tallest
    figure, axes = style.grid_figure(
        len(parts), columns=3 if same else 2, aspect=0.0, extra=height, widest=5.4, sharey=same
    )
    cells = {id(row): row.cells.get(column.key, Cell(math.nan)) for row in rows}
    finite = [c for c in cells.values() if math.isfinite(c.value)]
    ends = [0.0, *(c.value + sign * _spread(c) for c in finite for sign in (-1, 1))]
    ends += [column.goal] if column.better == "target" and column.goal is not None else []
    low, high = min(ends), max(ends)
    room = (high - low) or 1.0
    for panel, part in zip(axes, parts, strict=True):
        for y, line in enumerate(part.lines):
            cell = cells[id(line.row)]
            shown = cell.value if math.isfinite(cell.value) else 0.0
            tone = style.FAINT if line.row.reference else style.colour(0)
            panel.barh(y, shown, height=0.66, color=tone, alpha=1.0 if line.best[0] or line.row.reference else 0.6)
            if math.isfinite(cell.value) and cell.spread:
                panel.errorbar(shown, y, xerr=_spread(cell), color=style.INK, linewidth=1.2, capsize=2.5)
            # Beside the bar's end, outside it and its error bar.
            edge = max(shown, 0.0) + (_spread(cell) if shown >= 0 else 0.0)
            text = line.texts[0] + ("*" if line.best[0] else "")
            weight = "bold" if line.best[0] else "normal"
            shade = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.8}
            panel.text(edge + 0.03 * room, y, text, va="center", fontsize=8.5, fontweight=weight, bbox=shade)
        if column.better == "target" and column.goal is not None:
            panel.axvline(column.goal, color=style.INK, linewidth=1.0, linestyle="dashed")
        panel.axvline(0.0, color="#8A929C", linewidth=0.8)
        panel.set_yticks(range(len(part.lines)), [line.name for line in part.lines], parse_math=False)
        panel.set(
            ylim=(tallest - 0.4, -0.6),
            xlim=(low - (0.03 * room if low < 0 else 0.0), high + (0.6 if len(parts) > 2 else 0.42) * room),
        )
        panel.spines["left"].set_visible(False)
        panel.tick_params(axis="y", length=0)
        panel.grid(True, axis="x")
        style.set_title(panel, part.heading or heading(column), 50)
    if any(part.heading for part in parts):
        figure.suptitle(heading(column), parse_math=False, fontsize=11)
    return figure


def _spread(cell: Cell) -> float:
    return abs(cell.spread) if cell.spread is not None and math.isfinite(cell.spread) else 0.0


@style.picture
def lines(groups: Mapping[float, Sequence[Row]], column: Column, *, xlabel: str = "target samples") -> Figure:
    """One measure against the number of target samples (or another size), one line a method, on a log axis.

    Error bars are the spreads; reference rows are grey and dashed; a column's goal is a horizontal line. The vertical
    axis is logarithmic too where all methods' values are positive and all span more than a factor of ten; references
    that are not positive are then left out.

    Args:
      groups: size to the rows measured at it; methods are matched by name.
      column: what is shown.
      xlabel: what the size counts.

    Returns:
      PNG bytes.

    Raises:
      UserError: a size is not positive.
    """
    sizes = sorted(float(n) for n in groups)
    if sizes and sizes[0] <= 0:
        raise UserError(f"sizes on a log axis must be positive: {sizes[0]:g} is not")
    by_size = {float(n): {row.name: row for row in rows} for n, rows in groups.items()}
    names = dict.fromkeys(row.name for rows in groups.values() for row in rows)
    is_reference = {name: any(rows[name].reference for rows in by_size.values() if name in rows) for name in names}
    figure = Figure(figsize=(8.0, 4.0), layout="constrained")
    axes = figure.subplots()
    handles, shown = [], []
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
    for name in names:
        kept = [(n, cell) for n, cell in points[name] if cell.value > 0 or not logarithmic]
        if not kept:
            continue
        place = 0 if is_reference[name] else contenders.index(name)
        look: dict[str, Any] = style.look(place) | {"markersize": 5}
        if is_reference[name]:
            dashes = ("dashed", "dotted", "dashdot")[sum(is_reference[n] for n in shown if n in is_reference) % 3]
            look = {"color": style.NEUTRAL, "linestyle": dashes}
        # Methods stand a little apart, or their error bars would cover each other.
        shift = 1.0 if is_reference[name] else 1.03 ** (place - (len(contenders) - 1) / 2)
        values, spreads = [c.value for _, c in kept], [_spread(c) for _, c in kept]
        drawn = axes.errorbar(
            [n * shift for n, _ in kept],
            values,
            yerr=spreads if any(spreads) else None,
            capsize=2.5,
            elinewidth=1.0,
            **look,
        )
        handles.append(drawn)
        shown.append(name)
    if column.better == "target" and column.goal is not None:
        handles.append(axes.axhline(column.goal, color=style.INK, linewidth=1.0, linestyle="dashed"))
        shown.append(f"goal: {format_cell(Cell(column.goal))}")
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
    style.legend(figure, handles, shown, loc="outside right upper")
    return figure
