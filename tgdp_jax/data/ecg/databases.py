"""Which database a folder or file holds, and its records."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from tgdp_jax.data.arrays import BROKEN_NPZ
from tgdp_jax.data.ecg import cpsc, ludb, ptbxl
from tgdp_jax.data.ecg.leads import LEADS, TWELVE
from tgdp_jax.data.ecg.records import Index, Signal
from tgdp_jax.data.ecg.statements import NOT_STATED, STATEMENTS
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
        return _npz(path)
    if not path.exists():
        raise UserError(f"{path} does not exist: download and unpack one of {LAYOUTS}")
    if (path / ptbxl.DATABASE).exists():
        slow = rate <= 100 and (path / "records100").is_dir()
        return _whole(ptbxl.index(path, rate=100 if slow else 500), path)
    if (path / ludb.RECORDS).exists() and (path / "data").is_dir():
        return _whole(ludb.index(path), path)
    if path.is_dir() and any(next(path.rglob(name), None) for name in (cpsc.REFERENCE, "A*.hea")):
        return _whole(cpsc.index(path), path)
    raise UserError(f"{path} is no ECG database: give the folder of {LAYOUTS}")


def _whole(index: Index, path: Path) -> Index:
    """Raises:
    UserError: files that the database's own tables name are missing."""
    missing = [name for name, file in index.files.items() if not file.exists()]
    if missing:
        raise UserError(
            f"{path} lacks {len(missing)} of its {len(index)} records (first: {missing[0]}): download and unpack it "
            "whole, or shorten its table"
        )
    return index


def _npz(path: Path) -> Index:
    """Records of a .npz file: x [N, T, 8] (I, II, V1..V6) or [N, T, 12] (I, II, III, aVR, aVL, aVF, V1..V6) in mV, and
    optionally integer labels y [N] in the order of the label scheme's classes, patient [N], and rate in Hz (default
    100).
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            known: dict[str, Any] = {name: archive[name] for name in ("x", "y", "patient", "rate") if name in archive}
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: check the path") from None
    except (*BROKEN_NPZ, AttributeError, TypeError) as error:
        raise UserError(f"{path} can not be read as .npz ({error}): save it with numpy.savez(path, x=...)") from error
    x = known.get("x")
    if x is None or x.ndim != 3 or x.shape[2] not in (8, 12) or x.dtype.kind not in "fiu" or x.size == 0:
        found = "nothing" if x is None else f"{x.dtype} of shape {x.shape}"
        raise UserError(f"{path} has {found} under 'x': give mV as [N, T, 8] (I, II, V1..V6) or [N, T, 12]")
    leads = LEADS if x.shape[2] == 8 else TWELVE
    names = tuple(f"{path.name}, record {i}" for i in range(len(x)))
    patients = np.asarray(known.get("patient", np.arange(len(x)))).astype(str)
    if patients.shape != (len(x),):
        raise UserError(f"{path} has {len(x)} records but 'patient' of shape {patients.shape}: give one a record")
    rate = _hertz(known.get("rate", 100), path)
    return Index(
        names,
        np.full((len(x), len(STATEMENTS)), NOT_STATED, np.float32),
        patients,
        np.zeros(len(x), int),
        lambda number: Signal(x[number], rate, leads),
        {"rows": path},
        known.get("y"),
    )


def _hertz(rate: Any, path: Path) -> float:
    """Raises:
    UserError: not one finite positive number."""
    rate = np.asarray(rate)
    if rate.size != 1 or rate.dtype.kind not in "fiu" or not 0 < rate.item() < math.inf:
        found = rate.item() if rate.size == 1 else f"{rate.dtype} of shape {rate.shape}"
        raise UserError(f"{path} has {found!r} under 'rate': give one positive number, the samples a second (Hz)")
    return float(rate.item())
