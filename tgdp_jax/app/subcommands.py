"""What the command line offers of each problem: its options, the settings that suit it, and what `--help` says.

`tgdp run`, `compare` and `probe` have a subcommand for every problem, whose options are the fields of one config: the
command's, with the problem's in the place of any problem and the defaults of its kind of data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.extras import SubcommandApp

from tgdp_jax.data.registry import PROBLEMS, Entry
from tgdp_jax.runtime.engine import EngineConfig
from tgdp_jax.settings.presets import PRESETS
from tgdp_jax.settings.run import RunConfig, TrainingConfig

Engine = Annotated[EngineConfig, tyro.conf.arg(name="")]
Out = Annotated[
    Path | None,
    tyro.conf.arg(name="out", help="Folder for the results, below runs/ unless given. An existing one is continued."),
]


def subcommands(kind: type, act: Callable[[Any, Path | None, EngineConfig], None]) -> SubcommandApp:
    """A subcommand for every problem.

    Args:
      kind: `RunConfig`, or another config with a field `problem`.
      act: what is done with a config of that kind, the folder asked for and how it is to be carried out.
    """
    app = SubcommandApp()
    for name, entry in PROBLEMS.items():
        app.command(name=name)(_subcommand(kind, name, entry, act))
    return app


def _subcommand(kind: type, name: str, entry: Entry, act: Callable[..., None]) -> Callable[..., None]:
    # The problem's own options appear without a prefix: --dim, not --problem.dim.
    # A field without a default hides that of `kind`.
    default = dataclasses.field() if _is_of_files(entry.config) else dataclasses.field(default=entry.config())
    problem = ("problem", Annotated[entry.config, tyro.conf.arg(name="")], default)
    preset = PRESETS[entry.preset]
    bases = (kind,) if preset.settings is TrainingConfig else (preset.settings, kind)
    others = preset.defaults.get(kind, {})
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
    command.__doc__ = entry.help if kind is RunConfig else entry.help.partition("\n\n")[0]
    return command


def _is_of_files(config: type) -> bool:
    """Whether a problem is about the user's files, of which there is no default."""
    missing = dataclasses.MISSING
    return any(f.default is missing and f.default_factory is missing for f in dataclasses.fields(config))
