"""Quality against cost: one point a method, one panel a group."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from tgdp_jax.app.report import style
from tgdp_jax.app.report.table import Cell, Column, Row, heading


@style.picture
def tradeoff(groups: Mapping[str, Sequence[Row]], cost: Column, quality: Column) -> Figure:
    """Points (cost, quality) of the rows that have both, on a logarithmic axis of cost; error bars are the spreads.

    A reference row is a horizontal line at its quality. Every method has one colour and marker in all panels.

    Args:
      groups: the panels' headings and their rows.
      cost: column of the horizontal axis; values that are not positive are left out.
      quality: column of the vertical axis.

    Returns:
      PNG bytes.
    """
    names = list(dict.fromkeys(row.name for rows in groups.values() for row in rows if not row.reference))
    figure, axes = style.grid_figure(len(groups), columns=3, aspect=0.8, extra=0.5, widest=5.4)
    keys = {}
    for panel, (title, rows) in zip(axes, groups.items(), strict=True):
        for row in rows:
            x, y = (row.cells.get(column.key, Cell(math.nan)) for column in (cost, quality))
            if row.reference and math.isfinite(y.value):
                line = panel.axhline(y.value, color=style.NEUTRAL, linewidth=1.0, linestyle="dashed")
                keys.setdefault(row.name, line)
            elif math.isfinite(y.value) and x.value > 0:
                spreads = [[abs(c.spread or 0.0)] for c in (x, y)]
                # A bar to zero or below has no place on a logarithmic axis.
                reach = [[min(spreads[0][0], 0.9 * x.value)], spreads[0]]
                look = style.look(names.index(row.name))
                point = panel.errorbar([x.value], [y.value], xerr=reach, yerr=spreads[1], capsize=2, **look)
                keys.setdefault(row.name, point)
        panel.set_xscale("log")
        low, high = panel.get_xlim()
        panel.set_xlim(low / 1.3, high * 1.3)
        panel.xaxis.set_major_locator(LogLocator(subs=(1.0,) if high > 100 * low else (1.0, 2.0, 5.0)))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_xlabel(cost.label, parse_math=False)
        panel.set_ylabel(heading(quality), parse_math=False)
        panel.grid(True)
        style.set_title(panel, title)
    columns = max(2, int(figure.get_figwidth() // 2))
    style.legend(figure, list(keys.values()), list(keys), loc="outside lower center", ncols=columns)
    return figure
