"""The user's own records in a .npz file, and what they must be for mV of the leads that they are read as."""

from __future__ import annotations

import math
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from tgdp_jax.data.ecg.leads import LEADS, MAX_BREACH, TWELVE, all_twelve, breach, likely_order
from tgdp_jax.data.ecg.records import MAX_MILLIVOLTS, Index, Signal, own_patients
from tgdp_jax.data.ecg.statements import NOT_STATED, STATEMENTS
from tgdp_jax.data.files import check_regular_file
from tgdp_jax.errors import UserError

_KEYS = ("x", "y", "patient", "rate", "leads")
_SAMPLE = 200  # records that say what the others are like
_MIN_MILLIVOLTS = 0.02  # what records reach at least, on the median: noise alone


def index(path: Path) -> Index:
    """Records of a .npz file.

    x [N, T, 8] (I, II, V1..V6) or [N, T, 12] (I, II, III, aVR, aVL, aVF, V1..V6) in mV, and optionally labels y [N]
    (names of the label scheme's classes, or their numbers in its order), patient [N], rate in Hz (default 100), and
    leads, the names of the leads in the order of x.

    Raises:
      UserError: no such arrays, or they are not mV of these leads.
    """
    known = _arrays(path)
    x = known.get("x")
    if x is None or x.ndim != 3 or x.shape[2] not in (8, 12) or x.dtype.kind not in "fiu" or x.size == 0:
        found = "nothing" if x is None else f"{x.dtype} of shape {x.shape}"
        raise UserError(f"{path} has {found} under 'x': give mV as [N, T, 8] (I, II, V1..V6) or [N, T, 12]")
    leads = _leads(known.get("leads"), x.shape[2], path)
    _check_sample(x, leads, path)
    patients = np.asarray(known.get("patient", np.arange(len(x))))
    if patients.shape != (len(x),) or patients.dtype.kind not in "iufU":
        found = f"{patients.dtype} of shape {patients.shape}"
        raise UserError(f"{path} has {len(x)} records but {found} under 'patient': give a number or name for each")
    rate = _hertz(known.get("rate", 100), path)
    return Index(
        tuple(f"{path.name}, record {i}" for i in range(len(x))),
        np.full((len(x), len(STATEMENTS)), NOT_STATED, np.float32),
        own_patients(patients.astype(str).tolist(), range(len(x))),
        np.zeros(len(x), int),
        lambda number: Signal(x[number], rate, leads),
        {"rows": path},
        labels=known.get("y"),
    )


def _arrays(path: Path) -> dict[str, Any]:
    """The arrays that are looked at.

    Raises:
      UserError: no .npz file, or one that does not fit into memory.
    """
    check_regular_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if name.removesuffix(".npy") in _KEYS]
            sizes = {name.removesuffix(".npy"): _declared(archive, name, path) for name in members}
        total, room = sum(sizes.values()), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if total > room:
            raise UserError(f"{path} holds {total / 1e9:.0f} GB, and memory {room / 1e9:.0f} GB: give fewer records")
        with np.load(path, allow_pickle=False) as archive:
            return {name: _readable(archive[name]) for name in sizes}
    except UserError:
        raise
    except Exception as error:  # of a damaged file, whatever its numbers lead to
        raise UserError(f"{path} can not be read as .npz ({error}): save it with numpy.savez(path, x=...)") from error


def _readable(array: np.ndarray) -> np.ndarray:
    """The array, text as Python has it.

    Raises:
      ValueError: bytes that are no text; Python's own functions fail on such strings.
    """
    if array.dtype.kind in "SU":
        array = np.array(array, str)
        letters = array.ravel().view(np.uint32)
        if ((letters > 0x10FFFF) | (letters >> 11 == 0xD800 >> 11)).any():
            raise ValueError("text with letters that are none")
    return array


def _declared(archive: zipfile.ZipFile, name: str, path: Path) -> int:
    """Bytes of an array, by its header.

    Raises:
      UserError: Python objects, or another size than the archive states.
      ValueError: no array.
    """
    with archive.open(name) as member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(member)
        size, held = math.prod(shape) * dtype.itemsize, archive.getinfo(name).file_size - member.tell()
    if dtype.hasobject:
        raise UserError(f"{path} holds Python objects under {name.removesuffix('.npy')!r}: save numbers or text")
    if size != held or min(shape, default=0) < 0:
        raise ValueError(f"{name} declares {size} bytes and has {held}")
    return size


def _leads(names: np.ndarray | None, number: int, path: Path) -> tuple[str, ...]:
    """Names of the leads in the order of x.

    Raises:
      UserError: they do not name the leads of x.
    """
    usual = LEADS if number == 8 else TWELVE
    if names is None:
        return usual
    found = tuple(name.strip() for name in names.ravel().tolist()) if names.dtype.kind == "U" else ()
    if names.shape != (number,) or sorted(name.lower() for name in found) != sorted(name.lower() for name in usual):
        said = ", ".join(found) or f"{names.dtype} of shape {names.shape}"
        raise UserError(f"{path} has {said} under 'leads': name each of {', '.join(usual)} once, in the order of x")
    return found


def _check_sample(x: np.ndarray, leads: tuple[str, ...], path: Path) -> None:
    """What most records do is the file's fault, not theirs: units, and the order of the leads.

    Raises:
      UserError: no mV, or twelve leads that break their relations.
    """
    some = x[np.unique(np.linspace(0, len(x) - 1, _SAMPLE).round().astype(int))].astype(np.float64)
    some = some[np.isfinite(some).all((1, 2)) & some.any((1, 2))]
    if len(some) == 0:
        return
    reach = float(np.median(np.abs(some).max((1, 2))))
    if not _MIN_MILLIVOLTS <= reach <= MAX_MILLIVOLTS:
        remedy = "divide microvolts by 1000" if reach > 1 else "multiply volts by 1000"
        raise UserError(f"{path} has records that reach {reach:.4g}, and ECGs a few mV: give x in mV, {remedy}")
    ordered = all_twelve(some, leads)
    if ordered is None or (off := float(np.median(breach(ordered)))) <= MAX_BREACH:
        return
    order = likely_order(some)
    raise UserError(
        f"{path} breaks the relations between the twelve leads, III = II - I and aVR, aVL, aVF, by {off:.2g} mV in the "
        f"order {', '.join(leads)}: "
        + (
            f"they fit {', '.join(order)}, give these names under the key 'leads' if so"
            if order
            else "give their names under the key 'leads', mV as recorded, or I, II, V1 to V6 alone"
        )
    )


def _hertz(rate: Any, path: Path) -> float:
    """Raises:
    UserError: not one finite positive number."""
    rate = np.asarray(rate)
    if rate.size != 1 or rate.dtype.kind not in "fiu" or not 0 < rate.item() < math.inf:
        found = rate.item() if rate.size == 1 else f"{rate.dtype} of shape {rate.shape}"
        raise UserError(f"{path} has {found!r} under 'rate': give one positive number, the samples a second (Hz)")
    return float(rate.item())
