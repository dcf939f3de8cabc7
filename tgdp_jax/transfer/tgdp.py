"""TGDP: the source model stays as it is, a guidance term is learned.

    score_q = score_p + grad log h,     h(x_t, t) = E_p[q(x_0)/p(x_0) | x_t]      (Ouyang et al. 2024)

Stages: source -> [classifier of the source's labels, which heads start from or stand on] -> domain classifier (log q/p
on clean data) -> [noise-conditional classifier, for the cycle term] -> guidance network.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from tgdp_jax.data.problem import Problem
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.settings.stored import guidance_uses, to_json
from tgdp_jax.train.guidance import GuidanceLoss, fit_guidance
from tgdp_jax.train.session import Session
from tgdp_jax.transfer.artefacts import CleanRatio, params_of
from tgdp_jax.transfer.base import Stage, StageResult, Trees
from tgdp_jax.transfer.heads import guidance_net, noised_log_ratio, shared_variables
from tgdp_jax.transfer.networks import denoiser_score
from tgdp_jax.transfer.pretrained import forward_process
from tgdp_jax.transfer.ratio import (
    classifier_stage,
    domain_rows,
    foundation_stages,
    guided_generator,
    network_settings,
    noisy_classifier_stage,
    ratio_result,
    unique,
)
from tgdp_jax.transfer.source import with_source_stages

Array = jax.Array


def guidance_stage(config: TrainingConfig, problem: Problem) -> Stage:
    """Learns g = log h from the clean ratio, with the regularisers asked for."""
    settings, net = config.guidance, guidance_net(config, problem)
    needs = unique(
        "source", *foundation_stages(config), "classifier", *(("noisy_classifier",) if settings.cycle else ())
    )

    def run(key: Array, trees: Trees, session: Session) -> StageResult:
        source, target = domain_rows(problem)
        ratio = CleanRatio.from_tree(trees["classifier"])
        noisy = noised_log_ratio(config, problem, trees, "noisy_classifier") if settings.cycle else None
        fitted = fit_guidance(
            key,
            net,
            forward_process(config),
            denoiser_score(config, problem, params_of(trees, "source"), guided=False),
            source,
            target,
            source_log_r=jnp.asarray(ratio.source_log_r),
            target_log_r=jnp.asarray(ratio.target_log_r),
            terms=GuidanceLoss(loss=settings.loss, pooled=settings.pooled, draws=settings.draws),
            consistency=settings.consistency,
            cycle=settings.cycle,
            noisy_ratio=noisy,
            variables=shared_variables(config, trees),
            augmentation=config.augment,
            folds=settings.folds,
            optimiser=settings.optimiser,
            session=session,
        )
        return ratio_result(config, problem, trees, fitted, settings.consistency)

    uses = {"process": to_json(config.process), **guidance_uses(config), **network_settings(config, problem)}
    return Stage("guidance", needs, uses, uses_target=True, run=run)


def stages(config: TrainingConfig, problem: Problem) -> tuple[Stage, ...]:
    """The training stages in order."""
    noisy = [noisy_classifier_stage(config, problem)] if config.guidance.cycle else []
    return with_source_stages(
        config, problem, classifier_stage(config, problem), *noisy, guidance_stage(config, problem)
    )


generator = guided_generator("guidance")
