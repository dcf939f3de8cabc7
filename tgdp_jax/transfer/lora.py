"""Low-rank adaptation: the source's weights stay, low-rank changes to its kernels are trained (Hu et al. 2022).

    W = W_0 + (alpha / rank) B A,      B = 0 at the start

The stage leaves the adapters alone; merged with the source they are a plain network, as fast as the source's.
"""

from __future__ import annotations

import dataclasses

import jax

from tgdp_jax.config import to_json
from tgdp_jax.data.problem import Problem
from tgdp_jax.settings import RivalConfig, TrainingConfig
from tgdp_jax.train.reparam import merged
from tgdp_jax.train.session import Session
from tgdp_jax.transfer.base import ScoreGenerator, Stage, StageResult, TransferMethod, Trees
from tgdp_jax.transfer.cards import CARDS
from tgdp_jax.transfer.denoisers import fit_on_target, rival_uses, score_generator, source_stage, target_task
from tgdp_jax.transfer.networks import denoiser_score

Array = jax.Array


def lora_settings(config: TrainingConfig) -> RivalConfig:
    """How adapters are trained on the target."""
    return dataclasses.replace(config.rival, learning_rates=config.lora.learning_rates)


def _lora_stage(config: TrainingConfig, problem: Problem) -> Stage:
    settings, reparam = lora_settings(config), config.lora.make()

    def run(key: Array, problem: Problem, trees: Trees, session: Session) -> StageResult:
        task, data = target_task(config, problem, reparam=reparam), problem.target.arrays(problem.conditional)
        return fit_on_target(key, task, settings, data, session, base=trees["source"]["params"], reparam=reparam)

    uses = {**rival_uses(config, settings), "lora": to_json(config.lora)}
    return Stage("lora", ("source",), uses, uses_target=True, run=run)


def _generator(config: TrainingConfig, problem: Problem, trees: Trees) -> ScoreGenerator:
    params = merged(config.lora.make(), trees["source"]["params"], trees["lora"]["params"])
    return score_generator(config, problem, denoiser_score(config, problem, {"params": params}))


LORA = TransferMethod(
    "lora",
    CARDS["lora"],
    lambda config, problem: (source_stage(config, problem), _lora_stage(config, problem)),
    _generator,
)
