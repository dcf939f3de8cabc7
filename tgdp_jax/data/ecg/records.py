"""What every reader of a database gives: a list of records with statements and patients, and a way to each signal."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tgdp_jax.data.ecg.leads import LEADS, MAX_BREACH, all_twelve, breach, eight
from tgdp_jax.errors import UserError

# The shortest record that shows a heart beat, the highest rate that ECGs are sampled at, and what no ECG reaches: a
# converter of 16 bits with steps of 1 uV ends at 33 mV.
MIN_SECONDS, MAX_RATE, MAX_MILLIVOLTS = 0.5, 10_000, 100.0
# A lead is off where it never leaves a band of 5 uV, or stands still (0.1 uV from sample to sample) for half of the
# record and a second. Leads of 700 records of PTB-XL and LUDB move by 290 uV at least and stand still for up to 0.6 s.
_FLAT, _STILL = 0.005, 1e-4


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
      signals: files of samples besides, named alike.
      labels: labels [N] that come instead of statements, integers or names; None where there are statements, or
        neither.
      foreign: record number -> the diagnosis in it that is none of the known ones.
    """

    names: tuple[str, ...]
    likelihood: np.ndarray
    patients: np.ndarray
    folds: np.ndarray
    read: Callable[[int], Signal]
    files: dict[str, Path]
    signals: dict[str, Path] = dataclasses.field(default_factory=dict)
    labels: np.ndarray | None = None
    foreign: dict[int, str] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)


def check_length(seconds: float, rate: int) -> None:
    """Raises:
    UserError: no length, or no sampling rate, that shows a heart beat."""
    if not MIN_SECONDS <= seconds <= 60:
        raise UserError(f"seconds is {seconds:g}: records are from half a second to a minute long")
    if not 50 <= rate <= 1000:
        raise UserError(f"rate is {rate}: give 50 to 1000 samples a second")


class BadRecord(UserError):
    """A record that can not be used while others can."""


def own_patients(patients: Iterable[str], records: Iterable[Any]) -> np.ndarray:
    """Whose each record is [N]: one whose patient is not known (blank, NaN) is of a patient of its own."""
    unknown = ("", "nan", "none", "nat")
    pairs = zip(patients, records, strict=True)
    return np.array([f"record {record}" if name.strip().lower() in unknown else name for name, record in pairs])


def to_row(signal: Signal, *, rate: int, seconds: float, what: str) -> np.ndarray:
    """Leads I, II, V1..V6 at `rate`, cut at the end or padded with zeros to `seconds`; float32 [T, 8] in mV.

    Resampled by a polyphase filter (`scipy.signal.resample_poly`), whose low pass keeps what is too fast from folding
    back. The line between first and last sample is put aside meanwhile, or the filter would take a baseline that is not
    zero for a step.

    Raises:
      UserError: a sampling rate that is no integer, below the one asked for, or beyond reason.
      BadRecord: the samples that are used are too few, or have leads that are missing, flat, not finite, too large, or
        that break the relations between the twelve.
    """
    if not (signal.rate >= rate and signal.rate % 1 == 0):  # false of NaN and infinity too
        raise UserError(
            f"{what} is sampled at {signal.rate:g} Hz: give records of a whole number of Hz of at least {rate}, or a "
            "lower --rate"
        )
    if signal.rate > MAX_RATE:
        raise UserError(f"{what} is sampled at {signal.rate:g} Hz: give records of at most {MAX_RATE} Hz")
    common = math.gcd(round(signal.rate), rate)
    up, down = rate // common, round(signal.rate) // common
    length = round(seconds * rate)
    try:
        whole = eight(signal.x, signal.leads, what).astype(np.float64)
    except UserError as error:
        raise BadRecord(str(error)) from None
    end = -(-length * down // up)
    x, twelve = whole[:end], all_twelve(signal.x[:end], signal.leads)
    _check_leads(x, signal.rate, what)
    if twelve is not None and (off := float(breach(twelve))) > MAX_BREACH:
        raise BadRecord(
            f"{what} breaks the relations between the twelve leads by {off:.2g} mV (in another order, or with leads "
            "each scaled by itself?): leave the record out"
        )
    if up != down:
        # What follows is not used but for the filter's last samples, which it must not spoil.
        from scipy.signal import resample_poly  # late: options need not wait for it

        x = resample_poly(whole if _sane(whole).all() else x, up, down, axis=0, padtype="line")
    out = np.zeros((length, len(LEADS)), np.float32)
    out[: min(length, len(x))] = x[:length]
    return out


def _sane(x: np.ndarray) -> np.ndarray:
    """Which leads of x [T, L] are finite and can be mV of a heart [L]."""
    return np.all(np.abs(x) <= MAX_MILLIVOLTS, axis=0)


def _check_leads(x: np.ndarray, rate: float, what: str) -> None:
    """Raises:
    BadRecord: samples x [T, 8] in mV are too few, or a lead is flat, not finite or too large."""
    if len(x) < MIN_SECONDS * rate:
        raise BadRecord(f"{what} lasts {len(x) / rate:g} s, too short for a heart beat: leave the record out")
    finite, sane = np.isfinite(x).all(0), _sane(x)
    if not finite.all():
        raise BadRecord(f"{what} is not finite in lead {LEADS[finite.argmin()]}: leave the record out, or repair it")
    if not sane.all():
        lead = int(sane.argmin())
        raise BadRecord(
            f"{what} reaches {np.abs(x[:, lead]).max():.6g} mV in lead {LEADS[lead]} (are these microvolts?): give mV, "
            "or leave the record out"
        )
    for name, lead in zip(LEADS, x.T, strict=True):
        if np.ptp(lead) <= _FLAT or _longest_still(lead) >= max(rate, len(lead) / 2):
            raise BadRecord(f"{what} is flat in lead {name}: leave the record out")


def _longest_still(lead: np.ndarray) -> int:
    """Most samples in a row that a lead [T] does not move in."""
    moves = np.flatnonzero(np.abs(np.diff(lead)) > _STILL)
    return int(np.diff(moves, prepend=-1, append=len(lead) - 1).max())
