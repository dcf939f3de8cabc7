"""State space layers against the recurrence that they stand for, stepped through place by place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tgdp_jax.errors import UserError
from tgdp_jax.nets.s4 import KERNELS, S4Block, StateSpace, convolve, hippo_legs

WIDTH, STATES = 3, 8


def both_halves(values):
    """States of systems beside their conjugates, double precision."""
    values = np.asarray(values, np.float64)
    values = values[..., 0] + 1j * values[..., 1]
    return np.concatenate([values, values.conj()], -1)


def discrete(params, length):
    """(Ab [H, N, N], Bb [H, N], C [D, H, N]) of a layer's parameters, written out with dense matrices."""
    space = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["params"])
    dt = np.exp(space["log_dt"])[:, None]
    spectrum = both_halves(np.stack([-np.exp(space["log_decay"]), space["frequency"]], -1))
    c = both_halves(space["c"])
    if "p" not in space:
        powers = np.exp(dt * spectrum)
        return powers[:, :, None] * np.eye(STATES), (powers - 1) / spectrum, c
    p, one = both_halves(space["p"]), np.eye(STATES)
    a = spectrum[:, :, None] * one - p[:, :, None] * p[:, None].conj()
    back = np.linalg.inv(one - 0.5 * dt[..., None] * a)
    step = back @ (one + 0.5 * dt[..., None] * a)
    whole = one - np.linalg.matrix_power(step, length)
    inputs = (back @ (dt * both_halves(space["b"]))[..., None])[..., 0]
    return step, inputs, (c[..., None, :] @ np.linalg.inv(whole))[..., 0, :]


def recurrence(step, inputs, c, u):
    """y [L, H] of u [L, H], one place after the other."""
    step, inputs, c = (jnp.asarray(a, jnp.complex64) for a in (step, inputs, c))

    def one(state, value):
        state = (step @ state[..., None])[..., 0] + inputs * value[:, None]
        return state, jnp.sum(c * state, -1).real

    return np.asarray(jax.jit(lambda u: jax.lax.scan(one, jnp.zeros(inputs.shape, jnp.complex64), u)[1])(u))


def layer(kernel, length, *, bidirectional=False):
    """(net, parameters, rows u [2, L, H])."""
    net = StateSpace(STATES, kernel, bidirectional)
    u = jax.random.normal(jax.random.key(0), (2, length, WIDTH))
    return net, jax.jit(net.init)(jax.random.key(1, impl="rbg"), u), u


@pytest.mark.parametrize("length", [48, 31])
@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_are_the_recurrence(kernel, length):
    net, params, u = layer(kernel, length)
    step, inputs, c = discrete(params, length)
    expected = np.stack([recurrence(step, inputs, c[0], row) for row in u])
    expected += np.asarray(u) * np.asarray(params["params"]["d"])
    assert expected.std() > 0.1
    np.testing.assert_allclose(jax.jit(net.apply)(params, u), expected, rtol=1e-4, atol=1e-4 * expected.std())


def test_long_kernels_keep_their_precision():
    net, params, u = layer("dplr", 1000)
    step, inputs, c = discrete(params, 1000)
    kernel = np.empty((1000, WIDTH))
    for place in range(1000):  # double precision: complex64 would lose it in a thousand steps
        kernel[place] = np.sum(c[0] * inputs, -1).real
        inputs = (step @ inputs[..., None])[..., 0]
    ours = jax.jit(net.apply)(params, jnp.zeros_like(u).at[:, 0].set(1.0))[0]
    ours = ours.at[0].add(-params["params"]["d"])
    np.testing.assert_allclose(ours, kernel, rtol=1e-3, atol=1e-4 * np.abs(kernel).max())


def test_the_start_is_hippo_legs():
    spectrum, p, b, vectors = hippo_legs(STATES)
    n = np.arange(STATES)
    expected = -np.sqrt(np.outer(2 * n + 1, 2 * n + 1)) * np.tril(np.ones((STATES, STATES)), -1) - np.diag(n + 1.0)
    low = 2 * (vectors @ p).real
    found = 2 * (vectors * spectrum @ vectors.conj().T).real - np.outer(low, low)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(2 * (vectors @ b).real, np.sqrt(2 * n + 1), atol=1e-12)


def test_convolution_is_the_direct_one_both_ways():
    rng = np.random.default_rng(0)
    u, forward, backward = rng.normal(size=(2, 9, WIDTH)), *rng.normal(size=(2, WIDTH, 9))
    expected = np.zeros((2, *u.shape))
    for k in range(9):
        for j in range(9):
            if j <= k:
                expected[0, :, k] += forward[:, k - j] * u[:, j]
            else:
                expected[1, :, k] += backward[:, j - k - 1] * u[:, j]
    u, forward, backward = (jnp.asarray(a, jnp.float32) for a in (u, forward, backward))
    ours = jax.jit(convolve)(u, forward, backward)
    np.testing.assert_allclose(ours, expected.sum(0), atol=1e-5)
    np.testing.assert_allclose(jax.jit(convolve)(u, forward), expected[0], atol=1e-5)


@pytest.mark.parametrize("kernel", ["s4d_lin", "dplr"])
def test_both_directions_are_the_sum_of_two_layers(kernel):
    net, params, u = layer(kernel, 20, bidirectional=True)
    one_sided = net.clone(bidirectional=False)
    forward, backward = (
        {"params": {**params["params"], "c": params["params"]["c"][side : side + 1], "d": jnp.zeros(WIDTH)}}
        for side in (0, 1)
    )
    apply = jax.jit(one_sided.apply)
    # What comes after a place, nearest first: one place on, as the other side has the place itself.
    after = jnp.pad(apply(backward, u[:, ::-1])[:, ::-1][:, 1:], ((0, 0), (0, 1), (0, 0)))
    expected = apply(forward, u) + after + params["params"]["d"] * u
    np.testing.assert_allclose(jax.jit(net.apply)(params, u), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kernel", ["s4d_inv", "dplr"])
def test_every_parameter_learns(kernel):
    net, params, u = layer(kernel, 16, bidirectional=True)
    slopes = jax.jit(jax.grad(lambda params: jnp.sum(jnp.sin(net.apply(params, u)))))(params)
    for name, slope in slopes["params"].items():
        assert np.isfinite(slope).all() and np.abs(slope).max() > 1e-4, name


def test_blocks_compute_in_the_type_asked_for_and_sequences_in_float32():
    u = jax.random.normal(jax.random.key(0), (2, 12, 4)).astype(jnp.bfloat16)
    block = S4Block(STATES, dtype=jnp.bfloat16)
    params = jax.jit(block.init)(jax.random.key(1, impl="rbg"), u)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {"float32"}
    out, seen = jax.jit(lambda u: block.apply(params, u, capture_intermediates=True))(u)
    assert out.dtype == jnp.bfloat16 and seen["intermediates"]["space"]["__call__"][0].dtype == jnp.float32


def test_bad_sizes_are_refused():
    u = jnp.zeros((1, 8, 2))
    with pytest.raises(UserError, match="even number"):
        StateSpace(7).init(jax.random.key(0), u)
    with pytest.raises(UserError, match="s4d_lin"):
        StateSpace(8, "legendre").init(jax.random.key(0), u)
