"""The command line: `tgdp run`, `compare`, `probe`, `methods`, `sample`, `diagnose`, `devices`, `bench`.

Options are fields of configs.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.extras import SubcommandApp

from tgdp_jax.bench.settings import BenchConfig
from tgdp_jax.config import CompareConfig, ProbeConfig, RunConfig, problem_name
from tgdp_jax.data.arrays import ArraysConfig
from tgdp_jax.data.digit_pairs import DigitPairsConfig
from tgdp_jax.data.digits import DigitsConfig
from tgdp_jax.data.ecg.folders import EcgConfig
from tgdp_jax.data.ecg.sim import EcgSimConfig
from tgdp_jax.data.gaussians import GaussiansConfig
from tgdp_jax.data.images import ImagesConfig
from tgdp_jax.ecg_settings import EcgTrainingConfig
from tgdp_jax.engine import EngineConfig, describe, running
from tgdp_jax.errors import UserError
from tgdp_jax.settings import ImageTrainingConfig, NetworkConfig

# References that look at coordinates have nothing to say of pixels, nor of samples of a signal.
IMAGE_METHODS = "tgdp,discriminator_guidance,finetune,scratch,source"
PAIRS_NETWORK = NetworkConfig(kind="multimodal")

# The problem's own options appear without a prefix: --dim, not --problem.dim.
Gaussians = Annotated[GaussiansConfig, tyro.conf.arg(name="")]
Arrays = Annotated[ArraysConfig, tyro.conf.arg(name="")]
Digits = Annotated[DigitsConfig, tyro.conf.arg(name="")]
DigitPairs = Annotated[DigitPairsConfig, tyro.conf.arg(name="")]
Images = Annotated[ImagesConfig, tyro.conf.arg(name="")]
EcgSim = Annotated[EcgSimConfig, tyro.conf.arg(name="")]
Ecg = Annotated[EcgConfig, tyro.conf.arg(name="")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunGaussians(RunConfig):
    """`RunConfig` on Gaussian mixtures."""

    problem: Gaussians = GaussiansConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunArrays(RunConfig):
    """`RunConfig` on the user's rows."""

    problem: Arrays = dataclasses.field()  # no default: there is none for a user's own files


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunDigits(ImageTrainingConfig, RunConfig):
    """`RunConfig` on small digits."""

    problem: Digits = DigitsConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunDigitPairs(ImageTrainingConfig, RunConfig):
    """`RunConfig` on small digits of two modalities."""

    problem: DigitPairs = DigitPairsConfig()
    method: str = "multimodal"
    network: NetworkConfig = PAIRS_NETWORK


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunImages(ImageTrainingConfig, RunConfig):
    """`RunConfig` on the user's images."""

    problem: Images = dataclasses.field()


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunEcgSim(EcgTrainingConfig, RunConfig):
    """`RunConfig` on simulated ECGs."""

    problem: EcgSim = EcgSimConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunEcg(EcgTrainingConfig, RunConfig):
    """`RunConfig` on the user's ECGs."""

    problem: Ecg = dataclasses.field()


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareGaussians(CompareConfig):
    """`CompareConfig` on Gaussian mixtures."""

    problem: Gaussians = GaussiansConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareArrays(CompareConfig):
    """`CompareConfig` on the user's rows."""

    problem: Arrays = dataclasses.field()


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareDigits(ImageTrainingConfig, CompareConfig):
    """`CompareConfig` on small digits."""

    problem: Digits = DigitsConfig()
    methods: str = IMAGE_METHODS
    n_targets: str = "10,50,200"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareDigitPairs(ImageTrainingConfig, CompareConfig):
    """`CompareConfig` on small digits of two modalities."""

    problem: DigitPairs = DigitPairsConfig()
    methods: str = IMAGE_METHODS
    n_targets: str = "10,50,200"
    network: NetworkConfig = PAIRS_NETWORK


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareImages(ImageTrainingConfig, CompareConfig):
    """`CompareConfig` on the user's images."""

    problem: Images = dataclasses.field()
    methods: str = IMAGE_METHODS
    n_targets: str = "10,50,200"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareEcgSim(EcgTrainingConfig, CompareConfig):
    """`CompareConfig` on simulated ECGs."""

    problem: EcgSim = EcgSimConfig()
    methods: str = IMAGE_METHODS
    n_targets: str = "50,200,690"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareEcg(EcgTrainingConfig, CompareConfig):
    """`CompareConfig` on the user's ECGs."""

    problem: Ecg = dataclasses.field()
    methods: str = IMAGE_METHODS
    n_targets: str = "50,200,690"


