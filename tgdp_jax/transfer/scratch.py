"""Training from scratch: a new model on the target rows alone (`adaptation`)."""

from __future__ import annotations

import dataclasses
import functools

from tgdp_jax.data.problem import Problem
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.transfer.adaptation import Adaptation, adaptation_stage
from tgdp_jax.transfer.base import Stage, TransferMethod
from tgdp_jax.transfer.cards import Card
from tgdp_jax.transfer.source import network_generator


def _scratch_stage(config: TrainingConfig, problem: Problem) -> Stage:
    # Fresh weights are no source to go back to, and those of several folds have no mean.
    settings = dataclasses.replace(config.rival, shrink=False, finish="refit")
    return adaptation_stage("scratch", Adaptation(config, problem, settings, source=None))


SCRATCH = TransferMethod(
    "scratch",
    Card(
        summary="a new diffusion model on the target rows alone, step count cross-validated",
        family="no transfer",
        originators="Jascha Sohl-Dickstein, Eric Weiss, Niru Maheswaranathan, Surya Ganguli (diffusion models)",
        paper="Deep Unsupervised Learning using Nonequilibrium Thermodynamics, ICML 2015",
        year=2015,
        aliases=("from scratch", "vanilla"),
        trains="all weights of a new model",
        source_model="nothing",
        source_rows=False,
        fails="few target rows, the more so the more dimensions",
    ),
    ("source", "rival"),
    lambda config, problem: (_scratch_stage(config, problem),),
    functools.partial(network_generator, stage="scratch"),
)
