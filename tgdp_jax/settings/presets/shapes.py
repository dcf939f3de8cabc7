"""Settings of runs on generated pictures of shapes."""

from __future__ import annotations

import dataclasses

from tgdp_jax.settings.methods import LoraConfig, TextConfig, TextualInversionConfig
from tgdp_jax.settings.presets.images import ImageTrainingConfig
from tgdp_jax.settings.presets.text import TextTrainingConfig
from tgdp_jax.settings.sampling import SamplingConfig
from tgdp_jax.settings.training import ClassifierConfig, DenoiserConfig, GuidanceConfig, RivalConfig
from tgdp_jax.train.settings import OptimiserConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShapesTrainingConfig(TextTrainingConfig):
    """`TextTrainingConfig` with defaults for a pipeline of a million parameters, trained on a CPU.

    A style is in the convolutions of such a small U-Net as much as in its attentions: adapters stand beside both.
    """

    # What a caption tells is decided at large times, which the weighting counts in full.
    source: DenoiserConfig = DenoiserConfig(
        prediction="v",
        weighting="edm",
        optimiser=OptimiserConfig(
            steps=3000,
            batch_size=64,
            learning_rate=2e-3,
            warmup=50,
            ema=0.995,
            steps_per_launch=50,
            validation_rows=512,
        ),
    )
    rival: RivalConfig = dataclasses.replace(
        TextTrainingConfig().rival,
        learning_rates=(5e-4,),
        optimiser=dataclasses.replace(
            TextTrainingConfig().rival.optimiser, steps=1500, batch_size=16, steps_per_launch=50, validation_rows=128
        ),
    )
    lora: LoraConfig = LoraConfig(
        rank=16, alpha=16.0, targets=r"(attn\d/to_(q|k|v|out_0)|proj_(in|out)|conv[12])/kernel$", learning_rates=(3e-3,)
    )
    textual_inversion: TextualInversionConfig = TextualInversionConfig(learning_rates=(1e-2,))
    classifier: ClassifierConfig = dataclasses.replace(ImageTrainingConfig().classifier, folds=2)
    guidance: GuidanceConfig = dataclasses.replace(
        ImageTrainingConfig().guidance,
        folds=2,
        optimiser=ImageTrainingConfig().guidance.optimiser.shortened(600),
    )
    text: TextConfig = TextConfig(scale=3.0)
    sampling: SamplingConfig = SamplingConfig(num=120, solver="dpmpp_2m", grid="trailing", steps=20, chunk=50)
