"""The convolution against XLA's own, values and derivatives."""

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tgdp_jax.nets.conv import Conv

CASES = {
    "3x3": ({}, {}),
    "even windows": ({"size": 2}, {"kernel_size": (2, 2)}),
    "1x1": ({"size": 1}, {"kernel_size": (1, 1)}),
    "stride 2": ({"stride": 2, "padding": ((0, 1), (0, 1))}, {"strides": 2, "padding": ((0, 1), (0, 1))}),
    "series": (
        {"size": (3, 1), "stride": (2, 1)},
        {"kernel_size": (3, 1), "strides": (2, 1), "padding": ((1, 1), (0, 0))},
    ),
    "narrow": ({}, {}),
    "narrow series": ({"size": (5, 1)}, {"kernel_size": (5, 1)}),
    "narrow, stride 2": ({"stride": 2, "padding": ((0, 1), (0, 1))}, {"strides": 2, "padding": ((0, 1), (0, 1))}),
    "3x2": ({"size": (3, 2)}, {"kernel_size": (3, 2)}),
    "uneven padding": ({"padding": ((2, 0), (0, 1))}, {"padding": ((2, 0), (0, 1))}),
    "patches": (
        {"size": 2, "stride": 2, "padding": ((0, 0), (0, 0))},
        {"kernel_size": (2, 2), "strides": 2, "padding": "VALID"},
    ),
}


def pair(name):
    """(ours, flax's, parameters of both, x)."""
    ours, theirs = CASES[name]
    x = jax.random.normal(jax.random.key(0), (2, 6, 2 if "narrow" in name else 4, 3))
    net = Conv(5, **ours)
    params = jax.tree.map(lambda leaf: leaf + 0.1, net.init(jax.random.key(1), x))
    return net, nn.Conv(5, **{"kernel_size": (3, 3)} | theirs), params, x


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_flax(name):
    *nets, params, x = pair(name)

    def loss(net, params, x):
        return jnp.sum(jnp.sin(net.apply(params, x)))

    values = [jax.jit(jax.value_and_grad(functools.partial(loss, net), argnums=(0, 1)))(params, x) for net in nets]
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), *values)


@pytest.mark.parametrize("name", ["3x3", "stride 2", "narrow"])
def test_gradients_of_a_gradient_are_those_of_flax(name):
    """The consistency term differentiates the gradient by x once more, by the parameters."""
    *nets, params, x = pair(name)

    def loss(net, params):
        slope = jax.grad(lambda z: jnp.sum(jnp.tanh(net.apply(params, z))))(x)
        return jnp.sum(slope**2)

    values = [jax.jit(jax.grad(functools.partial(loss, net)))(params) for net in nets]
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4), *values)


def test_it_computes_in_the_type_asked_for():
    x = jnp.ones((1, 4, 4, 2))
    net = Conv(3, dtype=jnp.bfloat16)
    params = net.init(jax.random.key(0), x)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {"float32"}
    assert net.apply(params, x).dtype == jnp.bfloat16


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="XLA's own rule serves accelerators")
def test_no_gradient_is_a_convolution_with_windows_as_large_as_the_image():
    """Nor a gradient of a gradient, as of penalties on slopes: only convolutions of images with kernels are left."""
    net, _, params, x = pair("3x3")

    def loss(params):
        return jnp.sum(jnp.tanh(net.apply(params, x)))

    def penalty(params):
        return jnp.sum(jax.grad(lambda z: jnp.sum(jnp.tanh(net.apply(params, z))))(x) ** 2)

    for fn, count in ((loss, 1), (penalty, 3)):
        text = jax.jit(jax.grad(fn)).lower(params).as_text()
        found = re.findall(r"stablehlo\.convolution.*?dim_numbers = (.*?), window", text)
        assert found == ["[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"] * count
