"""The report as one HTML file that opens offline: pictures inside it, no script, nothing fetched."""

from __future__ import annotations

import functools
import importlib.resources
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from tgdp_jax.app.report import style
from tgdp_jax.app.report.drawing import Drawing
from tgdp_jax.app.report.sheet import Sheet
from tgdp_jax.app.report.table import Column, Row, has_worse, heading, legend, sections
from tgdp_jax.errors import UserError


class TableData(NamedTuple):
    """One table of the page.

    Attributes:
      title: above it.
      rows: see `table.sections`.
      columns: in order; their descriptions are listed below the table.
      note: paragraphs below it, separated by blank lines, e.g. what the spreads are.
      group: what `Row.group` counts.
      names: heading of the first column.
      turned: a row a measure and a column a `Row`, which suits few rows of many measures; then without groups.
    """

    title: str
    rows: Sequence[Row]
    columns: Sequence[Column]
    note: str = ""
    group: str | None = None
    names: str = "method"
    turned: bool = False


class Picture(NamedTuple):
    """One picture of the page.

    Attributes:
      title: above it.
      caption: what to look for.
      drawing: its panels and their key.
    """

    title: str
    caption: str
    drawing: Drawing


@functools.cache
def _template() -> jinja2.Template:
    text = importlib.resources.files("tgdp_jax.app.report").joinpath("report.html.j2").read_text("utf-8")
    # Every name, label and setting on the page is foreign text: escaping is on for all of it.
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(text)


def _table_context(data: TableData) -> dict[str, Any]:
    parts = sections(data.rows, data.columns, group=data.group)
    marked = any(any(line.best) for part in parts for line in part.lines)
    return {
        "title": data.title,
        "notes": _paragraphs(data.note),
        "legend": legend(data.columns, worse=has_worse(parts)) if marked else "",
        "names": data.names,
        "columns": [(column.label, heading(column).removeprefix(column.label), column) for column in data.columns],
        "described": [column for column in data.columns if column.description],
        "sections": parts,
        "turned": data.turned,
    }


def _picture_context(data: Picture, place: int) -> dict[str, Any]:
    """What the page needs of one picture; `place` keeps its ids apart from those of others."""
    drawing, prefix = data.drawing, f"picture-{place}"
    panels = zip(drawing.panels, drawing.svgs(prefix, data.title), strict=True)
    # The elements are the plotting library's, in which foreign text is escaped.
    return {
        "title": data.title,
        "caption": data.caption,
        "panels": [(panel.title, Markup(element)) for panel, element in panels],
        "key": [(Markup(element), name) for element, name in drawing.marks(prefix)],
        "inked": drawing.inked,
        "wide": drawing.wide,
    }


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in text.split("\n\n") if part.strip()]


def render(
    *,
    title: str,
    lead: str = "",
    intro: str = "",
    warnings: Sequence[str] = (),
    findings: Sequence[str] = (),
    tables: Sequence[TableData] = (),
    pictures: Sequence[Picture] = (),
    sheets: Sequence[Sheet] = (),
    config: Mapping[str, Any] | None = None,
    command: str = "",
    footer: str = "",
) -> str:
    """The whole page.

    All text is shown verbatim; there is no markup in it.

    Args:
      title: heading and name of the browser's tab.
      lead: what the numbers mean, in words: one paragraph, first of all.
      intro: paragraphs, separated by blank lines.
      warnings: shown in a box at the top.
      findings: what follows from the numbers, before them.
      tables: in order.
      pictures: in order, after the tables.
      sheets: in order, after the pictures.
      config: settings, folded away; what JSON does not know is shown as its `str`.
      command: repeats what is reported.
      footer: paragraphs below the command, e.g. the versions that it needs.
    """
    return _template().render(
        title=title,
        dark=[(colour[1:], on_dark) for colour, on_dark in style.DARK.items()],
        lead=lead,
        intro=_paragraphs(intro),
        warnings=list(warnings),
        findings=list(findings),
        tables=[_table_context(data) for data in tables],
        pictures=[_picture_context(data, i) for i, data in enumerate(pictures)],
        sheets=list(sheets),
        config=json.dumps(config, indent=2, default=str, ensure_ascii=False) if config else "",
        command=command,
        footer=_paragraphs(footer),
    )


def write(path: str | os.PathLike[str], html: str) -> Path:
    """Writes a page, whole or not at all: a file of that name is replaced only by the complete new one.

    Args:
      path: the file; its folder must exist. A link keeps pointing to where it does, the file there is replaced.
      html: what `render` returned.

    Returns:
      The path.

    Raises:
      UserError: the file cannot be written.
    """
    path = Path(path)
    goal = Path(os.path.realpath(path))
    draft = goal.with_name(f".{goal.name[:100]}.{secrets.token_hex(4)}.tmp")
    try:
        if goal.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        # Undecodable bytes of a file name reach us as surrogates, which UTF-8 refuses.
        draft.write_bytes(html.encode("utf-8", "backslashreplace"))
        os.replace(draft, goal)
    except OSError as error:
        draft.unlink(missing_ok=True) if draft.parent.is_dir() else None
        reason = error.strerror or str(error)
        if not goal.parent.is_dir():
            remedy = f"create the folder {goal.parent} or choose another output path"
        else:
            remedy = "choose another output path, or check the permissions and the free space there"
        raise UserError(f"cannot write the report {path}: {reason}: {remedy}") from error
    return path
