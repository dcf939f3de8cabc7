"""Reading idx files, in which MNIST comes.

They hold 0, 0, 8 (for bytes), the number of dimensions, each dimension as a big-endian int32, and the data.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import zlib
from pathlib import Path

import numpy as np

from tgdp_jax.data.files import check_regular_file
from tgdp_jax.data.memory import check_unpacked
from tgdp_jax.errors import UserError

IDX_IMAGES = r"images.idx3-ubyte(\.gz)?$"


def labels_beside(path: Path) -> Path | None:
    """The labels that MNIST's convention puts beside images: train-labels-idx1-ubyte by train-images-idx3-ubyte.

    Either may be packed (.gz) where the other is not; None where there are none.
    """
    if not re.search(IDX_IMAGES, path.name):
        return None
    own = path.with_name(re.sub("images(.)idx3", r"labels\1idx1", path.name))
    other = own.with_suffix("") if own.suffix == ".gz" else own.with_name(own.name + ".gz")
    # A link that leads nowhere is there, and is refused by whoever reads it.
    return next((place for place in (own, other) if os.path.lexists(place)), None)


def read_idx(path: Path, *, dims: int) -> np.ndarray:
    """An array of bytes with that many dimensions, uint8.

    Raises:
      UserError: no such file, damaged, or larger than what fits.
    """
    stored = check_regular_file(path)
    header = 4 + 4 * dims
    packed = path.suffix == ".gz"
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            head = file.read(header)
            if len(head) < header or head[:4] != bytes((0, 0, 8, dims)):
                raise UserError(f"{path} is no idx file of {dims}-dimensional bytes: check that it is the right file")
            shape = tuple(int(n) for n in np.frombuffer(head, ">u4", dims, offset=4))
            promised = math.prod(shape)
            if not packed and stored - header != promised:
                raise _unlike(path, f"{stored - header}", promised)
            check_unpacked(promised, stored, str(path))
            content = file.read(promised)
            if len(content) < promised:
                raise _unlike(path, f"{len(content)}", promised)
            if file.read(1):
                raise _unlike(path, f"more than {promised}", promised)
    except (OSError, EOFError, zlib.error, MemoryError) as error:
        raise UserError(f"{path} can not be read ({error}): download it again") from error
    return np.frombuffer(content, np.uint8).reshape(shape)


def _unlike(path: Path, found: str, promised: int) -> UserError:
    return UserError(f"{path} has {found} bytes of data where its header promises {promised}: download it again")
