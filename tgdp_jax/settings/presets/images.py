"""Settings of runs on images."""

from __future__ import annotations

import dataclasses

from tgdp_jax.settings.methods import GanConfig, LoraConfig, StackedConfig, TextualInversionConfig
from tgdp_jax.settings.networks import NetworkConfig
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.settings.sampling import SamplingConfig
from tgdp_jax.settings.training import ClassifierConfig, DenoiserConfig, GuidanceConfig, RivalConfig
from tgdp_jax.train.settings import OptimiserConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageTrainingConfig(TrainingConfig):
    """`TrainingConfig` with defaults for small images, sized for a CPU.

    Convolutions cost far more than what two-dimensional problems need, so there are fewer members: three folds and
    the regularisers that were chosen most often. With few images the ratio says little, and TGDP lives by its
    consistency term: at weight 300 instead of 1, and a rate of 3e-3 instead of 1e-3, the Frechet distance on `digits`
    falls from 99, 65 and 67 to 50, 38 and 42 at n = 10, 50 and 200 (source 217; seed 0), in a third of the time. Of
    what is missing to fine-tuning most was time and freedom: up to 1,500 steps for 400, at 5e-3, of a network that
    moves every pixel freely (`nets.heads.Energy`), give 57, 34 and 23 (52 +- 6, 34 +- 1 and 20 +- 2 over three
    seeds).
    """

    network: NetworkConfig = NetworkConfig(kind="unet")
    source: DenoiserConfig = DenoiserConfig(
        optimiser=OptimiserConfig(
            steps=2000, batch_size=64, learning_rate=2e-3, ema=0.999, steps_per_launch=50, validation_rows=512
        ),
    )
    rival: RivalConfig = RivalConfig(
        learning_rates=(3e-4,),
        folds=3,
        shrink=False,  # a second pass through a network of this size doubles the time that a sample takes
        optimiser=OptimiserConfig(
            steps=600,
            batch_size=64,
            schedule="constant",
            ema=0.99,
            steps_per_launch=50,
            patience=200,
            validation_rows=1024,
        ),
    )
    lora: LoraConfig = LoraConfig(learning_rates=(3e-3,))
    textual_inversion: TextualInversionConfig = TextualInversionConfig(learning_rates=(1e-2,))
    classifier: ClassifierConfig = ClassifierConfig(
        folds=3,
        regularisers=("mixup", "noise_0.3"),
        optimiser=OptimiserConfig(steps=400, batch_size=64, learning_rate=1e-3, steps_per_launch=25, patience=150),
    )
    stacked: StackedConfig = StackedConfig(members=("lora", "tgdp_denoising"))
    guidance: GuidanceConfig = GuidanceConfig(
        consistency=(300.0,),
        features=(128,),
        folds=3,
        optimiser=OptimiserConfig(
            steps=1500,
            batch_size=32,
            learning_rate=5e-3,
            ema=0.98,
            steps_per_launch=25,
            patience=200,
            validation_rows=256,
        ),
    )
    gan: GanConfig = GanConfig(
        latent=32,
        folds=3,
        source=OptimiserConfig(steps=2000, batch_size=64, learning_rate=5e-4, ema=0.999, steps_per_launch=50),
        target=OptimiserConfig(
            steps=600,
            batch_size=64,
            learning_rate=3e-4,
            schedule="constant",
            ema=0.99,
            steps_per_launch=50,
            patience=200,
        ),
    )
    # Guided and clipped, ten steps leave more undone than 25 of DPM-Solver++(2M) do; 14 leave less.
    sampling: SamplingConfig = SamplingConfig(num=1000, steps=14, clip=1.0, chunk=256)
