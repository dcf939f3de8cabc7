"""Where results go without --out: names that say the data and the method, and are one config's own."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from tgdp_jax.app.command_line import options
from tgdp_jax.app.subcommands import config_class
from tgdp_jax.data.registry import PROBLEMS, problem_name
from tgdp_jax.settings.run import CompareConfig, ProbeConfig, RunConfig
from tgdp_jax.settings.stored import fingerprint

RUNS = Path("runs")
LONGEST = 40  # of a file's part in a name


def run_folder(config: RunConfig) -> Path:
    """Of a run, such as runs/arrays-mice-men-lora-n50-seed0-1f3c9a."""
    size = "" if config.n_target is None else f"-n{config.n_target}"
    told = {"method": config.method, "n_target": config.n_target, "seed": config.seed}
    return _named(f"{_data(config)}-{config.method}{size}-seed{config.seed}", RunConfig, config, told)


def compare_folder(config: CompareConfig) -> Path:
    """Of a comparison, such as runs/compare-gaussians."""
    return _named(f"compare-{_data(config)}", CompareConfig, config, {})


def probe_folder(config: ProbeConfig) -> Path:
    """Of a probe, such as runs/probe-digits-seed0."""
    return _named(f"probe-{_data(config)}-seed{config.seed}", ProbeConfig, config, {"seed": config.seed})


def _data(config: Any) -> str:
    """The problem's name, and those of its source and target where they are files."""
    paths = [getattr(config.problem, name, None) for name in ("source", "target")]
    return "-".join([problem_name(config.problem), *(_stem(path) for path in paths if isinstance(path, Path))])


def _stem(path: Path) -> str:
    """A file's name without its endings, or a folder's."""
    name = path.absolute().name
    plain = name.partition(".")[0] or name.strip(".")
    return re.sub(r"[^\w-]+", "_", plain)[:LONGEST] or "data"


def _named(name: str, kind: type, config: Any, told: dict[str, Any]) -> Path:
    """A folder of that name; with a mark of the settings where these are not the defaults of what the name tells.

    The mark is of the options that differ from the defaults, so that the command gives the same folder each time, and
    also after a later version has brought more options.
    """
    problem = problem_name(config.problem)
    default = config_class(kind, problem, PROBLEMS[problem])(problem=config.problem)
    plain = dataclasses.replace(config, **{field: getattr(default, field) for field in told})
    differing = options(kind, plain)
    return RUNS / (f"{name}-{fingerprint(differing)[:6]}" if differing else name)
