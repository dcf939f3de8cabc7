"""Settings of a study, said as what differs from the library's defaults."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from tgdp_jax.settings.training import ClassifierConfig, DenoiserConfig, GuidanceConfig, RivalConfig

Config = TypeVar("Config", DenoiserConfig, RivalConfig, ClassifierConfig, GuidanceConfig)


def optimised(config: Config, **changes: Any) -> Config:
    """`config` with other settings of its optimiser, see `OptimiserConfig`."""
    return dataclasses.replace(config, optimiser=dataclasses.replace(config.optimiser, **changes))


def values(config: Any) -> dict[str, Any]:
    """The fields of a dataclass by name, as they are."""
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
