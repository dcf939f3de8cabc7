"""Defaults by kind of data: what a problem's entry names as its preset."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from tgdp_jax.settings.networks import NetworkConfig
from tgdp_jax.settings.presets.ecg import EcgTrainingConfig
from tgdp_jax.settings.presets.images import ImageTrainingConfig
from tgdp_jax.settings.presets.shapes import ShapesTrainingConfig
from tgdp_jax.settings.presets.text import TextTrainingConfig
from tgdp_jax.settings.run import CompareConfig, RunConfig, TrainingConfig


class Preset(NamedTuple):
    """Defaults for one kind of data.

    Attributes:
      settings: `TrainingConfig`, or one with other defaults.
      defaults: by kind of config (`RunConfig`, `CompareConfig`, ...), of fields of its own or of the settings.
    """

    settings: type[TrainingConfig] = TrainingConfig
    defaults: Mapping[type, Mapping[str, Any]] = {}


# References that look at coordinates have nothing to say of pixels, nor of samples of a signal.
_FEW_METHODS = ("tgdp", "discriminator_guidance", "finetune", "scratch", "source")
_IMAGES = {"methods": _FEW_METHODS, "n_targets": (10, 50, 200)}
_ECG = {"methods": _FEW_METHODS, "n_targets": (50, 200, 690)}
# What one modality tells of another is decided at large times.
_PAIRS = {
    "network": NetworkConfig(kind="multimodal"),
    "source": dataclasses.replace(ImageTrainingConfig().source, weighting="edm"),
}

PRESETS: dict[str, Preset] = {
    "vectors": Preset(),
    "images": Preset(ImageTrainingConfig, {CompareConfig: _IMAGES}),
    "pairs": Preset(
        ImageTrainingConfig,
        {RunConfig: {"method": "multimodal", **_PAIRS}, CompareConfig: {**_IMAGES, **_PAIRS}},
    ),
    "ecg": Preset(EcgTrainingConfig, {CompareConfig: _ECG}),
    "text": Preset(TextTrainingConfig, {RunConfig: {"method": "lora"}}),
    "shapes": Preset(ShapesTrainingConfig, {RunConfig: {"method": "lora"}}),
}
