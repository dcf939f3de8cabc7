"""Signals of a database, brought to one rate and length once and kept as one memory-mapped file.

Reading 22,000 WFDB records takes minutes, and at 500 Hz they do not fit a small machine's memory: they are converted
one by one into a .npy file of float32 mV, 32 kB a record of 10 s at 100 Hz, so 0.7 GB for the whole of PTB-XL. From
then on rows are read straight from the page cache, without parsing and without all being in memory. The price is the
disk space, and that a changed resampling needs a new file: the name is a digest of tables, headers and signals, of rate
and of length. The folder is the user's cache (XDG_CACHE_HOME); what lies there may be deleted at will. (A run takes the
rows that it trains on into memory all the same, since its training loop keeps them on the device: half a GB for the
folds 1 to 8.)
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import platformdirs

from tgdp_jax.data.arrays import BROKEN_NPZ
from tgdp_jax.data.ecg.leads import LEADS
from tgdp_jax.data.ecg.records import BadRecord, Index, to_row
from tgdp_jax.data.files import check_regular_file
from tgdp_jax.errors import FileError, write_remedy

_VERSION = 2  # of what `to_row` does


class Converted(NamedTuple):
    """Rows of a database.

    Attributes:
      x: leads I, II, V1..V6 in mV, float32 [N, T, 8], on disk; zero where a record is bad.
      bad: record number -> why it can not be used.
      copies: record number -> that of an earlier record with the same signal.
    """

    x: np.ndarray
    bad: dict[int, str]
    copies: dict[int, int]


def digest_files(files: Mapping[str, Path]) -> str:
    """Hex digest of names and contents.

    Raises:
      FileError: what is no regular file, or can not be read.
    """
    total = hashlib.sha256()
    for name, path in sorted(files.items()):
        check_regular_file(path)
        try:
            with path.open("rb") as file:
                total.update(f"{name}\0".encode() + hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise FileError(f"{path} can not be read ({error.strerror}): check its permissions") from error
    return total.hexdigest()


def converted(index: Index, *, rate: int, seconds: float) -> Converted:
    """Rows of all records, converted where that was not done before or is damaged; complete files or none are left.

    Raises:
      UserError: a record's file is missing or damaged, or its rate is wrong.
      FileError: the cache can not be written.
    """
    mark = f"{_VERSION} {digest_files(index.files | index.signals)} {rate} {seconds:g}"
    folder = Path(platformdirs.user_cache_dir("tgdp_jax")) / "ecg"
    path = folder / f"{hashlib.sha256(mark.encode()).hexdigest()[:32]}.npy"
    facts = path.with_suffix(".json")
    found = _kept(path, facts)
    if found is None:
        try:
            _convert(index, path, facts, rate=rate, seconds=seconds)
        except OSError as error:
            raise FileError(
                f"{folder} can not be written ({error.strerror or error}): {write_remedy(error)}, by XDG_CACHE_HOME"
            ) from error
        found = _kept(path, facts)
    if found is None:
        raise FileError(f"{path} can not be read back: set XDG_CACHE_HOME to another folder")
    return found


def _kept(path: Path, facts: Path) -> Converted | None:
    """What was converted before; None where nothing was, or where it is damaged."""
    try:
        known = json.loads(facts.read_text())
        bad, copies = ({int(number): value for number, value in known[name].items()} for name in ("bad", "copies"))
        return Converted(np.load(path, mmap_mode="r"), bad, copies)
    except (*BROKEN_NPZ, KeyError, TypeError, AttributeError):
        return None


def _convert(index: Index, path: Path, facts: Path, *, rate: int, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        shape = (len(index), round(seconds * rate), len(LEADS))
        x = np.lib.format.open_memmap(part, mode="w+", dtype=np.float32, shape=shape)
        bad: dict[int, str] = {}
        copies: dict[int, int] = {}
        seen: dict[bytes, int] = {}
        for number, name in enumerate(index.names):
            try:
                x[number] = to_row(index.read(number), rate=rate, seconds=seconds, what=name)
            except BadRecord as error:
                bad[number] = str(error)
                continue
            first = seen.setdefault(hashlib.sha256(x[number].tobytes()).digest(), number)
            if first != number:
                copies[number] = first
        x.flush()
        del x
        facts.write_text(json.dumps({"bad": bad, "copies": copies}))
        # Last, so that its presence means that the rest is there.
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
