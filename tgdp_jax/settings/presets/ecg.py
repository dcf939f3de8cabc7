"""Settings of runs on ECGs."""

from __future__ import annotations

import dataclasses

from tgdp_jax.settings.methods import LoraConfig, StackedConfig
from tgdp_jax.settings.networks import HeadConfig, NetworkConfig
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.settings.sampling import SamplingConfig
from tgdp_jax.settings.training import ClassifierConfig, DenoiserConfig, GuidanceConfig, RivalConfig
from tgdp_jax.train.settings import OptimiserConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class EcgTrainingConfig(TrainingConfig):
    """`TrainingConfig` with defaults for ECGs, sized for a CPU: a row has thousands of numbers."""

    network: NetworkConfig = NetworkConfig(kind="sssd")
    head: HeadConfig = HeadConfig(channels=(8, 16))
    # Small batches: until rhythms are learned it is the number of steps that counts.
    source: DenoiserConfig = DenoiserConfig(
        optimiser=OptimiserConfig(
            steps=3000, batch_size=16, learning_rate=3e-3, ema=0.998, steps_per_launch=100, validation_rows=128
        ),
    )
    rival: RivalConfig = RivalConfig(
        learning_rates=(5e-4, 2e-3),
        folds=2,
        shrink=False,  # a second pass through a network of this size doubles the time that a sample takes
        optimiser=OptimiserConfig(
            steps=500,
            batch_size=16,
            schedule="constant",
            ema=0.98,
            steps_per_launch=25,
            patience=100,
            validation_rows=128,
        ),
    )
    lora: LoraConfig = LoraConfig(learning_rates=(1e-3, 1e-2))
    # From a classifier of diagnoses its cross-entropy is 0.49 instead of 0.54 nats (ecg-sim, 50 records, seed 0).
    classifier: ClassifierConfig = ClassifierConfig(
        folds=2,
        regularisers=("mixup", "noise_0.3"),
        pretrain=True,
        optimiser=OptimiserConfig(steps=200, batch_size=32, learning_rate=1e-3, steps_per_launch=10, patience=50),
    )
    stacked: StackedConfig = StackedConfig(members=("lora", "tgdp_denoising"))
    # Consistency is a mean over thousands of numbers: only with such a weight does it count beside the ratio's term.
    guidance: GuidanceConfig = GuidanceConfig(
        consistency=(3e5,),
        features=(64,),
        folds=2,
        optimiser=OptimiserConfig(
            steps=1500,
            batch_size=32,
            learning_rate=1e-2,
            ema=0.98,
            steps_per_launch=20,
            patience=300,
            validation_rows=128,
        ),
    )
    # Ten steps leave more undone than the 20 of DPM-Solver++(2M) that stood here did; 14 leave less.
    sampling: SamplingConfig = SamplingConfig(num=200, steps=14, chunk=100)
