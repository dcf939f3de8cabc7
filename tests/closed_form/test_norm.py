"""Group norm against Linen's, values and derivatives."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tgdp_jax.nets.norm import GroupNorm


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("shape", [(3, 4, 2, 6), (3, 5, 6), (3, 6)])
def test_values_and_gradients_are_those_of_flax(shape, groups):
    # Far from zero: a difference of squares would lose most digits.
    x = 100.0 + jax.random.normal(jax.random.key(0), shape)
    nets = GroupNorm(groups, 1e-5), nn.GroupNorm(groups, epsilon=1e-5, use_fast_variance=False)
    params = jax.tree.map(lambda leaf: leaf + 0.1 * jnp.arange(6), nets[0].init(jax.random.key(1), x))

    def loss(net, params, x):
        return jnp.sum(jnp.sin(net.apply(params, x)))

    values = [jax.jit(jax.value_and_grad(functools.partial(loss, net), argnums=(0, 1)))(params, x) for net in nets]
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=2e-3), *values)


def test_it_gives_the_type_asked_for_and_keeps_statistics_in_float32():
    x = (1000.0 + jax.random.normal(jax.random.key(0), (2, 64, 8))).astype(jnp.float32)
    net = GroupNorm(2, dtype=jnp.bfloat16)
    params = net.init(jax.random.key(1), x)
    out = net.apply(params, x)
    assert out.dtype == jnp.bfloat16 and {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {"float32"}
    np.testing.assert_allclose(np.asarray(out, np.float32).std(), 1.0, atol=0.02)
    assert GroupNorm(2).apply(params, x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
