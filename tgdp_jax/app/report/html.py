"""The report as one HTML file that opens offline: pictures inside it, no script, nothing fetched."""

from __future__ import annotations

import base64
import functools
import importlib.resources
import json
import os
import secrets
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from tgdp_jax.app.report.sheet import Sheet
from tgdp_jax.app.report.table import Column, Row, has_worse, heading, legend, sections
from tgdp_jax.errors import UserError

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class TableData(NamedTuple):
    """One table of the page.

    Attributes:
      title: above it.
      rows: see `table.sections`.
      columns: in order; their descriptions are listed below the table.
      note: paragraphs below it, separated by blank lines, e.g. what the spreads are.
      group: what `Row.group` counts.
      names: heading of the first column.
    """

    title: str
    rows: Sequence[Row]
    columns: Sequence[Column]
    note: str = ""
    group: str | None = None
    names: str = "method"


class Picture(NamedTuple):
    """One picture of the page.

    Attributes:
      title: above it; also the alternative text, together with the caption, for those who cannot see it.
      caption: what to look for.
      png: the file's bytes.
    """

    title: str
    caption: str
    png: bytes


def _png_size(png: bytes) -> tuple[int, int]:
    """(width, height) in pixels, from the header chunk."""
    if not png.startswith(_PNG_SIGNATURE) or png[12:16] != b"IHDR":
        raise ValueError("a picture of the report is not a PNG file")
    return struct.unpack(">II", png[16:24])


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
        "headings": [heading(column) for column in data.columns],
        "descriptions": [(column.label, column.description) for column in data.columns if column.description],
        "sections": parts,
    }


def _picture_context(data: Picture) -> dict[str, Any]:
    width, height = _png_size(data.png)
    return {
        "title": data.title,
        "caption": data.caption,
        "alt": ". ".join(part.rstrip(".") for part in (data.title, data.caption) if part),
        # Pictures are drawn at twice the dots of a page; the numbers keep the page from jumping while it loads.
        "width": width // 2,
        "height": height // 2,
        "base64": base64.b64encode(data.png).decode("ascii"),
    }


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in text.split("\n\n") if part.strip()]


def render(
    *,
    title: str,
    intro: str = "",
    warnings: Sequence[str] = (),
    findings: Sequence[str] = (),
    tables: Sequence[TableData] = (),
    pictures: Sequence[Picture] = (),
    sheets: Sequence[Sheet] = (),
    config: Mapping[str, Any] | None = None,
    footer: str = "",
) -> str:
    """The whole page.

    All text is shown verbatim; there is no markup in it.

    Args:
      title: heading and name of the browser's tab.
      intro: paragraphs, separated by blank lines.
      warnings: shown in a box at the top.
      findings: what follows from the numbers, before them.
      tables: in order.
      pictures: in order, after the tables.
      sheets: in order, after the pictures.
      config: settings, folded away; what JSON does not know is shown as its `str`.
      footer: paragraphs, e.g. the command that repeats the run.

    Raises:
      ValueError: a picture is not a PNG file.
    """
    return _template().render(
        title=title,
        intro=_paragraphs(intro),
        warnings=list(warnings),
        findings=list(findings),
        tables=[_table_context(data) for data in tables],
        pictures=[_picture_context(data) for data in pictures],
        sheets=list(sheets),
        config=json.dumps(config, indent=2, default=str, ensure_ascii=False) if config else "",
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
