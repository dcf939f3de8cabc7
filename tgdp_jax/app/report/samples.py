"""Pictures of samples: points, histograms, and the projection to two dimensions; images by `grid`.

Panels are given as a dict from title to array, in the order in which they appear. The first two, by custom the source
and the target's training points, set what is common to all panels (axis limits, projection, grey values), so that a
method whose samples have run away does not shrink everybody else's picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from tgdp_jax.app.report import style
from tgdp_jax.app.report.drawing import Drawing, Mark, Panel
from tgdp_jax.app.report.grid import image_grids, is_images
from tgdp_jax.errors import UserError

MAX_POINTS = 4000
PRINCIPAL = ("first principal axis", "second principal axis")
# Points of a panel that are drawn one by one.
MOST_VECTORS = 300


def _rows(values, shape_tail: int | None = None) -> np.ndarray:
    """[N, D] in double precision; [N] counts as [N, 1], further axes are flattened."""
    values = np.asarray(values, np.float64)
    values = values.reshape(len(values), -1) if values.size else np.zeros((0, shape_tail or 1))
    if shape_tail is not None and values.shape[1] != shape_tail:
        raise UserError(
            f"a panel has points of dimension {values.shape[1]} where {shape_tail} is needed: project first"
        )
    return values


def _reference(arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The first two arrays, those of them that have rows."""
    return [values for values in list(arrays.values())[:2] if len(values)]


def _thin(count: int, most: int = MAX_POINTS) -> np.ndarray:
    """Indices of at most `most` of `count` points, at random but the same at every call, in order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


def project(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Points [N, *D] of any shape as points [N, 2], all with one linear map.

    The map is the projection on the first two principal axes of the first two arrays pooled, each weighted as a whole
    and not by its number of points: ten target points count as much as ten thousand source points, so that the shift
    between the two is visible. Each axis points to where its largest loading is positive. Rows of up to two numbers are
    returned as they are ([N, 2] or [N, 1]).

    Args:
      arrays: equal D.

    Raises:
      UserError: the dimensions differ.
    """
    flat = {name: _rows(values) for name, values in arrays.items()}
    sizes = {values.shape[1] for values in flat.values() if len(values)}
    if len(sizes) > 1:
        raise UserError(f"the samples have different dimensions {sorted(sizes)}: compare samples of one problem only")
    dim = sizes.pop() if sizes else 1
    if dim <= 2:
        return flat
    chosen = [values[np.isfinite(values).all(1)] for values in _reference(flat)]
    chosen = [values for values in chosen if len(values)]
    if not chosen:
        return {name: np.full((len(values), 2), np.nan) for name, values in flat.items()}
    centre = np.mean([values.mean(0) for values in chosen], axis=0)
    # Enough points for two axes, and a decomposition that stays below a second for long signals.
    chosen = [values[_thin(len(values), MAX_POINTS if dim <= 1000 else 500)] for values in chosen]
    pooled = np.concatenate([(values - centre) / np.sqrt(len(values)) for values in chosen])
    if dim <= 1000:
        axes = np.linalg.eigh(pooled.T @ pooled)[1][:, :-3:-1].T
    else:
        axes = np.linalg.svd(pooled, full_matrices=False)[2][:2]
    axes = np.concatenate([axes, np.zeros((2 - len(axes), dim))])
    sign = np.sign(axes[np.arange(2), np.abs(axes).argmax(1)])
    axes = axes * np.where(sign == 0, 1.0, sign)[:, None]
    with np.errstate(invalid="ignore"):
        return {n: (values - centre) @ axes.T if len(values) else np.zeros((0, 2)) for n, values in flat.items()}


def _label_styles(labels: Mapping[str, np.ndarray] | None, names: Iterable[str]) -> dict[int, tuple[str, str]]:
    """Colour and marker of every class that occurs in the named panels, the same in all."""
    shown = [np.unique(np.asarray(labels[name])) for name in names if labels and name in labels]
    classes = sorted({int(y) for values in shown for y in values})
    return {y: (style.colour(i), style.marker(i)) for i, y in enumerate(classes)}


def _omitted(total: int, finite: int, outside: int) -> str:
    parts = [f"{outside:,} outside"] if outside else []
    parts += [f"{total - finite:,} not finite"] if finite < total else []
    return ", ".join(parts)


def _class_key(styles: Mapping[int, tuple[str, str]], classes: Sequence[str]) -> list[Mark]:
    looks = {y: {"color": c, "marker": m, "linestyle": "none", "markersize": 5} for y, (c, m) in styles.items()}
    return [Mark(class_name(y, classes), look) for y, look in looks.items()]


def class_name(label: int, classes: Sequence[str]) -> str:
    """Its name, or its number where there are no names."""
    return classes[label] if label < len(classes) else f"label {label}"


