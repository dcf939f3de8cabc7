"""Training on the target alone, which all methods share that adapt the source's weights or start anew.

Each gets what early stopping can give it from n rows: step count and learning rate are cross-validated over K folds of
the target (mean held-out denoising loss of the averaged weights), then the network is trained on all n rows for the
chosen number of steps, or the folds' weights are averaged. Of an adaptation of the source, rows out of fold then say
noise level by noise level how much to trust (`train.stacking`): not at all leaves the source as it is.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import UserError
from tgdp_jax.guidance import shrunk
from tgdp_jax.prediction import ScoreFn
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.settings.stored import network_uses, rival_uses, to_json
from tgdp_jax.settings.training import RivalConfig
from tgdp_jax.train.cross_validation import fit_cross_validated
from tgdp_jax.train.fit import Task
from tgdp_jax.train.reparam import Chosen, Reparam, averaged, merged, started
from tgdp_jax.train.session import Session
from tgdp_jax.train.stacking import HeldOut, held_out_gain, stacking_weights
from tgdp_jax.transfer.artefacts import Adapted, params_of
from tgdp_jax.transfer.base import ScoreGenerator, Stage, StageResult, Trees
from tgdp_jax.transfer.networks import check_denoiser, denoiser_score, with_token
from tgdp_jax.transfer.out_of_fold import changes_out_of_fold
from tgdp_jax.transfer.source import denoising, score_generator

Array = jax.Array
# Weights of a network that knows captions (`nets.captioned`) without what it knows of these.
DENOISER = Chosen("^params/net/")


@dataclasses.dataclass(frozen=True)
class Adaptation:
    """A way of training the source's network on the target: what is trained, and how.

    Attributes:
      config: settings of the run.
      problem: data.
      settings: candidates, folds and optimiser.
      reparam: what is trained beside frozen weights; None: all weights.
      new_token: whether the target has a token of its own; of a pipeline, whether captions are read at every call, so
        that a word or the text encoders can be trained.
      source: the stage that left the weights to start from; None: fresh weights.
    """

    config: TrainingConfig
    problem: Problem
    settings: RivalConfig
    reparam: Reparam | None = None
    new_token: bool = False
    source: str | None = "source"

    def __post_init__(self):
        self.settings.check_chosen()
        if self.settings.shrink and self.problem.captions is not None:
            raise UserError("what is shrunk has no file that diffusers reads: leave out --rival.shrink")

    def task(self) -> Task:
        """Denoising of target rows."""
        return denoising(
            self.config, self.problem, self.settings.optimiser, new_token=self.new_token, reparam=self.reparam
        )

    def base(self, trees: Trees) -> Any:
        """The weights to start from."""
        if self.source is None:
            return None
        params = params_of(trees, self.source)
        return with_token(self.config, self.problem, params) if self.new_token else params

    def params(self, base: Any, trained: Any) -> Any:
        """The adapted network's weights."""
        return trained if self.reparam is None else merged(self.reparam, base, trained)

    def score(self, base: Any, trained: Any) -> ScoreFn:
        """The adapted network's score."""
        return denoiser_score(self.config, self.problem, self.params(base, trained), new_token=self.new_token)

    def source_score(self, trees: Trees) -> ScoreFn:
        """The score of what the adaptation starts from."""
        assert self.source is not None
        return denoiser_score(self.config, self.problem, params_of(trees, self.source))

    def uses(self) -> dict[str, Any]:
        """The settings that the training depends on."""
        config = self.config
        return {
            "process": to_json(config.process),
            **network_uses(config),
            "augment": config.augment,
            "source": [
                config.network.features,
                config.network.embedding,
                config.source.prediction,
                config.source.weighting,
            ],
            "rival": rival_uses(self.settings),
        }


