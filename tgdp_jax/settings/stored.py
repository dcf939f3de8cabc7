"""Settings as JSON, and their fingerprints."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from cattrs.gen import make_dict_unstructure_fn, override
from cattrs.preconf.json import make_converter
from cattrs.strategies import configure_tagged_union

from tgdp_jax.data.arrays import ArraysConfig
from tgdp_jax.data.images import ImagesConfig
from tgdp_jax.data.registry import PROBLEMS, ProblemConfig
from tgdp_jax.errors import UserError
from tgdp_jax.settings.methods import LoraConfig, StackedConfig, TextualInversionConfig, TgdpDenoisingConfig
from tgdp_jax.settings.run import CompareConfig, ProbeConfig, RunConfig, TrainingConfig
from tgdp_jax.settings.training import ClassifierConfig, RivalConfig
from tgdp_jax.train.settings import OptimiserConfig

# Stored stages know these widths as settings of the source model, and these of guidance as the sampler's.
_OF_SOURCE = ("features", "embedding")
_OF_SAMPLING = ("scale", "interval")
# What was done before these could be chosen: stages and settings of that time do not name them.
_BEFORE = {"rival": {"finish": "refit", "shrink": False}, "guidance": {"shrink": False}}
_converter = make_converter(forbid_extra_keys=True)
_converter.register_structure_hook(Path, lambda value, _: Path(value))
_converter.register_unstructure_hook(Path, str)
_NAMES = {entry.config: name for name, entry in PROBLEMS.items()}


def name_where_given(config: type, *options: str) -> None:
    """Options that are named only where they are given: settings stored before there were any stay what they are."""
    given: dict[str, Any] = {option: override(omit_if_default=True) for option in options}
    _converter.register_unstructure_hook(config, make_dict_unstructure_fn(config, _converter, **given))


name_where_given(ImagesConfig, "background")
name_where_given(ArraysConfig, "columns", "label")
name_where_given(ClassifierConfig, "kind")
name_where_given(OptimiserConfig, "parts", "kind")
name_where_given(LoraConfig, "text_encoder")
name_where_given(TextualInversionConfig, "vectors")
configure_tagged_union(ProblemConfig, _converter, tag_name="problem", tag_generator=lambda kind: _NAMES[kind])
for _kind in (TrainingConfig, RunConfig, CompareConfig, ProbeConfig):
    name_where_given(_kind, "text", "evaluation")


def to_json(config: Any) -> Any:
    """A config as JSON-able nested dicts."""
    return json.loads(json.dumps(_converter.unstructure(config)))


def upgraded(value: Any) -> Any:
    """Settings that an earlier version stored, in today's form; anything else as it is.

    Guidance's weight and interval stood among the sampler's settings, the widths of the denoiser among the source
    model's, and lists of names and numbers were texts with commas. Adaptations had no choice of how they end, and two
    sections of today's methods were missing.
    """
    if not isinstance(value, dict):
        return value
    out = dict(value)
    for old, new, names in (("sampling", "guidance", _OF_SAMPLING), ("source", "network", _OF_SOURCE)):
        if isinstance(out.get(old), dict) and isinstance(out.get(new), dict):
            moved = {name: out[old][name] for name in names if name in out[old]}
            out[old] = {name: part for name, part in out[old].items() if name not in moved}
            out[new] = {**moved, **out[new]}
    if out.keys() >= {"process", "rival", "guidance", "gan"} and "stacked" not in out:
        out |= {name: {**before, **out[name]} for name, before in _BEFORE.items()}
        out |= {"tgdp_denoising": to_json(TgdpDenoisingConfig()), "stacked": to_json(StackedConfig())}
    for name, of in (("methods", str), ("objectives", str), ("n_targets", int)):
        if isinstance(out.get(name), str):
            out[name] = [of(part.strip()) for part in out[name].split(",") if part.strip()]
    return out


def from_json(kind: type, value: Any) -> Any:
    """Inverse of `to_json`.

    Raises:
      UserError: not such a config, or one of another version.
    """
    try:
        return _converter.structure(upgraded(value), kind)
    except Exception as error:
        raise UserError(
            f"the stored settings do not fit this version of tgdp_jax ({type(error).__name__}): choose a new --out"
        ) from error


def network_uses(config: TrainingConfig) -> dict[str, Any]:
    """The settings of networks that a stage depends on, in the form that identifies stored stages."""
    network = to_json(config.network)
    for name in _OF_SOURCE:
        del network[name]
    return {"network": network}


def rival_uses(settings: RivalConfig) -> dict[str, Any]:
    """The settings of training on the target, in the form that identifies stored stages."""
    return _as_before("rival", to_json(settings))


def _as_before(section: str, settings: dict[str, Any]) -> dict[str, Any]:
    """A section without what does as was done before it could be chosen."""
    before = _BEFORE[section]
    return {name: value for name, value in settings.items() if name not in before or value != before[name]}


def source_uses(config: TrainingConfig) -> dict[str, Any]:
    """The settings of the source model that its stage depends on, in the form that identifies stored stages."""
    return {"source": {**to_json(config.source), **{name: to_json(config.network)[name] for name in _OF_SOURCE}}}


def guidance_uses(config: TrainingConfig) -> dict[str, Any]:
    """The settings that the training of guidance depends on: none of those that count when samples are drawn."""
    guidance = to_json(config.guidance)
    for name in _OF_SAMPLING:
        del guidance[name]
    return {"guidance": _as_before("guidance", guidance)}


def fingerprint(value: Any) -> str:
    """Hex digest of a JSON-able value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