def scatter_panels(
    panels: Mapping[str, np.ndarray],
    *,
    labels: Mapping[str, np.ndarray] | None = None,
    classes: Sequence[str] = (),
    contours: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
    axis_names: Sequence[str] = ("x1", "x2"),
) -> Drawing:
    """Points side by side, one panel a set, on common axes, equally scaled where the two ranges are comparable.

    Limits hold all but the outermost 0.5 % of each of the first two panels at each end; a remark counts the points that
    fall outside them. At most 4,000 points a panel are drawn, the remark counts all.

    Args:
      panels: title to points [N, 2].
      labels: title to classes [N], which set colour and marker; panels not named stay in one colour.
      classes: names of the classes, where they have any.
      contours: exact target density (xs [X], ys [Y], density [Y, X]) drawn over every panel, as the regions of highest
        density that hold 25, 50, 75 and 95 % of the mass on the grid.
      axis_names: of the two coordinates.

    Raises:
      UserError: points are not two-dimensional.
    """
    points = {name: _rows(values, 2) for name, values in panels.items()}
    ranges = np.array([[style.robust_range(v[:, axis]) for axis in (0, 1)] for v in _reference(points)])
    ranges = ranges if len(ranges) else np.array([[[0.0, 1.0], [0.0, 1.0]]])
    limits = [style.widened(ranges[:, a, 0].min(), ranges[:, a, 1].max(), 0.12) for a in (0, 1)]
    one_scale = style.comparable(*limits)
    if one_scale:
        # A square frame: equal axes then need no empty bands between the panels.
        half = max(high - low for low, high in limits) / 2
        limits = [((low + high) / 2 - half, (low + high) / 2 + half) for low, high in limits]
    styles = _label_styles(labels, points)

    def draw(axes: Axes, name: str) -> None:
        values = points[name]
        finite = np.isfinite(values).all(1)
        inside = finite & np.all([(values[:, a] >= limits[a][0]) & (values[:, a] <= limits[a][1]) for a in (0, 1)], 0)
        shown = np.flatnonzero(finite)
        shown = shown[_thin(shown.size)]
        _draw_points(axes, values[shown], None if not labels or name not in labels else labels[name], shown, styles)
        if contours is not None:
            style.draw_contours(axes, contours)
        remark = _omitted(len(values), int(finite.sum()), int(finite.sum() - inside.sum()))
        style.note(axes, remark or ("" if len(values) else "no points"))
        axes.set(xlim=limits[0], ylim=limits[1])
        axes.set_box_aspect(1.0)
        axes.set_xlabel(axis_names[0], parse_math=False)
        axes.set_ylabel(axis_names[1], parse_math=False)
        axes.grid(True)

    key = _class_key(styles, classes)
    if contours is not None:
        look = {"color": style.INK, "linewidth": 0.8}
        key.append(Mark("exact target density (25, 50, 75, 95 % of its mass)", look))
    return Drawing(
        panels=[Panel(name, lambda axes, name=name: draw(axes, name)) for name in points],
        key=key,
        aspect=0.95,
        columns=4,
        inked=True,
    )


def _draw_points(axes: Axes, values: np.ndarray, labels, shown: np.ndarray, styles) -> None:
    """Few points are drawn large and solid, many small and translucent, so that density stays visible.

    Many are an image in a file of vectors, where each would take a line.
    """
    count = max(len(values), 1)
    size, alpha = float(np.clip(3000 / count, 3.0, 34.0)), float(np.clip(600 / count, 0.35, 0.9))
    look: dict[str, Any] = {"s": size, "alpha": alpha, "linewidths": 0, "rasterized": count > MOST_VECTORS}
    if labels is None:
        axes.scatter(*values.T, color=style.colour(0), **look)
        return
    classes = np.asarray(labels)[shown]
    # One collection a marker, its points in the given order: drawn class by class the last class would hide the others.
    for shape in dict.fromkeys(m for _, m in styles.values()):
        mine = [i for i, y in enumerate(classes) if styles[int(y)][1] == shape]
        colours = [styles[int(classes[i])][0] for i in mine]
        axes.scatter(*values[mine].T, c=colours, marker=shape, **look)


