"""The user's own images: files or folders of squares, grey or colour, with class labels where there are any."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from tgdp_jax.data.copies import copy_groups, copy_notes, judging_notes
from tgdp_jax.data.image_files import Images, read_images
from tgdp_jax.data.labels import LabelFile, match_labels
from tgdp_jax.data.pictures import check_background
from tgdp_jax.data.pixels import UNIT, check_size, to_model
from tgdp_jax.data.problem import Data, Problem, split_target
from tgdp_jax.errors import UserError

# Rows to judge by: metrics of images compare every pair.
MAX_REFERENCE = 10_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImagesConfig:
    """Your own images.

    A .npz file has images under `x` and labels under `y` (or `x_train`, `y_train`); a .h5 or .hdf5 file under `x` and
    `y` (or `train/data`, `train/target`); an idx file ...-images-idx3-ubyte (also .gz) its labels in
    ...-labels-idx1-ubyte (also .gz) beside it; a folder of .png, .jpg, .bmp, .tif or .webp files has a sub-folder for
    every class. Labels are integers, or names (of sub-folders, or strings in a file): one name is one class in all
    files. Arrays are [N, H, W], [N, H, W, C] or [N, H * W], C is 1 or 3, with integers in 0..255 or floats in [0, 1].

    Attributes:
      source: file or folder of source images.
      target: the same of the target.
      reference: further target images, used only to judge samples. Default: those of `target` beyond n-target; when
        n-target is not given either, a fifth of `target` is held back. At most 10,000 are used.
      conditional: models see the labels.
      size: height and width in pixels that all images are brought to (Pillow's Lanczos filter). Default: the source's.
      background: what transparent pictures of folders are laid over: white, black or a colour such as #80ff00. Default:
        they are refused.
    """

    source: Path
    target: Path
    reference: Path | None = None
    conditional: bool = False
    size: int | None = None
    background: str | None = None

    def __post_init__(self):
        if self.size is not None and self.size < 1:
            raise UserError(f"size is {self.size}: images need at least one pixel")
        check_background(self.background)


def load(config: ImagesConfig, *, n_target: int | None, seed: int, source_seed: int | None = None) -> Problem:
    """Reads, checks and scales; which target rows are learned from depends on (file, n_target, seed) alone.

    Labels that fit stay with the rows for judging where models do not see them. Only rows that are used become floats.

    Raises:
      UserError: see `read_images`; also channels or labels that do not match, or too few images.
    """
    paths = {"source": config.source, "target": config.target}
    if config.reference is not None:
        paths["reference"] = config.reference
    files = {name: read_images(path, config.background) for name, path in paths.items()}
    source, pool, fresh = files["source"], files["target"], files.get("reference")
    for name, images in files.items():
        _check_number(images, paths[name], 100 if name == "source" else 2)
        _check_channels(images, paths[name], source, config.source)
        if config.conditional:
            _check_labelled(images, paths[name])
    given = {name: LabelFile(images.y, len(images.x), str(paths[name])) for name, images in files.items()}
    labels = match_labels(given, required=config.conditional)
    groups = copy_groups(pool.x)
    notes = [f"{name}: {note}" for name, images in files.items() for note in images.notes]
    notes += [*labels.notes, *copy_notes(groups, "images", split=fresh is None)]
    learned, spare = split_target(groups, n_target, all_to_learn=fresh is not None, seed=seed)
    # Which file judges, and by which rows. Files are often sorted by class: the first rows are not all classes.
    judges = None if spare is None else ("target", spare[:MAX_REFERENCE])
    if fresh is not None:
        judges = "reference", np.random.default_rng(seed).permutation(len(fresh.x))[:MAX_REFERENCE]
    size = source.x.shape[1] if config.size is None else config.size
    rows = len(source.x) + len(learned) + (0 if judges is None else len(judges[1]))
    check_size(rows, size, source.x.shape[3])

    def part(name: str, rows: slice | np.ndarray) -> Data:
        y = labels.y.get(name)
        return Data(to_model(files[name].x[rows], size), None if y is None else y[rows])

    source_rows, target = part("source", slice(None)), part("target", learned)
    reference = None if judges is None else part(*judges)
    if reference is not None:
        notes += judging_notes(reference.x, "images", source=source_rows.x, target=target.x)
    return Problem(
        "images",
        source_rows,
        target,
        reference,
        num_classes=len(labels.classes) if config.conditional else 0,
        scaler=UNIT,
        classes=labels.classes,
        notes=tuple(notes),
    )


def _check_number(images: Images, path: Path, least: int) -> None:
    if len(images.x) < least:
        raise UserError(f"{path} has {len(images.x)} image{'s' * (len(images.x) != 1)}: at least {least} are needed")


def _check_channels(images: Images, path: Path, source: Images, source_path: Path) -> None:
    if images.x.shape[3] != source.x.shape[3]:
        colour, grey = (path, source_path) if images.x.shape[3] == 3 else (source_path, path)
        raise UserError(
            f"{colour} is in colour and {grey} in grey: convert one of them, such as colour to grey by the mean over "
            "channels"
        )


def _check_labelled(images: Images, path: Path) -> None:
    if images.y is None:
        raise UserError(
            f"{path} has no labels, which a conditional run needs: give a .npz file 'y', a .h5 file 'y' or "
            "'train/target', an idx file its labels file beside it, a folder one sub-folder a class"
        )
