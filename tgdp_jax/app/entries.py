"""What each command takes, as functions whose arguments are options, and what it then does."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

from tgdp_jax.app.bench.settings import BenchConfig
from tgdp_jax.app.early import check_exists, check_named_paths, check_run_folder
from tgdp_jax.app.subcommands import Engine, problem_command
from tgdp_jax.data.registry import problem_name
from tgdp_jax.runtime.engine import EngineConfig, describe, running
from tgdp_jax.settings.run import CompareConfig, ProbeConfig, RunConfig


def _run(config: RunConfig, out: Path | None, engine: EngineConfig) -> None:
    check_named_paths(config)
    from tgdp_jax.app.commands.run import run
    from tgdp_jax.transfer import method_name

    config = dataclasses.replace(config, method=method_name(config.method))
    name = problem_name(config.problem)
    size = "" if config.n_target is None else f"-n{config.n_target}"
    with running(engine):
        run(config, out or Path("runs") / f"{name}-{config.method}{size}-seed{config.seed}", engine)


def _compare(config: CompareConfig, out: Path | None, engine: EngineConfig) -> None:
    check_named_paths(config)
    from tgdp_jax.app.commands.compare import compare
    from tgdp_jax.transfer import method_names

    config = dataclasses.replace(config, methods=method_names(config.methods))
    name = problem_name(config.problem)
    with running(engine):
        compare(config, out or Path("runs") / f"compare-{name}", engine)


def _probe(config: ProbeConfig, out: Path | None, engine: EngineConfig) -> None:
    check_named_paths(config)
    from tgdp_jax.app.commands.probe import probe

    with running(engine):
        probe(config, out or Path("runs") / f"probe-{problem_name(config.problem)}-seed{config.seed}", engine)


def methods(names: tyro.conf.Positional[tuple[str, ...]] = (), *, out: Path | None = None) -> None:
    """Say what each method is: who proposed it, what it trains and needs, when it fails.

    Args:
      names: two or more are shown side by side, with the rows that differ marked. Default: the cards of all.
      out: HTML file for the cards. Default: none.
    """
    from tgdp_jax.app.commands.methods import show_methods

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
      out: .npz file to write, with key x [num, *D] and, for conditional runs, y [num]; or a .csv or .parquet file with
        a column for every number of a row, named as in the table that the source's rows came from.
      modality: names of the modalities to draw. Default: all that are not given.
      given: NAME=TEXT for text (several, separated by commas, in turn), NAME=FILE.npz with rows under key x for others.
      scale: weight of classifier-free guidance towards what is given; 1 is exact.
      engine: how it is carried out.
    """
    check_run_folder(run)
    from tgdp_jax.app.commands.run import sample_run

    with running(engine, stopped="stopped; no samples were written; the same command draws them from the start"):
        sample_run(run, num, out, modality=modality, given=given, scale=scale, quiet=engine.quiet)


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
    from tgdp_jax.app.commands.diagnose import diagnose_files

    diagnose_files(source, target, seed, out, columns=columns, label=label)


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
    from tgdp_jax.app.commands.bench import bench as measure

    parts = ["bench", *([config.run.name] if config.run else []), *(["torch"] if config.against else [])]
    parts += [*([config.precision] if config.precision != "float32" else []), *(["quick"] if config.quick else [])]
    measure(config, out or Path("runs") / "-".join(parts))


def _command(function: Callable[..., None]) -> Callable[[list[str]], None]:
    """(words) -> the function called with what they say."""
    prog = f"tgdp {function.__name__}"
    return lambda words: tyro.cli(function, prog=prog, args=[_HELP if word == "--help-all" else word for word in words])


_HELP = "--help"
ENTRIES: dict[str, Callable[[list[str]], None]] = {
    "run": functools.partial(problem_command, "run", RunConfig, _run),
    "compare": functools.partial(problem_command, "compare", CompareConfig, _compare),
    "probe": functools.partial(problem_command, "probe", ProbeConfig, _probe),
    **{function.__name__: _command(function) for function in (sample, diagnose, methods, bench, devices)},
}
