"""The U-Net at parameters where its output is known, and against itself in another form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import PROCESSES, spread_params
from tgdp_jax.errors import UserError
from tgdp_jax.nets.blocks import Downsample, ResnetBlock, SelfAttention, Upsample
from tgdp_jax.nets.image import EpsUNet
from tgdp_jax.nets.unet import UNet
from tgdp_jax.sde import VP, DiscreteVP

SMALL = {"channels": (8, 16), "groups": 4, "attention": (1,)}


def images(num=3, shape=(4, 8, 2), seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=(num, *shape)), jnp.float32), jnp.asarray(rng.uniform(0.05, 1, num), jnp.float32)


@functools.partial(jax.jit, static_argnums=0, static_argnames="method")
def apply(net, params, *args, method=None):
    return net.apply(params, *args, method=method)


@functools.cache
def fresh():
    """Parameters of `SMALL` at initialisation; neither process nor scale of the data has a say in them."""
    return jax.jit(EpsUNet(VP(), **SMALL).init)(jax.random.key(0), *images())


def shaken(net, *args):
    return spread_params(net.init, *args, scale=0.2)


@pytest.mark.parametrize(("name", "std"), [("vp", 0.7), *((name, (0.3, 1.5)) for name in (*PROCESSES, "discrete"))])
def test_a_fresh_noise_predictor_is_exact_for_gaussian_data(name, std):
    """Its residual starts at zero; what is left must be E[eps | x_t] for N(0, std^2) data."""
    sde = DiscreteVP() if name == "discrete" else PROCESSES[name]
    x, t = images()
    net = EpsUNet(sde, **SMALL, data_std=std)
    out = apply(net, fresh(), x, t)
    alpha, sigma = (np.asarray(scale)[:, None, None, None] for scale in (sde.alpha(t), sde.sigma(t)))
    exact = sigma * np.asarray(x) / (alpha**2 * np.asarray(std) ** 2 + sigma**2)
    np.testing.assert_allclose(out, exact, rtol=2e-5, atol=1e-6)


def test_the_output_is_the_preconditioning_and_a_multiple_of_the_residual():
    """With kernels at zero and an output bias of b the U-Net is b."""
    sde, std, bias = VP(), 0.6, 1.7
    x, t = images()
    net = EpsUNet(sde, **SMALL, data_std=std)
    shapes = jax.eval_shape(net.init, jax.random.key(0), x, t)
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    params["params"]["unet"]["conv_out"]["bias"] += bias
    alpha, sigma = (np.asarray(scale)[:, None, None, None] for scale in (sde.alpha(t), sde.sigma(t)))
    variance = alpha**2 * std**2 + sigma**2
    expected = sigma * np.asarray(x) / variance + alpha * std / np.sqrt(variance) * bias
    np.testing.assert_allclose(apply(net, params, x, t), expected, rtol=2e-5, atol=1e-6)


def test_timesteps_are_thousand_t_and_inputs_have_unit_scale():
    sde = VP()
    x, t = images()
    net = EpsUNet(sde, **SMALL, data_std=0.5)
    params = shaken(net, x, t)
    alpha, sigma = (np.asarray(scale)[:, None, None, None] for scale in (sde.alpha(t), sde.sigma(t)))
    scaled = np.asarray(x) / np.sqrt(0.25 * alpha**2 + sigma**2)
    unet = EpsUNet(sde, **SMALL).bind({}).unet.clone(parent=None)
    inner = {"params": params["params"]["unet"]}
    for ours, theirs in zip(
        apply(net, params, x, t, method="encode"), apply(unet, inner, scaled, 1000 * t, method="encode"), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_fresh_blocks_are_identities():
    x, _ = images(shape=(4, 4, 8))
    for block in (ResnetBlock(8, 4), SelfAttention(4, 2)):
        np.testing.assert_array_equal(block.apply(block.init(jax.random.key(0), x), x), x)


def test_resolution_changes_where_it_should():
    x, _ = images(shape=(4, 6, 3))
    pixel = jnp.zeros((3, 3, 3, 3)).at[1, 1].set(jnp.eye(3))  # the convolution that copies its middle
    copy = {"params": {"conv": {"kernel": pixel, "bias": jnp.zeros(3)}}}
    np.testing.assert_array_equal(Upsample().apply(copy, x), np.repeat(np.repeat(x, 2, 1), 2, 2))
    np.testing.assert_array_equal(Downsample(1).apply(copy, x), x[:, ::2, ::2])
    # Without padding at the left and at the top, windows sit one place further.
    np.testing.assert_array_equal(Downsample(0).apply(copy, x), x[:, 1::2, 1::2])
    for resample, expected in (
        ("down", np.asarray(x).reshape(3, 2, 2, 3, 2, 3).mean((2, 4))),
        ("up", np.repeat(np.repeat(x, 2, 1), 2, 2)),
    ):
        block = ResnetBlock(3, 1, resample=resample)
        np.testing.assert_allclose(block.apply(block.init(jax.random.key(0), x), x), expected, rtol=1e-6)


def test_attention_is_the_written_out_one():
    x, _ = images(num=2, shape=(2, 3, 4))
    net = SelfAttention(head_dim=2)
    params = spread_params(net.init, x)
    flat = np.asarray(x, np.float64).reshape(2, 6, 4)
    layers = {name: (np.asarray(p["kernel"]), np.asarray(p["bias"])) for name, p in params["params"].items()}
    query, key, value = (flat @ layers[name][0] + layers[name][1] for name in ("to_q", "to_k", "to_v"))
    heads = []
    for head in (slice(0, 2), slice(2, 4)):
        weight = np.exp(query[..., head] @ key[..., head].transpose(0, 2, 1) / np.sqrt(2))
        heads.append(weight / weight.sum(-1, keepdims=True) @ value[..., head])
    out = flat + np.concatenate(heads, -1) @ layers["to_out_0"][0] + layers["to_out_0"][1]
    np.testing.assert_allclose(net.apply(params, x), out.reshape(x.shape), rtol=1e-4, atol=1e-5)


def test_features_of_the_encoder_have_their_shapes_and_are_those_of_the_whole():
    x, t = images(shape=(8, 16, 3))
    net = EpsUNet(VP(), channels=(8, 16, 24), blocks=2, attention=(2,))
    params = shaken(net, x, t)
    maps = apply(net, params, x, t, method="encode")
    levels = [(8, 16, 8)] * 3 + [(4, 8, 8)] + [(4, 8, 16)] * 2 + [(2, 4, 16)] + [(2, 4, 24)] * 3
    assert [m.shape[1:] for m in maps] == levels
    # What the way down does not use, features do not depend on; what it uses, they do.
    for name, same in (("up_blocks_0", True), ("conv_out", True), ("mid_block", False), ("down_blocks_0", False)):
        inner = params["params"]["unet"]
        changed = {"params": {"unet": inner | {name: jax.tree.map(lambda leaf: 2 * np.asarray(leaf), inner[name])}}}
        others = apply(net, changed, x, t, method="encode")
        assert all(np.array_equal(a, b) for a, b in zip(maps, others, strict=True)) == same
        assert np.abs(apply(net, changed, x, t) - apply(net, params, x, t)).max() > 1e-3


@pytest.mark.slow
def test_recomputing_gives_the_same_values_and_gradients():
    x, timesteps = images()
    plain = UNet(
        (8, 16), 1, ("DownBlock2D", "AttnDownBlock2D"), ("AttnUpBlock2D", "UpBlock2D"), groups=4, mid_groups=4,
        time_norm="scale_shift",
    )  # fmt: skip
    again = plain.clone(remat=True)
    params = shaken(plain, x, timesteps)
    assert jax.tree.structure(params) == jax.tree.structure(jax.eval_shape(again.init, jax.random.key(0), x, timesteps))

    @functools.partial(jax.jit, static_argnums=0)
    def judge(net, params, x):
        return jax.value_and_grad(lambda p, x: jnp.mean(net.apply(p, x, timesteps) ** 2), (0, 1))(params, x)

    results = [judge(net, params, x) for net in (plain, again)]
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=1e-6), *results)
    programs = [str(jax.make_jaxpr(lambda p, net=net: judge(net, p, x))(params)) for net in (plain, again)]
    assert ["remat" in program or "checkpoint" in program for program in programs] == [False, True]


def products(jaxpr):
    """Types of what every convolution and matrix product takes, in order."""
    out = []
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in ("conv_general_dilated", "dot_general"):
            out.append({str(v.aval.dtype) for v in eqn.invars})
        for value in eqn.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                out += products(inner)
    return out


def test_bfloat16_is_close_and_only_inside():
    x, t = images(shape=(8, 8, 3))
    values = []
    for dtype in (jnp.float32, jnp.bfloat16):
        net = EpsUNet(VP(), **SMALL, num_classes=2, dtype=dtype)
        labels = jnp.array([0, 1, 2])
        params = shaken(net, x, t, labels)
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
        values.append(np.asarray(apply(net, params, x, t, labels)))
        assert values[-1].dtype == np.float32
        found = products(jax.make_jaxpr(net.apply)(params, x, t, labels).jaxpr)
        # Two layers and the label's for the embedding, then the first convolution; the last one stands last.
        *embedding, first = found[:4]
        assert [first, *embedding, found[-1]] == [{"float32"}] * 5
        assert all(types == {jnp.dtype(dtype).name} for types in found[4:-1]) and len(found) > 20
    difference = np.abs(values[1] - values[0])
    assert 0 < difference.max() < 0.05 * np.abs(values[0]).max()


@pytest.mark.parametrize("null_label", [True, False])
def test_labels_are_rows_of_the_table_as_integers_and_as_one_hot(null_label):
    x, timesteps = images()
    net = UNet((8,), 1, ("DownBlock2D",), ("UpBlock2D",), groups=4, mid_groups=4, num_classes=3, null_label=null_label)
    params = shaken(net, x, timesteps, jnp.zeros(3, jnp.int32))
    table = params["params"]["class_embedding"]["embedding"]
    assert table.shape == (3 + null_label, 32)
    plain = {"params": {name: leaf for name, leaf in params["params"].items() if name != "class_embedding"}}
    rows = np.concatenate([table, np.zeros((1 - null_label, 32))])
    for label in range(4):
        labels = jnp.full(3, label)
        by_number = apply(net, params, x, timesteps, labels)
        one_hot = jax.nn.one_hot(labels, 3)
        np.testing.assert_allclose(apply(net, params, x, timesteps, one_hot), by_number, rtol=1e-5, atol=1e-5)
        # The same as an unconditional net whose time embedding is so much larger.
        bias = plain["params"]["time_embedding"]["linear_2"]["bias"] + rows[label]
        moved = jax.tree.map(lambda leaf: leaf, plain)
        moved["params"]["time_embedding"]["linear_2"]["bias"] = bias
        without = apply(net.clone(num_classes=0), moved, x, timesteps)
        np.testing.assert_allclose(by_number, without, rtol=1e-4, atol=1e-4)


def test_labels_must_match_the_network():
    x, t = images()
    with pytest.raises(UserError, match="unconditional"):
        jax.eval_shape(EpsUNet(VP(), **SMALL).init, jax.random.key(0), x, t, jnp.zeros(3, jnp.int32))
    with pytest.raises(UserError, match="3 classes"):
        jax.eval_shape(EpsUNet(VP(), **SMALL, num_classes=3).init, jax.random.key(0), x, t)


def test_rows_do_not_interact_and_every_input_matters():
    x, t = images(num=6)
    y = jnp.arange(6) % 2
    net = EpsUNet(VP(), **SMALL, num_classes=2)
    params = shaken(net, x, t, y)
    whole = apply(net, params, x, t, y)
    np.testing.assert_allclose(apply(net, params, x[2:4], t[2:4], y[2:4]), whole[2:4], rtol=1e-4, atol=1e-5)
    for changed in ((x + 0.5, t, y), (x, 0.5 * t, y), (x, t, 1 - y)):
        assert np.abs(apply(net, params, *changed) - whole).max((1, 2, 3)).min() > 1e-4


@pytest.mark.parametrize(
    ("changes", "shape", "message"),
    [
        ({"channels": (8, 8, 8)}, (6, 8, 1), "images are 6 x 8: a U-Net of 3 levels .* multiples of 4"),
        ({"channels": (8, 8, 8)}, (8, 10, 1), "images are 8 x 10"),
        ({"channels": (8, 20)}, (8, 8, 1), r"must divide the channel counts \(8, 20\)"),
        ({"channels": ()}, (8, 8, 1), "at least one"),
        ({"channels": (3,), "groups": 1}, (8, 8, 1), r"channels\[0\] is 3"),
        ({"blocks": 0}, (8, 8, 1), "at least one layer"),
        ({"groups": 0}, (8, 8, 1), "one group"),
        ({"attention": (3,)}, (8, 8, 1), r"attention is at levels \(3,\): there are levels 0..2"),
        ({"data_std": (1.0, 2.0)}, (8, 8, 1), "data_std has 2 entries but an image has 1 channels"),
    ],
)
def test_what_does_not_fit_is_refused(changes, shape, message):
    x, t = images(shape=shape)
    with pytest.raises(UserError, match=message):
        jax.eval_shape(EpsUNet(VP(), **({"channels": (8, 8, 8)} | changes)).init, jax.random.key(0), x, t)


def test_heads_that_do_not_divide_the_channels_are_refused():
    x, _ = images(shape=(2, 2, 6))
    with pytest.raises(UserError, match="heads of 4 channels do not fit 6"):
        SelfAttention(head_dim=4).init(jax.random.key(0), x)
