"""Comparison tables: which row is best, how a number is printed, and the table for terminal, plain text and Markdown.

One table is a list of `Row`s and a list of `Column`s. All renderings, the HTML page included, go through `sections`, so
they agree on the digits shown and on what is marked best.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import rich.box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tgdp_jax.errors import choose

MISSING = "—"
_ARROWS = {"lower": " ↓", "higher": " ↑", "target": "", "none": ""}
_MEANING = {"lower": "↓ lower is better", "higher": "↑ higher is better", "target": "→ nearest is best"}
WORSE = "†"
_TO_ASCII = {WORSE: "!", "—": "-", "±": "+/-", "→": "->", "↓": "(lower)", "↑": "(higher)", "…": "...", "²": "^2"}


class Cell(NamedTuple):
    """One measured number.

    Attributes:
      value: the mean over runs; NaN where the measurement failed or does not apply.
      spread: standard deviation (or error) over runs; None for a single run.
      worse: whether it is worse than the best of its column beyond chance, see `ranks.worse_than_best`.
    """

    value: float
    spread: float | None = None
    worse: bool = False


class Column(NamedTuple):
    """One measure.

    Attributes:
      key: key of `Row.cells`.
      label: heading.
      better: which way is better; "target" is nearest to `goal`.
      description: one sentence on what is measured, shown below the HTML table.
      goal: for "target": the value that perfect samples reach. No row is best where it is None.
      terminal: whether a terminal, which has less room than a page, shows it.
    """

    key: str
    label: str
    better: Literal["lower", "higher", "target", "none"] = "none"
    description: str = ""
    goal: float | None = None
    terminal: bool = False


@dataclasses.dataclass(frozen=True)
class Row:
    """One method, with its numbers.

    Attributes:
      name: what is shown in the first column.
      cells: measures by column key; a missing key prints as a dash.
      reference: shown for orientation (the real target set, the source as it is) and never best.
      group: rows with the same value stand together and compete only among themselves, e.g. the number of target
        samples; None for a table of one group.
      failed: why numbers are missing, one sentence; such a row is never best.
    """

    name: str
    cells: dict[str, Cell]
    reference: bool = False
    group: str | int | float | None = None
    failed: str = ""

    @property
    def competes(self) -> bool:
        """Whether it can be best."""
        return not self.reference and not self.failed


class Line(NamedTuple):
    """A row ready to print: texts and marks (a star for the best, a dagger for what is worse beyond chance), one a
    column."""

    row: Row
    name: str
    texts: list[str]
    best: list[bool]
    marks: list[str]


class Section(NamedTuple):
    """The lines of one group under their heading (None: no heading)."""

    heading: str | None
    lines: list[Line]


def _exponent(x: float, digits: int) -> int:
    """Decimal exponent of x once rounded to so many significant digits (0.0996 to two digits is 0.10: -1)."""
    return int(f"{x:.{digits - 1}e}".split("e")[1])


def _fixed(x: float, decimals: int) -> str:
    text = f"{round(x, decimals):.{max(decimals, 0)}f}"
    # A tiny negative mean would print as "-0.0".
    return text.lstrip("-") if float(text) == 0.0 else text


def _parts(cell: Cell | None) -> tuple[str, str, str]:
    """(value, spread, power of ten) as printed; spread and power are empty where there is none."""
    if cell is None or math.isnan(cell.value):
        return MISSING, "", ""
    value = float(cell.value)
    spread = None if cell.spread is None or math.isnan(cell.spread) else abs(float(cell.spread))
    if math.isinf(value):
        return ("inf" if value > 0 else "-inf"), "", ""
    if spread is not None and math.isinf(spread):
        return _parts(Cell(value))[0], "inf", _parts(Cell(value))[2]
    size = max(abs(value), spread or 0.0)
    power = ""
    if size and not 1e-4 <= size < 1e6:
        exponent = _exponent(size, 2)
        # In two factors: 10**-exponent overflows for the smallest numbers.
        half = exponent // 2
        value = value / 10.0**half / 10.0 ** (exponent - half)
        spread = None if spread is None else spread / 10.0**half / 10.0 ** (exponent - half)
        power = f"e{exponent:+03d}"
    if spread:
        decimals = 1 - _exponent(spread, 2)
        return _fixed(value, decimals), _fixed(spread, decimals), power
    decimals = 0 if value == int(value) and not power else max(0, 3 - _exponent(value, 4))
    return _fixed(value, decimals), ("0" if spread == 0 else ""), power


def format_cell(cell: Cell | None) -> str:
    """Mean ± spread with as many decimals as two significant digits of the spread call for.

    Without a spread four significant digits; below 1e-4 and from 1e6 on with a power of ten; a dash where the value is
    missing or NaN.
    """
    value, spread, power = _parts(cell)
    if not spread:
        return value + power
    return f"({value} ± {spread}){power}" if power else f"{value} ± {spread}"


def heading(column: Column) -> str:
    """The column's label with the direction in which it improves."""
    if column.better == "target" and column.goal is not None:
        return f"{column.label} (→ {format_cell(Cell(column.goal))})"
    return column.label + _ARROWS[column.better]


