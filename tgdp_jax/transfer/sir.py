"""Sampling importance resampling (Rubin 1988): source rows drawn with probability proportional to r = q/p.

It shows what the ratio alone gives, with no new points.
"""

from __future__ import annotations

import numpy as np

from tgdp_jax.data.problem import Problem
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.transfer.artefacts import CleanRatio
from tgdp_jax.transfer.base import Stage, Trees
from tgdp_jax.transfer.ratio import classifier_stage
from tgdp_jax.transfer.resampling import ReferenceGenerator, weighted_choice
from tgdp_jax.transfer.source import with_source_stages


def stages(config: TrainingConfig, problem: Problem) -> tuple[Stage, ...]:
    """The training stages in order."""
    return with_source_stages(config, problem, classifier_stage(config, problem))


def generator(config: TrainingConfig, problem: Problem, trees: Trees) -> ReferenceGenerator:
    """The trained method."""
    data = problem.source
    log_r = np.asarray(CleanRatio.from_tree(trees["classifier"]).source_log_r, np.float64)
    choose = weighted_choice(np.exp(log_r - log_r.max()), data.y if problem.conditional else None)
    return ReferenceGenerator(data.x, 0.0, choose)
