"""Textual inversion: the embedding of one new token is trained, and no other number moves (Gal et al. 2023).

The token is a vector v beside the embeddings of time and label, so that c_new is "class y in the style of the target"
(`nets.embedding`). In an unconditional network, which has no words, it is the flag of the new domain: v is added to the
embedding of time alone. In a multilayer perceptron it shifts the first hidden layer, as one more one-hot label would.
Either way the method asks whether the frozen network can make the target already, conditioned on v: v is as many
numbers as an embedding has, and can not teach the network what it never learned.
"""

from __future__ import annotations

import dataclasses

from tgdp_jax.data.problem import Problem
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.train.reparam import Chosen
from tgdp_jax.transfer.adaptation import Adaptation, adaptation_stage, adapted_generator
from tgdp_jax.transfer.base import Stage, TransferMethod
from tgdp_jax.transfer.cards import Card
from tgdp_jax.transfer.source import source_stage

TOKEN = Chosen("(^|/)token/row$")


def inversion(config: TrainingConfig, problem: Problem) -> Adaptation:
    """The embedding of a new token."""
    settings = dataclasses.replace(config.rival, learning_rates=config.textual_inversion.learning_rates)
    return Adaptation(config, problem, settings, TOKEN, new_token=True)


def inversion_stage(config: TrainingConfig, problem: Problem) -> Stage:
    """Trains the embedding on the target rows."""
    return adaptation_stage("textual_inversion", inversion(config, problem))


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
    lambda config, problem: (source_stage(config, problem), inversion_stage(config, problem)),
    adapted_generator("textual_inversion", inversion),
)
