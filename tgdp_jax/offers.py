"""What the command line offers of each problem: its options, the settings that suit it, and what `--help` says.

`tgdp run`, `compare` and `probe` have a subcommand for every problem, whose options are the fields of one config: the
command's, with the problem's in the place of any problem and the defaults of its kind of data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro
from tyro.extras import SubcommandApp

from tgdp_jax.config import PROBLEMS, CompareConfig, RunConfig
from tgdp_jax.ecg_settings import EcgTrainingConfig
from tgdp_jax.engine import EngineConfig
from tgdp_jax.image_settings import ImageTrainingConfig
from tgdp_jax.settings import NetworkConfig, TrainingConfig

Engine = Annotated[EngineConfig, tyro.conf.arg(name="")]
Out = Annotated[
    Path | None,
    tyro.conf.arg(name="out", help="Folder for the results, below runs/ unless given. An existing one is continued."),
]

# References that look at coordinates have nothing to say of pixels, nor of samples of a signal.
_FEW_METHODS = "tgdp,discriminator_guidance,finetune,scratch,source"
_IMAGES = {"methods": _FEW_METHODS, "n_targets": "10,50,200"}
_ECG = {"methods": _FEW_METHODS, "n_targets": "50,200,690"}


class Offer(NamedTuple):
    """One problem on the command line.

    Attributes:
      help: what `--help` of `tgdp run` says; the others say its first paragraph.
      settings: `TrainingConfig`, or one with defaults for such data.
      defaults: by kind of config, of fields of its own or of the settings.
      own_data: whether it is about files of the user's, of which there is no default.
    """

    help: str
    settings: type = TrainingConfig
    defaults: Mapping[type, Mapping[str, Any]] = {}
    own_data: bool = False


# What one modality tells of another is decided at large times.
_PAIRS = {
    "network": NetworkConfig(kind="multimodal"),
    "source": dataclasses.replace(ImageTrainingConfig().source, weighting="edm"),
}
OFFERS = {
    "gaussians": Offer("Two Gaussian mixtures whose true densities are known: the paper's simulation by default."),
    "arrays": Offer(
        """Your own rows, from two .npz files (key x [N, *D], integer labels y [N]).

        Rows are standardised by the source's mean and standard deviation, and samples mapped back. Metrics are taken on
        target rows that no method sees.
        """,
        own_data=True,
    ),
    "digits": Offer(
        "Small hand-written digits, bundled: the target shows other images in another style, or other digits.",
        ImageTrainingConfig,
        {CompareConfig: _IMAGES},
    ),
    "digit-pairs": Offer(
        """Small digits of two modalities, bundled: an image and its name as text, or an image's halves.

        `tgdp sample` draws either given the other, or alone, from a finished run.
        """,
        ImageTrainingConfig,
        {RunConfig: {"method": "multimodal", **_PAIRS}, CompareConfig: {**_IMAGES, **_PAIRS}},
    ),
    "images": Offer(
        """Your own images: .npz, .h5 or idx files, or folders of pictures, with class labels where there are any.

        A .npz file has images under x and labels under y (or x_train, y_train), a .h5 file under x and y (or
        train/data, train/target), an idx file (...-images-idx3-ubyte, also .gz) its labels beside it; a folder of .png
        or .jpg files has a sub-folder for every class. Arrays are [N, H, W] or [N, H, W, C], with integers in 0..255 or
        floats in [0, 1].

        Metrics are taken on target images that no method sees. Where the source has labels, a classifier of its classes
        is trained first, on whose features images are compared.
        """,
        ImageTrainingConfig,
        {CompareConfig: _IMAGES},
        own_data=True,
    ),
    "ecg-sim": Offer(
        "Simulated twelve-lead ECGs: the target is faster, sicker, noisier and of another electrical axis.",
        EcgTrainingConfig,
        {CompareConfig: _ECG},
    ),
    "ecg": Offer(
        """Your own twelve-lead ECGs: the folders of PTB-XL, CPSC 2018 or LUDB as published, or .npz files.

        A .npz file has mV under x [N, T, 8] (I, II, V1..V6) or [N, T, 12], and optionally integer labels y [N], patient
        [N] and rate in Hz. Signals are converted once and kept in the user's cache folder. Metrics are taken on records
        of patients that no method sees. WFDB folders need the extra `ecg`.
        """,
        EcgTrainingConfig,
        {CompareConfig: _ECG},
        own_data=True,
    ),
}
assert OFFERS.keys() == PROBLEMS.keys()


def subcommands(kind: type, act: Callable[[Any, Path | None, EngineConfig], None]) -> SubcommandApp:
    """A subcommand for every problem.

    Args:
      kind: `RunConfig`, or another config with a field `problem`.
      act: what is done with a config of that kind, the folder asked for and how it is to be carried out.
    """
    app = SubcommandApp()
    for name, offer in OFFERS.items():
        app.command(name=name)(_subcommand(kind, name, offer, act))
    return app


def _subcommand(kind: type, name: str, offer: Offer, act: Callable[..., None]) -> Callable[..., None]:
    # The problem's own options appear without a prefix: --dim, not --problem.dim.
    # A field without a default hides that of `kind`.
    default = dataclasses.field() if offer.own_data else dataclasses.field(default=PROBLEMS[name]())
    problem = ("problem", Annotated[PROBLEMS[name], tyro.conf.arg(name="")], default)
    bases = (kind,) if offer.settings is TrainingConfig else (offer.settings, kind)
    others = offer.defaults.get(kind, {})
    config = dataclasses.make_dataclass(
        f"{kind.__name__}Of{name.title().replace('-', '')}",
        [problem, *((key, type(value), dataclasses.field(default=value)) for key, value in others.items())],
        bases=bases,
        namespace={"__doc__": f"`{kind.__name__}` of {name}."},
        frozen=True,
        kw_only=True,
    )

    def command(config: Any, out: Any = None, engine: Any = EngineConfig()) -> None:
        act(kind(**{field.name: getattr(config, field.name) for field in dataclasses.fields(kind)}), out, engine)

    command.__annotations__ = {
        "config": Annotated[config, tyro.conf.arg(name="")],
        "out": Out,
        "engine": Engine,
        "return": None,
    }
    command.__doc__ = offer.help if kind is RunConfig else offer.help.partition("\n\n")[0]
    return command
