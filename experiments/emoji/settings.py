"""How methods are trained on emoji, and how their samples are drawn."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from experiments.adjust import optimised, values
from experiments.emoji.source import Size
from tgdp_jax.settings.methods import DreamBoothConfig, LoraConfig, TextConfig, TextualInversionConfig
from tgdp_jax.settings.networks import HeadConfig
from tgdp_jax.settings.presets.text import TextTrainingConfig
from tgdp_jax.settings.sampling import SamplingConfig

# A style is in the convolutions of so small a U-Net as much as in its attentions: adapters stand beside both.
_TARGETS = r"(attn\d/to_(q|k|v|out_0)|proj_(in|out)|conv[12])/kernel$"


def settings(size: Size, pretrained: Path, *, scratch: bool = False) -> dict[str, Any]:
    """What differs from the defaults of `text-images`: steps are chosen on held-out pictures, as in other studies.

    Args:
      size: tiny or cpu.
      pretrained: folder of the pipeline.
      scratch: whether it is one that has learned nothing, which takes more steps.
    """
    default, tiny = TextTrainingConfig(), size == "tiny"
    rival = dataclasses.replace(default.rival, folds=2, finish="soup", learning_rates=(1e-3 if scratch else 3e-4,))
    rival = optimised(
        rival,
        steps=2 if tiny else 1000 if scratch else 300,
        batch_size=4 if tiny else 16,
        ema=0.98,
        steps_per_launch=1 if tiny else 25,
        patience=200 if scratch else 100,
        validation_rows=4 if tiny else 256,
    )
    classifier = dataclasses.replace(default.classifier, folds=2)
    guidance = dataclasses.replace(default.guidance, folds=2)
    if tiny:
        classifier = optimised(classifier, steps=2, batch_size=4, steps_per_launch=1)
        guidance = dataclasses.replace(guidance, features=(8,))
        guidance = optimised(guidance, steps=2, batch_size=4, steps_per_launch=1, validation_rows=4)
    else:
        guidance = optimised(guidance, steps=1000)
    return values(default) | {
        "pretrained": pretrained,
        "source_seed": 0,
        "head": HeadConfig(channels=(4,) if tiny else (16, 32, 64)),
        "rival": rival,
        "lora": LoraConfig(rank=8, alpha=8.0, targets=_TARGETS, learning_rates=(2e-3,)),
        "dreambooth": DreamBoothConfig(num_prior=4 if tiny else 100, lora=True),
        "textual_inversion": TextualInversionConfig(learning_rates=(1e-2,)),
        "classifier": classifier,
        "guidance": guidance,
        "text": TextConfig(scale=2.0, num_source=100 if tiny else 300),
        "sampling": SamplingConfig(
            num=8, solver="dpmpp_2m", grid="trailing", steps=2 if tiny else 16, chunk=4 if tiny else 50
        ),
    }
