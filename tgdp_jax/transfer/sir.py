"""Sampling importance resampling (Rubin 1988): source rows drawn with probability proportional to r = q/p.

It shows what the ratio alone gives, with no new points.
"""

from __future__ import annotations

import numpy as np

from tgdp_jax.data.problem import Problem
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.transfer.artefacts import CleanRatio
from tgdp_jax.transfer.base import TransferMethod, Trees
from tgdp_jax.transfer.cards import Card
from tgdp_jax.transfer.ratio import classifier_stage
from tgdp_jax.transfer.resampling import REFERENCE, ReferenceGenerator, weighted_choice
from tgdp_jax.transfer.source import with_source_stages


def _sir_generator(config: TrainingConfig, problem: Problem, trees: Trees) -> ReferenceGenerator:
    data = problem.source
    log_r = np.asarray(CleanRatio.from_tree(trees["classifier"]).source_log_r, np.float64)
    choose = weighted_choice(np.exp(log_r - log_r.max()), data.y if problem.conditional else None)
    return ReferenceGenerator(data.x, 0.0, choose)


SIR = TransferMethod(
    "sir",
    Card(
        summary="reference without a network: source rows resampled by their learned ratio",
        family=REFERENCE,
        originators="Donald B. Rubin",
        paper="Using the SIR Algorithm to Simulate Posterior Distributions, Bayesian Statistics 3, 1988",
        year=1988,
        aliases=("sampling importance resampling",),
        trains="a domain classifier on clean rows",
        source_model="nothing",
        source_rows=True,
        fails="little overlap: a handful of source rows is drawn again and again, and no new point is made",
    ),
    ("head", "classifier"),
    lambda config, problem: with_source_stages(config, problem, classifier_stage(config, problem)),
    _sir_generator,
    draws_rows=True,
)