class ProbeGaussians(ProbeConfig):
    """`ProbeConfig` on Gaussian mixtures."""

    problem: Gaussians = GaussiansConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeArrays(ProbeConfig):
    """`ProbeConfig` on the user's rows."""

    problem: Arrays = dataclasses.field()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeDigits(ImageTrainingConfig, ProbeConfig):
    """`ProbeConfig` on small digits."""

    problem: Digits = DigitsConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeImages(ImageTrainingConfig, ProbeConfig):
    """`ProbeConfig` on the user's images."""

    problem: Images = dataclasses.field()


Engine = Annotated[EngineConfig, tyro.conf.arg(name="")]
Out = Annotated[
    Path | None,
    tyro.conf.arg(name="out", help="Folder for the results, below runs/ unless given. An existing one is continued."),
]


def _plain(config: Any, kind: type) -> Any:
    """The command line's config as the library's."""
    return kind(**{f.name: getattr(config, f.name) for f in dataclasses.fields(kind)})


def _run(config: Any, out: Path | None, engine: EngineConfig) -> None:
    from tgdp_jax.commands.run import run
    from tgdp_jax.transfer import method_name

    config = _plain(config, RunConfig)
    config = dataclasses.replace(config, method=method_name(config.method))
    name = problem_name(config.problem)
    size = "" if config.n_target is None else f"-n{config.n_target}"
    with running(engine):
        run(config, out or Path("runs") / f"{name}-{config.method}{size}-seed{config.seed}", engine)


def _compare(config: Any, out: Path | None, engine: EngineConfig) -> None:
    from tgdp_jax.commands.compare import compare
    from tgdp_jax.transfer import method_name

    config = _plain(config, CompareConfig)
    config = dataclasses.replace(config, methods=",".join(dict.fromkeys(map(method_name, config.method_list))))
    name = problem_name(config.problem)
    with running(engine):
        compare(config, out or Path("runs") / f"compare-{name}", engine)


def run_gaussians(
    config: Annotated[RunGaussians, tyro.conf.arg(name="")], out: Out = None, engine: Engine = EngineConfig()
) -> None:
    """Two Gaussian mixtures whose true densities are known: the paper's simulation by default."""
    _run(config, out, engine)


def run_arrays(
    config: Annotated[RunArrays, tyro.conf.arg(name="")], out: Out = None, engine: Engine = EngineConfig()
) -> None:
    """Your own rows, from two .npz files (key x [N, *D], integer labels y [N]).

    Rows are standardised by the source's mean and standard deviation, and samples mapped back. Metrics are taken on
    target rows that no method sees.
    """
    _run(config, out, engine)


def run_digits(
    config: Annotated[RunDigits, tyro.conf.arg(name="")], out: Out = None, engine: Engine = EngineConfig()
) -> None:
    """Small hand-written digits, bundled: the target shows other images in another style, or other digits."""
    _run(config, out, engine)


def run_digit_pairs(
    config: Annotated[RunDigitPairs, tyro.conf.arg(name="")], out: Out = None, engine: Engine = EngineConfig()
) -> None:
    """Small digits of two modalities, bundled: an image and its name as text, or an image's halves.

    `tgdp sample` then draws either given the other, or alone.
    """
    _run(config, out, engine)


def run_images(
    config: Annotated[RunImages, tyro.conf.arg(name="")], out: Out = None, engine: Engine = EngineConfig()
) -> None:
    """Your own images: .npz, .h5 or idx files, or folders of pictures, with class labels where there are any.

    A .npz file has images under x and labels under y (or x_train, y_train), a .h5 file under x and y (or train/data,
    train/target), an idx file (...-images-idx3-ubyte, also .gz) its labels beside it; a folder of .png or .jpg files
    has a sub-folder for every class. Arrays are [N, H, W] or [N, H, W, C], with integers in 0..255 or floats in [0, 1].

    Metrics are taken on target images that no method sees. Where the source has labels, a classifier of its classes is
    trained first, on whose features images are compared.
    """
    _run(config, out, engine)


