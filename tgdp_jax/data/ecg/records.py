"""What every reader of a database gives: a list of records with statements and patients, and a way to each signal."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.signal import resample_poly

from tgdp_jax.data.ecg.leads import LEADS, eight
from tgdp_jax.errors import UserError


class Signal(NamedTuple):
    """One record as it lies on disk.

    Attributes:
      x: samples [T, L] in mV.
      rate: samples a second.
      leads: names of the L leads.
    """

    x: np.ndarray
    rate: float
    leads: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Index:
    """Records of a folder, their signals still on disk.

    Attributes:
      names: of the records, for messages.
      likelihood: of PTB-XL's statements in percent [N, 71], see `statements`.
      patients: whose a record is [N].
      folds: official fold from 1 [N]; 0 where the database has none.
      read: record number -> its signal.
      files: those that say what the records are, by a name that does not depend on where they lie.
      labels: integer labels [N] that come instead of statements; None where there are statements, or neither.
    """

    names: tuple[str, ...]
    likelihood: np.ndarray
    patients: np.ndarray
    folds: np.ndarray
    read: Callable[[int], Signal]
    files: dict[str, Path]
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.names)


def check_length(seconds: float, rate: int) -> None:
    """Raises:
    UserError: no length, or no sampling rate, that shows a heart beat."""
    if not 0.5 <= seconds <= 60:
        raise UserError(f"seconds is {seconds:g}: records are from half a second to a minute long")
    if not 50 <= rate <= 1000:
        raise UserError(f"rate is {rate}: give 50 to 1000 samples a second")


class BadRecord(UserError):
    """A record that can not be used while others can."""


def to_row(signal: Signal, *, rate: int, seconds: float, what: str) -> np.ndarray:
    """Leads I, II, V1..V6 at `rate`, cut at the end or padded with zeros to `seconds`; float32 [T, 8] in mV.

    Resampled by a polyphase filter (`scipy.signal.resample_poly`), whose low pass keeps what is too fast from folding
    back. The line between first and last sample is put aside meanwhile, or the filter would take a baseline that is not
    zero for a step.

    Raises:
      UserError: a sampling rate below the one asked for, or no integer.
      BadRecord: leads that are missing, flat or not finite.
    """
    if not (signal.rate >= rate and signal.rate % 1 == 0):  # false of NaN and infinity too
        raise UserError(
            f"{what} is sampled at {signal.rate:g} Hz: give records of a whole number of Hz of at least {rate}, or a "
            "lower --rate"
        )
    try:
        x = eight(np.asarray(signal.x, np.float64), signal.leads, what)
    except UserError as error:
        raise BadRecord(str(error)) from None
    finite = np.isfinite(x).all(0)
    if len(x) == 0 or not finite.all():
        lead = LEADS[int(finite.argmin())]
        raise BadRecord(f"{what} is not finite (or empty) in lead {lead}: leave the record out, or repair it")
    flat = np.ptp(x, axis=0) == 0
    if flat.any():
        raise BadRecord(f"{what} is flat in lead {LEADS[int(flat.argmax())]}: leave the record out")
    common = math.gcd(round(signal.rate), rate)
    up, down = rate // common, round(signal.rate) // common
    if up != down:
        x = resample_poly(x, up, down, axis=0, padtype="line")
    length = round(seconds * rate)
    out = np.zeros((length, len(LEADS)), np.float32)
    out[: min(length, len(x))] = x[:length]
    return out


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


def read_wfdb(path: Path, *, database: str, rate: int, physical: bool = True) -> Any:
    """A WFDB record of a database that is published at `rate` Hz, `path` being that of its header without .hea.

    Raises:
      UserError: it is missing, damaged or of another rate.
    """
    try:
        record = wfdb().rdrecord(str(path), physical=physical)
    except FileNotFoundError as error:
        missing = Path(error.filename or f"{path}.hea").name
        raise UserError(f"{path} is incomplete, {missing} is missing: copy the database whole") from None
    except (OSError, ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} can not be read as a WFDB record ({error}): copy it anew") from error
    if record.fs != rate:
        raise UserError(
            f"{path} is sampled at {record.fs:g} Hz where {database} has {rate}: take the files as published"
        )
    return record
