"""DreamBooth: fine-tuning under a new token while the source's own samples are kept (Ruiz et al. 2023).

    E || eps(x_t, c_new) - eps ||^2 + lambda E || eps(x_t^pr, c_class) - eps ||^2

The x^pr are drawn once from the frozen source, in a stage of its own. c_class is what the source knows: the label y, or
nothing in an unconditional problem. c_new is that and the new token, a learned vector beside the embeddings of time and
label (`nets.embedding`): "class y in the style of the target". So the network keeps the source's distribution without
the token while it learns the target's with it; samples are drawn with it. Labels of the x^pr are drawn as the target's:
the prior that is preserved is that of the classes the target shows.

In a text-to-image pipeline c_new and c_class are captions, such as "a photo of sks dog" and "a photo of a dog", so that
no token is added: the word sks is the target's.
"""

from __future__ import annotations

import jax
import numpy as np

from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import UserError
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.settings.stored import to_json
from tgdp_jax.train.batches import all_rows
from tgdp_jax.train.denoising import prior_preservation_task
from tgdp_jax.train.reparam import Joint
from tgdp_jax.train.session import Session
from tgdp_jax.transfer.adaptation import Adaptation, adapt, adapted_generator, all_weights
from tgdp_jax.transfer.artefacts import Prior, params_of
from tgdp_jax.transfer.base import Stage, StageResult, Trees
from tgdp_jax.transfer.lora import lora, lora_settings
from tgdp_jax.transfer.networks import check_denoiser, denoiser_score
from tgdp_jax.transfer.source import score_generator, source_stage
from tgdp_jax.transfer.textual_inversion import TOKEN

Array = jax.Array


def prior_stage(config: TrainingConfig, problem: Problem) -> Stage:
    """Draws the source's own samples, with labels as the target's."""
    num = config.dreambooth.num_prior

    def run(key: Array, trees: Trees, session: Session) -> StageResult:
        label_key, sample_key = jax.random.split(key)
        labels = problem.prior_labels(label_key, np.arange(num))
        generator = score_generator(config, problem, denoiser_score(config, problem, params_of(trees, "source")))
        return StageResult(Prior(generator.draw(sample_key, np.arange(num), labels), labels), {}, {"samples": num})

    sampling = {name: getattr(config.sampling.suited, name) for name in ("solver", "grid", "steps", "clip", "chunk")}
    uses = {"process": to_json(config.process), "sampling": sampling, "num_prior": num}
    if problem.captions is not None:
        if problem.captions.class_prompt is None:
            raise UserError(
                'dreambooth keeps what the source shows of a class: give --class-prompt, such as "a photo of a dog"'
            )
        uses["text"] = to_json(config.text)
    return Stage("prior", ("source",), uses, uses_target=problem.conditional, run=run)


def dreambooth(config: TrainingConfig, problem: Problem) -> Adaptation:
    """All weights or adapters, and the new token; captions are told apart by their words."""
    if problem.captions is not None:
        return lora(config, problem) if config.dreambooth.lora else all_weights(config, problem)
    if not config.dreambooth.lora:
        return Adaptation(config, problem, config.rival, new_token=True)
    return Adaptation(config, problem, lora_settings(config), Joint((config.lora.make(), TOKEN)), new_token=True)


def _dreambooth_stage(config: TrainingConfig, problem: Problem) -> Stage:
    how, settings = dreambooth(config, problem), config.dreambooth
    check_denoiser(config, problem, new_token=how.new_token, reparam=how.reparam)

    def run(key: Array, trees: Trees, session: Session) -> StageResult:
        prior = Prior.from_tree(trees["prior"])
        data = {"prior": {**prior.to_tree(), "train": all_rows(len(prior.x))}}
        task = prior_preservation_task(how.task(), settings.prior_weight)
        return adapt(key, how, trees, session, task=task, data=data)

    uses = {**how.uses(), "prior_weight": settings.prior_weight}
    uses["lora"] = to_json(config.lora) if settings.lora else None
    return Stage("dreambooth", ("source", "prior"), uses, uses_target=True, run=run)


def stages(config: TrainingConfig, problem: Problem) -> tuple[Stage, ...]:
    """The training stages in order."""
    return (
        source_stage(config, problem),
        prior_stage(config, problem),
        _dreambooth_stage(config, problem),
    )


generator = adapted_generator("dreambooth", dreambooth)
