"""Stages that learn a density ratio, on clean rows and on noised ones, and samples guided by it.

Several methods share them: TGDP, discriminator guidance and importance resampling. On a conditional problem every
network sees the label, and the ratio is that of the joint (x, y).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from tgdp_jax.data.mixture import ExactLogRatio
from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import UserError
from tgdp_jax.guidance import log_ratio_guidance, shrunk
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.settings.stored import guidance_uses, network_uses, to_json
from tgdp_jax.train.classifier import FittedRatio, fit_log_ratio
from tgdp_jax.train.ensemble import EnsembleLogRatio
from tgdp_jax.train.guidance import FittedGuidance, GuidanceLoss, fit_guidance
from tgdp_jax.train.ridge_ratio import fit_ridge_ratio
from tgdp_jax.train.session import Session
from tgdp_jax.train.stacking import HeldOut, held_out_gain, stacking_weights
from tgdp_jax.transfer.artefacts import CleanRatio, NoisedRatio, params_of
from tgdp_jax.transfer.base import ScoreGenerator, Stage, StageResult, Trees
from tgdp_jax.transfer.heads import (
    HEAD_STAGE,
    classifier_net,
    classifier_variables,
    guidance_net,
    noised_log_ratio,
    pretrains,
    shared_variables,
)
from tgdp_jax.transfer.networks import denoiser_score
from tgdp_jax.transfer.out_of_fold import changes_out_of_fold, held_rows
from tgdp_jax.transfer.pretrained import forward_process

Array = jax.Array


def domain_rows(problem: Problem) -> tuple[dict[str, Array], dict[str, Array]]:
    """Source and target rows on the device, with labels in a conditional problem."""
    return jax.device_put((problem.source.arrays(problem.conditional), problem.target.arrays(problem.conditional)))


def classifier_stage(config: TrainingConfig, problem: Problem) -> Stage:
    """Learns log q/p on clean data; leaves its values at the source and target rows.

    Raises:
      UserError: the closed-form ratio is asked for where there is none, or a network that does not fit.
    """
    settings = config.classifier
    known = problem.exact
    if settings.exact and known is None:
        raise UserError(f"problem {problem.name} has no closed-form ratio: run without --classifier.exact")
    net = None if settings.exact else classifier_net(config, problem)

    def run(key: Array, trees: Trees, session: Session) -> StageResult:
        source, target = domain_rows(problem)
        if settings.exact and known is not None:
            exact = ExactLogRatio(known.source, known.target, forward_process(config))
            values = [exact.clean(part["x"], part.get("y")) for part in (source, target)]
            return StageResult(CleanRatio(values[0], values[1]), {}, {"exact": True})
        fitted = _fitted(key, config, problem, trees, net, source, target, session)
        ratio = CleanRatio(fitted.source_log_r, fitted.target_log_r, fitted.log_ratio.params, fitted.log_ratio.weights)
        info = {
            "calibration": fitted.calibration._asdict(),
            "shrinkage": fitted.shrinkage,
            "candidate_weights": fitted.candidate_weights,
        }
        return StageResult(ratio, fitted.history, info)

    uses = {"classifier": to_json(settings), **network_settings(config, problem)}
    needs = foundation_stages(config)
    if pretrains(config, problem):
        needs = ("label_classifier",)
    elif settings.kind == "ridge":
        needs, uses = ("source",), {**uses, "process": to_json(config.process)}
    if problem.captions is not None:
        needs = unique("source", *needs)
    return Stage("classifier", needs, uses, uses_target=True, run=run)


def _fitted(
    key: Array,
    config: TrainingConfig,
    problem: Problem,
    trees: Trees,
    net: Any,
    source: dict[str, Array],
    target: dict[str, Array],
    session: Session,
) -> FittedRatio:
    settings, variables = config.classifier, classifier_variables(config, trees)
    if settings.kind == "ridge":
        return fit_ridge_ratio(source, target, net=net, variables=variables, folds=settings.folds)
    return fit_log_ratio(
        key,
        source,
        target,
        net=net,
        variables=variables,
        known=params_of(trees, "label_classifier") if pretrains(config, problem) else None,
        augmentation=config.augment,
        folds=settings.folds,
        regularisers=settings.regularisers,
        optimiser=settings.optimiser,
        session=session,
    )


def foundation_stages(config: TrainingConfig) -> tuple[str, ...]:
    """The stage of what heads stand on."""
    return (HEAD_STAGE[config.head.on],) if config.head.on in HEAD_STAGE else ()


def network_settings(config: TrainingConfig, problem: Problem) -> dict[str, Any]:
    """The settings that heads depend on."""
    captions = {} if problem.captions is None else {"captions": "embeddings"}
    return {**network_uses(config), "head": to_json(config.head), "augment": config.augment, **captions}


def ratio_result(
    config: TrainingConfig, problem: Problem, trees: Trees, fitted: FittedGuidance, consistency: tuple[float, ...]
) -> StageResult:
    """What a stage leaves of a learned log h."""
    info = {
        "candidate_weights": {str(c): float(w) for c, w in zip(consistency, fitted.candidate_weights, strict=True)},
        "held_out_loss": [float(v) for v in fitted.held_out_loss],
    }
    shrink = None
    if config.guidance.shrink:
        found = _out_of_fold(config, problem, trees, fitted.log_h)
        shrink = stacking_weights(found)
        info |= {"weights": shrink.tolist(), "held_out_gain": held_out_gain(found, shrink)}
    return StageResult(NoisedRatio(fitted.log_h.params, fitted.log_h.weights, shrink), fitted.history, info)


def _out_of_fold(config: TrainingConfig, problem: Problem, trees: Trees, log_h: EnsembleLogRatio) -> HeldOut:
    """What guidance changes at rows that its network was not trained on; the clean ratio behind it has seen them."""
    folds = len(held_rows(problem, config.guidance).count)
    source = denoiser_score(config, problem, params_of(trees, "source"), guided=False)
    guided = [log_ratio_guidance(log_h.of_fold(fold, folds))(source) for fold in range(folds)]
    return changes_out_of_fold(config, problem, config.guidance, source, [guided])


def noisy_classifier_stage(config: TrainingConfig, problem: Problem) -> Stage:
    """Learns log q_t/p_t by classifying noised target rows against noised source rows."""
    settings, net = config.guidance, guidance_net(config, problem, classifies=True)

    def run(key: Array, trees: Trees, session: Session) -> StageResult:
        source, target = domain_rows(problem)
        fitted = fit_guidance(
            key,
            net,
            forward_process(config),
            denoiser_score(config, problem, params_of(trees, "source"), guided=False),
            source,
            target,
            terms=GuidanceLoss(loss="classification", draws=settings.draws),
            consistency=(0.0,),
            variables=shared_variables(config, trees),
            augmentation=config.augment,
            folds=settings.folds,
            optimiser=settings.optimiser,
            session=session,
        )
        return ratio_result(config, problem, trees, fitted, (0.0,))

    uses = {
        "process": to_json(config.process),
        "guidance": _shared_settings(config),
        **network_settings(config, problem),
    }
    return Stage("noisy_classifier", unique("source", *foundation_stages(config)), uses, uses_target=True, run=run)


def unique(*names: str) -> tuple[str, ...]:
    """Names of stages, each once."""
    return tuple(dict.fromkeys(names))


def _shared_settings(config: TrainingConfig) -> dict[str, Any]:
    """The guidance settings that the noisy classifier depends on."""
    names = ("draws", "features", "embedding", "folds", "optimiser", "shrink")
    return {name: value for name, value in guidance_uses(config)["guidance"].items() if name in names}


def guided_generator(stage: str) -> Callable[[TrainingConfig, Problem, Trees], ScoreGenerator]:
    """(config, problem, trees) -> samples of the source guided by the log h that a stage learned."""

    def generator(config: TrainingConfig, problem: Problem, trees: Trees) -> ScoreGenerator:
        log_h = noised_log_ratio(config, problem, trees, stage)
        guide = log_ratio_guidance(log_h, scale=config.guidance.scale, interval=config.guidance.interval)
        source = denoiser_score(config, problem, params_of(trees, "source"))
        score = shrunk(guide(source), source, NoisedRatio.from_tree(trees[stage]).shrink)
        return ScoreGenerator(score, forward_process(config), problem.shape, config.sampling)

    return generator
