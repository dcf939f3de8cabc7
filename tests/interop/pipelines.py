"""A small pipeline with random weights, made without diffusers."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.interop.latents import ONE_LEVEL, model
from tests.interop.models import scaled_weight
from tests.interop.texts import tiny_tokenizer
from tgdp_jax.interop import autoencoder, clip_text, latent_dit
from tgdp_jax.interop.pipeline import LABELS, PLAIN, LabelPipeline, TextEncoder, TextPipeline
from tgdp_jax.nets.autoencoder import AutoencoderKL
from tgdp_jax.nets.clip_text import CLIPText
from tgdp_jax.nets.latent_dit import LatentDiT
from tgdp_jax.sde import DiscreteVP


def drawn(shapes: Any, seed: int) -> Any:
    """Random parameters of these shapes."""
    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: Any) -> jax.Array:
        weight = scaled_weight(rng, leaf.shape, int(np.prod(leaf.shape[:-1])), path[-1].key == "scale")
        return jnp.asarray(weight, jnp.float32)

    return {"params": jax.tree_util.tree_map_with_path(draw, shapes)}


def tiny_pipeline() -> TextPipeline:
    """Of pictures of 16 x 16 pixels, with one level of everything."""
    levels: dict[str, Any] = {
        "block_out_channels": [8],
        "down_block_types": ["CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D"],
        "norm_num_groups": 4,
    }
    net, params = model("stable-diffusion-1", **levels)
    vae = AutoencoderKL(channels=(4, 4), layers=1, groups=2, scale=0.5)
    tokenizer = tiny_tokenizer()
    end = tokenizer.vocab["<|endoftext|>"]
    text = CLIPText(vocab=tokenizer.size, width=12, layers=2, heads=2, hidden=16, positions=tokenizer.length, end=end)
    encoder = TextEncoder(net=text, params=drawn(clip_text.expected(text), 1), tokenizer=tokenizer)
    return TextPipeline(
        kind=PLAIN,
        net=net,
        params=params,
        vae=vae,
        vae_params=drawn(autoencoder.expected(vae), 2),
        encoders=(encoder,),
        sde=DiscreteVP("scaled_linear", 0.00085, 0.012),
        prediction="eps",
    )


def without_middle() -> TextPipeline:
    """`tiny_pipeline` with a denoiser that has no middle block, and compiles in less time."""
    net, params = model("stable-diffusion-1", **ONE_LEVEL | {"block_out_channels": [8], "norm_num_groups": 4})
    return dataclasses.replace(tiny_pipeline(), net=net, params=params)


def tiny_labels(size: int = 8) -> LabelPipeline:
    """A pipeline of five labels, two of which have names, of pictures of twice as many pixels as latents."""
    net = LatentDiT(width=8, depth=1, heads=2, num_classes=5, size=size)
    vae = AutoencoderKL(channels=(4, 4), layers=1, groups=2, scale=0.5)
    return LabelPipeline(
        kind=LABELS,
        net=net,
        params=drawn(latent_dit.expected_params(net), 3),
        vae=vae,
        vae_params=drawn(autoencoder.expected(vae), 2),
        sde=DiscreteVP("linear", 0.0001, 0.02),
        prediction="eps",
        labels={"cat": 1, "tabby": 1, "a dog": 0},
    )
