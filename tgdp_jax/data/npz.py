"""Reading .npz and .npy files: only plain arrays, and of a size that is known to fit before anything is unpacked."""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from tgdp_jax.data.files import check_regular_file
from tgdp_jax.data.memory import check_unpacked
from tgdp_jax.errors import UserError

# What zipfile and numpy let through when an archive or the header of a member is damaged.
BROKEN_NPZ = (
    *(OSError, ValueError, EOFError, RuntimeError, MemoryError, TypeError, LookupError, ArithmeticError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError, struct.error),
)
_ENDING = ".npy"


def npz_names(path: Path, how: str) -> list[str]:
    """Names of what an .npz file holds.

    Args:
      path: the file.
      how: ends messages: how to save such a file.

    Raises:
      UserError: the file is missing, of another kind, or damaged.
    """
    with _archive(path, how) as archive:
        return [name.removesuffix(_ENDING) for name in archive.namelist()]


def read_npz(path: Path, names: Sequence[str], how: str) -> dict[str, np.ndarray]:
    """Arrays of an .npz file, those of the names that are there.

    Args:
      path: the file.
      names: which to read.
      how: ends messages: how to save such a file.

    Raises:
      UserError: the file is missing, of another kind or damaged, or an array holds Python objects, which are never
        opened, or is larger than what fits.
    """
    with _archive(path, how) as archive:
        try:
            held = {name: archive.getinfo(name + _ENDING) for name in names if name + _ENDING in archive.namelist()}
            sizes = [_declared(archive, name, member, path) for name, member in held.items()]
            check_unpacked(sum(sizes), sum(member.compress_size for member in held.values()), str(path))
            arrays = {}
            for name, member in held.items():
                with archive.open(member) as stream:
                    arrays[name] = np.lib.format.read_array(stream, allow_pickle=False)
        except BROKEN_NPZ as error:
            raise _broken(path, error, how) from error
    return arrays


def read_npy(path: Path, how: str) -> np.ndarray:
    """The array of a .npy file.

    Args:
      path: the file.
      how: ends messages: how to save such a file.

    Raises:
      UserError: see `read_npz`.
    """
    size = check_regular_file(path)
    try:
        with path.open("rb") as stream:
            _check_header(*_header(stream), size - stream.tell(), path, "")
            stream.seek(0)
            check_unpacked(size, size, str(path))
            return np.lib.format.read_array(stream, allow_pickle=False)
    except BROKEN_NPZ as error:
        raise UserError(f"{path} can not be read as .npy ({error or type(error).__name__}): {how}") from error


def _archive(path: Path, how: str) -> zipfile.ZipFile:
    check_regular_file(path)
    try:
        return zipfile.ZipFile(path)
    except BROKEN_NPZ as error:
        if _begins_as_array(path):
            raise UserError(f"{path} is a single array: {how}") from error
        raise _broken(path, error, how) from error


def _begins_as_array(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX
    except OSError:
        return False


def _broken(path: Path, error: Exception, how: str) -> UserError:
    return UserError(f"{path} can not be read as .npz ({error or type(error).__name__}): {how}")


def _declared(archive: zipfile.ZipFile, name: str, member: zipfile.ZipInfo, path: Path) -> int:
    """Bytes of an array by its header, which the archive's directory must confirm."""
    with archive.open(member) as stream:
        shape, dtype = _header(stream)
        return _check_header(shape, dtype, member.file_size - stream.tell(), path, f" under {name!r}")


def _check_header(shape: tuple[int, ...], dtype: np.dtype, held: int, path: Path, where: str) -> int:
    """Bytes of an array by its header, which has to promise as many as are held."""
    if dtype.hasobject:
        raise UserError(f"{path} holds Python objects{where}: save plain numbers with numpy.savez")
    size = dtype.itemsize * math.prod(shape)
    if min(shape, default=0) < 0 or size != held:
        raise ValueError(f"the array{where} has {held} bytes where its header promises {size}")
    return size


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(stream)
    if version not in read:
        # Only names of fields need a later one.
        raise ValueError(f"it holds no plain array, but one in format {version}")
    shape, _, dtype = read[version](stream)
    return shape, dtype
