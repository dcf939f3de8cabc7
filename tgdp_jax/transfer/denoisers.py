"""Methods that are one denoising network: the source as it is, training from scratch, full fine-tuning.

Whatever is trained on the target (`fit_on_target`: these two rivals, and the other ways of adapting the source's
weights) gets what early stopping can give it from n rows: step count and learning rate are cross-validated over K folds
of the target (mean held-out denoising loss of the averaged weights), then the network is trained on all n rows for the
chosen number of steps.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.config import to_json
from tgdp_jax.data.problem import Problem
from tgdp_jax.prediction import ScoreFn
from tgdp_jax.settings import RivalConfig, TrainingConfig
from tgdp_jax.train.batches import Rows
from tgdp_jax.train.cross_validation import fit_cross_validated
from tgdp_jax.train.denoising import denoising_task
from tgdp_jax.train.fit import Task, fit
from tgdp_jax.train.optimiser import OptimiserConfig
from tgdp_jax.train.reparam import Reparam, started
from tgdp_jax.train.representation import representation_task
from tgdp_jax.train.session import Session
from tgdp_jax.transfer.base import ScoreGenerator, Stage, StageResult, TransferMethod, Trees
from tgdp_jax.transfer.cards import CARDS
from tgdp_jax.transfer.networks import check_denoiser, denoiser, denoiser_score

Array = jax.Array


def _task(
    config: TrainingConfig,
    problem: Problem,
    optimiser: OptimiserConfig,
    *,
    new_token: bool = False,
    reparam: Reparam | None = None,
) -> Task:
    return denoising_task(
        denoiser(config, problem, new_token=new_token),
        config.sde,
        config.prediction,
        optimiser.batch_size,
        problem.shape,
        optimiser.validation_rows,
        config.augment,
        reparam,
        config.source.weighting,
    )


def split_source(problem: Problem, held_out: float) -> dict[str, Any]:
    """The source rows, a share of them held out: {"x", "y"?, "train": Rows, "held": Rows}."""
    num = len(problem.source)
    held = max(1, int(held_out * num))
    order = np.random.default_rng(0).permutation(num)
    return {
        **jax.tree.map(jnp.asarray, problem.source.arrays(problem.conditional)),
        "train": Rows(jnp.asarray(order[held:]), jnp.asarray(num - held)),
        "held": Rows(jnp.asarray(order[:held]), jnp.asarray(held)),
    }


def source_stage(config: TrainingConfig, problem: Problem, *, name: str = "source") -> Stage:
    """Trains the source model on the source rows, stopped on a held-out part; a pretrained one it takes as it is.

    With `source.self_supervised` the network learns a representation beside; what is left is a plain network too.

    Raises:
      UserError: the network does not fit the rows.
    """
    check_denoiser(config, problem)

    def run(key: Array, problem: Problem, trees: Trees, session: Session) -> StageResult:
        if config.model is not None:
            return StageResult({"params": config.model.variables}, {}, {"pretrained": str(config.pretrained)})
        settings = config.source
        data = split_source(problem, settings.held_out)
        task = _task(config, problem, settings.optimiser)
        if settings.self_supervised:
            task = representation_task(
                task,
                config.representation,
                denoiser(config, problem),
                config.sde,
                config.prediction,
                settings.optimiser.batch_size,
                problem.shape,
                config.augment,
            )
        fitted = fit(key, task, settings.optimiser, data=data, session=session)
        params = fitted.params["net"] if settings.self_supervised else fitted.params
        return StageResult({"params": params}, fitted.history, {"best_step": int(fitted.best_step[0])})

    used = ("process", "network", "source", "augment", *(["representation"] if config.source.self_supervised else []))
    uses = {part: to_json(getattr(config, part)) for part in used}
    return Stage(name, (), uses, uses_target=False, run=run)


def target_task(
    config: TrainingConfig, problem: Problem, *, new_token: bool = False, reparam: Reparam | None = None
) -> Task:
    """Denoising of target rows by the source's network: all of it, or with a `reparam` what that trains."""
    return _task(config, problem, config.rival.optimiser, new_token=new_token, reparam=reparam)


def fit_on_target(
    key: Array,
    task: Task,
    settings: RivalConfig,
    data: dict[str, Any],
    session: Session,
    *,
    base: Any = None,
    reparam: Reparam | None = None,
) -> StageResult:
    """Cross-validates step count and learning rate on the target rows, then trains on all of them.

    Args:
      key: PRNG key.
      task: a denoising task.
      settings: candidates, folds and optimiser.
      data: what the task draws from: target rows {"x", "y"?}, and whatever else it knows by name.
      session: what training reports to and continues from.
      base: weights to start from; None: a fresh network's.
      reparam: the task's; what it trains beside `base` is what the result holds. None: the weights themselves.
    """
    initial, frozen = base, None
    if reparam is not None:
        initial, frozen = started(reparam, jax.random.fold_in(key, len(settings.learning_rates) + 1), base), base
    fitted = fit_cross_validated(
        key,
        task,
        settings.optimiser,
        data=jax.tree.map(jnp.asarray, data),
        learning_rates=settings.learning_rates,
        folds=settings.folds,
        frozen=frozen,
        initial=initial,
        session=session,
    )
    return StageResult({"params": fitted.params}, fitted.history, fitted.info)


def rival_uses(config: TrainingConfig, settings: RivalConfig) -> dict[str, Any]:
    """The settings that `fit_on_target` of the source's network depends on."""
    return {
        "process": to_json(config.process),
        "network": to_json(config.network),
        "augment": config.augment,
        "source": [getattr(config.source, of) for of in ("features", "embedding", "prediction", "weighting")],
        "rival": to_json(settings),
    }


def rival_stage(name: str, needs: tuple[str, ...]):
    """(config, problem) -> the stage that trains all weights on the target, from those of the stage that it needs, if
    any."""

    def stage(config: TrainingConfig, problem: Problem) -> Stage:
        check_denoiser(config, problem)

        def run(key: Array, problem: Problem, trees: Trees, session: Session) -> StageResult:
            task, data = target_task(config, problem), problem.target.arrays(problem.conditional)
            base = trees[needs[0]]["params"] if needs else None
            return fit_on_target(key, task, config.rival, data, session, base=base)

        return Stage(name, needs, rival_uses(config, config.rival), uses_target=True, run=run)

    return stage


def score_generator(config: TrainingConfig, problem: Problem, score: ScoreFn) -> ScoreGenerator:
    """Samples of a score, as the settings say."""
    return ScoreGenerator(score, config.sde, problem.shape, config.sampling)


def network_generator(config: TrainingConfig, problem: Problem, trees: Trees, *, stage: str) -> ScoreGenerator:
    """Samples of the network that a stage left."""
    return score_generator(config, problem, denoiser_score(config, problem, trees[stage]))


_scratch_stage = rival_stage("scratch", ())
finetune_stage = rival_stage("finetune", ("source",))

SOURCE = TransferMethod(
    "source",
    CARDS["source"],
    lambda config, problem: (source_stage(config, problem),),
    functools.partial(network_generator, stage="source"),
)
SCRATCH = TransferMethod(
    "scratch",
    CARDS["scratch"],
    lambda config, problem: (_scratch_stage(config, problem),),
    functools.partial(network_generator, stage="scratch"),
)
FINETUNE = TransferMethod(
    "finetune",
    CARDS["finetune"],
    lambda config, problem: (source_stage(config, problem), finetune_stage(config, problem)),
    functools.partial(network_generator, stage="finetune"),
)
