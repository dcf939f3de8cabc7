"""Quality against cost: one point a method, one panel a group."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from tgdp_jax.app.report import style
from tgdp_jax.app.report.drawing import Drawing, Mark, Panel
from tgdp_jax.app.report.table import Cell, Column, Row, heading

_DASHES = {"color": style.NEUTRAL, "linewidth": 1.0, "linestyle": "dashed"}


def tradeoff(groups: Mapping[str, Sequence[Row]], cost: Column, quality: Column) -> Drawing:
    """Points (cost, quality) of the rows that have both, on a logarithmic axis of cost; error bars are the spreads.

    A reference row is a horizontal line at its quality. Every method has one colour and marker in all panels.

    Args:
      groups: the panels' headings and their rows.
      cost: column of the horizontal axis; values that are not positive are left out.
      quality: column of the vertical axis.
    """
    names = list(dict.fromkeys(row.name for rows in groups.values() for row in rows if not row.reference))

    def place(row: Row) -> tuple[Cell, Cell]:
        x, y = (row.cells.get(column.key, Cell(math.nan)) for column in (cost, quality))
        return x, y

    def shown(row: Row) -> bool:
        x, y = place(row)
        return math.isfinite(y.value) and (row.reference or x.value > 0)

    def draw(axes: Axes, rows: Sequence[Row]) -> None:
        for row in filter(shown, rows):
            x, y = place(row)
            if row.reference:
                axes.axhline(y.value, **_DASHES)
                continue
            spreads = [[abs(c.spread or 0.0)] for c in (x, y)]
            # A bar to zero or below has no place on a logarithmic axis.
            reach = [[min(spreads[0][0], 0.9 * x.value)], spreads[0]]
            look = style.look(names.index(row.name))
            axes.errorbar([x.value], [y.value], xerr=reach, yerr=spreads[1], capsize=2, **look)
        axes.set_xscale("log")
        low, high = axes.get_xlim()
        axes.set_xlim(low / 1.3, high * 1.3)
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if high > 100 * low else (1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(cost.label, parse_math=False)
        axes.set_ylabel(heading(quality), parse_math=False)
        axes.grid(True)

    seen = dict.fromkeys((row.name, row.reference) for rows in groups.values() for row in rows if shown(row))
    return Drawing(
        panels=[Panel(title, lambda axes, rows=rows: draw(axes, rows)) for title, rows in groups.items()],
        key=[Mark(name, _DASHES if reference else style.look(names.index(name))) for name, reference in seen],
        aspect=0.8,
    )
