"""Small image data sets, and how each kind of file holds them."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

IDX = "train-images-idx3-ubyte"


def pixels(num: int, size: int = 8, *, seed: int = 0, channels: int | None = None) -> np.ndarray:
    shape = (num, size, size) if channels is None else (num, size, size, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


# Sorted by class, as the sub-folders of a folder are.
X, Y = pixels(12), (np.arange(12) // 4).astype(np.uint8)


def save(path: Path, **arrays) -> Path:
    np.savez(path, **arrays)
    return path


def as_h5(path: Path, **arrays) -> Path:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            file[name.replace("__", "/")] = value
    return path


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def as_idx(folder: Path, x=X, y=Y, *, ending: str = "") -> Path:
    pack = gzip.compress if ending else bytes
    path = folder / f"{IDX}{ending}"
    path.write_bytes(pack(idx_bytes(x)))
    if y is not None:
        (folder / f"train-labels-idx1-ubyte{ending}").write_bytes(pack(idx_bytes(y)))
    return path


def as_folder(folder: Path, x=X, y=Y, names=("0", "1", "2"), *, ending: str = ".png") -> Path:
    for row, image in enumerate(x):
        place = folder if y is None else folder / names[y[row]]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{row:05d}{ending}")
    return folder
