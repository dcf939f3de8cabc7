"""TGDP as denoising: the theorem's score is learned as a network, without a guidance term.

    E_q || eps(x_t) - eps ||^2   and   E_p r(x_0) || eps(x_t) - eps ||^2,    the second least at score_p + grad log h

Adapters of the source (`lora`) denoise target rows and source rows that are drawn in proportion to the learned ratio r
(`train.denoising.reweighted_task`). What TGDP learns as a scalar log h, whose gradient the sampler takes at every step,
is learned here as a vector at the cost of a plain training, and the target's own rows have their say in the same batch.

The ratio is cross-fitted: a fold's source rows are drawn by the classifiers that did not see its held-out rows either,
so that early stopping and stacking judge by rows which nothing of a fold has seen. Where adapters are not
cross-validated, no row is held out of them, and the ratio of all folds draws.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import UserError
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.settings.stored import to_json
from tgdp_jax.train.batches import Rows
from tgdp_jax.train.classifier import member_logits
from tgdp_jax.train.denoising import reweighted_task
from tgdp_jax.train.session import Session
from tgdp_jax.transfer.adaptation import Adaptation, adapt, adapted_generator
from tgdp_jax.transfer.artefacts import CleanRatio
from tgdp_jax.transfer.base import Stage, StageResult, Trees
from tgdp_jax.transfer.heads import clean_log_ratio
from tgdp_jax.transfer.lora import lora
from tgdp_jax.transfer.networks import check_denoiser
from tgdp_jax.transfer.out_of_fold import held_rows
from tgdp_jax.transfer.ratio import classifier_stage, domain_rows
from tgdp_jax.transfer.resampling import weighted_choice
from tgdp_jax.transfer.source import with_source_stages

Array = jax.Array
# Rows of a table from which source rows are drawn.
TABLE = 1 << 16


def denoising_stage(config: TrainingConfig, problem: Problem) -> Stage:
    """Trains adapters on target rows and reweighted source rows.

    Raises:
      UserError: the ratio has other folds than the adapters, or the network nothing that they adapt.
    """
    how, settings = lora(config, problem), config.tgdp_denoising
    if config.rival.folds not in (1, config.classifier.folds):
        raise UserError(
            f"--classifier.folds is {config.classifier.folds} and --rival.folds {config.rival.folds}: tgdp_denoising "
            "needs the same for both, so that no held-out row is judged by a ratio that has seen it"
        )
    check_denoiser(config, problem, new_token=how.new_token, reparam=how.reparam)

    def run(key: Array, trees: Trees, session: Session) -> StageResult:
        source, _ = domain_rows(problem)
        all_rows = np.asarray(CleanRatio.from_tree(trees["classifier"]).source_log_r)
        data = {"source": {**source, "train": Rows(_table(all_rows), jnp.asarray(TABLE))}}
        members = None
        if config.rival.folds > 1:
            tables = jnp.stack([_table(log_r) for log_r in _log_ratios(how, trees)[1]])
            members = {"source": Rows(tables, jnp.full(len(tables), TABLE))}
        task = reweighted_task(how.task(), settings.share, settings.source_from)
        return adapt(key, how, trees, session, task=task, data=data, members=members)

    uses = {**how.uses(), "lora": to_json(config.lora), "tgdp_denoising": to_json(settings)}
    return Stage("tgdp_denoising", ("source", "classifier"), uses, uses_target=True, run=run)


def _log_ratios(how: Adaptation, trees: Trees) -> tuple[np.ndarray, np.ndarray]:
    """log r of the source rows: by all classifiers [m], and by those of each fold alone [K, m]."""
    known = CleanRatio.from_tree(trees["classifier"])
    log_r, folds = np.asarray(known.source_log_r), len(held_rows(how.problem, how.settings).count)
    if known.params is None:  # the closed-form ratio has seen no row
        return log_r, np.broadcast_to(log_r, (folds, len(log_r)))
    ratio = clean_log_ratio(how.config, how.problem, trees)
    logits = member_logits(ratio, how.problem.source.arrays(how.problem.conditional))
    each = [np.asarray(ratio.of_fold(fold, folds).weights) @ logits[fold::folds] for fold in range(folds)]
    return log_r, np.stack(each)


def _table(log_r: np.ndarray) -> Array:
    """Row numbers [TABLE] of which each stands as often as its ratio says, to within one."""
    weights = np.exp(np.asarray(log_r, np.float64) - log_r.max())
    return jnp.asarray(weighted_choice(weights, None)((np.arange(TABLE) + 0.5) / TABLE, None), jnp.int32)


def stages(config: TrainingConfig, problem: Problem) -> tuple[Stage, ...]:
    """The training stages in order."""
    return with_source_stages(config, problem, classifier_stage(config, problem), denoising_stage(config, problem))


generator = adapted_generator("tgdp_denoising", lora)