def run_ecg_sim(
    config: Annotated[RunEcgSim, tyro.conf.arg(name="")], out: Out = None, engine: Engine = EngineConfig()
) -> None:
    """Simulated twelve-lead ECGs: the target is faster, sicker, noisier and of another electrical axis."""
    _run(config, out, engine)


def run_ecg(
    config: Annotated[RunEcg, tyro.conf.arg(name="")], out: Out = None, engine: Engine = EngineConfig()
) -> None:
    """Your own twelve-lead ECGs: the folders of PTB-XL, CPSC 2018 or LUDB as published, or .npz files.

    A .npz file has mV under x [N, T, 8] (I, II, V1..V6) or [N, T, 12], and optionally integer labels y [N], patient [N]
    and rate in Hz. Signals are converted once and kept in the user's cache folder. Metrics are taken on records of
    patients that no method sees. WFDB folders need the extra `ecg`.
    """
    _run(config, out, engine)


def compare_gaussians(
    config: Annotated[CompareGaussians, tyro.conf.arg(name="")], out: Out = None, engine: Engine = EngineConfig()
) -> None:
    """Two Gaussian mixtures whose true densities are known."""
    _compare(config, out, engine)


def compare_arrays(
    config: Annotated[CompareArrays, tyro.conf.arg(name="")], out: Out = None, engine: Engine = EngineConfig()
) -> None:
    """Your own rows, from two .npz files."""
    _compare(config, out, engine)


def compare_digits(
    config: Annotated[CompareDigits, tyro.conf.arg(name="")], out: Out = None, engine: Engine = EngineConfig()
) -> None:
    """Small hand-written digits, bundled."""
    _compare(config, out, engine)


def compare_digit_pairs(
    config: Annotated[CompareDigitPairs, tyro.conf.arg(name="")], out: Out = None, engine: Engine = EngineConfig()
) -> None:
    """Small digits of two modalities, bundled."""
    _compare(config, out, engine)


def compare_images(
    config: Annotated[CompareImages, tyro.conf.arg(name="")], out: Out = None, engine: Engine = EngineConfig()
) -> None:
    """Your own images."""
    _compare(config, out, engine)


def compare_ecg_sim(
    config: Annotated[CompareEcgSim, tyro.conf.arg(name="")], out: Out = None, engine: Engine = EngineConfig()
) -> None:
    """Simulated twelve-lead ECGs."""
    _compare(config, out, engine)


def compare_ecg(
    config: Annotated[CompareEcg, tyro.conf.arg(name="")], out: Out = None, engine: Engine = EngineConfig()
) -> None:
    """Your own twelve-lead ECGs."""
    _compare(config, out, engine)


def _probe(config: Any, out: Path | None, engine: EngineConfig) -> None:
    from tgdp_jax.commands.probe import probe

    config = _plain(config, ProbeConfig)
    with running(engine):
        probe(config, out or Path("runs") / f"probe-{problem_name(config.problem)}-seed{config.seed}", engine)


def probe_gaussians(
    config: Annotated[ProbeGaussians, tyro.conf.arg(name="")], out: Out = None, engine: Engine = EngineConfig()
) -> None:
    """Two Gaussian mixtures; the label is the component."""
    _probe(config, out, engine)


def probe_arrays(
    config: Annotated[ProbeArrays, tyro.conf.arg(name="")], out: Out = None, engine: Engine = EngineConfig()
) -> None:
    """Your own rows with labels, from two .npz files (keys x and y)."""
    _probe(config, out, engine)


def probe_digits(
    config: Annotated[ProbeDigits, tyro.conf.arg(name="")], out: Out = None, engine: Engine = EngineConfig()
) -> None:
    """Small hand-written digits, bundled."""
    _probe(config, out, engine)


def probe_images(
    config: Annotated[ProbeImages, tyro.conf.arg(name="")], out: Out = None, engine: Engine = EngineConfig()
) -> None:
    """Your own images with class labels."""
    _probe(config, out, engine)


def methods(names: tyro.conf.Positional[tuple[str, ...]] = (), *, out: Path | None = None) -> None:
    """Say what each method is: who proposed it, what it trains and needs, when it fails.

    Args:
      names: two or more are shown side by side, with the rows that differ marked. Default: the cards of all.
      out: HTML file for the cards. Default: none.
    """
    from tgdp_jax.commands.methods import show_methods

    show_methods(names, out)


