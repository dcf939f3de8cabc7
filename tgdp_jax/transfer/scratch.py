"""Training from scratch: a new model on the target rows alone (`adaptation`)."""

from __future__ import annotations

import dataclasses
import functools

from tgdp_jax.data.problem import Problem
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.transfer.adaptation import Adaptation, adaptation_stage
from tgdp_jax.transfer.base import Stage
from tgdp_jax.transfer.source import network_generator


def _scratch_stage(config: TrainingConfig, problem: Problem) -> Stage:
    # Fresh weights are no source to go back to, and those of several folds have no mean.
    settings = dataclasses.replace(config.rival, shrink=False, finish="refit")
    return adaptation_stage("scratch", Adaptation(config, problem, settings, source=None))


def stages(config: TrainingConfig, problem: Problem) -> tuple[Stage, ...]:
    """The training stages in order."""
    return (_scratch_stage(config, problem),)


generator = functools.partial(network_generator, stage="scratch")
