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
from tgdp_jax.transfer.base import Stage
from tgdp_jax.transfer.source import source_stage

TOKEN = Chosen("(^|/)token/row$")


def inversion(config: TrainingConfig, problem: Problem) -> Adaptation:
    """The embedding of a new token."""
    settings = dataclasses.replace(config.rival, learning_rates=config.textual_inversion.learning_rates)
    return Adaptation(config, problem, settings, TOKEN, new_token=True)


def inversion_stage(config: TrainingConfig, problem: Problem) -> Stage:
    """Trains the embedding on the target rows."""
    return adaptation_stage("textual_inversion", inversion(config, problem))


def stages(config: TrainingConfig, problem: Problem) -> tuple[Stage, ...]:
    """The training stages in order."""
    return (source_stage(config, problem), inversion_stage(config, problem))


generator = adapted_generator("textual_inversion", inversion)
