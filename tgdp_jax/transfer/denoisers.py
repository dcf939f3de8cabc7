"""Methods that are one denoising network: the source as it is, training from scratch, full fine-tuning.

Both rivals get what early stopping can give them from n rows: step count and learning rate are cross-validated over
K folds of the target (mean held-out denoising loss of the averaged weights), then the network is trained on all n rows
for the chosen number of steps.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.config import to_json
from tgdp_jax.data.problem import Problem
from tgdp_jax.settings import RivalConfig, TrainingConfig
from tgdp_jax.train.batches import Rows, all_rows, fold_rows, num_folds
from tgdp_jax.train.denoising import denoising_task
from tgdp_jax.train.fit import Fitted, Task, fit
from tgdp_jax.train.optimiser import OptimiserConfig
from tgdp_jax.train.session import Session
from tgdp_jax.transfer.base import ScoreGenerator, Stage, StageResult, TransferMethod, Trees
from tgdp_jax.transfer.networks import denoiser, denoiser_score

Array = jax.Array


def _task(config: TrainingConfig, problem: Problem, optimiser: OptimiserConfig) -> Task:
    return denoising_task(
        denoiser(config, problem),
        config.sde,
        config.prediction,
        optimiser.batch_size,
        problem.shape,
        optimiser.validation_rows,
        config.augment,
    )


def source_stage(config: TrainingConfig, problem: Problem) -> Stage:
    """Trains the source model on the source rows, stopped on a held-out part; a pretrained one it takes as it is."""

    def run(key: Array, problem: Problem, trees: Trees, session: Session) -> StageResult:
        if config.model is not None:
            return StageResult({"params": config.model.variables}, {}, {"pretrained": str(config.pretrained)})
        settings = config.source
        num = len(problem.source)
        held = max(1, int(settings.held_out * num))
        order = np.random.default_rng(0).permutation(num)
        data = {
            **jax.tree.map(jnp.asarray, problem.source.arrays(problem.conditional)),
            "train": Rows(jnp.asarray(order[held:]), jnp.asarray(num - held)),
            "held": Rows(jnp.asarray(order[:held]), jnp.asarray(held)),
        }
        task = _task(config, problem, settings.optimiser)
        fitted = fit(key, task, settings.optimiser, data=data, session=session)
        return StageResult({"params": fitted.params}, fitted.history, {"best_step": int(fitted.best_step[0])})

    uses = {name: to_json(getattr(config, name)) for name in ("process", "network", "source", "augment")}
    return Stage("source", (), uses, uses_target=False, run=run)


def fit_on_target(key: Array, config: TrainingConfig, problem: Problem, initial: Any, session: Session) -> StageResult:
    """Cross-validates step count and learning rate on the target rows, then trains on all of them.

    Args:
      key: PRNG key.
      config: settings.
      problem: data.
      initial: starting weights, or None for a fresh network.
      session: what training reports to and continues from.
    """
    settings: RivalConfig = config.rival
    optimiser = settings.optimiser
    task = _task(config, problem, optimiser)
    data = jax.tree.map(jnp.asarray, problem.target.arrays(problem.conditional))
    folds = num_folds(settings.folds, len(problem.target))
    train, held = fold_rows(len(problem.target), folds, seed=0)
    parts = len(settings.learning_rates) + 1
    best: tuple[float, float, Fitted] | None = None
    for i, rate in enumerate(settings.learning_rates):
        trial = fit(
            jax.random.fold_in(key, i),
            task,
            dataclasses.replace(optimiser, learning_rate=rate),
            data=data,
            members={"train": train, "held": held},
            initial=initial,
            session=session.part(f"rate{i}", index=i, parts=parts),
        )
        if best is None or trial.best_value[0] < best[0]:
            best = float(trial.best_value[0]), rate, trial
    assert best is not None
    value, rate, trial = best
    steps = int(trial.best_step[0])
    # The last weights are kept: the step count is already chosen, and no row is left to judge by.
    everything = {**data, "train": all_rows(len(problem.target)), "held": all_rows(len(problem.target))}
    final = fit(
        jax.random.fold_in(key, len(settings.learning_rates)),
        task,
        dataclasses.replace(optimiser, learning_rate=rate, steps=max(steps, 1), patience=0),
        data=everything,
        initial=initial,
        keep="last",
        session=session.part("all_rows", index=parts - 1, parts=parts),
    )
    info = {"steps": steps, "learning_rate": rate, "held_out_loss": value}
    return StageResult({"params": final.params}, trial.history, info)


def _rival_stage(name: str, needs: tuple[str, ...]):
    def stage(config: TrainingConfig, problem: Problem) -> Stage:
        def run(key: Array, problem: Problem, trees: Trees, session: Session) -> StageResult:
            initial = trees["source"]["params"] if "source" in needs else None
            return fit_on_target(key, config, problem, initial, session)

        uses = {
            "process": to_json(config.process),
            "network": to_json(config.network),
            "augment": config.augment,
            "source": [config.source.features, config.source.embedding, config.source.prediction],
            "rival": to_json(config.rival),
        }
        return Stage(name, needs, uses, uses_target=True, run=run)

    return stage


def _generator(config: TrainingConfig, problem: Problem, trees: Trees, *, stage: str) -> ScoreGenerator:
    score = denoiser_score(config, problem, trees[stage])
    return ScoreGenerator(score, config.sde, problem.shape, config.sampling)


_scratch_stage = _rival_stage("scratch", ())
_finetune_stage = _rival_stage("finetune", ("source",))

SOURCE = TransferMethod(
    "source",
    "the source model as it is: no transfer",
    lambda config, problem: (source_stage(config, problem),),
    functools.partial(_generator, stage="source"),
)
SCRATCH = TransferMethod(
    "scratch",
    "a new diffusion model on the target rows alone, step count cross-validated",
    lambda config, problem: (_scratch_stage(config, problem),),
    functools.partial(_generator, stage="scratch"),
)
FINETUNE = TransferMethod(
    "finetune",
    "all weights of the source model trained on the target rows, step count cross-validated",
    lambda config, problem: (source_stage(config, problem), _finetune_stage(config, problem)),
    functools.partial(_generator, stage="finetune"),
)
