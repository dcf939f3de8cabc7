"""How all pictures look: colours, fonts, and the helpers that every picture uses."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Twice the 96 dots an inch of a browser: sharp on fine screens.
DPI = 192
PAGE = 10.8

# Okabe and Ito's palette, told apart with every common colour blindness; yellow, faint on white, is left out.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
NEUTRAL = "#5B6570"
INK = "#1B1F24"
FAINT = "#C9CED6"
FONT = "DejaVu Sans"
# On a dark page, for the same contrast.
DARK = {
    "#0072b2": "#3f9fe3",
    "#d55e00": "#ff8b42",
    "#009e73": "#2cc498",
    "#cc79a7": "#e09ac0",
    "#e69f00": "#f0b23a",
    "#56b4e9": "#a5dcff",
    "#000000": "#e6e9ed",
    "#1b1f24": "#e6e9ed",
    "#444b54": "#c3cad2",
    "#5b6570": "#a2abb6",
    "#8a929c": "#6f7883",
    "#c9ced6": "#596270",
    "#e4e7eb": "#343a42",
    "#ffffff": "#1d2126",
}

_STYLE: dict[Any, Any] = {
    "figure.facecolor": "white",
    "font.family": FONT,
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.labelsize": 9.5,
    "axes.titleweight": "bold",
    "axes.edgecolor": "#8A929C",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": "#444B54",
    "ytick.color": "#444B54",
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "grid.color": "#E4E7EB",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    # Ids of equal figures are equal.
    "svg.hashsalt": "tgdp",
}


@contextmanager
def settings() -> Iterator[None]:
    """The settings above in the place of the user's."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def colour(index: int) -> str:
    return PALETTE[index % len(PALETTE)]


def marker(index: int) -> str:
    """Changes with every pass through the palette, so that more classes than colours stay distinct."""
    return MARKERS[index // len(PALETTE) % len(MARKERS)]


def look(index: int) -> dict[str, Any]:
    """Colour and marker of a line; shifted at every pass through the palette, so that 49 lines are distinct."""
    shape = (index + index // len(PALETTE)) % len(MARKERS)
    return {"color": colour(index), "marker": MARKERS[shape]}


def set_title(axes: Axes, text: str, width: int = 34) -> None:
    """A wrapped title, verbatim: a dollar sign in a user's name is no formula."""
    axes.set_title("\n".join(textwrap.wrap(text, width)) or " ", parse_math=False)


def legend(figure: Figure, handles: Sequence[Artist], names: Sequence[str], columns: int) -> None:
    """The key of all panels, beneath them, with its names verbatim: matplotlib would hide a leading underscore."""
    if not handles:
        return
    numbers = [f"{i}" for i in range(len(names))]
    box = figure.legend(handles, numbers, loc="outside lower center", ncols=min(len(names), columns), handletextpad=0.4)
    for entry, name in zip(box.get_texts(), names, strict=True):
        entry.set_parse_math(False)
        entry.set_text(name)


def note(axes: Axes, text: str, *, top: bool = False) -> None:
    """A small remark in the lower or upper right corner of a panel."""
    axes.text(
        0.98,
        0.98 if top else 0.02,
        text,
        transform=axes.transAxes,
        ha="right",
        va="top" if top else "bottom",
        fontsize=8,
        color=NEUTRAL,
        zorder=10,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
    )


def grid_figure(
    count: int, *, columns: int = 4, aspect: float, extra: float = 0.0, widest: float = 3.5
) -> tuple[Figure, list[Axes]]:
    """A figure of equally large panels that fills the width of a page, and the panels' axes.

    Args:
      count: number of panels.
      columns: panels in a row at most.
      aspect: height of a panel over its width.
      extra: inches added to the height of a row, for titles.
      widest: largest width of a panel in inches.
    """
    columns = max(1, min(count, columns))
    rows = max(1, -(-count // columns))
    # Five or six panels look better as two even rows than as a full and a nearly empty one.
    columns = max(1, -(-count // rows))
    width = min(widest, PAGE / columns)
    figure = Figure(figsize=(width * columns, (width * aspect + extra) * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def robust_range(values: np.ndarray, tail: float = 0.005) -> tuple[float, float]:
    """Range of the finite values without the outermost fraction `tail` at each end; (0, 1) where there are none."""
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = np.quantile(values, [tail, 1.0 - tail])
    return float(low), float(high)


def widened(low: float, high: float, margin: float) -> tuple[float, float]:
    """The range with `margin` of its length added at both ends; never empty."""
    pad = margin * (high - low) or 0.5 * max(abs(low), 1e-3)
    return low - pad, high + pad


def comparable(first: tuple[float, float], second: tuple[float, float]) -> bool:
    """Whether two axes with these ranges can be drawn to one scale; age and income can not."""
    a, b = (abs(high - low) for low, high in (first, second))
    return max(a, b) <= 4 * min(a, b)


def mass_levels(values: np.ndarray) -> np.ndarray:
    """Heights, increasing, above which a density given on a regular grid has 95, 75, 50 and 25 % of its mass."""
    heights = np.sort(np.nan_to_num(np.asarray(values, np.float64)).ravel())[::-1]
    share = np.cumsum(heights) / max(heights.sum(), np.finfo(float).tiny)
    picks = heights[[min(int(np.searchsorted(share, mass)), heights.size - 1) for mass in (0.95, 0.75, 0.5, 0.25)]]
    return np.unique(picks[picks > 0])


def draw_contours(axes: Axes, contours: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Lines of a density (xs [X], ys [Y], values [Y, X]) around the regions that hold 25 to 95 % of its mass."""
    xs, ys, values = (np.asarray(c, np.float64) for c in contours)
    levels = mass_levels(values)
    if levels.size:
        axes.contour(xs, ys, values, levels=levels, colors=INK, linewidths=0.8, alpha=0.65, zorder=3)
