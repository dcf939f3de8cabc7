"""Low-rank adaptation: the source's weights stay, low-rank changes to its kernels are trained (Hu et al. 2022).

    W = W_0 + (alpha / rank) B A,      B = 0 at the start

The stage leaves the adapters alone; merged with the source they are a plain network, as fast as the source's.
"""

from __future__ import annotations

import dataclasses

import jax

from tgdp_jax.data.problem import Problem
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.settings.stored import to_json
from tgdp_jax.settings.training import RivalConfig
from tgdp_jax.train.reparam import merged
from tgdp_jax.train.session import Session
from tgdp_jax.transfer.adaptation import fit_on_target, rival_uses, target_task
from tgdp_jax.transfer.artefacts import params_of
from tgdp_jax.transfer.base import ScoreGenerator, Stage, StageResult, TransferMethod, Trees
from tgdp_jax.transfer.cards import Card
from tgdp_jax.transfer.networks import denoiser_score
from tgdp_jax.transfer.source import score_generator, source_stage

Array = jax.Array


def lora_settings(config: TrainingConfig) -> RivalConfig:
    """How adapters are trained on the target."""
    return dataclasses.replace(config.rival, learning_rates=config.lora.learning_rates)


def _lora_stage(config: TrainingConfig, problem: Problem) -> Stage:
    settings, reparam = lora_settings(config), config.lora.make()

    def run(key: Array, trees: Trees, session: Session) -> StageResult:
        task, data = target_task(config, problem, reparam=reparam), problem.target.arrays(problem.conditional)
        return fit_on_target(key, task, settings, data, session, base=params_of(trees, "source"), reparam=reparam)

    uses = {**rival_uses(config, settings), "lora": to_json(config.lora)}
    return Stage("lora", ("source",), uses, uses_target=True, run=run)


def _generator(config: TrainingConfig, problem: Problem, trees: Trees) -> ScoreGenerator:
    params = merged(config.lora.make(), params_of(trees, "source"), params_of(trees, "lora"))
    return score_generator(config, problem, denoiser_score(config, problem, params))


LORA = TransferMethod(
    "lora",
    Card(
        summary="low-rank changes to the source's kernels trained on the target rows, step count cross-validated",
        family="fine-tuning of few parameters",
        originators="Edward Hu, Yelong Shen, Phillip Wallis, Zeyuan Allen-Zhu and others",
        paper="LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022",
        year=2022,
        aliases=("low-rank adaptation", "low-rank adapters"),
        trains="two thin matrices beside every kernel",
        source_model="weights",
        source_rows=False,
        fails="a target that differs from the source by more than a change of low rank",
    ),
    ("source", "rival", "lora"),
    lambda config, problem: (source_stage(config, problem), _lora_stage(config, problem)),
    _generator,
)
