"""Reading .csv files: UTF-8 text whose first line names the columns."""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tgdp_jax.data.files import check_regular_file
from tgdp_jax.data.memory import check_fits
from tgdp_jax.data.tables.names import check_names, check_there
from tgdp_jax.errors import UserError, first_line

SEPARATORS = (",", ";", "\t")
# Bytes of the first line: some thousands of names.
LONGEST_LINE = 2**20
# A number takes two bytes in the file at least, and eight in memory, twice while it is read.
IN_MEMORY = 8
_DECIMAL_COMMA = re.compile(r"(^|;)\s*[-+]?\d+,\d+\s*(;|$)")


def read_csv(path: Path, wanted: Collection[str]) -> Any:
    """A pandas DataFrame of a .csv file.

    Columns are separated by commas, semicolons or tabs, whichever the first line has most of. Beside semicolons,
    numbers may have decimal commas.

    Args:
      path: the file.
      wanted: columns to read; empty: all.

    Raises:
      UserError: the file is missing, no such text, without names of columns or one that is wanted, or too large, or
        its rows are of unequal length.
    """
    import pandas

    size = check_regular_file(path)
    check_fits(IN_MEMORY * size, str(path), "give a smaller file, or a part of it")
    _check_text(path)
    head, second = _first_lines(path)
    separator = max(SEPARATORS, key=head.count)
    try:
        names = [name.strip() for name in next(csv.reader([head], delimiter=separator, skipinitialspace=True))]
    except (csv.Error, StopIteration) as error:
        raise _broken(path, error) from error
    if all(_is_number(name) for name in names):
        raise UserError(f"{path} begins with numbers: its first line has to name the columns")
    check_names(names, str(path))
    check_there(wanted, names, str(path))
    try:
        with warnings.catch_warnings():
            # Rows that are longer than the first line lose their end, with a warning.
            warnings.simplefilter("error")
            frame = pandas.read_csv(
                path,
                sep=separator,
                decimal="," if separator == ";" and _DECIMAL_COMMA.search(second) else ".",
                encoding="utf-8-sig",
                header=0,
                index_col=False,
                skipinitialspace=True,
                low_memory=False,
            )
    except MemoryError:
        raise
    except Exception as error:
        raise _broken(path, error) from error
    if len(frame.columns) != len(names):
        raise UserError(f"{path} has a first line that other lines do not fit: save the table again, as CSV in UTF-8")
    frame.columns = names
    # pandas does not look at the length of rows of which it reads a part.
    return frame[list(dict.fromkeys(wanted))] if wanted else frame


def _first_lines(path: Path) -> tuple[str, str]:
    """The first line, and the next one."""
    with path.open("rb") as file:
        lines = file.readline(LONGEST_LINE), file.readline(LONGEST_LINE)
    try:
        head, second = (line.decode("utf-8-sig").rstrip("\r\n") for line in lines)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text in UTF-8: save it as CSV in UTF-8") from error
    if not head.strip():
        raise UserError(
            f"{path} {'begins with an empty line' if lines[0] else 'is empty'}: its first line has to name the columns"
        )
    if len(lines[0]) == LONGEST_LINE:
        raise UserError(f"{path} has a first line of more than 1 MB: it has to name the columns")
    return head, second


def _check_text(path: Path) -> None:
    """Raises:
    UserError: there are bytes that text has none of, and that pandas passes over."""
    with path.open("rb") as file:
        while block := file.read(2**20):
            if b"\x00" in block:
                raise UserError(f"{path} is no text (it has NUL bytes): save the table as CSV in UTF-8")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _broken(path: Path, error: Exception) -> UserError:
    reason = first_line(error).removeprefix("Error tokenizing data. C error: ").strip()
    return UserError(f"{path} can not be read as CSV ({reason}): save the table again, as CSV in UTF-8")
