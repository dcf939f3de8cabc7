"""Pictures of samples, as PNG bytes: points, histograms, and the projection to two dimensions; images by `grid`.

Panels are given as a dict from title to array, in the order in which they appear. The first two, by custom the source
and the target's training points, set what is common to all panels (axis limits, projection, grey values), so that a
method whose samples have run away does not shrink everybody else's picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from tgdp_jax.app.report import style
from tgdp_jax.app.report.grid import image_grids, is_images
from tgdp_jax.errors import UserError

MAX_POINTS = 4000


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


def _class_key(styles: Mapping[int, tuple[str, str]]) -> tuple[list[Line2D], list[str]]:
    handles = [Line2D([], [], color=c, marker=m, linestyle="none", markersize=5) for c, m in styles.values()]
    return handles, [f"label {y}" for y in styles]


@style.picture
def scatter_panels(
    panels: Mapping[str, np.ndarray],
    *,
    labels: Mapping[str, np.ndarray] | None = None,
    contours: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
) -> Figure:
    """Points side by side, one panel a set, on common and equally scaled axes.

    Limits hold all but the outermost 0.5 % of each of the first two panels at each end; a remark counts the points that
    fall outside them. At most 4,000 points a panel are drawn, the remark counts all.

    Args:
      panels: title to points [N, 2].
      labels: title to classes [N], which set colour and marker; panels not named stay in one colour.
      contours: exact target density (xs [X], ys [Y], density [Y, X]) drawn over every panel, as the regions of highest
        density that hold 25, 50, 75 and 95 % of the mass on the grid.

    Returns:
      PNG bytes.

    Raises:
      UserError: points are not two-dimensional.
    """
    points = {name: _rows(values, 2) for name, values in panels.items()}
    ranges = np.array([[style.robust_range(v[:, axis]) for axis in (0, 1)] for v in _reference(points)])
    ranges = ranges if len(ranges) else np.array([[[0.0, 1.0], [0.0, 1.0]]])
    limits = [style.widened(ranges[:, a, 0].min(), ranges[:, a, 1].max(), 0.12) for a in (0, 1)]
    # A square frame: equal axes then need no empty bands between the panels.
    half = max(high - low for low, high in limits) / 2
    limits = [((low + high) / 2 - half, (low + high) / 2 + half) for low, high in limits]
    styles = _label_styles(labels, points)
    figure, axes = style.grid_figure(len(points), aspect=1.0, extra=0.3)
    for panel, (name, values) in zip(axes, points.items(), strict=True):
        finite = np.isfinite(values).all(1)
        inside = finite & np.all([(values[:, a] >= limits[a][0]) & (values[:, a] <= limits[a][1]) for a in (0, 1)], 0)
        shown = np.flatnonzero(finite)
        shown = shown[_thin(shown.size)]
        _draw_points(panel, values[shown], None if not labels or name not in labels else labels[name], shown, styles)
        if contours is not None:
            style.draw_contours(panel, contours)
        remark = _omitted(len(values), int(finite.sum()), int(finite.sum() - inside.sum()))
        style.note(panel, remark or ("" if len(values) else "no points"))
        panel.set(xlim=limits[0], ylim=limits[1], aspect="equal")
        panel.grid(True)
        style.set_title(panel, name)
    handles, names = _class_key(styles)
    if contours is not None:
        handles = [*handles, Line2D([], [], color=style.INK, linewidth=0.8)]
        names = [*names, "exact target density (25, 50, 75, 95 % of its mass)"]
    style.key_below(figure, handles, names)
    return figure


def _draw_points(axes: Axes, values: np.ndarray, labels, shown: np.ndarray, styles) -> PathCollection | None:
    """Few points are drawn large and solid, many small and translucent, so that density stays visible."""
    count = max(len(values), 1)
    size, alpha = float(np.clip(3000 / count, 3.0, 34.0)), float(np.clip(600 / count, 0.35, 0.9))
    if labels is None:
        return axes.scatter(*values.T, s=size, alpha=alpha, color=style.colour(0), linewidths=0)
    classes = np.asarray(labels)[shown]
    # One collection a marker, its points in the given order: drawn class by class the last class would hide the others.
    for shape in dict.fromkeys(m for _, m in styles.values()):
        mine = [i for i, y in enumerate(classes) if styles[int(y)][1] == shape]
        colours = [styles[int(classes[i])][0] for i in mine]
        axes.scatter(*values[mine].T, s=size, alpha=alpha, c=colours, marker=shape, linewidths=0)
    return None


@style.picture
def histograms(
    panels: Mapping[str, np.ndarray],
    *,
    labels: Mapping[str, np.ndarray] | None = None,
    density: tuple[np.ndarray, np.ndarray] | None = None,
) -> Figure:
    """One-dimensional samples side by side: densities on common axes, with wider bins for fewer samples.

    Args:
      panels: title to samples [N] or [N, 1].
      labels: title to classes [N]; the bars are stacked by class.
      density: exact target density (xs [X], values [X]) drawn over every panel.

    Returns:
      PNG bytes.

    Raises:
      UserError: samples are not one-dimensional.
    """
    values = {name: _rows(v, 1)[:, 0] for name, v in panels.items()}
    ranges = [style.robust_range(v) for v in _reference(values)]
    ranges = ranges or [(0.0, 1.0)]
    low, high = style.widened(min(r[0] for r in ranges), max(r[1] for r in ranges), 0.12)
    styles = _label_styles(labels, values)
    figure, axes = style.grid_figure(len(values), aspect=0.7, extra=0.4)
    top = 0.0 if density is None else float(np.nanmax(density[1]))
    for panel, (name, sample) in zip(axes, values.items(), strict=True):
        inside = np.isfinite(sample) & (sample >= low) & (sample <= high)
        finite = int(np.isfinite(sample).sum())
        # Rice's rule; with one width for all, ten points would be spikes that set everybody's scale.
        bins = np.linspace(low, high, 1 + int(np.clip(2 * max(finite, 1) ** (1 / 3), 8, 48)))
        classes = None if not labels or name not in labels else np.asarray(labels[name])
        parts = [(sample[inside], style.colour(0))]
        if classes is not None:
            parts = [(sample[inside & (classes == y)], c) for y, (c, _) in styles.items()]
        base = np.zeros(len(bins) - 1)
        for part, tone in parts:
            # Divided by all finite points, those outside included: the area says how much of the mass is in view.
            heights = np.histogram(part, bins)[0] / (max(finite, 1) * (bins[1] - bins[0]))
            panel.stairs(base + heights, bins, baseline=base, fill=True, color=tone, alpha=0.75)
            base = base + heights
        top = max(top, float(base.max()))
        if len(sample) <= 30:
            # A histogram of ten points hides where they are.
            height = np.full(inside.sum(), 0.05)
            panel.plot(
                sample[inside], height, "|", transform=panel.get_xaxis_transform(), color=style.INK, markersize=10
            )
        if density is not None:
            panel.plot(*density, color=style.INK, linewidth=1.2)
        remark = _omitted(len(sample), finite, finite - int(inside.sum()))
        style.note(panel, remark or ("" if len(sample) else "no points"), top=True)
        panel.grid(True, axis="y")
        style.set_title(panel, name)
    for panel in axes:
        panel.set(xlim=(low, high), ylim=(0.0, 1.1 * top or 1.0))
    handles: list = [Patch(color=c, alpha=0.75) for c, _ in styles.values()]
    names = [f"label {y}" for y in styles]
    if density is not None:
        handles, names = [*handles, Line2D([], [], color=style.INK, linewidth=1.2)], [*names, "exact target density"]
    style.key_below(figure, handles, names)
    return figure


def samples(
    panels: Mapping[str, np.ndarray],
    *,
    labels: Mapping[str, np.ndarray] | None = None,
    contours: tuple[np.ndarray, np.ndarray] | tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
) -> bytes:
    """Sets of samples side by side, in the manner that suits their shape.

    Histograms for [N] and [N, 1], grids for images [N, H, W] and [N, H, W, 1, 3 or 4], points otherwise: as they are
    in two dimensions, projected by `project` in more.

    Args:
      panels: title to samples, all of one shape but for N.
      labels: title to classes [N]; those of images may be names.
      contours: exact target density on a grid, (xs, values) in one and (xs, ys, values) in two dimensions; ignored
        where the data have more, as a projected density is not known.

    Returns:
      PNG bytes.
    """
    shapes = {np.asarray(v).shape[1:] for v in panels.values() if np.asarray(v).size}
    shape = shapes.pop() if len(shapes) == 1 else ()
    if is_images((0, *shape)):
        return image_grids(panels, labels=labels)
    flat = project(panels)
    if all(v.shape[1] == 1 for v in flat.values()):
        density = contours if contours is not None and len(contours) == 2 else None
        return histograms(flat, labels=labels, density=density)
    exact = contours if contours is not None and len(contours) == 3 and int(np.prod(shape)) == 2 else None
    return scatter_panels(flat, labels=labels, contours=exact)