def histograms(
    panels: Mapping[str, np.ndarray],
    *,
    labels: Mapping[str, np.ndarray] | None = None,
    classes: Sequence[str] = (),
    density: tuple[np.ndarray, np.ndarray] | None = None,
    axis_name: str = "x1",
) -> Drawing:
    """One-dimensional samples side by side: densities on common axes, with wider bins for fewer samples.

    Args:
      panels: title to samples [N] or [N, 1].
      labels: title to classes [N]; the bars are stacked by class.
      classes: names of the classes, where they have any.
      density: exact target density (xs [X], values [X]) drawn over every panel.
      axis_name: of the coordinate.

    Raises:
      UserError: samples are not one-dimensional.
    """
    values = {name: _rows(v, 1)[:, 0] for name, v in panels.items()}
    ranges = [style.robust_range(v) for v in _reference(values)]
    ranges = ranges or [(0.0, 1.0)]
    low, high = style.widened(min(r[0] for r in ranges), max(r[1] for r in ranges), 0.12)
    styles = _label_styles(labels, values)
    inside = {name: np.isfinite(v) & (v >= low) & (v <= high) for name, v in values.items()}
    finite = {name: int(np.isfinite(v).sum()) for name, v in values.items()}

    def stacks(name: str) -> tuple[np.ndarray, list[tuple[np.ndarray, str]]]:
        """Edges of the bins, and the heights of every class with its colour."""
        sample, num = values[name], max(finite[name], 1)
        # Rice's rule; with one width for all, ten points would be spikes that set everybody's scale.
        bins = np.linspace(low, high, 1 + int(np.clip(2 * num ** (1 / 3), 8, 48)))
        parts = [(sample[inside[name]], style.colour(0))]
        if labels and name in labels:
            of = np.asarray(labels[name])
            parts = [(sample[inside[name] & (of == y)], c) for y, (c, _) in styles.items()]
        # Divided by all finite points, those outside included: the area says how much of the mass is in view.
        return bins, [(np.histogram(part, bins)[0] / (num * (bins[1] - bins[0])), tone) for part, tone in parts]

    stacked = {name: stacks(name) for name in values}
    tops = [float(np.sum([heights for heights, _ in parts], 0).max()) for _, parts in stacked.values()]
    top = max([*tops, 0.0 if density is None else float(np.nanmax(density[1]))], default=0.0)

    def draw(axes: Axes, name: str) -> None:
        sample, (bins, parts) = values[name], stacked[name]
        base = np.zeros(len(bins) - 1)
        for heights, tone in parts:
            axes.stairs(base + heights, bins, baseline=base, fill=True, color=tone, alpha=0.75)
            base = base + heights
        if len(sample) <= 30:
            # A histogram of ten points hides where they are.
            few = sample[inside[name]]
            height = np.full(len(few), 0.05)
            axes.plot(few, height, "|", transform=axes.get_xaxis_transform(), color=style.INK, markersize=10)
        if density is not None:
            axes.plot(*density, color=style.INK, linewidth=1.2)
        remark = _omitted(len(sample), finite[name], finite[name] - int(inside[name].sum()))
        style.note(axes, remark or ("" if len(sample) else "no points"), top=True)
        axes.set(xlim=(low, high), ylim=(0.0, 1.1 * top or 1.0), ylabel="density")
        axes.set_xlabel(axis_name, parse_math=False)
        axes.grid(True, axis="y")

    key = [Mark(class_name(y, classes), {"color": c, "alpha": 0.75}, area=True) for y, (c, _) in styles.items()]
    if density is not None:
        key.append(Mark("exact target density", {"color": style.INK, "linewidth": 1.2}))
    return Drawing(
        panels=[Panel(name, lambda axes, name=name: draw(axes, name)) for name in values],
        key=key,
        aspect=0.75,
        columns=4,
    )


def samples(
    panels: Mapping[str, np.ndarray],
    *,
    labels: Mapping[str, np.ndarray] | None = None,
    classes: Sequence[str] = (),
    contours: tuple[np.ndarray, np.ndarray] | tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
    axis_names: Sequence[str] = ("x1", "x2"),
) -> Drawing:
    """Sets of samples side by side, in the manner that suits their shape.

    Histograms for [N] and [N, 1], grids for images [N, H, W] and [N, H, W, 1, 3 or 4], points otherwise: as they are
    in two dimensions, projected by `project` in more.

    Args:
      panels: title to samples, all of one shape but for N.
      labels: title to classes [N]; those of images may be names.
      classes: names of classes that are numbers, where they have any.
      contours: exact target density on a grid, (xs, values) in one and (xs, ys, values) in two dimensions; ignored
        where the data have more, as a projected density is not known.
      axis_names: of the coordinates, where there are no more than two.
    """
    shapes = {np.asarray(v).shape[1:] for v in panels.values() if np.asarray(v).size}
    shape = shapes.pop() if len(shapes) == 1 else ()
    if is_images((0, *shape)):
        return image_grids(panels, labels=labels, classes=classes)
    flat = project(panels)
    if all(v.shape[1] == 1 for v in flat.values()):
        density = contours if contours is not None and len(contours) == 2 else None
        return histograms(flat, labels=labels, classes=classes, density=density, axis_name=axis_names[0])
    planar = int(np.prod(shape)) == 2
    exact = contours if contours is not None and len(contours) == 3 and planar else None
    names = axis_names if planar else PRINCIPAL
    return scatter_panels(flat, labels=labels, classes=classes, contours=exact, axis_names=names)
