"""What each command takes, as functions whose arguments are options, and what it then does."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from tgdp_jax.app.bench.settings import BenchConfig
from tgdp_jax.app.early import (
    check_exists,
    check_generation,
    check_named_paths,
    check_report,
    check_run_folder,
    check_scheduler,
    check_writable,
)
from tgdp_jax.app.help import with_choices
from tgdp_jax.app.logs import check_trackers
from tgdp_jax.app.names import RUNS, compare_folder, probe_folder, run_folder
from tgdp_jax.app.subcommands import Engine, problem_command
from tgdp_jax.runtime.files import check_place
from tgdp_jax.runtime.settings import CompareEngineConfig, EngineConfig, RunEngineConfig
from tgdp_jax.settings.checks import check_sample_number, check_seed
from tgdp_jax.settings.generation import GenerationConfig
from tgdp_jax.settings.run import CompareConfig, ProbeConfig, RunConfig
from tgdp_jax.settings.sampling import SamplingChange
from tgdp_jax.transfer.registry import method_name, method_names

if TYPE_CHECKING:
    Change = SamplingChange
    Generation = GenerationConfig
else:
    Change = with_choices(SamplingChange, "sampling")
    Generation = with_choices(GenerationConfig, "sampling")


def _run(config: RunConfig, out: Path | None, engine: EngineConfig) -> None:
    config = dataclasses.replace(config, method=method_name(config.method))
    check_named_paths(config, out)
    check_trackers(engine.log)
    from tgdp_jax.runtime.engine import running

    if isinstance(engine, RunEngineConfig) and engine.dry_run:
        from tgdp_jax.app.commands.dry_run import dry_run

        with running(engine, stopped="stopped"):
            return dry_run(config)
    from tgdp_jax.app.commands.run import run

    with running(engine):
        run(config, out or run_folder(config), engine)


def _compare(config: CompareConfig, out: Path | None, engine: EngineConfig) -> None:
    config = dataclasses.replace(config, methods=method_names(config.methods))
    check_named_paths(config, out)
    check_trackers(engine.log)
    if isinstance(engine, CompareEngineConfig) and engine.scheduler is not None:
        check_scheduler(engine.scheduler)
    from tgdp_jax.app.commands.compare import compare
    from tgdp_jax.runtime.engine import running

    with running(engine):
        compare(config, out or compare_folder(config), engine)


def _probe(config: ProbeConfig, out: Path | None, engine: EngineConfig) -> None:
    check_named_paths(config, out)
    check_trackers(engine.log)
    from tgdp_jax.app.commands.probe import probe
    from tgdp_jax.runtime.engine import running

    with running(engine):
        probe(config, out or probe_folder(config), engine)


def methods(names: tyro.conf.Positional[tuple[str, ...]] = (), *, out: Path | None = None) -> None:
    """Say what each method is: who proposed it, what it trains and needs, when it fails.

    Args:
      names: two or more are shown side by side, with the rows that differ marked. Default: the cards of all.
      out: HTML file for the cards. Default: none.
    """
    names = method_names(names)
    if out is not None:
        check_place(out)
    from tgdp_jax.app.commands.methods import show_methods

    show_methods(names, out)


def sample(
    run: tyro.conf.Positional[Path],
    *,
    num: int = 1000,
    out: Path = Path("samples.npz"),
    modality: tuple[str, ...] = (),
    given: tuple[str, ...] = (),
    label: tuple[str, ...] = (),
    change: Annotated[Change, tyro.conf.arg(name="")] = Change(),
    engine: Engine = EngineConfig(),
) -> None:
    """Draw more samples from a finished run, as it drew them or in another way. Nothing is trained again.

    The training data are not needed, and the folder may be anywhere. Sample i is the same however many are asked for. A
    run of a network with a time for each modality draws any of them given others, or alone; the file then has an array
    for each by its name, and --scale is the weight of classifier-free guidance towards what is given (1 is exact).

    Args:
      run: folder of a finished run.
      num: how many samples.
      out: .npz file to write, with key x [num, *D] and, for conditional runs, y [num]; or a .csv or .parquet file with
        a column for every number of a row, named as in the table that the source's rows came from.
        In an .npz file, key `about` says what differs from how the run was sampled, if anything does.
      modality: names of the modalities to draw. Default: all that are not given.
      given: NAME=TEXT for text (several, separated by commas, in turn), NAME=FILE.npz with rows under key x for others.
      label: names or numbers of the labels to draw, taken in turn. Default: as often as in the target.
      change: how samples are drawn otherwise. Default: as in the run.
      engine: how it is carried out.
    """
    check_sample_number(num)
    check_run_folder(run)
    check_place(out)
    from tgdp_jax.app.commands.sample import sample_run
    from tgdp_jax.runtime.engine import running

    with running(engine, stopped="stopped; no samples were written; the same command draws them from the start"):
        settings = SamplingChange(**vars(change))
        sample_run(run, num, out, change=settings, label=label, modality=modality, given=given, quiet=engine.quiet)


def generate(
    folder: tyro.conf.Positional[Path],
    config: Annotated[Generation, tyro.conf.arg(name="")],
    *,
    out: Path = Path("pictures"),
    engine: Engine = EngineConfig(),
) -> None:
    """Make pictures from prompts with a text-to-image pipeline of diffusers.

    Picture i is the same however many are asked for. Another prompt, scale or weight compiles nothing anew. Needs the
    extra `text`.

    Args:
      folder: of a pipeline (StableDiffusionPipeline, StableDiffusionXLPipeline), as save_pretrained writes it.
      config: how they are made.
      out: folder for the pictures: a PNG file for each, with its settings in the metadata, and grid.png.
      engine: how it is carried out.
    """
    check_generation(folder, config, out)
    from tgdp_jax.app.commands.generate import generate as make
    from tgdp_jax.runtime.engine import running

    with running(engine, stopped="stopped; the same command makes the pictures from the start"):
        make(folder, config, out, quiet=engine.quiet)


def diagnose(
    *,
    source: Path,
    target: Path,
    columns: tuple[str, ...] = (),
    label: str | None = None,
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Say, before training, whether transfer by density ratio fits two data sets.

    Args:
      source: source rows: a file as of `tgdp run arrays`: .npz (key x [N, *D]), .npy, .csv, .parquet, or datasets.
      target: target rows, likewise.
      columns: of tables: names of the columns to look at, separated by commas. Default: all but the label's.
      label: of tables: name of the column of class labels, which is not looked at.
      seed: of splits and networks.
      out: JSON file for what was measured. Default: none.
    """
    check_exists(source)
    check_exists(target)
    check_seed(seed)
    check_report(out)
    from tgdp_jax.app.commands.diagnose import diagnose_files

    diagnose_files(source, target, seed, out, columns=columns, label=label)


