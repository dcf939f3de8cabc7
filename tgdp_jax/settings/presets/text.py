"""Settings of runs on text-to-image pipelines."""

from __future__ import annotations

import dataclasses

from tgdp_jax.settings.methods import DreamBoothConfig, LoraConfig, StackedConfig, TextualInversionConfig
from tgdp_jax.settings.presets.images import ImageTrainingConfig
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.settings.sampling import SamplingConfig
from tgdp_jax.settings.training import ClassifierConfig, GuidanceConfig, RivalConfig
from tgdp_jax.train.settings import OptimiserConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextTrainingConfig(TrainingConfig):
    """`TrainingConfig` with defaults for text-to-image pipelines, which are those of diffusers' scripts.

    Nothing is cross-validated: a network of this size is trained once, and pictures say whether it was long enough.
    """

    rival: RivalConfig = RivalConfig(
        learning_rates=(1e-5,),
        folds=1,
        shrink=False,
        optimiser=OptimiserConfig(
            steps=500,
            batch_size=4,
            schedule="constant",
            weight_decay=0.01,
            ema=0.99,
            steps_per_launch=10,
            validation_rows=4,
        ),
    )
    lora: LoraConfig = LoraConfig(targets=r"attn\d/to_(q|k|v|out_0)/kernel$", learning_rates=(1e-4,))
    dreambooth: DreamBoothConfig = DreamBoothConfig(num_prior=100, lora=True)
    textual_inversion: TextualInversionConfig = TextualInversionConfig(learning_rates=(5e-4,))
    stacked: StackedConfig = ImageTrainingConfig().stacked
    classifier: ClassifierConfig = ImageTrainingConfig().classifier
    guidance: GuidanceConfig = ImageTrainingConfig().guidance
    sampling: SamplingConfig = SamplingConfig(num=8, solver="dpmpp_2m", grid="trailing", steps=25, chunk=1)
