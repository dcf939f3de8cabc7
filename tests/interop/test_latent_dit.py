"""The diffusion transformer's folders: they come back, and whatever is wrong with one is named."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.interop.models import scaled_weight
from tgdp_jax.errors import UserError
from tgdp_jax.interop.files import CONFIG
from tgdp_jax.interop.latent_dit import dit_of_options, expected_params, options_of_dit, read_dit, write_dit
from tgdp_jax.interop.latent_unet import latent_score
from tgdp_jax.nets.latent_dit import LatentDiT
from tgdp_jax.nets.layers import with_layers
from tgdp_jax.sde import DiscreteVP

NET = LatentDiT(width=16, depth=2, heads=2, num_classes=3, size=8)


@pytest.fixture(scope="module")
def variables():
    rng = np.random.default_rng(0)

    def draw(leaf):
        return jnp.asarray(scaled_weight(rng, leaf.shape, leaf.shape[0], False), jnp.float32)

    return {"params": jax.tree.map(draw, expected_params(NET))}


@pytest.fixture
def folder(variables, tmp_path):
    write_dit(tmp_path / "dit", NET, variables)
    return tmp_path / "dit"


def test_the_defaults_are_those_of_xl_2():
    assert dit_of_options({"_class_name": "DiTTransformer2DModel", "out_channels": 8}, "config") == LatentDiT()


def test_a_folder_comes_back(folder, variables):
    net, found = read_dit(folder)
    assert net == NET
    jax.tree.map(np.testing.assert_array_equal, found, variables)


def test_half_precision_recomputing_and_layers(variables):
    x, t = jax.random.normal(jax.random.key(0), (2, 8, 8, 4)), jnp.array([0.0, 999.0])
    labels = jnp.array([1, 3])
    out, layers = jax.jit(lambda v: with_layers(NET, v, x, t, labels))(variables)
    half = jax.jit(NET.clone(dtype=jnp.bfloat16, remat=True).apply)(variables, x, t, labels)
    assert half.dtype == jnp.float32 and 1e-5 < float(jnp.std(half - out) / jnp.std(out)) < 0.05
    assert {name: h.shape for name, h in layers.items()} == {f"block{i}": (2, 4, 4, 16) for i in range(2)}
    maps = jax.jit(lambda v: NET.apply(v, x, t, labels, method="encode"))(variables)
    np.testing.assert_allclose(maps[0], layers["block0"], rtol=1e-5, atol=1e-5)
    score = latent_score(NET, variables, DiscreteVP(), "eps", labels, jnp.array([3]), scale=4.0)
    found = jax.jit(lambda score: score(x, (t + 1) / 1000))(score)
    none = jax.jit(NET.apply)(variables, x, t, jnp.array([3, 3]))
    sigma = DiscreteVP().sigma((t + 1) / 1000)[:, None, None, None]
    np.testing.assert_allclose(-found * sigma, none + 4 * (out - none), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [((1, 8, 8, 4), None, "conditional on 3 classes: .* 3 for none"), ((1, 8, 9, 4), 0, "latents are 8 x 9")],
)
def test_what_does_not_fit_is_refused(variables, x, labels, message):
    labels = labels if labels is None else jnp.array([labels])
    with pytest.raises(UserError, match=message):
        jax.eval_shape(NET.apply, variables, jnp.zeros(x), jnp.zeros(1), labels)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_name": "Transformer2DModel", "norm_type": "layer_norm"}, "of a Transformer2DModel: DiTTransformer"),
        ({"_class_name": "PixArtTransformer2DModel"}, "of a PixArtTransformer2DModel"),
        ({"_class_name": None}, "DiTTransformer2DModel is expected"),
        ({"norm_type": "ada_norm_single"}, "norm_type is 'ada_norm_single'"),
        ({"norm_elementwise_affine": True}, "norm_elementwise_affine is True"),
        ({"activation_fn": "gelu"}, "activation_fn is 'gelu'"),
        ({"out_channels": 5}, "out_channels is 5, .* in_channels = 4"),
        ({"sample_size": 7}, "sample_size is 7, .* multiple of patch_size = 2"),
        ({"attention_head_dim": 7}, "attention_head_dim is 14: places need a multiple of 4"),
        ({"num_embeds_ada_norm": None}, "num_embeds_ada_norm is None"),
        ({"cross_attention_dim": 32}, "cross_attention_dim is 32, an option that is not supported"),
    ],
)
def test_an_option_that_is_not_supported_is_named(changes, message):
    with pytest.raises(UserError, match=f"^config.*{message}"):
        dit_of_options(options_of_dit(NET) | changes, "config")


HUGE = 2**18
HOSTILE = {
    "num_layers": 1000,
    "num_attention_heads": HUGE,
    "attention_head_dim": HUGE,
    "in_channels": HUGE,
    "patch_size": 8,
    "num_embeds_ada_norm": HUGE,
}


@pytest.mark.parametrize("option", HOSTILE)
def test_sizes_that_the_weights_have_not_are_refused_before_anything_is_made(folder, option, monkeypatch):
    monkeypatch.setattr(jax, "eval_shape", None)  # not even shapes
    values = json.loads((folder / CONFIG).read_text()) | {option: HOSTILE[option]}
    if option == "in_channels":
        values["out_channels"] = HUGE
    (folder / CONFIG).write_text(json.dumps(values))
    with pytest.raises(UserError, match=f"{option}.* is .*, but the weights beside it have"):
        read_dit(folder)
