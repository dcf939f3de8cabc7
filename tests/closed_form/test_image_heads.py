"""Transformer and heads for images, at the parameters where their output is known."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import spread_params
from tgdp_jax.errors import UserError
from tgdp_jax.nets import ClassifierHead, EpsDiT, EpsUNet, GuidanceHead
from tgdp_jax.nets.dit import position_features, unpatch
from tgdp_jax.nets.heads import ConvBody, Energy, frozen
from tgdp_jax.sde import VP

SDE = VP()
X = jax.random.normal(jax.random.key(0), (3, 4, 4, 1))
T = jnp.array([0.1, 0.5, 0.9])
Y = jnp.array([0, 1, 1])
DIT = EpsDiT(SDE, width=16, depth=2, heads=2)
UNET = EpsUNet(SDE, (8, 8), 1)


@functools.partial(jax.jit, static_argnums=0)
def apply(net, variables, *args):
    return net.apply(variables, *args)


def test_a_fresh_transformer_is_the_preconditioning_alone():
    net = EpsDiT(SDE, width=16, depth=2, heads=2, data_std=0.5)
    # This kind of key compiles in a fraction of the time.
    out = apply(net, jax.jit(net.init)(jax.random.key(0, impl="rbg"), X, T), X, T)
    alpha, sigma = (f(T)[:, None, None, None] for f in (SDE.alpha, SDE.sigma))
    np.testing.assert_allclose(out, sigma * X / (alpha**2 * 0.25 + sigma**2), rtol=1e-5, atol=1e-6)


def test_patches_come_back_where_they_were_cut():
    x = jnp.arange(2 * 4 * 6 * 3.0).reshape(2, 4, 6, 3)
    tokens = x.reshape(2, 2, 2, 3, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(2, 6, 12)
    np.testing.assert_array_equal(unpatch(tokens, x.shape, 2), x)


def test_positions_differ():
    features = position_features(4, 4, 16)
    apart = np.linalg.norm(features[:, None] - features[None], axis=-1) + 10 * np.eye(16)
    assert features.shape == (16, 16) and apart.min() > 0.1


@pytest.mark.parametrize("net", [DIT, GuidanceHead(SDE, (8,), (8,)), GuidanceHead(SDE, (8, 8), (8,), source=UNET)])
def test_rows_do_not_interact(net):
    params = spread_params(net.init, X, T)
    whole = apply(net, params, X, T)
    others = apply(net, params, X.at[1].multiply(2), T.at[1].set(0.3))
    np.testing.assert_array_equal(others[::2], whole[::2])
    assert np.abs(others[1] - whole[1]).max() > 1e-3
    assert np.abs(np.diff(np.asarray(whole), axis=0)).max() > 1e-3


class Pattern(nn.Module):
    """A network whose one feature map is its weights, whatever the row."""

    def setup(self):
        self.pattern = self.param("pattern", nn.initializers.zeros, (4, 4, 4))

    def __call__(self, x, t, cond):
        return x + self.pattern[..., :1]

    def encode(self, x, t, cond):
        return [jnp.broadcast_to(self.pattern, (len(x), *self.pattern.shape))]


@pytest.mark.parametrize("free", [False, True])
def test_only_a_free_head_sees_where_the_source_sees_what(free):
    head = GuidanceHead(SDE, (8, 8), (8,), source=Pattern(), free=free)
    params = {"params": spread_params(head.init, X, T)["params"]}
    pattern = jax.random.normal(jax.random.key(3), (4, 4, 4))
    still, moved = (
        apply(head, {**params, **frozen({"params": {"pattern": p}})}, X, T) for p in (pattern, jnp.roll(pattern, 1, 0))
    )
    assert (np.abs(moved - still).max() > 1e-3) == free


def test_energy_starts_at_zero_and_moves_a_pixel_as_much_in_a_larger_picture():
    body, energy = ConvBody((8, 8)), Energy()
    small = jax.random.normal(jax.random.key(2), (1, 8, 8, 1))
    large = jnp.tile(small, (1, 3, 3, 1))
    known = jnp.ones((1, 3))
    params = spread_params(body.init, small, known)
    maps = body.apply(params, small, known)
    fresh = energy.init(jax.random.key(0), small, maps, known)
    assert float(energy.apply(fresh, small, maps, known)[0]) == 0.0
    moved = spread_params(energy.init, small, maps, known)

    def norm(part, x, inner):
        slope = jax.jit(jax.grad(lambda x: jnp.mean(part(x, body.apply(params, x, known)))))(x)
        return jnp.linalg.norm(slope[:, inner, inner])

    # The middle tile sees what the small picture does, but for its border; all statistics over pictures agree.
    energy_ratio, pooled_ratio = (
        norm(part, large, slice(11, 13)) / norm(part, small, slice(3, 5))
        for part in (lambda x, maps: energy.apply(moved, x, maps, known), lambda x, maps: maps[-1])
    )
    np.testing.assert_allclose(energy_ratio, 1.0, rtol=0.5)
    assert pooled_ratio < 0.2  # a ninth, or less where another tile has the largest value


def test_the_gradient_of_the_energy_of_linear_layers_is_known():
    """Without layers below, e = w x and F = W x for kernels of one place; the gradient is w + (W + W^T) x."""
    x = jax.random.normal(jax.random.key(3), (2, 4, 4, 3))
    energy = Energy()
    params = energy.init(jax.random.key(0), x, [x], None)
    kernel = np.zeros((3, 3, 3, 3), np.float32)
    kernel[1, 1] = np.random.default_rng(0).normal(size=(3, 3))  # from channel to channel, [C, C]
    params["params"]["Conv_1"]["kernel"] = jnp.asarray(kernel)
    params["params"]["Conv_0"]["kernel"] = jnp.asarray([[[[1.0], [2.0], [-3.0]]]])
    slope = jax.grad(lambda x: energy.apply(params, x, [x], None).sum())(x)
    expected = jnp.array([1.0, 2.0, -3.0]) + x @ (kernel[1, 1] + kernel[1, 1].T)
    np.testing.assert_allclose(slope, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("remat", [False, True])
def test_remat_and_bfloat16_change_the_cost_not_the_result(remat):
    params = spread_params(DIT.init, X, T, scale=0.2)

    def slope(net):
        return jax.jit(jax.grad(lambda x: jnp.sum(net.apply(params, x, T) ** 2)))(X)

    net = EpsDiT(SDE, width=16, depth=2, heads=2, remat=remat, dtype=jnp.float32 if remat else jnp.bfloat16)
    tolerance = 1e-5 if remat else 0.1
    exact = slope(DIT)
    np.testing.assert_allclose(slope(net), exact, rtol=tolerance, atol=tolerance * np.abs(exact).max())
    assert jax.eval_shape(net.apply, params, X, T).dtype == jnp.float32


@pytest.mark.parametrize("channels", [(8,), (8, 8)])
def test_a_log_ratio_on_noised_images_vanishes_with_the_signal(channels):
    net = GuidanceHead(SDE, channels, (8,))
    params = spread_params(net.init, X, T)
    early, late = (np.abs(apply(net, params, X, jnp.full(3, t))) for t in (0.01, 1.0))
    assert late.max() < 0.02 * early.max()


@pytest.mark.parametrize("kind", ["guidance", "classifier"])
@pytest.mark.parametrize("on_source", [False, True])
def test_labels_count(kind, on_source):
    source = EpsUNet(SDE, (8, 8), 1, num_classes=2) if on_source else None
    common = {"channels": (8,), "features": (8,), "num_classes": 2, "source": source}
    net, args = (ClassifierHead(**common), (X,)) if kind == "classifier" else (GuidanceHead(SDE, **common), (X, T))
    params = spread_params(net.init, *args, Y)
    assert np.abs(apply(net, params, *args, Y) - apply(net, params, *args, 1 - Y)).min() > 1e-4
    with pytest.raises(UserError, match="pass labels"):
        net.apply(params, *args)


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("source", [UNET, DIT])
def test_frozen_features_are_the_sources_and_no_parameters(source, free):
    head = GuidanceHead(SDE, (8, 8), (8,), source=source, free=free)
    variables = spread_params(head.init, X, T)
    assert set(variables) == {"params", "source"}
    given = frozen(spread_params(source.init, X, T, seed=5))
    assert jax.tree.structure(given["source"]) == jax.tree.structure(variables["source"])
    moved = apply(head, {"params": variables["params"], **given}, X, T)
    assert np.abs(moved - apply(head, variables, X, T)).max() > 1e-4


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="patches of 3"):
        EpsDiT(SDE, patch=3).init(jax.random.key(0), X, T)
    with pytest.raises(UserError, match="multiple of 4"):
        EpsDiT(SDE, width=18, heads=2).init(jax.random.key(0), X, T)
