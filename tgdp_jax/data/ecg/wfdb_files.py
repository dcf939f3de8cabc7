"""Records in WFDB's files: a header of text, NAME.hea, and the samples beside it in NAME.dat or NAME.mat.

The `wfdb` package reads them. It believes what a header says, so what could make it allocate without end, or read files
elsewhere, is checked before: the signal file is the record's own and holds as many samples as are declared.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tgdp_jax.data.ecg.leads import TWELVE
from tgdp_jax.data.ecg.records import BadRecord, Signal
from tgdp_jax.data.files import check_regular_file
from tgdp_jax.errors import UserError

# Bytes a sample, by WFDB's number of the format; those that compress (FLAC) are in none of the databases.
_BYTES = {
    "16": 2.0,
    "8": 1.0,
    "24": 3.0,
    "32": 4.0,
    "61": 2.0,
    "80": 1.0,
    "160": 2.0,
    "212": 1.5,
    "310": 1.3,
    "311": 1.3,
}
# mV of each unit that voltages are stated in.
MILLIVOLTS = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "nv": 1e-6}
_MAX_HEADER = 1_000_000  # bytes


@functools.cache
def wfdb() -> Any:
    """The wfdb package.

    Raises:
      UserError: it is not installed.
    """
    try:
        import wfdb as package
    except ImportError:
        raise UserError("ECG records need the wfdb package: pip install 'tgdp_jax[ecg]'") from None
    return package


def header_file(path: Path) -> Path:
    """The header of a record, whose `path` has no suffix."""
    return Path(f"{path}.hea")


def signal_files(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """The files of samples of the named records that are there."""
    candidates = ((f"{name}{suffix}", folder / f"{name}{suffix}") for name in names for suffix in (".dat", ".mat"))
    return {name: path for name, path in candidates if os.path.isfile(path)}


def read_header(path: Path) -> Any:
    """The header of the record at `path`, which has no suffix, as wfdb's Record.

    Raises:
      UserError: missing, or no header of a record in one segment whose samples lie beside it.
    """
    _check_header(path)
    with _damage(path):
        return wfdb().rdheader(str(path))


def read_wfdb(path: Path, *, database: str, rate: int, per_mv: float | None = None) -> Signal:
    """Samples in mV of a record of a database that is published at `rate` Hz.

    Args:
      path: of the record, without suffix.
      database: its name, for messages.
      rate: which the header must state.
      per_mv: what a mV is in stored numbers, for headers whose gains mean something else.

    Raises:
      UserError: files are missing, or the rate is another.
      BadRecord: damaged, of an unknown unit, or of another checksum than its header has.
    """
    _check_header(path)
    with _damage(path):
        record = wfdb().rdrecord(str(path), physical=False)
        found = record.calc_checksum()
        x = record.dac() if per_mv is None else record.d_signal / per_mv
    if record.fs != rate:
        raise UserError(
            f"{path} is sampled at {record.fs:g} Hz where {database} has {rate}: take the files as published"
        )
    if any(stated not in (None, sum_ - 65536, sum_) for stated, sum_ in zip(record.checksum, found, strict=True)):
        raise BadRecord(f"{path} has other samples than the checksum in its header says: copy it anew")
    leads = tuple(name or "" for name in record.sig_name)
    return Signal(x * _factors(leads, record.units, path) if per_mv is None else x, record.fs, leads)


def _factors(leads: tuple[str, ...], units: list[str], path: Path) -> np.ndarray:
    """What each lead is multiplied by to be mV [L]; 1 for signals that are no leads of the twelve."""
    known = [lead.lower() for lead in TWELVE]
    out = np.ones(len(leads))
    for i, (lead, unit) in enumerate(zip(leads, units, strict=True)):
        if lead.strip().lower() not in known:
            continue
        if unit.lower() not in MILLIVOLTS:
            raise BadRecord(f"{path} has lead {lead} in {unit!r}: give V, mV, uV or nV")
        out[i] = MILLIVOLTS[unit.lower()]
    return out


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """What goes wrong with a record whose files are there is damage."""
    try:
        yield
    except UserError:  # the package is not installed
        raise
    except Exception as error:  # whatever the numbers of a damaged file lead to
        reason = str(error) or type(error).__name__
        raise BadRecord(f"{path} can not be read as a WFDB record ({reason}): copy it anew") from error


def _check_header(path: Path) -> None:
    """Raises:
    UserError: files are missing.
    BadRecord: the header is none, or not one of samples that lie beside it."""
    file = header_file(path)
    if _check_there(file, path) > _MAX_HEADER:
        raise BadRecord(f"{file} is too large for a header: copy it anew")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} can not be read ({error.strerror}): check its permissions") from error
    if not all(line.isascii() for line in content.splitlines() if not line.lstrip().startswith(b"#")):
        # wfdb leaves such letters out, which makes volts of microvolts.
        raise BadRecord(f"{file} has letters beyond ASCII, such as the Greek one of microvolts: write uV")
    lines = [line.strip() for line in content.decode("ascii", errors="ignore").splitlines()]
    first, *signals = [line.split() for line in lines if line and not line.startswith("#")] or [[]]
    # NAME SIGNALS RATE [SAMPLES ...]: a name with a slash is of a record in several segments.
    fits = re.fullmatch(r"[-\w]+ (\d{1,3}) \d+\.?\d*(?: (\d{1,15}))?", " ".join(first[:4]))
    if fits is None or not signals or int(fits[1]) != len(signals):
        raise BadRecord(f"{file} is no header of a record in one piece: copy it anew")
    formats = {re.sub(r"\+\d+$", "", signal[1]) if len(signal) > 1 else "" for signal in signals}
    names = {signal[0] for signal in signals}
    if len(formats) != 1 or not formats <= set(_BYTES):
        raise BadRecord(f"{file} describes samples in an unknown format: take the record as published")
    if not names <= {f"{path.name}.dat", f"{path.name}.mat"} or len(names) != 1:
        raise BadRecord(f"{file} names other signal files than its own ({path.name}.dat): take the record as published")
    data = path.with_name(names.pop())
    if int(fits[2] or 0) * len(signals) * _BYTES[formats.pop()] > _check_there(data, path):
        raise BadRecord(f"{data} is shorter than its header says: copy it anew")


def _check_there(file: Path, record: Path) -> int:
    """Bytes of one of a record's files.

    Raises:
      UserError: missing, or no regular file.
    """
    if not os.path.exists(file):
        raise UserError(f"{record} is incomplete, {file.name} is missing: copy the database whole")
    return check_regular_file(file)
