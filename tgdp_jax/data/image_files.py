"""Reading image data sets: .npz, .h5, idx files as MNIST comes in, and folders of pictures. Nothing is scaled here."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tgdp_jax.data.hdf5 import read_h5
from tgdp_jax.data.idx import IDX_IMAGES, labels_beside, read_idx
from tgdp_jax.data.labels import distinct_keys, listed
from tgdp_jax.data.memory import check_fits
from tgdp_jax.data.npz import npz_names, read_npz
from tgdp_jax.data.pictures import PICTURES, read_picture
from tgdp_jax.errors import UserError, absent

# Names under which a file holds images and their labels; the first pair that is there counts.
NPZ_KEYS = (("x", "y"), ("x_train", "y_train"))
H5_KEYS = (("x", "y"), ("train/data", "train/target"))
KINDS = (
    "a .npz, .h5 or .hdf5 file, an idx file (...-images-idx3-ubyte, also .gz) or a folder of pictures "
    f"({', '.join(PICTURES)})"
)
# What systems and archives leave in folders, beside hidden files.
SYSTEM_FILES = ("__macosx", "thumbs.db", "desktop.ini")


class Images(NamedTuple):
    """Images as they are stored.

    Attributes:
      x: [N, H, W, C], integers in 0..255 or floats in [0, 1].
      y: labels, not checked yet: names where they are names of sub-folders; None where there are none.
      notes: what was left out, for the user.
    """

    x: np.ndarray
    y: np.ndarray | None = None
    notes: tuple[str, ...] = ()


def read_images(path: Path, background: str | None = None) -> Images:
    """Images of a file or folder, checked to be images; transparent pictures are laid over the background.

    Raises:
      UserError: nothing is there, of a kind that is not known, damaged, or no images.
    """
    if path.is_dir():
        return _check(_read_folder(path, background), path)
    if not path.exists():
        raise absent(path)
    for pattern, read in _READERS.items():
        if re.search(pattern, path.name):
            return _check(read(path), path)
    raise UserError(f"{path} is of no kind that is known: give {KINDS}")


def files_of(path: Path) -> dict[str, Path]:
    """Every file that `read_images` reads, by a name that does not depend on where they lie."""
    if path.is_dir():
        return {str(file.relative_to(path)): file for _, files in _folder(path).classes for file in files}
    labels = labels_beside(path)
    return {"images": path} | ({} if labels is None else {"labels": labels})


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
    check_values(x, path)
    return images._replace(x=x)


def check_values(x: np.ndarray, path: Path) -> None:
    """Raises:
    UserError: values are neither integers in 0..255 nor floats in [0, 1]."""
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


def _read_npz(path: Path) -> Images:
    how = "save it with numpy.savez(path, x=..., y=...)"
    names = npz_names(path, how)
    found = next((pair for pair in NPZ_KEYS if pair[0] in names), None)
    if found is None:
        raise UserError(f"{path} holds {listed(names) or 'nothing'} but no 'x' or 'x_train': {how}")
    arrays = read_npz(path, found, how)
    if found[0] not in arrays:
        raise UserError(f"{path} holds no array '{found[0]}': {how}")
    return Images(arrays[found[0]], arrays.get(found[1]))


def _read_h5(path: Path) -> Images:
    return Images(*read_h5(path, H5_KEYS))


def _read_idx(path: Path) -> Images:
    labels = labels_beside(path)
    return Images(read_idx(path, dims=3), None if labels is None else read_idx(labels, dims=1))


class _Folder(NamedTuple):
    """Pictures of a folder.

    Attributes:
      classes: (name, pictures) of every sub-folder that has any, by name; one without a name where they lie in the
        folder itself.
      others: what else lies there, by its place in the folder.
    """

    classes: list[tuple[str, list[Path]]]
    others: list[str]


def _folder(folder: Path) -> _Folder:
    """Raises:
    UserError: there are no pictures, or in both places, or two sub-folders are one class."""
    others: list[str] = []

    def sorted_out(place: Path) -> tuple[list[Path], list[Path]]:
        """(pictures, folders) in it."""
        entries = sorted(f for f in place.iterdir() if not _ignored(f.name))
        folders = [f for f in entries if f.is_dir()]
        pictures = [f for f in entries if f.suffix.lower() in PICTURES and f not in folders]
        others.extend(str(f.relative_to(folder)) for f in entries if f not in folders and f not in pictures)
        return pictures, folders

    try:
        own, below = sorted_out(folder)
        parts: list[tuple[str, list[Path]]] = []
        for sub in below:
            pictures, deeper = sorted_out(sub)
            others += [f"{place.relative_to(folder)}/" for place in deeper] + ([] if pictures else [f"{sub.name}/"])
            if pictures:
                parts.append((sub.name, pictures))
    except OSError as error:
        raise UserError(f"{folder} can not be read ({error.strerror or error}): check its permissions") from error
    if own and parts:
        raise UserError(f"{folder} has pictures both in itself and in sub-folders: move them to one or the other")
    if not own and not parts:
        raise UserError(f"{folder} has no pictures ({', '.join(PICTURES)}), nor has a sub-folder: check the path")
    distinct_keys([name for name, _ in parts], str(folder))
    return _Folder([("", own)] if own else parts, others)


def _ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM_FILES


def _read_folder(folder: Path, background: str | None) -> Images:
    parts, others = _folder(folder)
    files = [file for _, some in parts for file in some]
    first = read_picture(files[0], background)
    check_fits(len(files) * first.size, str(folder), "give fewer or smaller pictures")
    x = np.empty((len(files), *first.shape), np.uint8)
    for row, file in enumerate(files):
        image = read_picture(file, background)
        if image.shape != first.shape:
            raise UserError(
                f"{file} is {_described(image)} but {files[0].name} {_described(first)}: bring all pictures of "
                f"{folder} to one size, all grey or all colour"
            )
        x[row] = image
    named = parts[0][0] != ""
    y = np.repeat(np.array([name for name, _ in parts]), [len(some) for _, some in parts]) if named else None
    return Images(x, y, (f"not read, being no pictures: {listed(others)}",) if others else ())


def _described(image: np.ndarray) -> str:
    return f"{image.shape[0]} x {image.shape[1]} pixels in {'grey' if image.shape[2] == 1 else 'colour'}"


_READERS = {r"\.npz$": _read_npz, r"\.(h5|hdf5)$": _read_h5, IDX_IMAGES: _read_idx}
