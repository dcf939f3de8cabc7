"""One network of a row's modalities with a time for each, trained on the source and on the target (Bao et al. 2023).

    E || [eps_x, eps_y] - net(x_{t_x}, y_{t_y}, t_x, t_y) ||^2,      t_x and t_y independent

What is sampled for comparisons is the joint, at equal times; `sampling.modal` draws every conditional and marginal
from the same network. A problem whose rows have no named modalities has two all the same: their first and second half
(of images the upper and the lower one). In a conditional problem it is conditioned on the label, as any other network.

The same network under any other method, and so with any way of carrying it over, is `network.kind` multimodal: this
method is that of full fine-tuning.
"""

from __future__ import annotations

import dataclasses

from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import UserError
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.transfer.adaptation import Adaptation, adaptation_stage, adapted_generator, all_weights
from tgdp_jax.transfer.base import Stage
from tgdp_jax.transfer.source import source_stage

SOURCE, TARGET = "multimodal_source", "multimodal"


def _with_modalities(config: TrainingConfig) -> TrainingConfig:
    """The settings with a network that has a time for each modality.

    Raises:
      UserError: the source model is another's, which has one time.
    """
    if config.pretrained is not None:
        raise UserError(
            "a pretrained U-Net has one time for all of a row: leave out --pretrained, or use another method"
        )
    return dataclasses.replace(config, network=dataclasses.replace(config.network, kind="multimodal"))


def _adaptation(config: TrainingConfig, problem: Problem) -> Adaptation:
    return all_weights(_with_modalities(config), problem, source=SOURCE)


def stages(config: TrainingConfig, problem: Problem) -> tuple[Stage, ...]:
    """The training stages in order."""
    source = source_stage(_with_modalities(config), problem, name=SOURCE)
    return source, adaptation_stage(TARGET, _adaptation(config, problem))


generator = adapted_generator(TARGET, _adaptation)
