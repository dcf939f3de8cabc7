"""What was learned of the target, at the target rows that it was not learned from."""

from __future__ import annotations

from collections.abc import Sequence

import jax

from tgdp_jax.data.problem import Problem
from tgdp_jax.nets.protocols import data_std
from tgdp_jax.prediction import ScoreFn
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.settings.training import GuidanceConfig, RivalConfig
from tgdp_jax.train.batches import Rows, cross_validation_rows
from tgdp_jax.train.stacking import HeldOut, held_out_changes
from tgdp_jax.transfer.networks import denoiser
from tgdp_jax.transfer.pretrained import forward_process


def held_rows(problem: Problem, settings: RivalConfig | GuidanceConfig) -> Rows:
    """The target rows that each fold does not train on."""
    return cross_validation_rows(problem.target.x, settings.folds)[1]


def changes_out_of_fold(
    config: TrainingConfig,
    problem: Problem,
    settings: RivalConfig | GuidanceConfig,
    source: ScoreFn,
    members: Sequence[Sequence[ScoreFn]],
) -> HeldOut:
    """What scores change of the source's at target rows that they were not trained on.

    Args:
      config: settings of the run.
      problem: data.
      settings: of the training, which say the folds.
      source: score of the source.
      members: of each of J members the scores of its K folds.
    """
    return held_out_changes(
        source,
        members,
        jax.device_put(problem.target.arrays(problem.conditional)),
        held_rows(problem, settings),
        forward_process(config),
        num=settings.optimiser.validation_rows,
        data_std=data_std(denoiser(config, problem)),
    )
