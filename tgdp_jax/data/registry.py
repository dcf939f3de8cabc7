"""The problems that a run can be about: one entry each.

A problem is a config (a frozen dataclass whose fields are its options) and a loader that turns it into a `Problem`. A
new one is a file beside the others and one entry here.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from tgdp_jax.data import arrays, digit_pairs, digits, gaussians, images, text_images
from tgdp_jax.data.ecg import folders as ecg_folders
from tgdp_jax.data.ecg import sim as ecg_sim
from tgdp_jax.data.image_files import files_of
from tgdp_jax.data.problem import Problem, RowKind
from tgdp_jax.data.shapes import problem as shapes
from tgdp_jax.errors import UserError


class Loader(Protocol):
    """Makes a problem of its config: the same rows for the same config, files and seeds."""

    def __call__(self, config: Any, *, n_target: int | None, seed: int, source_seed: int | None = None) -> Problem:
        """Loads, checks, splits and scales.

        Args:
          config: the problem's own.
          n_target: target rows to learn from; None: the problem's default.
          seed: of the split, and of rows that are drawn.
          source_seed: of source rows that are drawn; None: the seed.
        """
        ...


def named_files(config: Any) -> dict[str, Mapping[str, Path]]:
    """The files of every option that is a path and exists, by a name that does not depend on where they lie."""
    paths = {name: value for name, value in vars(config).items() if isinstance(value, Path)}
    return {name: files_of(path) for name, path in paths.items() if path.exists()}


class Entry(NamedTuple):
    """One problem.

    Attributes:
      config: its options, a frozen dataclass.
      load: makes the `Problem`.
      help: what `tgdp run PROBLEM --help` says; the first paragraph stands in lists.
      preset: name in `settings.presets.PRESETS` of the defaults for its kind of data.
      rows: what its rows are; None: its files say it, or a pretrained model.
      files: config -> option -> the files behind it, which identify the data by their contents.
      captions: whether its rows are latents of pictures with captions.
    """

    config: type
    load: Loader
    help: str
    preset: str = "vectors"
    rows: RowKind | None = None
    files: Callable[[Any], Mapping[str, Mapping[str, Path]]] = named_files
    captions: bool = False


PROBLEMS: dict[str, Entry] = {
    "gaussians": Entry(
        gaussians.GaussiansConfig,
        gaussians.load,
        "Two Gaussian mixtures whose true densities are known: the paper's simulation by default.",
        rows="vectors",
    ),
    "arrays": Entry(
        arrays.ArraysConfig,
        arrays.load,
        """Your own rows, from two files: .npz (key x [N, *D], labels y [N]), .npy, .csv, .parquet, or datasets.

        Of tables --columns names the columns to model and --label that of class labels. Text is one-hot, and samples
        are written as a table of the same kind, too (extra `tables`).

        Rows are standardised by the source's mean and standard deviation, and samples mapped back. Metrics are taken on
        target rows that no method sees.
        """,
        files=arrays.ArraysConfig.data_files,
    ),
    "digits": Entry(
        digits.DigitsConfig,
        digits.load,
        "Small hand-written digits, bundled: the target shows other images in another style, or other digits.",
        preset="images",
        rows="images",
    ),
    "digit-pairs": Entry(
        digit_pairs.DigitPairsConfig,
        digit_pairs.load,
        """Small digits of two modalities, bundled: an image and its name as text, or an image's halves.

        `tgdp sample` draws either given the other, or alone, from a finished run.
        """,
        preset="pairs",
        rows="vectors",
    ),
    "images": Entry(
        images.ImagesConfig,
        images.load,
        """Your own images: .npz, .h5 or idx files, or folders of pictures, with class labels where there are any.

        A .npz file has images under x and labels under y (or x_train, y_train), a .h5 file under x and y (or
        train/data, train/target), an idx file (...-images-idx3-ubyte, also .gz) its labels beside it; a folder of .png
        or .jpg files has a sub-folder for every class. Arrays are [N, H, W] or [N, H, W, C], with integers in 0..255 or
        floats in [0, 1].

        Metrics are taken on target images that no method sees. Where the source has labels, a classifier of its classes
        is trained first, on whose features images are compared.
        """,
        preset="images",
        rows="images",
    ),
    "text-images": Entry(
        text_images.TextImagesConfig,
        text_images.load,
        """Your own pictures with captions, for a text-to-image pipeline of diffusers (--pretrained FOLDER).

        Captions are those of metadata.jsonl or metadata.csv (file_name, text), of a .txt file beside every picture, of
        a .npz (x, text) or .parquet (image, text) file, or one --prompt for all. Of a pipeline of labels (DiT) they are
        names of classes, such as those of sub-folders. The run folder gets what diffusers and `tgdp generate` read:
        pytorch_lora_weights.safetensors (lora), learned_embeds.safetensors (textual_inversion) or a whole pipeline
        (finetune, dreambooth; of labels lora too). Needs the extra `text`, but for labels.
        """,
        preset="text",
        files=text_images.TextImagesConfig.data_files,
        captions=True,
    ),
    "shapes": Entry(
        shapes.ShapesConfig,
        shapes.load,
        """Generated pictures of shapes with captions, and a text-to-image pipeline that is trained on them first.

        The source draws plain shapes of captions such as "a large red circle at the left on white", and the target
        outlined ones. Nothing is downloaded: autoencoder, text encoder and U-Net are trained as stages of the run, and
        RUN/source is a folder of diffusers. What samples show is read by closed-form rules, and metrics say how often
        it is what their captions ask for. Needs the extra `text`.
        """,
        preset="shapes",
        captions=True,
    ),
    "ecg-sim": Entry(
        ecg_sim.EcgSimConfig,
        ecg_sim.load,
        "Simulated twelve-lead ECGs: the target is faster, sicker, noisier and of another electrical axis.",
        preset="ecg",
        rows="series",
    ),
    "ecg": Entry(
        ecg_folders.EcgConfig,
        ecg_folders.load,
        """Your own twelve-lead ECGs: the folders of PTB-XL, CPSC 2018 or LUDB as published, or .npz files.

        A .npz file has mV under x [N, T, 8] (I, II, V1..V6) or [N, T, 12], and optionally integer labels y [N], patient
        [N] and rate in Hz. Signals are converted once and kept in the user's cache folder. Metrics are taken on records
        of patients that no method sees. WFDB folders need the extra `ecg`.
        """,
        preset="ecg",
        rows="series",
        files=ecg_folders.data_files,
    ),
}

if TYPE_CHECKING:
    ProblemConfig = Any
else:
    ProblemConfig = functools.reduce(operator.or_, (entry.config for entry in PROBLEMS.values()))


def problem_name(config: Any) -> str:
    """The name in `PROBLEMS` of a problem config.

    Raises:
      UserError: it is of no registered problem.
    """
    for name, entry in PROBLEMS.items():
        if type(config) is entry.config:
            return name
    raise UserError(f"{type(config).__name__} is no problem's config: give one of {', '.join(PROBLEMS)}")


def has_captions(config: Any) -> bool:
    """Whether a problem config is of pictures with captions."""
    return any(entry.captions and type(config) is entry.config for entry in PROBLEMS.values())


def problem_entry(config: Any) -> Entry:
    """The entry in `PROBLEMS` of a problem config.

    Raises:
      UserError: it is of no registered problem.
    """
    return PROBLEMS[problem_name(config)]


def load_problem(config: Any, *, n_target: int | None, seed: int, source_seed: int | None = None) -> Problem:
    """The problem that a problem config describes; `source_seed` (None: the seed) is of drawn source rows.

    Raises:
      UserError: whatever is wrong with its files or options.
    """
    return problem_entry(config).load(config, n_target=n_target, seed=seed, source_seed=source_seed)