def devices(engine: Engine = EngineConfig()) -> None:
    """Say which devices are found and used."""
    from tgdp_jax.runtime.engine import describe, running

    with running(engine):
        print(describe())


def bench(config: Annotated[BenchConfig, tyro.conf.arg(name="")], out: Path | None = None) -> None:
    """Measure samples per second, the share of the machine's speed that they reach, and what training costs.

    Without --run the samplers are embedded networks of several sizes with random weights.

    Args:
      config: what is measured.
      out: Folder for the results, below runs/ unless given. Those of an earlier bench are replaced.
    """
    parts = ["bench", *([config.run.name] if config.run else []), *(["torch"] if config.against else [])]
    parts += [*([config.precision] if config.precision != "float32" else []), *(["quick"] if config.quick else [])]
    out = out or RUNS / "-".join(parts)
    if config.run is not None:
        check_run_folder(config.run)
    check_writable(out)
    from tgdp_jax.app.commands.bench import bench as measure

    measure(config, out)


def _command(function: Callable[..., None]) -> Callable[[list[str]], None]:
    """(words) -> the function called with what they say."""
    prog = f"tgdp {function.__name__}"
    return lambda words: tyro.cli(function, prog=prog, args=[_HELP if word == "--help-all" else word for word in words])


_HELP = "--help"
ENTRIES: dict[str, Callable[[list[str]], None]] = {
    "run": functools.partial(problem_command, "run", RunConfig, _run),
    "compare": functools.partial(problem_command, "compare", CompareConfig, _compare),
    "probe": functools.partial(problem_command, "probe", ProbeConfig, _probe),
    **{function.__name__: _command(function) for function in (sample, generate, diagnose, methods, bench, devices)},
}