def legend(columns: Sequence[Column], *, worse: bool = False) -> str:
    """One line on what the marks in the headings mean, the star, and the dagger where there is any."""
    used = [
        m for key, m in _MEANING.items() if any(c.better == key and (key != "target" or _ranks(c)) for c in columns)
    ]
    return "; ".join([_marks(worse), *used]) if used else ""


def _marks(worse: bool) -> str:
    return "* best" + (f"; {WORSE} worse beyond chance" if worse else "")


def has_worse(parts: Sequence[Section]) -> bool:
    """Whether any cell has a dagger."""
    return any(WORSE in line.marks for part in parts for line in part.lines)


def _ranks(column: Column) -> bool:
    choose("direction of a column", column.better, ("lower", "higher", "target", "none"))
    return column.better in ("lower", "higher") or (column.better == "target" and column.goal is not None)


def loss(column: Column) -> Callable[[float], float] | None:
    """What is to be small in a column; None where nothing is better than anything else.

    Raises:
      UserError: unknown direction.
    """
    if not _ranks(column):
        return None
    if column.better == "target":
        return lambda value: abs(value - float(column.goal))  # pyright: ignore[reportArgumentType]
    return (lambda value: value) if column.better == "lower" else (lambda value: -value)


def best(rows: Sequence[Row], column: Column) -> set[str]:
    """Names of the rows that are best in a column.

    Reference rows, rows that failed and values that are missing or not finite do not compete. Rows whose value prints
    the same as the winner's share the mark: a difference that cannot be seen is not claimed.

    Args:
      rows: the competitors; call it group by group where rows have groups.
      column: with better="none", or "target" without a goal, nothing is best.

    Raises:
      UserError: unknown direction.
    """
    of = loss(column)
    if of is None:
        return set()
    found = {
        row.name: row.cells[column.key]
        for row in rows
        if row.competes and column.key in row.cells and math.isfinite(row.cells[column.key].value)
    }
    if not found:
        return set()
    least = min(of(cell.value) for cell in found.values())
    # Two values on either side of a goal are equally far only up to rounding.
    winners = {name for name, cell in found.items() if of(cell.value) - least <= 1e-9 * (abs(least) + abs(cell.value))}
    printed = {_parts(found[name])[::2] for name in winners}
    return {name for name, cell in found.items() if name in winners or _parts(cell)[::2] in printed}


def _suffix(row: Row) -> str:
    if row.failed:
        return " (failed in part)" if row.cells else " (failed)"
    return " (ref)" if row.reference else ""


def _printable(text: str) -> str:
    """Names may come from files: control characters would garble the terminal, line breaks the table."""
    return "".join(c if c.isprintable() else "�" for c in text)


def sections(rows: Sequence[Row], columns: Sequence[Column], *, group: str | None = None) -> list[Section]:
    """Rows by group, in order of appearance, formatted and marked.

    A group with fewer than two competitors has no best mark: it would only say that the method was run.

    Args:
      rows: names must differ within a group.
      columns: in order.
      group: what `Row.group` counts, e.g. "target samples", put before its value in the headings.
    """
    result = []
    for value in dict.fromkeys(row.group for row in rows):
        members = [row for row in rows if row.group == value]
        contest = sum(row.competes for row in members) > 1
        winners = [best(members, column) if contest else set() for column in columns]
        lines = []
        for row in members:
            name = _printable(row.name) + _suffix(row)
            cells = [row.cells.get(column.key) for column in columns]
            stars = [row.competes and row.name in names for names in winners]
            marks = [
                "*" if star else WORSE if cell is not None and cell.worse else ""
                for star, cell in zip(stars, cells, strict=True)
            ]
            lines.append(Line(row, name, [format_cell(cell) for cell in cells], stars, marks))
        title = None if value is None else _printable(f"{group}: {value}" if group else str(value))
        result.append(Section(title, lines))
    return result


