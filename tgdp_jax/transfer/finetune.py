"""Full fine-tuning: all weights of the source model are trained on the target (`adaptation`)."""

from __future__ import annotations

from tgdp_jax.data.problem import Problem
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.transfer.adaptation import adaptation_stage, adapted_generator, all_weights
from tgdp_jax.transfer.base import Stage
from tgdp_jax.transfer.source import source_stage


def finetune_stage(config: TrainingConfig, problem: Problem) -> Stage:
    """Trains all weights of the source model on the target rows."""
    return adaptation_stage("finetune", all_weights(config, problem))


def stages(config: TrainingConfig, problem: Problem) -> tuple[Stage, ...]:
    """The training stages in order."""
    return (source_stage(config, problem), finetune_stage(config, problem))


generator = adapted_generator("finetune", all_weights)
