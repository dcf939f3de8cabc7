"""Which database a folder or file holds, and its records."""

from __future__ import annotations

import os
from pathlib import Path

from tgdp_jax.data.ecg import cpsc, ludb, npz, ptbxl
from tgdp_jax.data.ecg.records import Index
from tgdp_jax.errors import UserError

LAYOUTS = (
    "PTB-XL (https://physionet.org/content/ptb-xl/: ptbxl_database.csv, scp_statements.csv, records100/ or "
    "records500/), "
    "CPSC 2018 (http://2018.icbeb.org/Challenge.html: A0001.mat ... and REFERENCE.csv; or the WFDB form of "
    "https://physionet.org/content/challenge-2020/), "
    "LUDB (https://physionet.org/content/ludb/: RECORDS and data/1.hea ...), "
    "or a .npz file with x [N, T, 8 or 12] in mV"
)


def open_database(path: Path, *, rate: int) -> Index:
    """Records of a folder or .npz file, whose kind is known by the files that it has.

    Of PTB-XL's two copies the one at 100 Hz is read where it is there and fast enough.

    Raises:
      UserError: nothing there, none of the known kinds, or see the reader.
    """
    if path.suffix == ".npz":
        return npz.index(path)
    # os.path takes what can not be looked at for missing, where Path raises.
    if not os.path.exists(path):
        raise UserError(f"{path} does not exist: download and unpack one of {LAYOUTS}")
    if os.path.exists(path / ptbxl.DATABASE):
        slow = rate <= 100 and os.path.isdir(path / "records100")
        return _whole(ptbxl.index(path, rate=100 if slow else 500), path)
    if os.path.exists(path / ludb.RECORDS) and os.path.isdir(path / "data"):
        return _whole(ludb.index(path), path)
    if path.is_dir() and any(next(path.rglob(name), None) for name in (cpsc.REFERENCE, "A*.hea")):
        return _whole(cpsc.index(path), path)
    raise UserError(f"{path} is no ECG database: give the folder of {LAYOUTS}")


def _whole(index: Index, path: Path) -> Index:
    """Raises:
    UserError: files that the database's own tables name are missing."""
    missing = [name for name, file in index.files.items() if not os.path.exists(file)]
    if missing:
        raise UserError(
            f"{path} lacks {len(missing)} of its {len(index)} records (first: {missing[0]}): download and unpack it "
            "whole, or shorten its table"
        )
    return index
