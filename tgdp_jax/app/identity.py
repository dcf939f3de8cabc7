"""What identifies the data and models behind a run: settings, and the contents of files."""

from __future__ import annotations

from typing import Any, NamedTuple

from tgdp_jax.app.encoder import encoder_digest
from tgdp_jax.data.registry import problem_entry
from tgdp_jax.settings.run import CompareConfig, ProbeConfig, RunConfig
from tgdp_jax.settings.stored import to_json
from tgdp_jax.transfer.pretrained import files_digest, model_digest


class Identity(NamedTuple):
    """What a run is made from.

    Attributes:
      digests: hash of the contents of every file that the settings name, by the option that names it.
      problem: see `problem_identity`.
    """

    digests: dict[str, str]
    problem: dict[str, Any]


def identity(config: RunConfig | CompareConfig | ProbeConfig) -> Identity:
    """What identifies the data and models behind a run; files are read once."""
    data = _data_digests(config.problem)
    return Identity(data | model_digest(config) | encoder_digest(config.evaluation), _facts(config.problem, data))


def problem_identity(config: Any) -> dict[str, Any]:
    """JSON-able facts that fix a problem's data: settings, and for files their contents."""
    return _facts(config, _data_digests(config))


def _data_digests(config: Any) -> dict[str, str]:
    return {name: files_digest(files) for name, files in problem_entry(config).files(config).items()}


def _facts(config: Any, digests: dict[str, str]) -> dict[str, Any]:
    return {"kind": type(config).__name__, **to_json(config), **digests}
