"""Reading image data sets: .npz, .h5, idx files as MNIST comes in, and folders of pictures. Nothing is scaled here."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from tgdp_jax.data.arrays import BROKEN_NPZ
from tgdp_jax.errors import UserError

PICTURES = (".png", ".jpg", ".jpeg")
# Names under which a file holds images and their labels; the first pair that is there counts.
NPZ_KEYS = (("x", "y"), ("x_train", "y_train"))
H5_KEYS = (("x", "y"), ("train/data", "train/target"))
# What Pillow's modes become; others (transparency, 16 bits, printing colours) are left to the user.
MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}
KINDS = "a .npz, .h5 or .hdf5 file, an idx file (...-images-idx3-ubyte, also .gz) or a folder of .png or .jpg files"


class Images(NamedTuple):
    """Images as they are stored.

    Attributes:
      x: [N, H, W, C], integers in 0..255 or floats in [0, 1].
      y: labels, not checked yet; None where there are none.
      names: class names by label, where sub-folders are not named by numbers.
    """

    x: np.ndarray
    y: np.ndarray | None = None
    names: tuple[str, ...] | None = None


def read_images(path: Path) -> Images:
    """Images of a file or folder, checked to be images.

    Raises:
      UserError: nothing is there, of a kind that is not known, damaged, or no images.
    """
    if path.is_dir():
        return _check(_read_folder(path), path)
    if not path.exists():
        raise UserError(f"{path} does not exist: check the path")
    for pattern, read in _READERS.items():
        if re.search(pattern, path.name):
            return _check(read(path), path)
    raise UserError(f"{path} is of no kind that is known: give {KINDS}")


def files_of(path: Path) -> dict[str, Path]:
    """Every file that `read_images` reads, by a name that does not depend on where they lie."""
    if path.is_dir():
        return {str(file.relative_to(path)): file for _, files in _classes(path) for file in files}
    labels = _labels_path(path)
    return {"images": path} | ({"labels": labels} if labels is not None and labels.exists() else {})


def _check(images: Images, path: Path) -> Images:
    """Raises:
    UserError: not [N, H, W], [N, H, W, C] or flattened squares of one or three channels, or values out of range."""
    x = images.x
    if x.dtype.kind not in "fiub":
        raise UserError(f"{path} has dtype {x.dtype}: images must be integers in 0..255 or floats in [0, 1]")
    if x.ndim not in (2, 3, 4) or x.size == 0:
        raise UserError(f"{path} has shape {x.shape}: images must be [N, H, W], [N, H, W, C] or [N, H * W], not empty")
    if x.ndim == 2:
        side = math.isqrt(x.shape[1])
        if side**2 != x.shape[1]:
            raise UserError(f"{path} has rows of {x.shape[1]} numbers, no square: save images as [N, H, W]")
        x = x.reshape(len(x), side, side)
    x = x.reshape(*x.shape[:3], -1)
    _, height, width, channels = x.shape
    if channels not in (1, 3):
        raise UserError(
            f"{path} has images of shape {x.shape[1:]}: channels come last and must be 1 (grey) or 3 (colour), "
            "transpose the array or drop channels"
        )
    if height != width:
        raise UserError(f"{path} has images of {height} x {width} pixels: crop or pad them to squares")
    # NaN is the least and the greatest of whatever it is among.
    low, high = x.min(), x.max()
    if not np.isfinite(low) or not np.isfinite(high):
        raise UserError(f"{path} has NaN or infinite values: remove these images")
    if x.dtype.kind == "f" and not 0 <= low <= high <= 1:
        raise UserError(
            f"{path} has floats from {low:g} to {high:g}: they must lie in [0, 1], or save 0..255 as integers (uint8)"
        )
    if x.dtype.kind in "iu" and not 0 <= low <= high <= 255:
        raise UserError(f"{path} has integers from {low} to {high}: they must lie in 0..255, rescale them")
    if x.dtype.kind in "iu" and high <= 1:
        raise UserError(f"{path} has integers up to {high}, and white is 255: save images of 0 and 1 as booleans")
    return images._replace(x=x)


def _read_npz(path: Path) -> Images:
    how = "save it with numpy.savez(path, x=..., y=...)"
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise UserError(f"{path} is a single array: {how}")
        with archive:
            found = next((pair for pair in NPZ_KEYS if pair[0] in archive), None)
            if found is None:
                raise UserError(f"{path} holds {_listed(archive.files)} but no 'x' or 'x_train': {how}")
            # A member that is no array comes back as bytes.
            x, y = (archive[name] if name in archive else None for name in found)
    except BROKEN_NPZ as error:
        raise UserError(f"{path} can not be read as .npz ({error}): {how}") from error
    if not isinstance(x, np.ndarray):
        raise UserError(f"{path} holds no array '{found[0]}': {how}")
    return Images(x, y if isinstance(y, np.ndarray) else None)


def _read_h5(path: Path) -> Images:
    try:
        import h5py
    except ImportError as error:
        raise UserError(f"{path} needs another package: pip install 'tgdp-jax[images]'") from error
    try:
        with h5py.File(path, "r") as file:
            held: list[str] = []
            # In a damaged file names may be bytes.
            file.visititems(lambda name, item: held.append(str(name)) if isinstance(item, h5py.Dataset) else None)
            found = next((pair for pair in H5_KEYS if pair[0] in held), None)
            if found is None:
                raise UserError(
                    f"{path} holds {_listed(held)} but no data set 'x' or 'train/data': save images under 'x', labels "
                    "under 'y'"
                )
            x, y = (np.asarray(file[name]) if name in held else None for name in found)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        raise UserError(f"{path} can not be read as HDF5 ({error}): make or download it again") from error
    assert x is not None
    return Images(x, y)


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return shown or "nothing"


def _read_idx(path: Path) -> Images:
    labels = _labels_path(path)
    x = _idx_array(path, dims=3)
    return Images(x, _idx_array(labels, dims=1) if labels is not None and labels.exists() else None)


def _labels_path(path: Path) -> Path | None:
    """The labels that MNIST's convention puts beside images: train-labels-idx1-ubyte by train-images-idx3-ubyte."""
    if not re.search(_IDX, path.name):
        return None
    return path.with_name(re.sub("images(.)idx3", r"labels\1idx1", path.name))


