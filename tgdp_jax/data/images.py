"""The user's own images: files or folders of squares, grey or colour, with class labels where there are any."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TypeGuard

import numpy as np

from tgdp_jax.data.image_files import Images, read_images
from tgdp_jax.data.pixels import UNIT, to_model
from tgdp_jax.data.problem import Data, Problem, check_labels, count_classes, split_target
from tgdp_jax.errors import UserError

# Rows to judge by: metrics of images compare every pair.
MAX_REFERENCE = 10_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImagesConfig:
    """Your own images.

    A .npz file has images under `x` and labels under `y` (or `x_train`, `y_train`); a .h5 or .hdf5 file under `x` and
    `y` (or `train/data`, `train/target`); an idx file ...-images-idx3-ubyte (also .gz) its labels in
    ...-labels-idx1-ubyte beside it; a folder of .png or .jpg files has a sub-folder for every class, named by its
    number, else numbered in the order of names (the source's). Arrays are [N, H, W], [N, H, W, C] or [N, H * W], C is 1
    or 3, with integers in 0..255 or floats in [0, 1].

    Attributes:
      source: file or folder of source images.
      target: the same of the target.
      reference: further target images, used only to judge samples. Default: those of `target` beyond n-target; when
        n-target is not given either, a fifth of `target` is held back. At most 10,000 are used.
      conditional: models see the labels.
      size: height and width in pixels that all images are brought to (Pillow's Lanczos filter). Default: the source's.
    """

    source: Path
    target: Path
    reference: Path | None = None
    conditional: bool = False
    size: int | None = None

    def __post_init__(self):
        if self.size is not None and self.size < 1:
            raise UserError(f"size is {self.size}: images need at least one pixel")


def load(config: ImagesConfig, *, n_target: int | None, seed: int, source_seed: int | None = None) -> Problem:
    """Reads, checks and scales; which target rows are learned from depends on (file, n_target, seed) alone.

    Labels that fit stay with the rows for judging where models do not see them. Only rows that are used become floats.

    Raises:
      UserError: see `read_images`; also channels or labels that do not match, or too few images.
    """
    source, pool = read_images(config.source), read_images(config.target)
    size = source.x.shape[1] if config.size is None else config.size
    _check_number(source, config.source, 100)
    num_classes = 0
    if config.conditional:
        _check_labelled(source, config.source)
        num_classes = count_classes(source.y, len(source.x), str(config.source))

    def part(images: Images, rows: slice | np.ndarray, path: Path) -> Data:
        if images.x.shape[3] != source.x.shape[3]:
            colour, grey = (path, config.source) if images.x.shape[3] == 3 else (config.source, path)
            raise UserError(
                f"{colour} is in colour and {grey} in grey: convert one of them, such as colour to grey by the mean "
                "over channels"
            )
        y = _labels(images, source, num_classes, path)
        return Data(to_model(images.x[rows], size), None if y is None else y[rows])

    source_rows = part(source, slice(None), config.source)
    _check_number(pool, config.target, 2)
    learned, spare = split_target(len(pool.x), n_target, all_to_learn=config.reference is not None, seed=seed)
    target = part(pool, learned, config.target)
    reference = None if spare is None else part(pool, spare[:MAX_REFERENCE], config.target)
    if config.reference:
        fresh = read_images(config.reference)
        _check_number(fresh, config.reference, 2)
        order = np.random.default_rng(seed).permutation(len(fresh.x))
        reference = part(fresh, order[:MAX_REFERENCE], config.reference)
    return Problem("images", source_rows, target, reference, num_classes=num_classes, scaler=UNIT)


def _check_number(images: Images, path: Path, least: int) -> None:
    if len(images.x) < least:
        raise UserError(f"{path} has {len(images.x)} image{'s' * (len(images.x) != 1)}: at least {least} are needed")


def _check_labelled(images: Images, path: Path) -> None:
    if images.y is None:
        raise UserError(
            f"{path} has no labels, which a conditional run needs: give a .npz file 'y', a .h5 file 'y' or "
            "'train/target', an idx file its labels file beside it, a folder one sub-folder a class"
        )


def _labels(images: Images, source: Images, num_classes: int, path: Path) -> np.ndarray | None:
    """Labels in the source's numbering, int32 [N]; None where an unconditional run has none that fit.

    Whatever numbers the labels of an unconditional run are, there they are the places among the source's, in order.
    """
    y = images.y
    if images.names is not None:
        number = {name: label for label, name in enumerate(source.names or ())}
        new = [name for name in images.names if name not in number]
        if new and num_classes:
            raise UserError(
                f"{path} has a class {new[0]!r} that the source does not know by this name: name sub-folders by the "
                "source's classes, or by their numbers"
            )
        y = None if new else np.array([number[name] for name in images.names])[y]
    if num_classes:
        _check_labelled(images, path)
        return check_labels(y, len(images.x), num_classes, str(path))
    # Labels that nobody asked for are never refused, whatever they are.
    classes = _classes(source)
    if classes is None or not _are_labels(y, images) or not np.isin(y, classes).all():
        return None
    return np.searchsorted(classes, y).astype(np.int32)


def _classes(source: Images) -> np.ndarray | None:
    """The source's distinct labels in order; None where it has none, or so many that they are no classes."""
    if not _are_labels(source.y, source):
        return None
    classes = np.unique(source.y)
    return classes if 2 * len(classes) <= len(source.x) else None


def _are_labels(y: np.ndarray | None, images: Images) -> TypeGuard[np.ndarray]:
    return y is not None and y.dtype.kind in "iu" and y.shape == (len(images.x),)
