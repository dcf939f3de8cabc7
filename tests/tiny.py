"""The smallest settings that still pass through every line of a method.

All tests share them (and one small problem), so that every program is compiled once a session.
"""

from __future__ import annotations

import dataclasses

from tgdp_jax.data.gaussians import GaussiansConfig
from tgdp_jax.data.problem import Problem
from tgdp_jax.data.registry import load_problem
from tgdp_jax.settings.methods import DreamBoothConfig, GanConfig, LoraConfig, TextualInversionConfig
from tgdp_jax.settings.networks import NetworkConfig
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.settings.sampling import SamplingConfig
from tgdp_jax.settings.training import ClassifierConfig, DenoiserConfig, GuidanceConfig, RivalConfig
from tgdp_jax.train.optimiser import OptimiserConfig

NUM = 64
N_TARGET = 8
OPTIMISER = OptimiserConfig(steps=20, batch_size=32, learning_rate=1e-2, steps_per_launch=10)
TRAINING = TrainingConfig(
    network=NetworkConfig(features=(16,), width=8, depth=1),
    source=DenoiserConfig(optimiser=OPTIMISER),
    rival=RivalConfig(
        learning_rates=(1e-2,),
        folds=2,
        # With weight decay: what must not move has to withstand it.
        optimiser=dataclasses.replace(OPTIMISER, schedule="constant", weight_decay=0.5),
    ),
    lora=LoraConfig(rank=2, learning_rates=(1e-2,)),
    dreambooth=DreamBoothConfig(num_prior=64),
    textual_inversion=TextualInversionConfig(learning_rates=(1e-1,)),
    classifier=ClassifierConfig(features=(16,), folds=2, regularisers=("weight_decay", "mixup"), optimiser=OPTIMISER),
    guidance=GuidanceConfig(features=(16,), folds=2, consistency=(0.1, 1.0), optimiser=OPTIMISER),
    gan=GanConfig(
        features=(16, 16),
        latent=4,
        folds=2,
        source=OPTIMISER,
        target=dataclasses.replace(OPTIMISER, schedule="constant"),
    ),
    sampling=SamplingConfig(num=NUM, steps=4, chunk=NUM),
)
GAUSSIANS = GaussiansConfig(num_source=200)
CONDITIONAL = GaussiansConfig(num_source=200, conditional=True)
# `TRAINING` as options of the command line.
OPTIONS = """
    --network.features 16 --network.width 8 --network.depth 1
    --source.optimiser.steps 20 --source.optimiser.batch-size 32
    --source.optimiser.learning-rate 0.01 --source.optimiser.ema 0.99 --source.optimiser.steps-per-launch 10
    --rival.learning-rates 0.01 --rival.folds 2 --rival.optimiser.steps 20 --rival.optimiser.batch-size 32
    --rival.optimiser.learning-rate 0.01 --rival.optimiser.steps-per-launch 10 --rival.optimiser.patience 0
    --rival.optimiser.weight-decay 0.5
    --lora.rank 2 --lora.learning-rates 0.01 --dreambooth.num-prior 64 --textual-inversion.learning-rates 0.1
    --classifier.features 16 --classifier.folds 2 --classifier.regularisers weight_decay mixup
    --classifier.optimiser.steps 20 --classifier.optimiser.batch-size 32 --classifier.optimiser.learning-rate 0.01
    --classifier.optimiser.steps-per-launch 10 --classifier.optimiser.patience 0
    --guidance.features 16 --guidance.folds 2 --guidance.consistency 0.1 1.0
    --guidance.optimiser.steps 20 --guidance.optimiser.batch-size 32 --guidance.optimiser.learning-rate 0.01
    --guidance.optimiser.steps-per-launch 10 --guidance.optimiser.patience 0
    --gan.features 16 16 --gan.latent 4 --gan.folds 2
    --gan.source.steps 20 --gan.source.batch-size 32 --gan.source.learning-rate 0.01 --gan.source.ema 0.99
    --gan.source.steps-per-launch 10 --gan.target.steps 20 --gan.target.batch-size 32
    --gan.target.learning-rate 0.01 --gan.target.steps-per-launch 10 --gan.target.patience 0
    --sampling.num 64 --sampling.steps 4 --sampling.chunk 64
""".split()


def problem(config: GaussiansConfig = GAUSSIANS, *, seed: int = 0) -> Problem:
    """The small problem."""
    return load_problem(config, n_target=N_TARGET, seed=seed)
