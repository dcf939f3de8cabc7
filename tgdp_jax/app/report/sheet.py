"""Sheets of facts: things described by texts under common headings, one by one or side by side.

Side by side, headings under which not all say the same are marked: they are what a reader chooses by.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import rich.box
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

MISSING = "-"
MARK = "!="  # ASCII, for every terminal
# Characters that a column of text needs to be read with ease, and the column of headings.
COLUMN, HEADINGS = 26, 20


class Line(NamedTuple):
    """One heading with a text for each name.

    Attributes:
      label: the heading.
      texts: in the order of the names.
      differs: whether not all are the same.
    """

    label: str
    texts: tuple[str, ...]
    differs: bool


class Sheet(NamedTuple):
    """Facts of several things.

    Attributes:
      title: above them.
      names: what is described.
      lines: the facts, in order.
    """

    title: str
    names: tuple[str, ...]
    lines: tuple[Line, ...]


def sheet(title: str, facts: Mapping[str, Mapping[str, str]]) -> Sheet:
    """From name to heading to text; headings in order of appearance, a dash where one is missing."""
    labels = dict.fromkeys(label for texts in facts.values() for label in texts)
    lines = []
    for label in labels:
        texts = tuple(one.get(label, MISSING) for one in facts.values())
        lines.append(Line(label, texts, len(set(texts)) > 1))
    return Sheet(title, tuple(facts), tuple(lines))


def panels(data: Sheet) -> Group:
    """One card a name, for `rich.print`."""
    cards = []
    for i, name in enumerate(data.names):
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for line in data.lines:
            grid.add_row(Text(line.label), Text(line.texts[i]))
        cards.append(Panel(grid, title=Text(name, "bold"), title_align="left", box=rich.box.ROUNDED))
    return Group(*cards)


def side_by_side(data: Sheet, width: int) -> Group:
    """Tables for `rich.print`, each with as many names as `width` characters hold; marked lines are bold."""
    at_once = max(1, (width - HEADINGS) // (COLUMN + 1))
    tables = []
    for start in range(0, len(data.names), at_once):
        table = Table(
            title=Text(data.title, "bold"),
            caption=Text(f"{MARK} they differ", "dim"),
            box=rich.box.SIMPLE_HEAD,
            title_justify="left",
            caption_justify="left",
            padding=(0, 1, 1, 0),
        )
        table.add_column("", width=len(MARK))
        table.add_column("", max_width=HEADINGS)
        for name in data.names[start : start + at_once]:
            table.add_column(Text(name), ratio=1, overflow="fold")
        for line in data.lines:
            style = "bold" if line.differs else ""
            texts = [Text(text, style) for text in line.texts[start : start + at_once]]
            table.add_row(MARK if line.differs else "", Text(line.label, style), *texts)
        tables.append(table)
    return Group(*tables)
