"""What identifies the data and models behind a run: settings, and the contents of files."""

from __future__ import annotations

from typing import Any

from tgdp_jax.data.registry import problem_entry
from tgdp_jax.settings.run import CompareConfig, ProbeConfig, RunConfig
from tgdp_jax.settings.stored import to_json
from tgdp_jax.transfer.pretrained import files_digest, model_digest


def file_digests(config: RunConfig | CompareConfig | ProbeConfig) -> dict[str, str]:
    """Hash of the contents of every file that the settings name, by the option that names it."""
    return _data_digests(config.problem) | model_digest(config)


def _data_digests(config: Any) -> dict[str, str]:
    return {name: files_digest(files) for name, files in problem_entry(config).files(config).items()}


def problem_identity(config: Any) -> dict[str, Any]:
    """JSON-able facts that fix a problem's data: settings, and for files their contents."""
    return {"kind": type(config).__name__, **to_json(config), **_data_digests(config)}
