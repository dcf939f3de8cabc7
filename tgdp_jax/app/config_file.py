"""Settings in a file: YAML or JSON that names only what differs from the defaults, or the config.json of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tgdp_jax.app.arguments import nearest
from tgdp_jax.data.registry import PROBLEMS
from tgdp_jax.errors import FileError, UserError, absent
from tgdp_jax.settings.presets import PRESETS
from tgdp_jax.settings.stored import from_json, to_json, upgraded

MOST_BYTES = 10**6


def read_config(path: Path, kind: type, command: str) -> Any:
    """The config of `kind` that a file describes; what it leaves out has the problem's defaults.

    The file maps the names of settings to values, nested as the options are (`guidance: {loss: kl}` is
    `--guidance.loss kl`); `problem` is the name of a problem, or a mapping of its options with the name under
    `problem`. Paths are relative to the folder that the command is started in.

    Raises:
      UserError: it can not be read, is of another command, or names settings that there are not.
    """
    value = _read(path)
    if "config" in value and "command" in value:
        if value["command"] != command:
            raise UserError(f"{path} is of `tgdp {value['command']}`: give it to that command")
        value = value["config"]
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no settings: write names of options with their values")
    value = upgraded(value)
    problem = value.get("problem")
    problem = {"problem": problem} if isinstance(problem, str) else problem
    if not isinstance(problem, dict) or "problem" not in problem:
        raise UserError(f"{path} names no problem: add `problem: gaussians`, or one of {', '.join(PROBLEMS)}")
    if problem["problem"] not in PROBLEMS:
        raise UserError(f"{path}: {nearest('problem', str(problem['problem']), PROBLEMS)}")
    preset = PRESETS[PROBLEMS[problem["problem"]].preset]
    defaults = to_json(preset.settings()) | {
        name: to_json(part) for name, part in preset.defaults.get(kind, {}).items()
    }
    try:
        return from_json(kind, {**_merged(defaults, value), "problem": problem})
    except UserError as error:
        raise UserError(f"{path}: {_cause(error)}") from error


def _cause(error: UserError) -> str:
    """What a setting itself says of a value, where it is known."""
    cause = error.__cause__
    while cause is not None:
        if isinstance(cause, UserError):
            return str(cause)
        inner = getattr(cause, "exceptions", None)
        cause = inner[0] if inner else cause.__cause__
    return str(error)


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise FileError(f"{path} has more than {MOST_BYTES:,} bytes: a file of settings is small")
        text = path.read_text("utf-8-sig")
        value = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except FileNotFoundError:
        raise absent(path) from None
    except (OSError, UnicodeDecodeError, ValueError, RecursionError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())[:150]
        raise FileError(f"{path} can not be read as settings ({said}): write YAML or JSON") from error
    if not isinstance(value, dict):
        raise FileError(f"{path} holds no settings: write names of options with their values")
    return value


def _merged(defaults: dict[str, Any], value: dict[str, Any], name: str = "") -> dict[str, Any]:
    """The defaults with the values of a file in their places."""
    out = dict(defaults)
    for key, part in value.items():
        inner = out.get(key)
        if isinstance(inner, dict) and key != "problem":
            if not isinstance(part, dict):
                raise UserError(f"{name}{key} is {part!r}: write its settings with their values")
            unknown = [of for of in part if of not in inner]
            if unknown:
                raise UserError(nearest(f"setting of {name}{key}", str(unknown[0]), inner))
            out[key] = _merged(inner, part, f"{name}{key}.")
        else:
            out[key] = part
    return out
