"""Textual inversion: the embedding of one new token is trained, and no other number moves (Gal et al. 2023).

The token is a vector v beside the embeddings of time and label, so that c_new is "class y in the style of the target"
(`nets.embedding`). In an unconditional network, which has no words, it is the flag of the new domain: v is added to the
embedding of time alone. In a multilayer perceptron it shifts the first hidden layer, as one more one-hot label would.
Either way the method asks whether the frozen network can make the target already, conditioned on v: v is as many
numbers as an embedding has, and can not teach the network what it never learned.
"""

from __future__ import annotations

import dataclasses

import jax

from tgdp_jax.data.problem import Problem
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.settings.training import RivalConfig
from tgdp_jax.train.reparam import Chosen, merged
from tgdp_jax.train.session import Session
from tgdp_jax.transfer.adaptation import fit_on_target, rival_uses, target_task
from tgdp_jax.transfer.artefacts import params_of
from tgdp_jax.transfer.base import ScoreGenerator, Stage, StageResult, TransferMethod, Trees
from tgdp_jax.transfer.cards import Card
from tgdp_jax.transfer.networks import check_denoiser, denoiser_score, with_token
from tgdp_jax.transfer.source import score_generator, source_stage

Array = jax.Array
TOKEN = Chosen("(^|/)token/row$")


def _settings(config: TrainingConfig) -> RivalConfig:
    return dataclasses.replace(config.rival, learning_rates=config.textual_inversion.learning_rates)


def _inversion_stage(config: TrainingConfig, problem: Problem) -> Stage:
    check_denoiser(config, problem, new_token=True)
    settings = _settings(config)

    def run(key: Array, trees: Trees, session: Session) -> StageResult:
        task = target_task(config, problem, new_token=True, reparam=TOKEN)
        base = with_token(config, problem, params_of(trees, "source"))
        data = problem.target.arrays(problem.conditional)
        return fit_on_target(key, task, settings, data, session, base=base, reparam=TOKEN)

    return Stage("textual_inversion", ("source",), rival_uses(config, settings), uses_target=True, run=run)


def _generator(config: TrainingConfig, problem: Problem, trees: Trees) -> ScoreGenerator:
    base = with_token(config, problem, params_of(trees, "source"))
    params = merged(TOKEN, base, params_of(trees, "textual_inversion"))
    return score_generator(config, problem, denoiser_score(config, problem, params, new_token=True))


TEXTUAL_INVERSION = TransferMethod(
    "textual_inversion",
    Card(
        summary="the source model conditioned on one new token, whose embedding is the only thing trained",
        family="fine-tuning of few parameters",
        originators="Rinon Gal, Yuval Alaluf, Yuval Atzmon, Or Patashnik, Amit Bermano, Gal Chechik, Daniel Cohen-Or",
        paper="An Image is Worth One Word: Personalizing Text-to-Image Generation using Textual Inversion, ICLR 2023",
        year=2023,
        aliases=("embedding inversion",),
        trains="the embedding of a new token",
        source_model="weights",
        source_rows=False,
        fails="a target that the source model can not make whatever it is conditioned on",
    ),
    ("source", "rival", "textual_inversion"),
    lambda config, problem: (source_stage(config, problem), _inversion_stage(config, problem)),
    _generator,
)
