"""Discriminator guidance: the logit of a noise-conditional domain classifier is taken as log h (Kim et al. 2023)."""

from __future__ import annotations

from tgdp_jax.transfer.base import TransferMethod
from tgdp_jax.transfer.cards import Card
from tgdp_jax.transfer.ratio import guided_generator, noisy_classifier_stage
from tgdp_jax.transfer.source import with_source_stages

DISCRIMINATOR_GUIDANCE = TransferMethod(
    "discriminator_guidance",
    Card(
        summary="source score plus the gradient of a noise-conditional domain classifier's logit",
        family="guidance by density ratio",
        originators="Dongjun Kim, Yeongmin Kim, Se Jung Kwon, Wanmo Kang, Il-Chul Moon",
        paper="Refining Generative Process with Discriminator Guidance in Score-based Diffusion Models, ICML 2023",
        year=2023,
        aliases=("DG",),
        trains="a domain classifier on noised rows",
        source_model="score",
        source_rows=True,
        fails="few target rows, which the classifier learns by heart; little overlap",
    ),
    ("source", "head", "guidance"),
    lambda config, problem: with_source_stages(config, problem, noisy_classifier_stage(config, problem)),
    guided_generator("noisy_classifier"),
)
