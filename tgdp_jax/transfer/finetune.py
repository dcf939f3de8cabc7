"""Full fine-tuning: all weights of the source model are trained on the target (`adaptation`)."""

from __future__ import annotations

import functools

from tgdp_jax.transfer.adaptation import rival_stage
from tgdp_jax.transfer.base import TransferMethod
from tgdp_jax.transfer.cards import Card
from tgdp_jax.transfer.source import network_generator, source_stage

finetune_stage = rival_stage("finetune", ("source",))

FINETUNE = TransferMethod(
    "finetune",
    Card(
        summary="all weights of the source model trained on the target rows, step count cross-validated",
        family="fine-tuning",
        originators="common practice; studied by Jason Yosinski, Jeff Clune, Yoshua Bengio, Hod Lipson",
        paper="How transferable are features in deep neural networks?, NeurIPS 2014",
        year=2014,
        aliases=("fine-tuning", "full fine-tuning"),
        trains="all weights of the source model",
        source_model="weights",
        source_rows=False,
        fails="few target rows: it memorises them and forgets what the source knew, unless stopped early",
    ),
    ("source", "rival"),
    lambda config, problem: (source_stage(config, problem), finetune_stage(config, problem)),
    functools.partial(network_generator, stage="finetune"),
)
