"""Settings as JSON, and their fingerprints."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from cattrs.preconf.json import make_converter
from cattrs.strategies import configure_tagged_union

from tgdp_jax.data.registry import PROBLEMS, ProblemConfig
from tgdp_jax.errors import UserError

_converter = make_converter(forbid_extra_keys=True)
_converter.register_structure_hook(Path, lambda value, _: Path(value))
_converter.register_unstructure_hook(Path, str)
_NAMES = {entry.config: name for name, entry in PROBLEMS.items()}
configure_tagged_union(ProblemConfig, _converter, tag_name="problem", tag_generator=lambda kind: _NAMES[kind])


def to_json(config: Any) -> Any:
    """A config as JSON-able nested dicts."""
    return json.loads(json.dumps(_converter.unstructure(config)))


def from_json(kind: type, value: Any) -> Any:
    """Inverse of `to_json`.

    Raises:
      UserError: not such a config, or one of another version.
    """
    try:
        return _converter.structure(value, kind)
    except Exception as error:
        raise UserError(
            f"the stored settings do not fit this version of tgdp_jax ({type(error).__name__}): choose a new --out"
        ) from error


def fingerprint(value: Any) -> str:
    """Hex digest of a JSON-able value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
