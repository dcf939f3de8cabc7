"""Stacked transfer: several adaptations of one source, each as far as held-out rows say that it is right.

    score = score_p + sum_j w_j(t) (score_j - score_p),      w_j(t) >= 0

The members are what `lora`, `textual_inversion` and `tgdp_denoising` train: much, little, and with source rows beside.
Of vectors the weights are chosen by rows out of fold, noise level by noise level (`train.stacking`); w = 0, the source
as it is, is among the choices everywhere.

Of images and series the networks' weights are averaged, not their scores: a mixture of scores denoises better, and yet
its samples are worse (MNIST to USPS, Frechet distance), and one network draws in the time of the source's. Each member
is the mean of its folds there. What is held out does not choose well by that measure: members trained on n target rows
alone have the share n / (n + even_at), which is the larger the more there are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import UserError
from tgdp_jax.guidance import stacking
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.settings.stored import to_json
from tgdp_jax.train.session import Session
from tgdp_jax.train.stacking import held_out_gain, stacking_weights
from tgdp_jax.transfer.adaptation import Adaptation, out_of_fold
from tgdp_jax.transfer.artefacts import Adapted, Stack
from tgdp_jax.transfer.base import ScoreGenerator, Stage, StageResult, Trees
from tgdp_jax.transfer.lora import lora, lora_stage
from tgdp_jax.transfer.networks import denoiser_score
from tgdp_jax.transfer.ratio import classifier_stage
from tgdp_jax.transfer.source import score_generator, with_source_stages
from tgdp_jax.transfer.textual_inversion import inversion, inversion_stage
from tgdp_jax.transfer.tgdp_denoising import denoising_stage

Array = jax.Array


class Member(NamedTuple):
    """What may be stacked: an adaptation, and the stages that learn it from those of the source."""

    way: Callable[[TrainingConfig, Problem], Adaptation]
    stages: Callable[[TrainingConfig, Problem], tuple[Stage, ...]]


_MEMBERS: dict[str, Member] = {
    "lora": Member(lora, lambda config, problem: (lora_stage(config, problem),)),
    "textual_inversion": Member(inversion, lambda config, problem: (inversion_stage(config, problem),)),
    "tgdp_denoising": Member(
        lora, lambda config, problem: (classifier_stage(config, problem), denoising_stage(config, problem))
    ),
}


def _combines_scores(problem: Problem) -> bool:
    return problem.kind == "vectors"


def _for_members(config: TrainingConfig, problem: Problem) -> TrainingConfig:
    """The settings with what combining needs of the members: their folds, or the mean of these.

    Raises:
      UserError: a member whose network can not be averaged with the others'.
    """
    if _combines_scores(problem):
        return dataclasses.replace(config, rival=dataclasses.replace(config.rival, shrink=True))
    if "textual_inversion" in config.stacked.members:
        raise UserError(
            "a network with a new token can not be averaged with others: leave textual_inversion out of "
            "--stacked.members"
        )
    if config.lora.text_encoder:
        raise UserError("the networks that are averaged are denoisers: leave out --lora.text-encoder")
    if config.rival.folds == 1:
        return config  # there are no folds to average, and all rows train
    return dataclasses.replace(config, rival=dataclasses.replace(config.rival, finish="soup"))


def _ways(config: TrainingConfig, problem: Problem) -> list[Adaptation]:
    config = _for_members(config, problem)
    return [_MEMBERS[name].way(config, problem) for name in config.stacked.members]


def _stack_stage(config: TrainingConfig, problem: Problem) -> Stage:
    """Chooses the weights."""
    settings, names = config.stacked, config.stacked.members

    def run(key: Array, trees: Trees, session: Session) -> StageResult:
        if not _combines_scores(problem):
            shares = _shares(config, len(problem.target))
            return StageResult(Stack(shares), {}, {"weights": shares.tolist()})
        folds = [Adapted.from_tree(trees[name]).folds for name in names]
        found = out_of_fold(_ways(config, problem), folds, trees)
        weights = stacking_weights(found, knots=settings.knots, smoothness=settings.smoothness)
        return StageResult(
            Stack(weights), {}, {"weights": weights.tolist(), "held_out_gain": held_out_gain(found, weights)}
        )

    return Stage("stacked", ("source", *names), to_json(settings), uses_target=True, run=run)


def _shares(config: TrainingConfig, num: int) -> np.ndarray:
    """The networks' shares [J, 1] in the average; they add up to one."""
    even = config.stacked.even_at
    shares = np.array([even if name == "tgdp_denoising" else num for name in config.stacked.members], np.float32)
    return (shares / shares.sum())[:, None]


def stages(config: TrainingConfig, problem: Problem) -> tuple[Stage, ...]:
    """The training stages in order."""
    members = _for_members(config, problem)
    own = [stage for name in config.stacked.members for stage in _MEMBERS[name].stages(members, problem)]
    return with_source_stages(config, problem, *own, _stack_stage(config, problem))


def generator(config: TrainingConfig, problem: Problem, trees: Trees) -> ScoreGenerator:
    """The trained method."""
    if not _combines_scores(problem):
        return score_generator(
            config, problem, denoiser_score(config, problem, averaged_network(config, problem, trees))
        )
    ways, left, weights = _learned(config, problem, trees)
    scores = [how.score(how.base(trees), trained) for how, trained in zip(ways, left, strict=True)]
    return score_generator(config, problem, stacking(scores, weights)(ways[0].source_score(trees)))


def averaged_network(config: TrainingConfig, problem: Problem, trees: Trees) -> Any:
    """The one network that the members' are averaged to, of images and series."""
    ways, left, weights = _learned(config, problem, trees)
    networks = [how.params(how.base(trees), trained) for how, trained in zip(ways, left, strict=True)]
    return jax.tree.map(lambda *each: jnp.tensordot(weights[:, 0], jnp.stack(each), 1), *networks)


def _learned(config: TrainingConfig, problem: Problem, trees: Trees) -> tuple[list[Adaptation], list[Any], Any]:
    """(the members, what each learned, their weights)."""
    left = [Adapted.from_tree(trees[name]).params for name in config.stacked.members]
    return _ways(config, problem), left, Stack.from_tree(trees["stacked"]).weights
