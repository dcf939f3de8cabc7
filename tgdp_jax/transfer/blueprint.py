"""The text-to-image pipeline that the problem `shapes` trains as its own source: its parts, before they are trained."""

from __future__ import annotations

import functools
from typing import Any

from tgdp_jax.data.shapes.drawing import SIDE, VALUES
from tgdp_jax.data.shapes.problem import ShapesConfig
from tgdp_jax.errors import UserError
from tgdp_jax.interop import autoencoder, clip_text, latent_unet
from tgdp_jax.interop.pipeline import PLAIN, TextEncoder, TextPipeline
from tgdp_jax.interop.schedulers import options_of_process
from tgdp_jax.interop.words import word_tokenizer
from tgdp_jax.nets.autoencoder import AutoencoderTiny
from tgdp_jax.nets.clip_text import CLIPText
from tgdp_jax.nets.latent_unet import LatentUNet
from tgdp_jax.sde import DiscreteVP
from tgdp_jax.settings.process import ProcessConfig
from tgdp_jax.settings.run import RunConfig, TrainingConfig

PROCESS = DiscreteVP("scaled_linear", 0.00085, 0.012)  # that of Stable Diffusion
# Without residual blocks it is almost linear, and is trained in a minute; 16 numbers hold most of 4 x 4 pixels.
AUTOENCODER = AutoencoderTiny((48, 48, 48), (48, 48, 48), (0, 0, 0), (1, 0, 0), latents=16)
LENGTH = 16  # tokens of a text
_OTHER_WORDS = ("a", "at", "the", "on", "shape", "plain")
_HEADS = 4


def trains_own(config: TrainingConfig) -> bool:
    """Whether a run trains its own pipeline, as the problem `shapes` does where no other is given."""
    return config.pretrained is None and isinstance(getattr(config, "problem", None), ShapesConfig)


def blueprint(config: TrainingConfig) -> TextPipeline:
    """The pipeline that a run will train, with shapes in the place of weights.

    Raises:
      UserError: settings that such a pipeline can not have.
    """
    if not isinstance(config, RunConfig):
        raise UserError("tgdp run alone trains that pipeline: give that of a run, RUN/source, with --pretrained")
    if config.process != ProcessConfig():
        raise UserError("shapes trains a pipeline with the process of Stable Diffusion: leave out --process")
    if config.source.self_supervised:
        raise UserError("shapes trains a text-to-image pipeline: leave out --source.self-supervised")
    options_of_process(PROCESS, config.source.prediction)  # refuses what files can not say
    assert isinstance(config.problem, ShapesConfig)
    return _of(config.problem.width, config.source.prediction)


@functools.cache
def _of(width: int, prediction: str) -> TextPipeline:
    words = (*_OTHER_WORDS, *(word for values in VALUES.values() for word in values))
    tokenizer = word_tokenizer(words, LENGTH)
    text = CLIPText(
        vocab=tokenizer.size,
        width=width,
        layers=1,
        heads=_HEADS,
        hidden=2 * width,
        positions=LENGTH,
        end=tokenizer.vocab[tokenizer.special["eos_token"]],
    )
    side = SIDE // AUTOENCODER.factor
    net = LatentUNet(
        channels=(width,),  # latents are of 4 x 4 places: there is no coarser level
        in_channels=AUTOENCODER.latents,
        out_channels=AUTOENCODER.latents,
        layers=(1,),
        depths=((1,),),
        up_depths=((1, 1),),
        heads=(_HEADS,),
        own=(True,),
        text_dim=text.width,
        groups=8,
        size=(side, side),
    )
    return TextPipeline(
        kind=PLAIN,
        net=net,
        params=_variables(latent_unet.expected_params(net)),
        vae=AUTOENCODER,
        vae_params=_variables(autoencoder.expected(AUTOENCODER)),
        encoders=(TextEncoder(net=text, params=_variables(clip_text.expected(text)), tokenizer=tokenizer),),
        sde=PROCESS,
        prediction=prediction,
    )


def _variables(params: Any) -> Any:
    return {"params": params}
