"""Full fine-tuning: all weights of the source model are trained on the target (`adaptation`)."""

from __future__ import annotations

from tgdp_jax.data.problem import Problem
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.transfer.adaptation import adaptation_stage, adapted_generator, all_weights
from tgdp_jax.transfer.base import Stage, TransferMethod
from tgdp_jax.transfer.cards import Card
from tgdp_jax.transfer.source import source_stage


def finetune_stage(config: TrainingConfig, problem: Problem) -> Stage:
    """Trains all weights of the source model on the target rows."""
    return adaptation_stage("finetune", all_weights(config, problem))


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
    adapted_generator("finetune", all_weights),
)
