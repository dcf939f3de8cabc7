"""PTB-XL as published: ptbxl_database.csv, scp_statements.csv and the WFDB records at 100 or 500 Hz.

Wagner, Strodthoff, Bousseljot, Kreiseler, Lunze, Samek and Schaeffter (2020), "PTB-XL, a large publicly available
electrocardiography dataset", Scientific Data 7:154; https://physionet.org/content/ptb-xl/. Its ten folds keep patients
together; 1 to 8 are meant for training, 9 and 10, checked by people most carefully, for validation and test.
"""

from __future__ import annotations

import ast
import csv
from pathlib import Path

import numpy as np

from tgdp_jax.data.ecg.records import Index, Signal, read_wfdb
from tgdp_jax.data.ecg.statements import STATEMENTS, SUPERCLASS, likelihoods
from tgdp_jax.errors import UserError, choose

DATABASE, MEANINGS = "ptbxl_database.csv", "scp_statements.csv"
COLUMNS = ("ecg_id", "patient_id", "scp_codes", "strat_fold", "filename_lr", "filename_hr")
FILES = {100: "filename_lr", 500: "filename_hr"}


def index(folder: Path, *, rate: int = 100) -> Index:
    """Records of the published folder.

    Args:
      folder: with ptbxl_database.csv.
      rate: which of the two published copies of each signal is read, 100 or 500 Hz.

    Raises:
      UserError: a table that is no such table, or an unknown statement.
    """
    choose("PTB-XL sampling rate", str(rate), [str(r) for r in FILES])
    table = folder / DATABASE
    try:
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table} can not be read ({error}): copy it anew from the published folder") from error
    missing = [name for name in COLUMNS if not rows or name not in rows[0]]
    if missing:
        raise UserError(f"{table} lacks the column {missing[0]} (or any row): take the file as PTB-XL has it")
    _check_meanings(folder / MEANINGS)
    names = tuple(row[FILES[rate]] for row in rows)

    def read(number: int) -> Signal:
        record = read_wfdb(folder / names[number], database="PTB-XL", rate=rate)
        return Signal(record.p_signal, record.fs, tuple(record.sig_name))

    try:
        likelihood = [likelihoods(ast.literal_eval(row["scp_codes"]), f"{DATABASE}, {row['ecg_id']}") for row in rows]
        folds = np.array([int(row["strat_fold"]) for row in rows])
    except (ValueError, SyntaxError, AttributeError, TypeError) as error:
        raise UserError(f"{table} is damaged ({error}): copy it anew from the published folder") from error
    # A record whose patient is not known is one of its own.
    patients = np.array([row["patient_id"] or f"record {row['ecg_id']}" for row in rows])
    tables = [file for file in (table, folder / MEANINGS) if file.exists()]
    headers = [folder / f"{name}.hea" for name in names]
    return Index(
        names,
        np.array(likelihood),
        patients,
        folds,
        read,
        {str(file.relative_to(folder)): file for file in [*tables, *headers]},
    )


def _check_meanings(path: Path) -> None:
    """Subsets of PTB-XL come without the table of statements, whose content is known; where it is, it must agree.

    Raises:
      UserError: it does not.
    """
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        head = next(reader, [])
        if "diagnostic_class" not in head:
            raise UserError(f"{path} lacks the column diagnostic_class: take the file as PTB-XL has it")
        column = head.index("diagnostic_class")
        for row in reader:
            if not row:
                continue
            if row[0] not in STATEMENTS or row[column] != SUPERCLASS.get(row[0], ""):
                raise UserError(
                    f"{path} has the statement {row[0]!r} of class {row[column]!r}, unlike PTB-XL 1.0.3: take the "
                    "file as published"
                )