def _idx_array(path: Path, *, dims: int) -> np.ndarray:
    """An array of bytes in idx format: 0, 0, 8 (bytes), number of dimensions, each as a big-endian int32, the data."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} can not be read ({error}): download it again") from error
    header = 4 + 4 * dims
    if len(content) < header or content[:4] != bytes((0, 0, 8, dims)):
        raise UserError(f"{path} is no idx file of {dims}-dimensional bytes: check that it is the right file")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", dims, offset=4))
    if len(content) - header != math.prod(shape):
        raise UserError(
            f"{path} has {len(content) - header} bytes of data where its header promises {math.prod(shape)}: "
            "download it again"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _classes(folder: Path) -> list[tuple[str, list[Path]]]:
    """(name, pictures) of every sub-folder that has any, by name; one without a name where they lie in the folder.

    Raises:
      UserError: there are no pictures, or in both places.
    """

    def pictures(place: Path) -> list[Path]:
        return sorted(f for f in place.iterdir() if f.suffix.lower() in PICTURES and not f.name.startswith("."))

    try:
        own = pictures(folder)
        parts = [(sub.name, pictures(sub)) for sub in sorted(folder.iterdir()) if sub.is_dir()]
    except OSError as error:
        raise UserError(f"{folder} can not be read ({error.strerror or error}): check its permissions") from error
    parts = [(name, files) for name, files in parts if files]
    if own and parts:
        raise UserError(f"{folder} has pictures both in itself and in sub-folders: move them to one or the other")
    if not own and not parts:
        raise UserError(f"{folder} has no {', '.join(PICTURES)} files, nor has a sub-folder: check the path")
    return [("", own)] if own else parts


def _read_folder(folder: Path) -> Images:
    parts = _classes(folder)
    files = [file for _, some in parts for file in some]
    first = _picture(files[0])
    x = np.empty((len(files), *first.shape), np.uint8)
    for row, file in enumerate(files):
        image = _picture(file)
        if image.shape != first.shape:
            raise UserError(
                f"{file} is {_described(image)} but {files[0].name} {_described(first)}: bring all pictures of "
                f"{folder} to one size, all grey or all colour"
            )
        x[row] = image
    names = tuple(name for name, _ in parts)
    if names == ("",):
        return Images(x)
    numbered = all(name.isdecimal() for name in names)
    labels = np.array([int(name) for name in names] if numbered else range(len(names)))
    return Images(x, np.repeat(labels, [len(some) for _, some in parts]), None if numbered else names)


def _described(image: np.ndarray) -> str:
    return f"{image.shape[0]} x {image.shape[1]} pixels in {'grey' if image.shape[2] == 1 else 'colour'}"


def _picture(path: Path) -> np.ndarray:
    """[H, W, C] uint8."""
    try:
        with Image.open(path) as image:
            if image.mode not in MODES:
                raise UserError(f"{path} has pixels of kind {image.mode}: save it as 8-bit grey or RGB")
            pixels = np.asarray(image.convert(MODES[image.mode]))
    # Pillow's decoders let all of these through.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} can not be read as a picture ({error}): replace or remove it") from error
    return pixels[..., None] if pixels.ndim == 2 else pixels


_IDX = r"images.idx3-ubyte(\.gz)?$"
_READERS = {r"\.npz$": _read_npz, r"\.(h5|hdf5)$": _read_h5, _IDX: _read_idx}
