"""Reading HDF5 files: only what the file itself holds, and of a size that is known to fit before it is unpacked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tgdp_jax.data.files import check_regular_file
from tgdp_jax.data.labels import listed
from tgdp_jax.data.memory import check_unpacked
from tgdp_jax.errors import UserError


def read_h5(path: Path, pairs: Sequence[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray | None]:
    """The first pair of data sets of which the first is there; None for a second that is not.

    Raises:
      UserError: no such file, damaged, without any of the data sets, or with data that lie in other files, are no plain
        numbers or names, or larger than what fits.
    """
    try:
        import h5py
    except ImportError as error:
        raise UserError(f"{path} needs another package: pip install 'tgdp-jax[images]'") from error
    check_regular_file(path)
    try:
        with h5py.File(path, "r") as file:
            found = next((pair for pair in pairs if _holds(file, pair[0], path)), None)
            if found is None:
                raise UserError(
                    f"{path} holds {_contents(file)} but no data set 'x' or 'train/data': save images under 'x', "
                    "labels under 'y'"
                )
            x, y = (_read(file[name], path) if _holds(file, name, path) else None for name in found)
    except UserError:
        raise
    # Damaged files make HDF5 fail in most of Python's ways.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"{path} can not be read as HDF5 ({reason}): make or download it again") from error
    assert x is not None
    return x, y


def _holds(file: Any, name: str, path: Path) -> bool:
    """Whether a data set of this name is there.

    Raises:
      UserError: its name leads elsewhere.
    """
    import h5py

    place = file
    for part in name.split("/"):
        if not isinstance(place, h5py.Group):
            return False
        link = place.get(part, getlink=True)
        if link is None:
            return False
        if not isinstance(link, h5py.HardLink):
            raise UserError(f"{path} has a link under {name!r}, which may lead out of the file: save the data itself")
        place = place[part]
    return isinstance(place, h5py.Dataset)


def _contents(file: Any) -> str:
    import h5py

    held: list[str] = []
    # In a damaged file names may be bytes.
    file.visititems(lambda name, item: held.append(str(name)) if isinstance(item, h5py.Dataset) else None)
    return listed(held) or "nothing"


def _read(data: Any, path: Path) -> np.ndarray:
    import h5py

    name = data.name
    if data.is_virtual or data.external:
        raise UserError(f"{path} keeps {name!r} in other files: save the data itself, in one file")
    text = h5py.check_string_dtype(data.dtype) is not None
    if data.dtype.hasobject and not text:
        raise UserError(f"{path} holds no plain numbers under {name!r}: save it as numbers")
    chunk = math.prod(data.chunks or (0,)) * data.dtype.itemsize
    check_unpacked(max(data.size * data.dtype.itemsize, chunk), data.id.get_storage_size(), f"{path} under {name!r}")
    return np.array(data.asstr()[...], dtype=str) if text else np.asarray(data)
