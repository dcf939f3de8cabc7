"""PTB-XL as published: ptbxl_database.csv, scp_statements.csv and the WFDB records at 100 or 500 Hz.

Wagner, Strodthoff, Bousseljot, Kreiseler, Lunze, Samek and Schaeffter (2020), "PTB-XL, a large publicly available
electrocardiography dataset", Scientific Data 7:154; https://physionet.org/content/ptb-xl/. Its ten folds keep patients
together; 1 to 8 are meant for training, 9 and 10, checked by people most carefully, for validation and test.
"""

from __future__ import annotations

import ast
import os
from pathlib import Path

import numpy as np

from tgdp_jax.data.ecg.records import Index, Signal, own_patients
from tgdp_jax.data.ecg.statements import STATEMENTS, SUPERCLASS, all_likelihoods, likelihoods
from tgdp_jax.data.ecg.tables import read_table
from tgdp_jax.data.ecg.wfdb_files import header_file, read_wfdb, signal_files
from tgdp_jax.errors import UserError, choose

DATABASE, MEANINGS = "ptbxl_database.csv", "scp_statements.csv"
COLUMNS = ("ecg_id", "patient_id", "scp_codes", "strat_fold", "filename_lr", "filename_hr")
_FOLDS = [str(fold) for fold in range(1, 11)]
FILES = {100: "filename_lr", 500: "filename_hr"}


def index(folder: Path, *, rate: int = 100) -> Index:
    """Records of the published folder.

    Args:
      folder: with ptbxl_database.csv.
      rate: which of the two published copies of each signal is read, 100 or 500 Hz.

    Raises:
      UserError: a table that is no such table, or none of its statements is known.
    """
    choose("PTB-XL sampling rate", str(rate), [str(r) for r in FILES])
    table = folder / DATABASE
    rows = _rows(table)
    _check_meanings(folder / MEANINGS)
    names = tuple(row[FILES[rate]] for row in rows)

    def read(number: int) -> Signal:
        return read_wfdb(folder / names[number], database="PTB-XL", rate=rate)

    try:
        likelihood, foreign = all_likelihoods(
            lambda row: likelihoods(ast.literal_eval(row["scp_codes"]), f"{DATABASE}, {row['ecg_id']}"),
            rows,
            str(table),
        )
        folds = np.array([_FOLDS.index(row["strat_fold"].strip()) + 1 for row in rows])
    except (ValueError, SyntaxError, AttributeError, TypeError, RecursionError, MemoryError) as error:
        raise UserError(f"{table} is damaged ({error}): copy it anew from the published folder") from error
    tables = [file for file in (table, folder / MEANINGS) if os.path.exists(file)]
    return Index(
        names,
        likelihood,
        own_patients((row["patient_id"] for row in rows), (row["ecg_id"] for row in rows)),
        folds,
        read,
        {file.name: file for file in tables} | {f"{name}.hea": header_file(folder / name) for name in names},
        signal_files(folder, names),
        foreign=foreign,
    )


def _rows(table: Path) -> list[dict[str, str]]:
    """The used columns of each record.

    Raises:
      UserError: no such table.
    """
    head, *rows = read_table(table) or [[]]
    missing = [name for name in COLUMNS if name not in head or not rows]
    if missing:
        raise UserError(f"{table} lacks the column {missing[0]} (or any row): take the file as PTB-XL has it")
    places = {name: head.index(name) for name in COLUMNS}
    rows = [row for row in rows if row]
    short = [row for row in rows if len(row) <= max(places.values())]
    if short:
        raise UserError(
            f"{table} is damaged (a row ends after {short[0][-1]!r}): copy it anew from the published folder"
        )
    return [{name: row[place] for name, place in places.items()} for row in rows]


def _check_meanings(path: Path) -> None:
    """Subsets of PTB-XL come without the table of statements, whose content is known; where it is, it must agree.

    Raises:
      UserError: it does not.
    """
    if not path.exists():
        return
    head, *rows = read_table(path) or [[]]
    if "diagnostic_class" not in head:
        raise UserError(f"{path} lacks the column diagnostic_class: take the file as PTB-XL has it")
    column = head.index("diagnostic_class")
    for row in rows:
        meaning = "".join(row[column : column + 1])
        if row and (row[0] not in STATEMENTS or meaning != SUPERCLASS.get(row[0], "")):
            raise UserError(
                f"{path} has the statement {row[0]!r} of class {meaning!r}, unlike PTB-XL 1.0.3: take the file as "
                "published"
            )
