"""DreamBooth: fine-tuning under a new token while the source's own samples are kept (Ruiz et al. 2023).

    E || eps(x_t, c_new) - eps ||^2 + lambda E || eps(x_t^pr, c_class) - eps ||^2

The x^pr are drawn once from the frozen source, in a stage of its own. c_class is what the source knows: the label y, or
nothing in an unconditional problem. c_new is that and the new token, a learned vector beside the embeddings of time and
label (`nets.embedding`): "class y in the style of the target". So the network keeps the source's distribution without
the token while it learns the target's with it; samples are drawn with it. Labels of the x^pr are drawn as the target's:
the prior that is preserved is that of the classes the target shows.
"""

from __future__ import annotations

import jax
import numpy as np

from tgdp_jax.data.problem import Problem
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.settings.stored import to_json
from tgdp_jax.settings.training import RivalConfig
from tgdp_jax.train.batches import all_rows
from tgdp_jax.train.denoising import prior_preservation_task
from tgdp_jax.train.reparam import Joint, Reparam, merged
from tgdp_jax.train.session import Session
from tgdp_jax.transfer.adaptation import fit_on_target, rival_uses, target_task
from tgdp_jax.transfer.artefacts import Prior, params_of
from tgdp_jax.transfer.base import ScoreGenerator, Stage, StageResult, TransferMethod, Trees
from tgdp_jax.transfer.cards import Card
from tgdp_jax.transfer.lora import lora_settings
from tgdp_jax.transfer.networks import check_denoiser, denoiser_score, with_token
from tgdp_jax.transfer.source import score_generator, source_stage
from tgdp_jax.transfer.textual_inversion import TOKEN

Array = jax.Array


def prior_stage(config: TrainingConfig, problem: Problem) -> Stage:
    """Draws the source's own samples, with labels as the target's."""
    num = config.dreambooth.num_prior

    def run(key: Array, trees: Trees, session: Session) -> StageResult:
        label_key, sample_key = jax.random.split(key)
        labels = problem.target_labels(label_key, np.arange(num))
        generator = score_generator(config, problem, denoiser_score(config, problem, params_of(trees, "source")))
        return StageResult(Prior(generator.draw(sample_key, np.arange(num), labels), labels), {}, {"samples": num})

    sampling = {name: getattr(config.sampling, name) for name in ("solver", "grid", "steps", "clip", "chunk")}
    uses = {"process": to_json(config.process), "sampling": sampling, "num_prior": num}
    return Stage("prior", ("source",), uses, uses_target=problem.conditional, run=run)


def _how(config: TrainingConfig) -> tuple[RivalConfig, Reparam | None]:
    """(settings of training, what is trained; None: all weights)."""
    if not config.dreambooth.lora:
        return config.rival, None
    return lora_settings(config), Joint((config.lora.make(), TOKEN))


def _dreambooth_stage(config: TrainingConfig, problem: Problem) -> Stage:
    check_denoiser(config, problem, new_token=True)
    settings, reparam = _how(config)

    def run(key: Array, trees: Trees, session: Session) -> StageResult:
        plain = target_task(config, problem, new_token=True, reparam=reparam)
        prior = Prior.from_tree(trees["prior"])
        data = problem.target.arrays(problem.conditional) | {
            "prior": {**prior.to_tree(), "train": all_rows(len(prior.x))}
        }
        return fit_on_target(
            key,
            prior_preservation_task(plain, config.dreambooth.prior_weight),
            settings,
            data,
            session,
            base=with_token(config, problem, params_of(trees, "source")),
            reparam=reparam,
        )

    uses = {**rival_uses(config, settings), "prior_weight": config.dreambooth.prior_weight}
    uses["lora"] = to_json(config.lora) if config.dreambooth.lora else None
    return Stage("dreambooth", ("source", "prior"), uses, uses_target=True, run=run)


def _generator(config: TrainingConfig, problem: Problem, trees: Trees) -> ScoreGenerator:
    params, (_, reparam) = params_of(trees, "dreambooth"), _how(config)
    if reparam is not None:
        params = merged(reparam, with_token(config, problem, params_of(trees, "source")), params)
    return score_generator(config, problem, denoiser_score(config, problem, params, new_token=True))


DREAMBOOTH = TransferMethod(
    "dreambooth",
    Card(
        summary="fine-tuning under a new token while the source's own samples, without it, are kept",
        family="fine-tuning",
        originators="Nataniel Ruiz, Yuanzhen Li, Varun Jampani, Yael Pritch, Michael Rubinstein, Kfir Aberman",
        paper="DreamBooth: Fine Tuning Text-to-Image Diffusion Models for Subject-Driven Generation, CVPR 2023",
        year=2023,
        aliases=("prior preservation",),
        trains="all weights of the source model (or adapters) and the embedding of a new token",
        source_model="weights",
        source_rows=False,
        fails="few target rows, as fine-tuning does: what is kept of the source does not show under the token",
    ),
    ("source", "rival", "dreambooth", "lora"),
    lambda config, problem: (
        source_stage(config, problem),
        prior_stage(config, problem),
        _dreambooth_stage(config, problem),
    ),
    _generator,
)
