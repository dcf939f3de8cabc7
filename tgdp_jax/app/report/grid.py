"""Sets of images side by side: one grid a set, one row a class where labels are given.

Panels are given as a dict from title to images, in the order in which they appear, like those of `samples`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from tgdp_jax.app.report import style
from tgdp_jax.app.report.drawing import Drawing, Panel
from tgdp_jax.errors import UserError

NONE = -1  # a cell without an image


def image_grids(
    panels: Mapping[str, np.ndarray],
    *,
    labels: Mapping[str, np.ndarray] | None = None,
    classes: Sequence[str] = (),
    side: int = 8,
) -> Drawing:
    """The first images of every set as a grid; all grids have the same cells, so that images are of one size.

    With labels a row holds images of one class, the same class in all panels: gaps show where a set has few or none.
    Values are shown on one scale, from the least (black) to the greatest (white) of the first two panels, by custom
    source and target; what lies beyond is cut off. A remark counts images that are not finite.

    Args:
      panels: title to images of one shape, [N, H, W] or [N, H, W, C], C being 1 (grey), 3 or 4 (colours).
      labels: title to classes [N], numbers or names; panels not named show their images in the order given.
      classes: names of classes that are numbers, where they have any.
      side: images along a row; without labels also rows, fewer where no set has so many images.

    Raises:
      UserError: an array is not image-shaped, shapes differ, labels do not fit their images, or side is below one.
    """
    if side < 1:
        raise UserError(f"side must be at least 1 image, got {side}")
    images = {name: _images(name, values) for name, values in panels.items()}
    shapes = {values.shape[1:] for values in images.values()}
    if len(shapes) > 1:
        raise UserError(f"the panels hold images of shapes {sorted(shapes)}: show images of one problem only")
    height, width, _ = shapes.pop() if shapes else (1, 1, 1)
    known = {name: _classes(name, y, images[name]) for name, y in (labels or {}).items() if name in images}
    shown = sorted({label for y in known.values() for label in y.tolist()})
    if not shown:
        most = max((len(values) for values in images.values()), default=1)
        side = min(side, max(1, int(np.ceil(np.sqrt(most)))))
    rows = len(shown) or side
    low, high = _limits(list(images.values())[:2])
    names = [classes[y] if isinstance(y, int) and y < len(classes) else str(y) for y in shown]

    def draw(axes: Axes, name: str) -> None:
        values = images[name]
        layout = _by_class(known[name], shown, side) if name in known else _in_order(len(values), rows, side)
        canvas = _canvas((values - low) / (high - low), layout)
        # Not resampled: a file of vectors holds the pixels as they are. Between images the page shows.
        covered = _canvas(np.zeros((len(values), height, width, 1)), layout) == 0
        axes.imshow(_clear(canvas, covered), cmap="gray", vmin=0, vmax=1, interpolation="none")
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        step = height + _gap(width)
        places = _gap(width) + step * np.arange(len(names)) + (height - 1) / 2
        axes.set(xticks=[])
        axes.set_yticks(places, names, parse_math=False)
        broken = int((~np.isfinite(values).all((1, 2, 3))).sum())
        style.note(axes, f"{broken:,} not finite" if broken else "")

    drawn = [Panel(name, lambda axes, name=name: draw(axes, name)) for name in images]
    return Drawing(panels=drawn, aspect=rows * height / (side * width), columns=4)


def is_images(shape: tuple[int, ...]) -> bool:
    """Whether an array of this shape can be shown as images."""
    return len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3, 4))


def _images(name: str, values) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if not is_images(values.shape):
        raise UserError(f"{name!r} has shape {values.shape}: images are [N, H, W] or [N, H, W, 1, 3 or 4]")
    return values[..., None] if values.ndim == 3 else values


def _limits(panels: list[np.ndarray]) -> tuple[float, float]:
    finite = np.concatenate([v[np.isfinite(v)] for v in panels] or [np.zeros(0)])
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return low, high if high > low else low + 1.0


def _classes(name: str, labels, images: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != (len(images),):
        raise UserError(f"{name!r} has {len(images)} images but labels {labels.shape}: pass one label an image")
    return labels


def _in_order(num: int, rows: int, side: int) -> np.ndarray:
    """[rows, side] image numbers: the first of `num` images, row by row."""
    cells = np.arange(rows * side)
    return np.where(cells < num, cells, NONE).reshape(rows, side)


def _by_class(labels: np.ndarray, classes: list[Any], side: int) -> np.ndarray:
    """[classes, side] image numbers: the first images of each class."""
    layout = np.full((len(classes), side), NONE)
    for row, label in zip(layout, classes, strict=True):
        found = np.flatnonzero(labels == label)[:side]
        row[: len(found)] = found
    return layout


def _gap(width: int) -> int:
    """Pixels between images; wider ones are shown smaller, and one pixel would vanish."""
    return max(1, width // 16)


def _canvas(images: np.ndarray, layout: np.ndarray) -> np.ndarray:
    """Images [N, H, W, C] at their cells of a layout [rows, side], white between and where there is none.

    Returns:
      Values in [0, 1] with shape [Y, X] of grey images, else [Y, X, C]; black where not a number.
    """
    height, width, channels = images.shape[1:]
    gap = _gap(width)
    rows, side = layout.shape
    canvas = np.ones((gap + rows * (height + gap), gap + side * (width + gap), channels))
    for (row, column), i in np.ndenumerate(layout):
        if i != NONE:
            top, left = gap + row * (height + gap), gap + column * (width + gap)
            canvas[top : top + height, left : left + width] = np.clip(np.nan_to_num(images[i]), 0, 1)
    return canvas[..., 0] if channels == 1 else canvas


def _clear(canvas: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """The canvas, transparent where it is not covered [Y, X]."""
    if canvas.ndim == 2:
        return np.ma.masked_where(~covered, canvas)
    alpha = canvas[..., 3:] if canvas.shape[2] == 4 else np.ones((*covered.shape, 1))
    return np.concatenate([canvas[..., :3], alpha * covered[..., None]], 2)
