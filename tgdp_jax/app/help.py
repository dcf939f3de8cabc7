"""`--help`: choices beside every option that has some, and only the options that the problem and the method use."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import tyro

from tgdp_jax.data.augmentations import AUGMENTATIONS
from tgdp_jax.nets.registry import EMBEDDINGS, KERNELS, NETWORKS, PRECISIONS
from tgdp_jax.registry import ADVERSARIAL_LOSSES, GUIDANCE_LOSSES, PREDICTIONS, PROCESSES
from tgdp_jax.sampling.registry import GRIDS, SOLVERS
from tgdp_jax.settings.methods import MEMBERS
from tgdp_jax.settings.networks import HEADS
from tgdp_jax.settings.presets.images import ImageTrainingConfig
from tgdp_jax.settings.presets.text import TextTrainingConfig
from tgdp_jax.settings.run import CompareConfig, ProbeConfig
from tgdp_jax.settings.training import FINISHES
from tgdp_jax.train.registry import OBJECTIVES, REGULARISERS, WEIGHTINGS
from tgdp_jax.transfer.registry import METHODS

# The values that an option takes; others take any.
CHOICES: Mapping[str, Sequence[str]] = {
    "method": tuple(METHODS),
    "methods": tuple(METHODS),
    "objectives": tuple(OBJECTIVES),
    "precision": tuple(PRECISIONS),
    "augment": tuple(AUGMENTATIONS),
    "process.kind": tuple(PROCESSES),
    "network.kind": tuple(NETWORKS),
    "network.embedding": tuple(EMBEDDINGS),
    "network.sssd.kernel": tuple(KERNELS),
    "head.on": tuple(HEADS),
    "source.prediction": tuple(PREDICTIONS),
    "source.weighting": tuple(WEIGHTINGS),
    "representation.objective": tuple(OBJECTIVES),
    "rival.finish": FINISHES,
    "stacked.members": MEMBERS,
    "classifier.regularisers": tuple(REGULARISERS),
    "guidance.loss": tuple(GUIDANCE_LOSSES),
    "guidance.embedding": tuple(EMBEDDINGS),
    "gan.loss": tuple(ADVERSARIAL_LOSSES),
    "sampling.solver": tuple(SOLVERS),
    "sampling.grid": tuple(GRIDS),
}


def sections() -> frozenset[str]:
    """Sections of settings that a method says it uses; all others are of every run."""
    return frozenset(name for method in METHODS.values() for name in method.settings)


def annotated(config: type, words: Sequence[str], *, everything: bool) -> type:
    """The config class with choices in its help, and without the options that these words leave unused.

    Args:
      config: a config class.
      words: of the command line; they say which method and which kinds of network and process are used.
      everything: hide nothing.
    """
    hidden = set() if everything else _unused(config, words)
    return _derived(config, _defaults(config), "", hidden)[0]


def with_choices(config: type, section: str) -> Any:
    """The class of settings with choices in its help, its fields named as those of a section of a run's settings."""
    return _derived(config, _defaults(config), f"{section}.", set())[0]


def _unused(config: type, words: Sequence[str]) -> set[str]:
    defaults = _defaults(config)
    methods = _said(words, "--methods" if issubclass(config, CompareConfig) else "--method")
    if issubclass(config, ProbeConfig):
        used = {"source", "representation"}
    else:
        of = defaults.get("methods") or (defaults["method"],)
        used = {name for method in methods or of if method in METHODS for name in METHODS[method].settings}
    kind = (_said(words, "--network.kind") or (defaults["network"].kind,))[0]
    process = (_said(words, "--process.kind") or (defaults["process"].kind,))[0]
    hidden = set(sections() - used)
    if not issubclass(config, TextTrainingConfig):
        hidden.add("text")
        if not issubclass(config, ImageTrainingConfig):
            hidden.add("evaluation")
    for section, settings, mine in (
        ("network", {name for k in NETWORKS.values() for name in k.settings}, NETWORKS.get(kind)),
        ("process", {name for p in PROCESSES.values() for name in p.settings}, PROCESSES.get(process)),
    ):
        if mine is not None:
            hidden |= {f"{section}.{name}" for name in settings - set(mine.settings)}
    return hidden


def _said(words: Sequence[str], option: str) -> list[str]:
    """The values of an option among the words."""
    for i, word in enumerate(words):
        if word.startswith(f"{option}="):
            return [word.partition("=")[2]]
        if word == option:
            rest = words[i + 1 :]
            end = next((j for j, value in enumerate(rest) if value.startswith("-")), len(rest))
            return list(rest[:end])
    return []


def _defaults(config: type) -> dict[str, Any]:
    return {f.name: f.default for f in dataclasses.fields(config)}


def _derived(config: type, defaults: Mapping[str, Any], path: str, hidden: set[str]) -> tuple[type, dict[str, Any]]:
    """(the class with annotated fields, its defaults in that form)."""
    hints = typing.get_type_hints(config, include_extras=True)
    fields: list[Any] = []
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        name, hint, value = f"{path}{field.name}", hints[field.name], defaults[field.name]
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            hint, inner = _derived(hint, vars(value), f"{name}.", hidden)
            value = hint(**inner)
        elif name in CHOICES:
            hint = Annotated[hint, tyro.conf.arg(metavar="{" + ",".join(CHOICES[name]) + "}")]
        if name in hidden:
            hint = tyro.conf.Suppress[hint]
        values[field.name] = value
        required = value is dataclasses.MISSING
        fields.append((field.name, hint, dataclasses.field() if required else dataclasses.field(default=value)))
    kind = dataclasses.make_dataclass(
        config.__name__, fields, bases=(config,), namespace={"__doc__": config.__doc__}, frozen=True, kw_only=True
    )
    return kind, values