def sample(
    run: tyro.conf.Positional[Path],
    *,
    num: int = 1000,
    out: Path = Path("samples.npz"),
    modality: tuple[str, ...] = (),
    given: tuple[str, ...] = (),
    scale: float = 1.0,
    engine: Engine = EngineConfig(),
) -> None:
    """Draw more samples from a finished run. Sample i is the same however many are asked for.

    A run of a network with a time for each modality draws any of them given others, or alone; the file then has an
    array for each by its name.

    Args:
      run: folder of a finished run.
      num: how many samples.
      out: file to write, with key x [num, *D] and, for conditional runs, y [num].
      modality: names of the modalities to draw. Default: all that are not given.
      given: NAME=TEXT for text (several, separated by commas, in turn), NAME=FILE.npz with rows under key x for others.
      scale: weight of classifier-free guidance towards what is given; 1 is exact.
      engine: how it is carried out.
    """
    from tgdp_jax.commands.run import sample_run

    with running(engine):
        sample_run(run, num, out, modality=modality, given=given, scale=scale)


def diagnose(*, source: Path, target: Path, seed: int = 0, out: Path | None = None) -> None:
    """Say, before training, whether transfer by density ratio fits two data sets.

    Args:
      source: .npz file with source rows under key x [N, *D].
      target: .npz file with target rows under key x [n, *D].
      seed: of splits and networks.
      out: JSON file for what was measured. Default: none.
    """
    from tgdp_jax.commands.diagnose import diagnose_files

    diagnose_files(source, target, seed, out)


def devices(engine: Engine = EngineConfig()) -> None:
    """Say which devices are found and used."""
    with running(engine):
        print(describe())


def bench(config: Annotated[BenchConfig, tyro.conf.arg(name="")], out: Path | None = None) -> None:
    """Measure samples per second, the share of the machine's speed that they reach, and what training costs.

    Without --run the samplers are embedded networks of several sizes with random weights.

    Args:
      config: what is measured.
      out: Folder for the results, below runs/ unless given. Those of an earlier bench are replaced.
    """
    from tgdp_jax.commands.bench import bench as measure

    parts = ["bench", *([config.run.name] if config.run else []), *(["torch"] if config.against else [])]
    parts += [*([config.precision] if config.precision != "float32" else []), *(["quick"] if config.quick else [])]
    measure(config, out or Path("runs") / "-".join(parts))


RUN, COMPARE, PROBE, APP = SubcommandApp(), SubcommandApp(), SubcommandApp(), SubcommandApp()
RUN.command(name="gaussians")(run_gaussians)
RUN.command(name="arrays")(run_arrays)
RUN.command(name="digits")(run_digits)
RUN.command(name="digit-pairs")(run_digit_pairs)
RUN.command(name="images")(run_images)
RUN.command(name="ecg-sim")(run_ecg_sim)
RUN.command(name="ecg")(run_ecg)
COMPARE.command(name="gaussians")(compare_gaussians)
COMPARE.command(name="arrays")(compare_arrays)
COMPARE.command(name="digits")(compare_digits)
COMPARE.command(name="digit-pairs")(compare_digit_pairs)
COMPARE.command(name="images")(compare_images)
COMPARE.command(name="ecg-sim")(compare_ecg_sim)
COMPARE.command(name="ecg")(compare_ecg)
APP.command(RUN, name="run", help="Train one method on a problem, sample, measure and report.")
APP.command(COMPARE, name="compare", help="Several methods on a problem, side by side over target sizes and seeds.")
PROBE.command(name="gaussians")(probe_gaussians)
PROBE.command(name="arrays")(probe_arrays)
PROBE.command(name="digits")(probe_digits)
PROBE.command(name="images")(probe_images)
APP.command(
    PROBE, name="probe", help="What the features of source models know of the labels, by layer and noise level."
)
APP.command(name="methods")(methods)
APP.command(name="sample")(sample)
APP.command(name="diagnose")(diagnose)
APP.command(name="devices")(devices)
APP.command(name="bench")(bench)


def main(arguments: list[str] | None = None) -> None:
    """Entry point. A `UserError` prints as one sentence and exits with code 2."""
    try:
        APP.cli(
            prog="tgdp",
            description="Carry a pretrained diffusion model over to a small target, and know whether it worked.",
            args=arguments,
        )
    except UserError as error:
        print(f"tgdp: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
