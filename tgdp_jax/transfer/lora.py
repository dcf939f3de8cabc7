"""Low-rank adaptation: the source's weights stay, low-rank changes to its kernels are trained (Hu et al. 2022).

    W = W_0 + (alpha / rank) B A,      B = 0 at the start

The stage leaves the adapters alone; merged with the source they are a plain network, as fast as the source's. Of a
text-to-image pipeline the text encoders may be adapted beside the denoiser; captions then are read at every call. Of a
pipeline of labels their embeddings are adapted too, without which new classes would stay what they start from.
"""

from __future__ import annotations

import dataclasses

from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import UserError
from tgdp_jax.interop import LabelPipeline
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.settings.stored import to_json
from tgdp_jax.settings.training import RivalConfig
from tgdp_jax.transfer.adaptation import Adaptation, adaptation_stage, adapted_generator
from tgdp_jax.transfer.base import Stage
from tgdp_jax.transfer.class_labels import TABLES
from tgdp_jax.transfer.pretrained import pretrained_model
from tgdp_jax.transfer.source import source_stage

# Kernels of text encoders that are adapted, as in diffusers' scripts.
TEXT_TARGETS = r"^params/encoders_\d+/.*self_attn/(q|k|v|out)_proj/kernel$"


def lora_settings(config: TrainingConfig) -> RivalConfig:
    """How adapters are trained on the target."""
    return dataclasses.replace(config.rival, learning_rates=config.lora.learning_rates)


def lora(config: TrainingConfig, problem: Problem) -> Adaptation:
    """Adapters beside the source's kernels.

    Raises:
      UserError: text encoders are to be adapted where there are no captions.
    """
    low, both = config.lora.make(), config.lora.text_encoder
    if both and problem.captions is None:
        raise UserError(f"problem {problem.name} has no captions: leave out --lora.text-encoder")
    if both:
        low = dataclasses.replace(low, targets=f"({low.targets})|{TEXT_TARGETS}")
    if isinstance(pretrained_model(config), LabelPipeline):
        low = dataclasses.replace(low, targets=f"({low.targets})|{TABLES}$")
    return Adaptation(config, problem, lora_settings(config), low, new_token=both)


def lora_stage(config: TrainingConfig, problem: Problem) -> Stage:
    """Trains adapters on the target rows."""
    return adaptation_stage("lora", lora(config, problem), {"lora": to_json(config.lora)})


def stages(config: TrainingConfig, problem: Problem) -> tuple[Stage, ...]:
    """The training stages in order."""
    return (source_stage(config, problem), lora_stage(config, problem))


generator = adapted_generator("lora", lora)
