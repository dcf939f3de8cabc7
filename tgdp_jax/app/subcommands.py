"""`tgdp run`, `compare` and `probe`: a subcommand for every problem, whose options are the fields of one config.

The config is the command's, with the problem's options in the place of any problem and the defaults of its kind of data
(`settings.presets`), or those of a file (`--config`).
"""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import tyro

from tgdp_jax.app.arguments import nearest
from tgdp_jax.app.config_file import read_config
from tgdp_jax.app.help import annotated
from tgdp_jax.data.registry import PROBLEMS, Entry, problem_name
from tgdp_jax.errors import UserError
from tgdp_jax.runtime.settings import CompareEngineConfig, EngineConfig, RunEngineConfig
from tgdp_jax.settings.presets import PRESETS
from tgdp_jax.settings.run import CompareConfig, RunConfig, TrainingConfig

Engine = Annotated[EngineConfig, tyro.conf.arg(name="")]
Out = Annotated[
    Path | None,
    tyro.conf.arg(name="out", help="Folder for the results, below runs/ unless given. An existing one is continued."),
]
_MORE = """

--help-all has the options of other methods and networks, too; --config FILE takes settings from a .yaml or .json file.
"""
_HELP, _HELP_ALL, _CONFIG = ("-h", "--help"), "--help-all", "--config"


def problem_command(
    command: str, kind: type, act: Callable[[Any, Path | None, EngineConfig], None], words: list[str]
) -> None:
    """Parses the words after `tgdp COMMAND` and does what they ask for.

    Args:
      command: `run`, `compare` or `probe`.
      kind: its config, with a field `problem`.
      act: what is done with a config of that kind, the folder asked for and how it is to be carried out.
      words: of the command line.

    Raises:
      UserError: an unknown problem, or a config file that can not be used.
    """
    given, words = _from_file(command, kind, words)
    if given is None and (not words or words[0] in (*_HELP, _HELP_ALL)):
        print(_overview(command))
        sys.exit(0 if words else 2)
    if given is None and words[0] not in PROBLEMS:
        raise UserError(nearest("problem", words[0], PROBLEMS))
    name, rest = (words[0], words[1:]) if given is None else (problem_name(given.problem), words)
    if given is not None and rest and rest[0] == name:
        rest = rest[1:]
    everything = _HELP_ALL in rest
    rest = [_HELP[1] if word == _HELP_ALL else word for word in rest]
    config = config_class(kind, name, PROBLEMS[name])
    if everything or any(word in _HELP for word in rest):
        config = annotated(config, rest, everything=everything)
    tyro.cli(
        _function(config, kind, PROBLEMS[name], act, given),
        prog=f"tgdp {command} {name}",
        args=rest,
        config=(tyro.conf.CascadeSubcommandArgs,),
    )


def _from_file(command: str, kind: type, words: list[str]) -> tuple[Any, list[str]]:
    """(config of the file that --config names, or None; the other words)."""
    for i, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option == _CONFIG:
            if not equals and i + 1 == len(words):
                raise UserError("--config needs a file: give a .yaml or .json file of settings, or a run's config.json")
            path = Path(value if equals else words[i + 1])
            return read_config(path, kind, command), words[:i] + words[i + (1 if equals else 2) :]
    return None, words


def _overview(command: str) -> str:
    lines = [f"  {name:<12} {entry.help.partition(chr(10))[0]}" for name, entry in PROBLEMS.items()]
    return "\n".join(
        [
            f"usage: tgdp {command} PROBLEM [options]      tgdp {command} PROBLEM --help says what it takes",
            f"       tgdp {command} --config FILE [options]",
            "",
            "problems:",
            *lines,
        ]
    )


def config_class(kind: type, name: str, entry: Entry) -> type:
    """The kind of config whose defaults are those of a problem."""
    # The problem's own options appear without a prefix: --dim, not --problem.dim.
    # A field without a default hides that of `kind`.
    default = dataclasses.field() if is_of_files(entry.config) else dataclasses.field(default=entry.config())
    problem = ("problem", Annotated[entry.config, tyro.conf.arg(name="")], default)
    preset = PRESETS[entry.preset]
    bases = (kind,) if preset.settings is TrainingConfig else (preset.settings, kind)
    others, hints = preset.defaults.get(kind, {}), typing.get_type_hints(kind)
    return dataclasses.make_dataclass(
        f"{kind.__name__}Of{name.title().replace('-', '')}",
        [problem, *((key, hints[key], dataclasses.field(default=value)) for key, value in others.items())],
        bases=bases,
        namespace={"__doc__": f"`{kind.__name__}` of {name}."},
        frozen=True,
        kw_only=True,
    )


def _function(config: type, kind: type, entry: Entry, act: Callable[..., None], given: Any) -> Callable[..., None]:
    how = {RunConfig: RunEngineConfig, CompareConfig: CompareEngineConfig}.get(kind, EngineConfig)

    def command(config: Any, out: Any = None, engine: Any = how()) -> None:
        act(kind(**{field.name: getattr(config, field.name) for field in dataclasses.fields(kind)}), out, engine)

    if given is not None:
        command.__defaults__ = (
            config(**{f.name: getattr(given, f.name) for f in dataclasses.fields(given)}),
            None,
            how(),
        )
    command.__annotations__ = {
        "config": Annotated[config, tyro.conf.arg(name="")],
        "out": Out,
        "engine": Annotated[how, tyro.conf.arg(name="")],
        "return": None,
    }
    command.__doc__ = (entry.help if kind is RunConfig else entry.help.partition("\n\n")[0]) + _MORE
    return command


def is_of_files(config: type) -> bool:
    """Whether a problem is about the user's files, of which there is no default."""
    missing = dataclasses.MISSING
    return any(f.default is missing and f.default_factory is missing for f in dataclasses.fields(config))
