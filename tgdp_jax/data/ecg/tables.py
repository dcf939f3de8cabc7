"""Text files of the databases, whatever program wrote them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from tgdp_jax.data.files import check_regular_file
from tgdp_jax.errors import UserError


def read_text(path: Path) -> str:
    """A text file of UTF-8, without the byte-order mark that spreadsheets put first.

    Raises:
      UserError: it is missing, no regular file, or no text.
    """
    check_regular_file(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} can not be read as text ({error}): copy it anew from the published folder") from error


def read_table(path: Path) -> list[list[str]]:
    """The rows of a CSV file, its head among them.

    Raises:
      UserError: see `read_text`; also what is no CSV.
    """
    try:
        return list(csv.reader(io.StringIO(read_text(path), newline="")))
    except csv.Error as error:
        raise UserError(f"{path} can not be read as CSV ({error}): copy it anew from the published folder") from error
