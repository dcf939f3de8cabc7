"""The command that repeats a run: its problem, and the options that differ from the defaults; and what it needs."""

from __future__ import annotations

import dataclasses
import platform
import shlex
from pathlib import Path
from typing import Any

from tgdp_jax import __version__
from tgdp_jax.app.subcommands import config_class, is_of_files
from tgdp_jax.data.registry import PROBLEMS, problem_name

LONGEST = 100


def command_line(command: str, kind: type, config: Any) -> str:
    """The words to type.

    Args:
      command: `run`, `compare` or `probe`.
      kind: its config.
      config: of that kind.
    """
    return _typed([command, problem_name(config.problem), *options(kind, config)])


def options(kind: type, config: Any) -> list[str]:
    """The options that make a config of a kind of the defaults of its problem."""
    name = problem_name(config.problem)
    entry = PROBLEMS[name]
    defaults = config_class(kind, name, entry)
    files = {"problem": config.problem} if is_of_files(entry.config) else {}
    of_files = _given_paths(config.problem) if files else []
    return [*of_files, *differing(config, defaults(**files))]


def bench_line(config: Any, default: Any) -> str:
    """The same of `tgdp bench`, which has no problem."""
    return _typed(["bench", *differing(config, default)])


def _typed(words: list[str]) -> str:
    """One line, or a line an option where that would be long."""
    line = shlex.join(["tgdp", *words])
    if len(line) <= LONGEST:
        return line
    lines: list[list[str]] = [["tgdp"]]
    for word in words:
        if word.startswith("--"):
            lines.append([])
        lines[-1].append(word)
    return " \\\n  ".join(map(shlex.join, lines))


def _given_paths(problem: Any) -> list[str]:
    """What a problem of files differs from one with nothing but its paths by; these always stand first."""
    words: list[str] = []
    for field in dataclasses.fields(problem):
        value = getattr(problem, field.name)
        if field.default is dataclasses.MISSING or value != field.default:
            words += _option(field.name, value)
    return words


def differing(config: Any, default: Any, prefix: str = "") -> list[str]:
    """The options that make `config` of `default`."""
    words: list[str] = []
    for field in dataclasses.fields(default):
        value, usual = getattr(config, field.name), getattr(default, field.name)
        if value == usual:
            continue
        if dataclasses.is_dataclass(value):
            # A problem's own options have no prefix.
            inner = "" if field.name == "problem" else f"{prefix}{field.name}."
            words += differing(value, usual, inner)
        else:
            words += _option(f"{prefix}{field.name}", value)
    return words


def _option(name: str, value: Any) -> list[str]:
    option = name.replace("_", "-")
    if isinstance(value, bool):
        head, dot, tail = option.rpartition(".")
        return [f"--{option}" if value else f"--{head}{dot}no-{tail}"]
    if isinstance(value, (tuple, list)):
        return [f"--{option}", *map(_word, value)]
    return [f"--{option}", _word(value)]


def _word(value: Any) -> str:
    return str(value) if isinstance(value, (str, int, Path)) or value is None else repr(value)


def versions() -> str:
    """What the command was run with."""
    import jax  # late: options need not wait for it

    return f"tgdp_jax {__version__}, jax {jax.__version__}, Python {platform.python_version()}, {platform.machine()}"
