"""TGDP, and discriminator guidance: the source model stays as it is, a guidance term is learned.

    score_q = score_p + grad log h,     h(x_t, t) = E_p[q(x_0)/p(x_0) | x_t]      (Ouyang et al. 2024)

Stages: source -> [classifier of the source's labels, which heads start from or stand on] -> domain classifier (log q/p
on clean data) -> [noise-conditional classifier, for the cycle term] -> guidance network. Discriminator guidance (Kim et
al. 2023) uses the noise-conditional classifier's logit as log h. On a conditional problem every network sees the label,
and the ratio is that of the joint (x, y).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from tgdp_jax.config import to_json
from tgdp_jax.data.mixture import ExactLogRatio
from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import UserError
from tgdp_jax.guidance import log_ratio_guidance
from tgdp_jax.settings import GuidanceConfig, TrainingConfig
from tgdp_jax.train.classifier import LogRatio, fit_log_ratio
from tgdp_jax.train.guidance import EnsembleLogRatio, FittedGuidance, GuidanceLoss, fit_guidance
from tgdp_jax.train.session import Session
from tgdp_jax.transfer.base import ScoreGenerator, Stage, StageResult, TransferMethod, Trees
from tgdp_jax.transfer.cards import CARDS
from tgdp_jax.transfer.denoisers import source_stage
from tgdp_jax.transfer.label_classifier import label_stage
from tgdp_jax.transfer.networks import (
    HEAD_STAGE,
    classifier_net,
    denoiser_score,
    guidance_net,
    pretrains,
    shared_variables,
)

Array = jax.Array


def _data(problem: Problem) -> tuple[dict[str, Array], dict[str, Array]]:
    return jax.tree.map(
        jnp.asarray, (problem.source.arrays(problem.conditional), problem.target.arrays(problem.conditional))
    )


def classifier_stage(config: TrainingConfig, problem: Problem) -> Stage:
    """Learns log q/p on clean data; leaves its values at the source and target rows.

    Raises:
      UserError: the closed-form ratio is asked for where there is none, or a network that does not fit.
    """
    settings, starts_from_labels = config.classifier, pretrains(config, problem)
    known = problem.exact
    if settings.exact and known is None:
        raise UserError(f"problem {problem.name} has no closed-form ratio: run without --classifier.exact")
    net = None if settings.exact else classifier_net(config, problem)

    def run(key: Array, problem: Problem, trees: Trees, session: Session) -> StageResult:
        source, target = _data(problem)
        if settings.exact and known is not None:
            exact = ExactLogRatio(known.source, known.target, config.sde)
            values = [exact.clean(part["x"], part.get("y")) for part in (source, target)]
            return StageResult({"source_log_r": values[0], "target_log_r": values[1]}, {}, {"exact": True})
        fitted = fit_log_ratio(
            key,
            source,
            target,
            net=net,
            variables=shared_variables(config, trees),
            known=trees["label_classifier"]["params"] if starts_from_labels else None,
            augmentation=config.augment,
            folds=settings.folds,
            regularisers=settings.regularisers,
            optimiser=settings.optimiser,
            session=session,
        )
        tree = {
            "params": fitted.log_ratio.params,
            "weights": fitted.log_ratio.weights,
            "source_log_r": fitted.source_log_r,
            "target_log_r": fitted.target_log_r,
        }
        info = {
            "calibration": fitted.calibration._asdict(),
            "shrinkage": fitted.shrinkage,
            "candidate_weights": fitted.candidate_weights,
        }
        return StageResult(tree, fitted.history, info)

    uses = {"classifier": to_json(settings), **_network_settings(config)}
    needs = ("label_classifier",) if starts_from_labels else _ground(config)
    return Stage("classifier", needs, uses, uses_target=True, run=run)


def _ground(config: TrainingConfig) -> tuple[str, ...]:
    """The stage of what heads stand on."""
    return (HEAD_STAGE[config.head.on],) if config.head.on in HEAD_STAGE else ()


def _network_settings(config: TrainingConfig) -> dict[str, Any]:
    return {name: to_json(getattr(config, name)) for name in ("network", "head", "augment")}


def clean_log_ratio(config: TrainingConfig, problem: Problem, trees: Trees) -> LogRatio:
    """The learned log q/p as a function (x [B, *D], cond) -> [B]."""
    tree, variables = trees["classifier"], shared_variables(config, trees)
    return LogRatio(tree["params"], tree["weights"], classifier_net(config, problem), variables)


def noised_log_ratio(config: TrainingConfig, problem: Problem, trees: Trees, stage: str) -> EnsembleLogRatio:
    """The log h that a stage learned as a function (x [B, *D], t [B], cond) -> [B]."""
    tree, variables = trees[stage], shared_variables(config, trees)
    net = guidance_net(config, problem, classifies=stage == "noisy_classifier")
    return EnsembleLogRatio(tree["params"], tree["weights"], net, variables)


def _result(fitted: FittedGuidance, consistency: tuple[float, ...]) -> StageResult:
    info = {
        "candidate_weights": {str(c): float(w) for c, w in zip(consistency, fitted.candidate_weights, strict=True)},
        "held_out_loss": [float(v) for v in fitted.held_out_loss],
    }
    return StageResult({"params": fitted.log_h.params, "weights": fitted.log_h.weights}, fitted.history, info)


def noisy_classifier_stage(config: TrainingConfig, problem: Problem) -> Stage:
    """Learns log q_t/p_t by classifying noised target rows against noised source rows."""
    settings, net = config.guidance, guidance_net(config, problem, classifies=True)

    def run(key: Array, problem: Problem, trees: Trees, session: Session) -> StageResult:
        source, target = _data(problem)
        fitted = fit_guidance(
            key,
            net,
            config.sde,
            denoiser_score(config, problem, trees["source"]),
            source,
            target,
            terms=GuidanceLoss(name="classification", draws=settings.draws),
            consistency=(0.0,),
            variables=shared_variables(config, trees),
            augmentation=config.augment,
            folds=settings.folds,
            optimiser=settings.optimiser,
            session=session,
        )
        return _result(fitted, (0.0,))

    uses = {"process": to_json(config.process), "guidance": _shared_settings(settings), **_network_settings(config)}
    return Stage("noisy_classifier", _after("source", *_ground(config)), uses, uses_target=True, run=run)


def _after(*names: str) -> tuple[str, ...]:
    """Names of stages, each once."""
    return tuple(dict.fromkeys(names))


def _shared_settings(settings: GuidanceConfig) -> dict[str, Any]:
    """The guidance settings that the noisy classifier depends on."""
    names = ("draws", "features", "embedding", "folds", "optimiser")
    return {name: to_json(getattr(settings, name)) for name in names}


def guidance_stage(config: TrainingConfig, problem: Problem) -> Stage:
    """Learns g = log h from the clean ratio, with the regularisers asked for."""
    settings, net = config.guidance, guidance_net(config, problem)
    needs = _after("source", *_ground(config), "classifier", *(("noisy_classifier",) if settings.cycle else ()))

    def run(key: Array, problem: Problem, trees: Trees, session: Session) -> StageResult:
        source, target = _data(problem)
        noisy = noised_log_ratio(config, problem, trees, "noisy_classifier") if settings.cycle else None
        fitted = fit_guidance(
            key,
            net,
            config.sde,
            denoiser_score(config, problem, trees["source"]),
            source,
            target,
            source_log_r=jnp.asarray(trees["classifier"]["source_log_r"]),
            target_log_r=jnp.asarray(trees["classifier"]["target_log_r"]),
            terms=GuidanceLoss(name=settings.loss, pooled=settings.pooled, draws=settings.draws),
            consistency=settings.consistency,
            cycle=settings.cycle,
            noisy_ratio=noisy,
            variables=shared_variables(config, trees),
            augmentation=config.augment,
            folds=settings.folds,
            optimiser=settings.optimiser,
            session=session,
        )
        return _result(fitted, settings.consistency)

    uses = {"process": to_json(config.process), "guidance": to_json(settings), **_network_settings(config)}
    return Stage("guidance", needs, uses, uses_target=True, run=run)


def _guided(stage: str):
    def generator(config: TrainingConfig, problem: Problem, trees: Trees) -> ScoreGenerator:
        log_h = noised_log_ratio(config, problem, trees, stage)
        guide = log_ratio_guidance(log_h, scale=config.sampling.scale, interval=config.sampling.interval)
        score = guide(denoiser_score(config, problem, trees["source"]))
        return ScoreGenerator(score, config.sde, problem.shape, config.sampling)

    return generator


_ON_SOURCE_ROWS = {"source": source_stage, "label_classifier": label_stage}


def grounded(config: TrainingConfig, problem: Problem, *stages: Stage) -> tuple[Stage, ...]:
    """Stages, after those on source rows that they need."""
    needed = {name for stage in stages for name in stage.needs}
    return (*(make(config, problem) for name, make in _ON_SOURCE_ROWS.items() if name in needed), *stages)


def _tgdp_stages(config: TrainingConfig, problem: Problem) -> tuple[Stage, ...]:
    noisy = [noisy_classifier_stage(config, problem)] if config.guidance.cycle else []
    return grounded(config, problem, classifier_stage(config, problem), *noisy, guidance_stage(config, problem))


TGDP = TransferMethod(
    "tgdp",
    CARDS["tgdp"],
    _tgdp_stages,
    _guided("guidance"),
)
DISCRIMINATOR_GUIDANCE = TransferMethod(
    "discriminator_guidance",
    CARDS["discriminator_guidance"],
    lambda config, problem: grounded(config, problem, noisy_classifier_stage(config, problem)),
    _guided("noisy_classifier"),
)
