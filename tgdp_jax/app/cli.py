"""The command line: `tgdp run`, `compare`, `probe`, `methods`, `sample`, `diagnose`, `devices`, `bench`.

Options are fields of configs.
"""

from __future__ import annotations

import dataclasses
import logging
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.extras import SubcommandApp

from tgdp_jax.app.arguments import prepared
from tgdp_jax.app.bench.settings import BenchConfig
from tgdp_jax.app.subcommands import Engine, subcommands
from tgdp_jax.data.registry import problem_name
from tgdp_jax.errors import UserError, explained
from tgdp_jax.runtime.engine import EngineConfig, describe, running
from tgdp_jax.settings.run import CompareConfig, ProbeConfig, RunConfig


def _run(config: RunConfig, out: Path | None, engine: EngineConfig) -> None:
    from tgdp_jax.app.commands.run import run
    from tgdp_jax.transfer import method_name

    config = dataclasses.replace(config, method=method_name(config.method))
    name = problem_name(config.problem)
    size = "" if config.n_target is None else f"-n{config.n_target}"
    with running(engine):
        run(config, out or Path("runs") / f"{name}-{config.method}{size}-seed{config.seed}", engine)


def _compare(config: CompareConfig, out: Path | None, engine: EngineConfig) -> None:
    from tgdp_jax.app.commands.compare import compare
    from tgdp_jax.transfer import method_names

    config = dataclasses.replace(config, methods=method_names(config.methods))
    name = problem_name(config.problem)
    with running(engine):
        compare(config, out or Path("runs") / f"compare-{name}", engine)


def _probe(config: ProbeConfig, out: Path | None, engine: EngineConfig) -> None:
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
      out: file to write, with key x [num, *D] and, for conditional runs, y [num].
      modality: names of the modalities to draw. Default: all that are not given.
      given: NAME=TEXT for text (several, separated by commas, in turn), NAME=FILE.npz with rows under key x for others.
      scale: weight of classifier-free guidance towards what is given; 1 is exact.
      engine: how it is carried out.
    """
    from tgdp_jax.app.commands.run import sample_run

    with running(engine, stopped="stopped; no samples were written; the same command draws them from the start"):
        sample_run(run, num, out, modality=modality, given=given, scale=scale)


def diagnose(*, source: Path, target: Path, seed: int = 0, out: Path | None = None) -> None:
    """Say, before training, whether transfer by density ratio fits two data sets.

    Args:
      source: .npz file with source rows under key x [N, *D].
      target: .npz file with target rows under key x [n, *D].
      seed: of splits and networks.
      out: JSON file for what was measured. Default: none.
    """
    from tgdp_jax.app.commands.diagnose import diagnose_files

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
    from tgdp_jax.app.commands.bench import bench as measure

    parts = ["bench", *([config.run.name] if config.run else []), *(["torch"] if config.against else [])]
    parts += [*([config.precision] if config.precision != "float32" else []), *(["quick"] if config.quick else [])]
    measure(config, out or Path("runs") / "-".join(parts))


APP = SubcommandApp()
APP.command(subcommands(RunConfig, _run), name="run", help="Train one method on a problem, sample, measure and report.")
APP.command(
    subcommands(CompareConfig, _compare),
    name="compare",
    help="Several methods on a problem, side by side over target sizes and seeds.",
)
APP.command(
    subcommands(ProbeConfig, _probe),
    name="probe",
    help="What the features of source models know of the labels, by layer and noise level.",
)
APP.command(name="methods")(methods)
APP.command(name="sample")(sample)
APP.command(name="diagnose")(diagnose)
APP.command(name="devices")(devices)
APP.command(name="bench")(bench)


def main(arguments: list[str] | None = None) -> None:
    """Entry point. A `UserError`, and what is `explained`, print as one sentence and exit with code 2."""
    _hush()
    try:
        with explained():
            APP.cli(
                prog="tgdp",
                description="Carry a pretrained diffusion model over to a small target, and know whether it worked.",
                args=prepared(sys.argv[1:] if arguments is None else arguments),
            )
    except UserError as error:
        print(f"tgdp: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:  # before or after the work, which `running` ends
        print("tgdp: stopped", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def _hush() -> None:
    """Keeps the storage layer's threads from printing tracebacks of what is raised here too, and said in a sentence."""
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    others = sys.unraisablehook

    def hook(found: Any) -> None:
        # A read that failed is over; parts of it that arrive afterwards find nobody.
        if str(found.exc_value) != "Event loop is closed":
            others(found)

    sys.unraisablehook = hook


if __name__ == "__main__":
    main()
