"""Settings of runs on ECGs."""

from __future__ import annotations

import dataclasses

from tgdp_jax.settings import (
    ClassifierConfig,
    DenoiserConfig,
    GuidanceConfig,
    NetworkConfig,
    RivalConfig,
    SamplingConfig,
    TrainingConfig,
)
from tgdp_jax.train.optimiser import OptimiserConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class EcgTrainingConfig(TrainingConfig):
    """`TrainingConfig` with defaults for ECGs, sized for a CPU: a row has thousands of numbers."""

    network: NetworkConfig = NetworkConfig(kind="sssd")
    source: DenoiserConfig = DenoiserConfig(
        optimiser=OptimiserConfig(
            steps=2000, batch_size=32, learning_rate=1e-3, ema=0.999, steps_per_launch=50, validation_rows=512
        ),
    )
    rival: RivalConfig = RivalConfig(
        learning_rates=(3e-4,),
        folds=3,
        optimiser=OptimiserConfig(
            steps=600,
            batch_size=32,
            schedule="constant",
            ema=0.99,
            steps_per_launch=50,
            patience=200,
            validation_rows=512,
        ),
    )
    classifier: ClassifierConfig = ClassifierConfig(
        folds=3,
        regularisers=("mixup", "noise_0.3"),
        optimiser=OptimiserConfig(steps=400, batch_size=32, learning_rate=1e-3, steps_per_launch=25, patience=150),
    )
    guidance: GuidanceConfig = GuidanceConfig(
        consistency=(1.0,),
        folds=3,
        optimiser=OptimiserConfig(
            steps=800, batch_size=32, learning_rate=1e-3, steps_per_launch=50, patience=200, validation_rows=512
        ),
    )
    sampling: SamplingConfig = SamplingConfig(num=200, chunk=100)
