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
from tgdp_jax.transfer.base import Stage
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


def stages(config: TrainingConfig, problem: Problem) -> tuple[Stage, ...]:
    """The training stages in order."""
    source = source_stage(self_supervised(config), problem, name=SOURCE)
    return source, adaptation_stage(TARGET, _adaptation(config, problem))


generator = adapted_generator(TARGET, _adaptation)
