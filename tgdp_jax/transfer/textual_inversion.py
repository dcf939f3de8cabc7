"""Textual inversion: the embedding of one new token is trained, and no other number moves (Gal et al. 2023).

The token is a vector v beside the embeddings of time and label, so that c_new is "class y in the style of the target"
(`nets.embedding`). In an unconditional network, which has no words, it is the flag of the new domain: v is added to the
embedding of time alone. In a multilayer perceptron it shifts the first hidden layer, as one more one-hot label would.
Either way the method asks whether the frozen network can make the target already, conditioned on v: v is as many
numbers as an embedding has, and can not teach the network what it never learned.

In a text-to-image pipeline the token is a word of the captions: one row of the text encoder's table of embeddings is
trained, through the encoder, and starts from that of a word that is known. Of a word of several vectors it is as many
rows, and the word takes the place of as many tokens.
"""

from __future__ import annotations

import dataclasses

from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import UserError
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.train.reparam import Chosen, LastRow
from tgdp_jax.transfer.adaptation import Adaptation, adaptation_stage, adapted_generator
from tgdp_jax.transfer.base import Stage
from tgdp_jax.transfer.source import source_stage

TOKEN = Chosen("(^|/)token/row$")
# Of the text encoders of a pipeline.
WORD = LastRow("^params/encoders_[0-9]+/embeddings/token_embedding/embedding$")


def inversion(config: TrainingConfig, problem: Problem) -> Adaptation:
    """The embedding of a new token.

    Raises:
      UserError: several vectors where there are no captions, or text encoders that are trained as well.
    """
    vectors = config.textual_inversion.vectors
    if problem.captions is None and vectors > 1:
        raise UserError(f"problem {problem.name} has no captions: leave out --textual-inversion.vectors")
    if problem.captions is not None and config.lora.text_encoder:
        raise UserError("textual_inversion trains a word and no text encoder: leave out --lora.text-encoder")
    settings = dataclasses.replace(config.rival, learning_rates=config.textual_inversion.learning_rates)
    reparam = TOKEN if problem.captions is None else dataclasses.replace(WORD, count=vectors)
    return Adaptation(config, problem, settings, reparam, new_token=True)


def inversion_stage(config: TrainingConfig, problem: Problem) -> Stage:
    """Trains the embedding on the target rows."""
    vectors = config.textual_inversion.vectors
    uses = {"vectors": vectors} if vectors > 1 else None
    return adaptation_stage("textual_inversion", inversion(config, problem), uses)


def stages(config: TrainingConfig, problem: Problem) -> tuple[Stage, ...]:
    """The training stages in order."""
    return (source_stage(config, problem), inversion_stage(config, problem))


generator = adapted_generator("textual_inversion", inversion)