def _build(rows, columns, *, title: str, group: str | None, names: str, ascii_only: bool = False) -> Table:
    def text(content: str, style: str = "") -> Text:
        # Text objects throughout: rich would read square brackets in a name as markup. Names are replaced before the
        # widths are measured.
        return Text(to_ascii(content) if ascii_only else content, style=style)

    parts = sections(rows, columns, group=group)
    table = Table(
        title=text(_printable(title), "bold"),
        box=rich.box.ASCII if ascii_only else rich.box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        padding=(0, 1) if ascii_only else (0, 1, 0, 0),
    )
    table.add_column(text(names), overflow="fold")
    for column in columns:
        # In a narrow terminal cells wrap between number, sign and spread; a number that still does not fit ends in an
        # ellipsis and is not folded, as its first half would read as a number.
        table.add_column(text(_printable(heading(column))), justify="right", overflow="ellipsis")
    for part in parts:
        if part.heading is not None:
            table.add_row(text(part.heading, "bold"))
        indent = "" if part.heading is None else "  "
        for line in part.lines:
            cells = [
                # Unmarked numbers get a blank where the mark would be, so that digits stay aligned.
                text(content + (mark or " "), "bold" if star else "")
                for content, star, mark in zip(line.texts, line.best, line.marks, strict=True)
            ]
            table.add_row(text(indent + line.name), *cells, style="dim" if line.row.reference else "")
        table.add_section()
    if any(any(line.best) for part in parts for line in part.lines):
        worse = has_worse(parts)
        table.caption = text(_marks(worse) if ascii_only else legend(columns, worse=worse), "dim")
    return table


def terminal(
    rows: Sequence[Row], columns: Sequence[Column], *, title: str, group: str | None = None, names: str = "method"
) -> Table:
    """A table for `rich.print`: best in bold and starred, reference rows dim, a heading for every group.

    Args:
      rows: see `sections`.
      columns: in order.
      title: printed above.
      group: what `Row.group` counts.
      names: heading of the first column.
    """
    return _build(rows, columns, title=title, group=group, names=names)


def plain(
    rows: Sequence[Row],
    columns: Sequence[Column],
    *,
    title: str,
    group: str | None = None,
    names: str = "method",
    ascii_only: bool = False,
) -> str:
    """The same table as text without colours and never broken to a width, for logs and pipes.

    Args:
      rows: see `sections`.
      columns: in order.
      title: printed above.
      group: what `Row.group` counts.
      names: heading of the first column.
      ascii_only: for outputs whose encoding lacks ±, arrows and dashes.
    """
    out = io.StringIO()
    console = Console(file=out, width=10_000, color_system=None, force_terminal=False, emoji=False)
    console.print(_build(rows, columns, title=title, group=group, names=names, ascii_only=ascii_only))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()).rstrip() + "\n"


def to_ascii(text: str) -> str:
    """For outputs whose encoding has no more."""
    return text.translate(str.maketrans(_TO_ASCII)).encode("ascii", "replace").decode("ascii")


def _markdown_escape(text: str) -> str:
    return "".join(f"\\{c}" if c in r"\`*_[]<>|#" else c for c in text)


def markdown(rows: Sequence[Row], columns: Sequence[Column], *, group: str | None = None, names: str = "method") -> str:
    """A pipe table with the best in bold; groups become rows with a bold heading.

    Args:
      rows: see `sections`.
      columns: in order.
      group: what `Row.group` counts.
      names: heading of the first column.
    """
    lines = [[names, *(_markdown_escape(_printable(heading(column))) for column in columns)]]
    lines.append(["---", *("---:" for _ in columns)])
    for part in sections(rows, columns, group=group):
        if part.heading is not None:
            lines.append([f"**{_markdown_escape(part.heading)}**", *("" for _ in columns)])
        for line in part.lines:
            texts = [f"**{t}**" if mark else t for t, mark in zip(line.texts, line.best, strict=True)]
            lines.append([_markdown_escape(line.name), *texts])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"
