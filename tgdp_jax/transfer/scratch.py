"""Training from scratch: a new model on the target rows alone (`adaptation`)."""

from __future__ import annotations

import functools

from tgdp_jax.transfer.adaptation import rival_stage
from tgdp_jax.transfer.base import TransferMethod
from tgdp_jax.transfer.cards import Card
from tgdp_jax.transfer.source import network_generator

_scratch_stage = rival_stage("scratch", ())

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
