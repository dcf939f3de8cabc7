"""Self-supervised: a source model that learned a representation beside its own loss, fine-tuned on the target.

The source stage is that of all methods with the objective switched on (`train.representation`), under a name of its
own, for a comparison has the plain source too; what follows is `finetune`. With `--source.self-supervised` every method
has such a source model, and networks that stand on the source's features (`--head.on source`) take its.
"""

from __future__ import annotations

import dataclasses
import functools

from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import UserError
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.transfer.adaptation import adaptation_stage, adapted_generator, all_weights
from tgdp_jax.transfer.base import Stage, TransferMethod
from tgdp_jax.transfer.cards import Card
from tgdp_jax.transfer.source import source_stage

SOURCE, TARGET = "self_supervised_source", "self_supervised"
_adaptation = functools.partial(all_weights, source=SOURCE)


def self_supervised(config: TrainingConfig) -> TrainingConfig:
    """The same settings with a source model that learns a representation.

    Raises:
      UserError: the source model is a pretrained one.
    """
    if config.pretrained is not None:
        raise UserError(
            "a pretrained model is not trained again: self_supervised trains its own, leave out --pretrained"
        )
    return dataclasses.replace(config, source=dataclasses.replace(config.source, self_supervised=True))


def _stages(config: TrainingConfig, problem: Problem) -> tuple[Stage, ...]:
    source = source_stage(self_supervised(config), problem, name=SOURCE)
    return source, adaptation_stage(TARGET, _adaptation(config, problem))


SELF_SUPERVISED = TransferMethod(
    "self_supervised",
    Card(
        summary="a source model that also learned a label-free representation, fine-tuned on the target rows",
        family="fine-tuning",
        originators="Ting Chen and others (contrastive); Kaiming He and others, Hongkai Zheng and others (masked)",
        paper="Fast Training of Diffusion Models with Masked Transformers, TMLR 2024",
        year=2024,
        aliases=("self-supervised diffusion", "SSL"),
        trains="all weights of a source model that was trained with contrasted views or hidden parts beside denoising",
        source_model="weights",
        source_rows=False,
        fails="a source model that can not be trained anew; elsewhere as fine-tuning does",
    ),
    ("source", "rival", "representation"),
    _stages,
    adapted_generator(TARGET, _adaptation),
)
