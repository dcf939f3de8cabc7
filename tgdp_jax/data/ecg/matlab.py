"""One field of a struct in a MATLAB file of version 5, read without trust in what the file says of itself.

`scipy.io.loadmat` reads all of the format, but damaged files make it reserve gigabytes, loop without end or end the
process. A few kinds of elements suffice for the records of CPSC 2018: each has a tag of its kind and its bytes, which
are looked at only where they are there (MathWorks, "MAT-File Format", 1-4 to 1-28).
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator

import numpy as np

_MATRIX, _COMPRESSED = 14, 15
_STRUCT, _NUMBERS, _COMPLEX = 2, range(6, 16), 0x800
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}


def read_field(content: bytes, variable: str, field: str, *, most: int) -> np.ndarray:
    """The numbers under `field` of the struct `variable`.

    Args:
      content: of the file.
      variable: name of a struct of one element.
      field: name of an array of real numbers in it.
      most: bytes that a compressed variable may unpack to.

    Raises:
      ValueError, KeyError, IndexError, struct.error, zlib.error: the file is damaged, or has no such field.
    """
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None or 0 in content[:4]:  # a zero there marks version 4
        raise ValueError("no MATLAB file of version 5")
    for kind, part in _elements(content[128:], order):
        if kind == _COMPRESSED:
            unpacked = zlib.decompressobj()
            kind, part = next(_elements(unpacked.decompress(part, most), order), (0, b""))
            if not unpacked.eof:
                raise ValueError(f"cut off, or more than {most} bytes when unpacked")
        if kind != _MATRIX:
            continue
        flags, shape, name, parts = _matrix(part, order)
        if name != variable.encode():
            continue
        if flags & 0xFF != _STRUCT or math.prod(shape) != 1:
            raise ValueError(f"{variable} is no struct")
        size, names, *values = (data for _, data in parts)
        width = struct.unpack(f"{order}i", size)[0]
        found = [names[at : at + width].split(b"\0")[0] for at in range(0, len(names), width)]
        return _numbers(values[found.index(field.encode())], order)
    raise ValueError(f"no variable {variable}")


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """(kind, data) of each element."""
    at = 0
    while at < len(content):
        kind, size = struct.unpack_from(f"{order}II", content, at)
        start, end = at + 8, at + 8 + size
        at = end if kind == _COMPRESSED else end + -size % 8
        if kind >> 16:  # up to four bytes lie within the tag
            kind, size = kind & 0xFFFF, kind >> 16
            start, at = start - 4, start
            end = start + min(size, 4)
        if end > len(content):
            raise ValueError("the file is cut off")
        yield kind, content[start:end]


def _matrix(content: bytes, order: str) -> tuple[int, tuple[int, ...], bytes, list[tuple[int, bytes]]]:
    """(flags, shape, name, further elements) of a matrix."""
    (_, flags), (_, shape), (_, name), *parts = _elements(content, order)
    return struct.unpack_from(f"{order}I", flags)[0], struct.unpack(f"{order}{len(shape) // 4}i", shape), name, parts


def _numbers(content: bytes, order: str) -> np.ndarray:
    flags, shape, _, parts = _matrix(content, order)
    if flags & 0xFF not in _NUMBERS or flags & _COMPLEX:
        raise ValueError("no real numbers")
    kind, data = parts[0]
    return np.frombuffer(data, f"{order}{_TYPES[kind]}").reshape(shape, order="F")