def adapt(
    key: Array,
    how: Adaptation,
    trees: Trees,
    session: Session,
    *,
    task: Task | None = None,
    data: Mapping[str, Any] | None = None,
    members: dict[str, Any] | None = None,
) -> StageResult:
    """Cross-validates step count and learning rate on the target rows, then trains on all of them.

    Args:
      key: PRNG key.
      how: the adaptation.
      trees: what earlier stages left.
      session: what training reports to and continues from.
      task: in the place of the adaptation's own.
      data: what that draws from beside the target rows, by name.
      members: what each fold has of these as its own.
    """
    settings, reparam, base = how.settings, how.reparam, how.base(trees)
    initial, frozen = base, None
    if reparam is not None:
        initial, frozen = started(reparam, jax.random.fold_in(key, len(settings.learning_rates) + 1), base), base
    rows = how.problem.target.arrays(how.problem.conditional)
    fitted = fit_cross_validated(
        key,
        how.task() if task is None else task,
        settings.optimiser,
        data=jax.device_put({**rows, **(data or {})}),
        learning_rates=settings.learning_rates,
        folds=settings.folds,
        members=members,
        frozen=frozen,
        initial=initial,
        average=functools.partial(averaged, reparam) if settings.finish == "soup" else None,
        session=session,
    )
    if not settings.shrink:
        return StageResult(Adapted(fitted.params), fitted.history, fitted.info)
    found = out_of_fold([how], [fitted.folds], trees)
    weights = stacking_weights(found)
    info = {**fitted.info, "weights": weights.tolist(), "held_out_gain": held_out_gain(found, weights)}
    folds = None if reparam is None else fitted.folds  # of whole networks they would be too large to keep
    return StageResult(Adapted(fitted.params, folds, weights), fitted.history, info)


def out_of_fold(ways: Sequence[Adaptation], folds: Sequence[Any], trees: Trees) -> HeldOut:
    """What adaptations change at rows that they were not trained on.

    Args:
      ways: adaptations of one source with as many folds.
      folds: of each what its folds learned, leading axis K.
      trees: what earlier stages left.
    """
    first, scores = ways[0], []
    for how, members in zip(ways, folds, strict=True):
        base, parts = how.base(trees), len(jax.tree.leaves(members)[0])
        each = [jax.device_put(jax.tree.map(lambda leaf, k=k: leaf[k], members)) for k in range(parts)]
        scores.append([how.score(base, trained) for trained in each])
    return changes_out_of_fold(first.config, first.problem, first.settings, first.source_score(trees), scores)


def adaptation_stage(name: str, how: Adaptation, uses: Mapping[str, Any] | None = None) -> Stage:
    """The stage of an adaptation that learns from target rows alone; `uses` are settings beside those of all.

    Raises:
      UserError: the network does not fit the rows, or has nothing of what is to be trained.
    """
    check_denoiser(how.config, how.problem, new_token=how.new_token, reparam=how.reparam)

    def run(key: Array, trees: Trees, session: Session) -> StageResult:
        return adapt(key, how, trees, session)

    needs = () if how.source is None else (how.source,)
    return Stage(name, needs, {**how.uses(), **(uses or {})}, uses_target=True, run=run)


def adapted_score(how: Adaptation, trees: Trees, stage: str) -> ScoreFn:
    """The score that the stage of an adaptation left."""
    left = Adapted.from_tree(trees[stage])
    score = how.score(how.base(trees), left.params)
    return shrunk(score, how.source_score(trees), left.shrink)


def adapted_generator(
    stage: str, way: Callable[[TrainingConfig, Problem], Adaptation]
) -> Callable[[TrainingConfig, Problem, Trees], ScoreGenerator]:
    """(config, problem, trees) -> samples of an adaptation that a stage left."""

    def generator(config: TrainingConfig, problem: Problem, trees: Trees) -> ScoreGenerator:
        return score_generator(config, problem, adapted_score(way(config, problem), trees, stage))

    return generator


def all_weights(config: TrainingConfig, problem: Problem, *, source: str = "source") -> Adaptation:
    """All weights of the network that a stage left; of a pipeline those of its denoiser."""
    reparam = None if problem.captions is None else DENOISER
    return Adaptation(config, problem, config.rival, reparam, source=source)
