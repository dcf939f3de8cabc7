"""Training an autoencoder of images.

    min E || x - decode(z) ||^2

as a mean over coordinates. Latents z are a point, z = m(x), or a normal distribution (Kingma & Welling 2014), to which
belongs a second term:

    weight KL(N(m(x), s(x)^2) || N(0, 1)),      z = m(x) + s(x) eps

A small weight keeps the latents smooth and costs little of the image; that they are of unit scale is left to a factor
(`nets.autoencoder.to_denoiser`), as Rombach et al. (2022) do.

To a point, noise can be added while it is decoded, z = m(x) + noise eps, so that images of latents that are a little
wrong are a little wrong. What an `AutoencoderTiny` decodes lies in (-3, 3), so that latents can not grow out of it.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from tgdp_jax.losses import denoising
from tgdp_jax.nets.autoencoder import AutoencoderKL, AutoencoderTiny
from tgdp_jax.train.batches import draw_rows, mean_weights
from tgdp_jax.train.fit import Task

Array = jax.Array


@functools.cache
def autoencoder_task(
    net: AutoencoderKL | AutoencoderTiny, batch_size: int, side: int, weight: float = 1e-4, noise: float = 0.0
) -> Task:
    """The task of an autoencoder of images [B, side, side, C] in [-1, 1].

    Args:
      net: the autoencoder.
      batch_size: images a step.
      side: of the images, in pixels.
      weight: of the divergence of latents from a standard normal distribution; of no account for a point.
      noise: standard deviation of what is added to a point.

    Returns:
      A task on data {"x", "train", "held"}, see `batches.split_rows`; what is held out is judged by its images alone.
    """

    def init(key: Array) -> Any:
        return net.init(key, jnp.zeros((1, side, side, net.in_channels)))

    def draw(key: Array, data: Any, member: Any) -> Any:
        row_key, noise_key = jax.random.split(key)
        x = data["x"][draw_rows(row_key, data["train"], batch_size)]
        return x, jax.random.normal(noise_key, (batch_size, side // net.factor, side // net.factor, net.latents))

    def terms(params: Any, frozen: Any, batch: Any, step: Array, member: Any) -> dict[str, Array]:
        x, eps = batch
        found: Any = net.apply(params, x, method="encode")
        mean, log_var = found
        std = noise if log_var is None else jnp.exp(0.5 * log_var)
        back: Any = net.apply(params, mean + std * eps, method="decode")
        if log_var is None:
            return {"image": denoising(back, x)}
        divergence = 0.5 * (jnp.square(mean) + jnp.exp(log_var) - 1.0 - log_var)
        return {"image": denoising(back, x), "latents": weight * jnp.mean(divergence, (1, 2, 3))}

    def held_out(data: Any, member: Any) -> tuple[Any, Array]:
        return data["x"][data["held"].index], mean_weights(data["held"])

    def evaluate(params: Any, frozen: Any, x: Any) -> Array:
        back: Any = net.apply(params, x)
        return denoising(back, x)

    return Task(init=init, draw=draw, loss=terms, held_out=held_out, evaluate=evaluate)
