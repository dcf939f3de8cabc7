"""Training on the target alone, which all methods share that adapt the source's weights or start anew.

Each gets what early stopping can give it from n rows: step count and learning rate are cross-validated over K folds of
the target (mean held-out denoising loss of the averaged weights), then the network is trained on all n rows for the
chosen number of steps.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from tgdp_jax.data.problem import Problem
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.settings.stored import network_uses, to_json
from tgdp_jax.settings.training import RivalConfig
from tgdp_jax.train.cross_validation import fit_cross_validated
from tgdp_jax.train.fit import Task
from tgdp_jax.train.reparam import Reparam, started
from tgdp_jax.train.session import Session
from tgdp_jax.transfer.artefacts import Network, params_of
from tgdp_jax.transfer.base import Stage, StageResult, Trees
from tgdp_jax.transfer.networks import check_denoiser
from tgdp_jax.transfer.source import denoising

Array = jax.Array


def target_task(
    config: TrainingConfig, problem: Problem, *, new_token: bool = False, reparam: Reparam | None = None
) -> Task:
    """Denoising of target rows by the source's network: all of it, or with a `reparam` what that trains."""
    return denoising(config, problem, config.rival.optimiser, new_token=new_token, reparam=reparam)


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
    return StageResult(Network(fitted.params), fitted.history, fitted.info)


def rival_uses(config: TrainingConfig, settings: RivalConfig) -> dict[str, Any]:
    """The settings that `fit_on_target` of the source's network depends on."""
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
        "rival": to_json(settings),
    }


def rival_stage(name: str, needs: tuple[str, ...]):
    """(config, problem) -> the stage that trains all weights on the target, from those of the stage that it needs, if
    any."""

    def stage(config: TrainingConfig, problem: Problem) -> Stage:
        check_denoiser(config, problem)

        def run(key: Array, trees: Trees, session: Session) -> StageResult:
            task, data = target_task(config, problem), problem.target.arrays(problem.conditional)
            base = params_of(trees, needs[0]) if needs else None
            return fit_on_target(key, task, config.rival, data, session, base=base)

        return Stage(name, needs, rival_uses(config, config.rival), uses_target=True, run=run)

    return stage
