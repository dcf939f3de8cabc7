"""What the networks of the density ratio take in training, of shapes alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tgdp_jax.app.commands.estimate import Estimate, key, like, of_step, row_numbers, rows_of, size
from tgdp_jax.data.problem import Problem
from tgdp_jax.nets.protocols import data_std
from tgdp_jax.prediction import as_score
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.train.batches import num_folds
from tgdp_jax.train.classifier import MIXUP_ENTRIES, NUM_JUDGING, classifier_task
from tgdp_jax.train.ensemble import EnsembleLogRatio
from tgdp_jax.train.guidance import CLASSIFICATION, GuidanceLoss, guidance_task
from tgdp_jax.transfer.heads import classifier_net, classifier_variables, guidance_net, label_net, shared_variables
from tgdp_jax.transfer.networks import denoiser_score
from tgdp_jax.transfer.pretrained import forward_process

GUIDANCE = "guidance"


class Ratio(NamedTuple):
    """Networks of log h.

    Attributes:
      log_h: the function.
      members: of its ensemble.
      steps: what is trained, by its name: numbers of one network and what a step takes.
    """

    log_h: EnsembleLogRatio
    members: int
    steps: dict[str, tuple[int, Estimate]]


def ratio(config: TrainingConfig, problem: Problem, base: Any, *, clean: bool) -> Ratio:
    """The networks of tgdp, or of discriminator guidance, which learns of no `clean` ratio.

    Args:
      config: settings of the run.
      problem: its problem.
      base: shapes of the source's variables.
      clean: whether a ratio of clean rows is learned first.
    """
    trees, settings, steps, noisy = _trees(config, problem, base), config.guidance, {}, None
    if settings.cycle or not clean:
        terms = GuidanceLoss(loss=CLASSIFICATION, draws=settings.draws, use_consistency=False)
        noisy = _guidance(config, problem, trees, terms, None)
        steps["the classifier of noised rows"] = noisy.steps[GUIDANCE]
        if not clean:
            return noisy._replace(steps=steps)
    steps |= clean_step(config, problem, base)
    terms = GuidanceLoss(
        loss=settings.loss,
        pooled=settings.pooled,
        draws=settings.draws,
        use_cycle=settings.cycle > 0,
        use_consistency=max(settings.consistency) > 0,
    )
    made = _guidance(config, problem, trees, terms, None if noisy is None else noisy.log_h)
    return made._replace(steps={**steps, **made.steps})


def clean_step(config: TrainingConfig, problem: Problem, base: Any) -> dict[str, tuple[int, Estimate]]:
    """The classifier of clean rows, as `Ratio.steps` has it; empty where none is trained."""
    if config.classifier.kind != "network" or config.classifier.exact:
        return {}
    return {"the classifier of clean rows": _classifier(config, problem, _trees(config, problem, base))}


def _trees(config: TrainingConfig, problem: Problem, base: Any) -> dict[str, Any]:
    """What heads stand on, as their stages would leave it."""
    trees = {"source": {"params": base}}
    if config.head.on == "labels":
        net = label_net(config, problem)
        trees["label_classifier"] = {"params": jax.eval_shape(net.init, key(), like((1, *problem.shape)))}
    return trees


def _guidance(
    config: TrainingConfig, problem: Problem, trees: Any, terms: GuidanceLoss, noisy: EnsembleLogRatio | None
) -> Ratio:
    settings, source, target = config.guidance, len(problem.source), len(problem.target)
    classifies = terms.loss == CLASSIFICATION
    net, sde = guidance_net(config, problem, classifies=classifies), forward_process(config)
    variables = jax.eval_shape(lambda trees: shared_variables(config, trees), trees)
    task = guidance_task(
        net,
        sde,
        terms,
        settings.optimiser.batch_size,
        problem.shape,
        settings.optimiser.validation_rows,
        config.augment,
        problem.conditional,
    )
    folds = num_folds(settings.folds, target)
    count = folds * (1 if classifies else len(settings.consistency))
    data = {
        "source": {**rows_of(problem, source), "log_r": like((source,))},
        "target": {**rows_of(problem, target), "log_r": like((target,))},
    }
    member = {
        "target_train": row_numbers(target),
        "target_held": row_numbers(target),
        "source_train": row_numbers(source),
        "eta1": like(()),
        "eta2": like(()),
    }
    score = as_score(denoiser_score(config, problem, trees["source"]["params"], guided=False))
    frozen = {"source": score, "variables": variables}
    if noisy is not None:
        frozen["noisy_ratio"] = noisy
    params = jax.eval_shape(task.init, key())
    step = of_step(task, settings.optimiser, data, frozen, member=member, count=count)
    members = jax.tree.map(lambda leaf: like((count, *leaf.shape), leaf.dtype), params)
    log_h = EnsembleLogRatio(members, like((count,)), net, variables)
    return Ratio(log_h, count, {GUIDANCE: (size(params), step)})


def _classifier(config: TrainingConfig, problem: Problem, trees: Any) -> tuple[int, Estimate]:
    settings, source, target = config.classifier, len(problem.source), len(problem.target)
    net = classifier_net(config, problem)
    task = classifier_task(net, settings.optimiser.batch_size, problem.shape, config.augment, problem.conditional)
    scale = jnp.shape(data_std(net))
    data = {"source": rows_of(problem, source), "target": rows_of(problem, target), "noise_scale": like(scale)}
    member = {
        "target_train": row_numbers(target),
        "target_held": row_numbers(target),
        "source_train": row_numbers(source),
        "source_held": row_numbers(min(NUM_JUDGING, source)),
        "weight_decay": like(()),
        "noise": like(()),
        "mixup_shares": like((MIXUP_ENTRIES,)),
    }
    frozen = jax.eval_shape(lambda trees: classifier_variables(config, trees), trees)
    count = len(settings.regularisers) * num_folds(settings.folds, min(source, target))
    step = of_step(task, settings.optimiser, data, frozen, member=member, count=count)
    return size(jax.eval_shape(task.init, key())), step
