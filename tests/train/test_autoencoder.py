"""The loss of an autoencoder is what its docstring says, term by term, and what is held out is judged by images."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.helpers import spread_params
from tgdp_jax.nets.autoencoder import AutoencoderKL, AutoencoderTiny
from tgdp_jax.train.autoencoder import autoencoder_task
from tgdp_jax.train.batches import split_rows

NET = AutoencoderKL(channels=(4,), layers=1, groups=2, mid_attention=False, latents=2, scale=1.0)
RNG = np.random.default_rng(0)


def test_terms_are_the_error_of_the_image_and_the_divergence_of_the_latents():
    task = autoencoder_task(NET, 3, 4, weight=0.5)
    params = spread_params(task.init)
    x, eps = (RNG.normal(size=shape).astype(np.float32) for shape in ((3, 4, 4, 3), (3, 4, 4, 2)))
    terms = task.loss(params, None, (x, eps), jnp.zeros(()), None)
    mean, log_var = (np.asarray(part, np.float64) for part in NET.apply(params, x, method="encode"))
    std = np.exp(0.5 * log_var)
    back = NET.apply(params, jnp.asarray(mean + std * eps, jnp.float32), method="decode")
    np.testing.assert_allclose(terms["image"], np.square(back - x).mean((1, 2, 3)), rtol=1e-4)
    # KL(N(m, s^2) || N(0, 1)) by quadrature over 12 standard deviations.
    at = np.linspace(-12, 12, 4001)
    z = mean[..., None] + std[..., None] * at
    density = np.exp(-0.5 * at**2) / np.sqrt(2 * np.pi)
    log_ratio = -0.5 * at**2 - np.log(std)[..., None] + 0.5 * z**2
    divergence = np.trapezoid(density * log_ratio, at)
    np.testing.assert_allclose(terms["latents"], 0.5 * divergence.mean((1, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(
        task.evaluate(params, None, x), np.square(NET.apply(params, x) - x).mean((1, 2, 3)), rtol=1e-4
    )


def test_of_a_point_there_is_the_error_of_the_image_alone_with_noise_as_asked_for():
    net = AutoencoderTiny((4,), (4,), (1,), (1,), latents=2)
    task = autoencoder_task(net, 3, 4, noise=0.3)
    params = spread_params(task.init)
    x, eps = (RNG.normal(size=shape).astype(np.float32) for shape in ((3, 4, 4, 3), (3, 4, 4, 2)))
    terms = task.loss(params, None, (x, eps), jnp.zeros(()), None)
    latents = net.apply(params, x, method="encode").mean + 0.3 * eps
    error = np.square(np.asarray(net.apply(params, latents, method="decode"), np.float64) - x).mean((1, 2, 3))
    assert terms.keys() == {"image"}
    np.testing.assert_allclose(terms["image"], error, rtol=1e-4)


def test_batches_are_of_training_rows_and_the_others_are_held_out():
    task = autoencoder_task(NET, 50, 4)
    x = RNG.normal(size=(20, 4, 4, 3)).astype(np.float32)
    data = split_rows({"x": jax.device_put(x)}, 0.2)
    drawn, noise = task.draw(jax.random.key(0), data, None)
    held, weights = task.held_out(data, None)
    assert noise.shape == (50, 4, 4, 2) and held.shape == (4, 4, 4, 3) and weights.sum() == 1
    firsts = {float(row.flat[0]) for row in np.asarray(drawn)}
    assert len(firsts) > 10 and not firsts & {float(row.flat[0]) for row in np.asarray(held)}
