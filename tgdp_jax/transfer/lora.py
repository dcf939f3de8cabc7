"""Low-rank adaptation: the source's weights stay, low-rank changes to its kernels are trained (Hu et al. 2022).

    W = W_0 + (alpha / rank) B A,      B = 0 at the start

The stage leaves the adapters alone; merged with the source they are a plain network, as fast as the source's.
"""

from __future__ import annotations

import dataclasses

from tgdp_jax.data.problem import Problem
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.settings.stored import to_json
from tgdp_jax.settings.training import RivalConfig
from tgdp_jax.transfer.adaptation import Adaptation, adaptation_stage, adapted_generator
from tgdp_jax.transfer.base import Stage
from tgdp_jax.transfer.source import source_stage


def lora_settings(config: TrainingConfig) -> RivalConfig:
    """How adapters are trained on the target."""
    return dataclasses.replace(config.rival, learning_rates=config.lora.learning_rates)


def lora(config: TrainingConfig, problem: Problem) -> Adaptation:
    """Adapters beside the source's kernels."""
    return Adaptation(config, problem, lora_settings(config), config.lora.make())


def lora_stage(config: TrainingConfig, problem: Problem) -> Stage:
    """Trains adapters on the target rows."""
    return adaptation_stage("lora", lora(config, problem), {"lora": to_json(config.lora)})


def stages(config: TrainingConfig, problem: Problem) -> tuple[Stage, ...]:
    """The training stages in order."""
    return (source_stage(config, problem), lora_stage(config, problem))


generator = adapted_generator("lora", lora)
