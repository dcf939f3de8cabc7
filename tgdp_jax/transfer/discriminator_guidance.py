"""Discriminator guidance: the logit of a noise-conditional domain classifier is taken as log h (Kim et al. 2023)."""

from __future__ import annotations

from tgdp_jax.data.problem import Problem
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.transfer.base import Stage
from tgdp_jax.transfer.ratio import guided_generator, noisy_classifier_stage
from tgdp_jax.transfer.source import with_source_stages


def stages(config: TrainingConfig, problem: Problem) -> tuple[Stage, ...]:
    """The training stages in order."""
    return with_source_stages(config, problem, noisy_classifier_stage(config, problem))


generator = guided_generator("noisy_classifier")
