"""Twelve-lead ECGs on paper as a clinician reads them.

25 mm a second and 10 mm a millivolt on pink paper with lines every 1 and 5 mm; three rows of four leads, 2.5 s each,
and lead II as a rhythm strip below; a calibration pulse of 1 mV and 0.2 s before every row. At the resolution of the
file a millimetre on paper is a millimetre. In a record of 10 s the four columns follow one another in time, as on
paper; of a shorter one each shows the beginning.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tgdp_jax.app.report import style
from tgdp_jax.app.report.drawing import Drawing, Panel
from tgdp_jax.data.ecg.leads import LEADS, TWELVE, twelve
from tgdp_jax.errors import UserError

SPEED, GAIN = 25.0, 10.0  # mm a second, mm a mV
# Columns of the standard format; the fourth row is lead II.
LAYOUT = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
CELL = 2.5  # seconds
LEAST, MOST = 4.0, 10.0  # seconds of paper
_ROW, _TOP = 30.0, 8.0  # mm between the zero lines of rows, and more above the first for tall R waves
_PULSE, _LEFT = 5.0, 10.0  # mm: the pulse's width, and where curves begin
_SHEET, _THIN, _THICK, _CURVE = "#FFFDFD", "#F6C9CB", "#EC9DA1", "#16181C"
_HEAD = 9.0  # mm above a sheet, for its name
_INCH = 25.4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sheets(Drawing):
    """Sheets of paper, one below the other.

    Attributes:
      size: width and height of a sheet in mm.
    """

    size: tuple[float, float]

    def figure(self) -> Figure:
        (width, height), total = self.size, len(self.panels) * (self.size[1] + _HEAD)
        with style.settings():
            figure = Figure(figsize=(width / _INCH, max(total, _HEAD) / _INCH))
            for i, panel in enumerate(self.panels):
                bottom = total - (i + 1) * (height + _HEAD)
                axes = figure.add_axes((0.0, bottom / total, 1.0, height / total))
                panel.draw(axes)
                axes.text(2.0, height + 2.2, panel.title, fontsize=10.5, fontweight="bold", parse_math=False)
                scale = f"{SPEED:g} mm/s   {GAIN:g} mm/mV"
                axes.text(width - 2.0, height + 2.2, scale, fontsize=8.5, ha="right", color=_CURVE)
        return figure

    def part(self, panel: Panel) -> Figure:
        with style.settings():
            figure = Figure(figsize=(self.size[0] / _INCH, self.size[1] / _INCH))
            panel.draw(figure.add_axes((0.0, 0.0, 1.0, 1.0)))
        return figure


def ecg_sheets(panels: Mapping[str, np.ndarray], *, rate: float) -> Sheets:
    """One record of every set, sheet below sheet, the first of each.

    Args:
      panels: title to records in mV, [N, T, 8] with leads I, II, V1..V6.
      rate: samples a second.

    Raises:
      UserError: an array is not [N, T, 8].
    """
    records = {name: _first(name, values) for name, values in panels.items()}
    seconds = min(max((len(x) / rate for x in records.values()), default=0.0), MOST)
    size = _LEFT + SPEED * max(seconds, LEAST) + 5.0, 4 * _ROW + _TOP

    def draw(axes: Axes, x: np.ndarray) -> None:
        axes.set(xlim=(0.0, size[0]), ylim=(0.0, size[1]))
        axes.set_axis_off()
        _paper(axes, *size)
        _sheet(axes, x, rate, size[1], seconds)

    drawn = [Panel(name, lambda axes, x=x: draw(axes, x)) for name, x in records.items()]
    return Sheets(panels=drawn, size=size, aspect=size[1] / size[0], columns=1, wide=True)


def _first(name: str, values: np.ndarray) -> np.ndarray:
    """The first record as twelve leads [T, 12]; no samples of an empty set."""
    values = np.asarray(values, np.float64)
    if values.ndim != 3 or values.shape[2] != len(LEADS):
        raise UserError(f"{name!r} has shape {values.shape}: ECGs are [N, T, 8] with leads {', '.join(LEADS)}")
    return twelve(values[0]) if len(values) else np.zeros((0, len(TWELVE)))


def _paper(axes: Axes, width: float, height: float) -> None:
    axes.add_patch(Rectangle((0.0, 0.0), width, height, facecolor=_SHEET, zorder=-1))
    for step, colour, weight in ((1.0, _THIN, 0.3), (5.0, _THICK, 0.6)):
        upright = [[(x, 0.0), (x, height)] for x in np.arange(0.0, width + step / 2, step)]
        level = [[(0.0, y), (width, y)] for y in np.arange(0.0, height + step / 2, step)]
        axes.add_collection(LineCollection([*upright, *level], colors=colour, linewidths=weight, zorder=0))


def _sheet(axes: Axes, x: np.ndarray, rate: float, height: float, seconds: float) -> None:
    column = {name: i for i, name in enumerate(TWELVE)}
    cell = min(CELL, max(seconds, LEAST) / len(LAYOUT[0]))
    follows = len(x) / rate >= len(LAYOUT[0]) * CELL
    for row, leads in enumerate((*LAYOUT, ("II",))):
        zero = height - _TOP - (row + 0.55) * _ROW
        _pulse(axes, zero)
        strip = row == len(LAYOUT)
        for place, lead in enumerate(leads):
            begin = place * cell
            first = round(begin * rate) if follows else 0
            last = first + round((seconds if strip else cell) * rate) + 1
            values = x[first:last, column[lead]]
            across = _LEFT + SPEED * (begin + np.arange(len(values)) / rate)
            axes.plot(across, zero + GAIN * values, color=_CURVE, linewidth=0.8, zorder=2)
            left = _LEFT + SPEED * begin
            if place:
                for side in (-1, 1):
                    axes.plot([left, left], [zero + side * 5.0, zero + side * 8.0], color=_CURVE, linewidth=0.8)
            axes.text(left + 1.2, zero + 9.5, lead, fontsize=9, fontweight="bold", color=_CURVE, zorder=3)


def _pulse(axes: Axes, zero: float) -> None:
    """1 mV for 0.2 s."""
    left = (_LEFT - _PULSE) / 2
    across = [left - 1.5, left, left, left + _PULSE, left + _PULSE, left + _PULSE + 1.5]
    axes.plot(across, zero + np.array([0, 0, GAIN, GAIN, 0, 0]), color=_CURVE, linewidth=0.8, zorder=2)
