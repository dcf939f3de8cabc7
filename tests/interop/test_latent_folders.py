"""Folders of latent U-Nets without diffusers: written and read back, and whatever is wrong with one is named."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from tests.interop.latents import CONFIGS, ONE_LEVEL, config, inputs, model
from tgdp_jax.errors import UserError
from tgdp_jax.interop.files import CONFIG, WEIGHTS
from tgdp_jax.interop.latent_options import options_of_unet, unet_of_options
from tgdp_jax.interop.latent_unet import latent_score, read_unet, write_unet
from tgdp_jax.interop.schedulers import process_of_options
from tgdp_jax.nets.latent_unet import LatentUNet, Text
from tgdp_jax.nets.layers import with_layers
from tgdp_jax.sde import DiscreteVP


@pytest.fixture(scope="module")
def xl():
    return model("stable-diffusion-xl")


@pytest.fixture(scope="module")
def written(xl, tmp_path_factory):
    folder = tmp_path_factory.mktemp("latents") / "unet"
    write_unet(folder, *xl)
    return folder


@pytest.fixture
def folder(written, tmp_path):
    (tmp_path / CONFIG).write_bytes((written / CONFIG).read_bytes())
    (tmp_path / WEIGHTS).write_bytes((written / WEIGHTS).read_bytes())
    return tmp_path


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("name", CONFIGS)
def test_options_come_back(name):
    net = unet_of_options(config(name), "config")
    assert unet_of_options(json.loads(json.dumps(options_of_unet(net))), "config") == net


def test_a_folder_comes_back(xl, written):
    net, variables = read_unet(written)
    assert net == xl[0]
    jax.tree.map(np.testing.assert_array_equal, variables, xl[1])


def test_the_defaults_are_those_of_the_first_stable_diffusion():
    assert (
        unet_of_options({"_class_name": "UNet2DConditionModel", "cross_attention_dim": 768}, "config") == LatentUNet()
    )


def test_a_fresh_net_predicts_nothing_and_shows_its_layers():
    net, _ = model("stable-diffusion-1", **ONE_LEVEL | {"mid_block_type": "UNetMidBlock2D"})
    x, t, text = inputs(net)
    variables = jax.jit(net.init)(jax.random.key(0), x, t, text)
    out, layers = with_layers(net, variables, x, t, text)
    np.testing.assert_array_equal(out, jnp.zeros_like(x))
    assert list(layers) == ["down0", "middle", "up0"]
    net, variables = model("stable-diffusion-1")
    maps = jax.eval_shape(lambda *row: net.apply(variables, *row, method="encode"), x, t, text)
    assert [m.shape[1:] for m in maps] == [(8, 8, 16), (8, 8, 16), (4, 4, 16), (4, 4, 32), (4, 4, 32)]


def test_half_precision_and_recomputing_change_little():
    net, variables = model("stable-diffusion-xl", **ONE_LEVEL)
    x, t, text = inputs(net)
    tokens, added = text.tokens, (text.pooled, text.time_ids)

    def loss(net, variables):
        return jnp.sum(jnp.sin(net.apply(variables, x, t, tokens, added)))

    (one, slopes), (again, recomputed) = (
        jax.jit(jax.value_and_grad(lambda v, net=net: loss(net, v)))(variables) for net in (net, net.clone(remat=True))
    )
    np.testing.assert_allclose(again, one, rtol=1e-5)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(slopes))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * largest), recomputed, slopes)
    half = jax.jit(net.clone(dtype=jnp.bfloat16).apply)(variables, x, t, text)
    whole = jax.jit(net.apply)(variables, x, t, text)
    assert half.dtype == jnp.float32
    assert 1e-4 < float(jnp.std(half - whole) / jnp.std(whole)) < 0.05


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": jnp.zeros((2, 7, 13))}, r"the text is \[2, 7, 13\]: .* \[B, L, 12\]"),
        ({"tokens": None}, r"the text is None"),
        ({"pooled": None}, "takes pooled text: pass them"),
        ({"time_ids": None}, "takes time ids: pass them"),
        ({"labels": jnp.zeros(2)}, "takes no labels: leave them out"),
    ],
)
def test_another_condition_is_refused(xl, change, message):
    net, variables = xl
    x, t, text = inputs(net)
    with pytest.raises(UserError, match=message):
        jax.eval_shape(net.apply, variables, x, t, text._replace(**change))


def test_sides_that_can_not_be_halved_are_refused(xl):
    net, variables = xl
    _, t, text = inputs(net)
    with pytest.raises(UserError, match=r"latents are 8 x 9: .* multiples of 2"):
        jax.eval_shape(net.apply, variables, jnp.zeros((2, 8, 9, 4)), t, text)


def test_the_score_sees_steps_and_rows_of_the_text():
    net, variables = model("stable-diffusion-1", **ONE_LEVEL)
    x, steps, text = inputs(net)
    sde = DiscreteVP()
    score = latent_score(net, variables, sde, "eps", uncond=Text(text.tokens[:1]), scale=2.0)
    found = jax.jit(lambda *row: score(*row))(x, (steps + 1) / 1000, text)
    first = text.tokens[:1].repeat(2, 0)
    out, no = (jax.jit(net.apply)(variables, x, steps, tokens) for tokens in (text.tokens, first))
    sigma = sde.sigma((steps + 1) / 1000)[:, None, None, None]
    np.testing.assert_allclose(-sigma * found, no + 2 * (out - no), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_name": "UNet2DModel"}, "of a UNet2DModel: UNet2DConditionModel is expected"),
        ({"_class_name": None}, "UNet2DConditionModel is expected"),
        ({"block_out_channels": []}, r"block_out_channels is \[\]"),
        ({"block_out_channels": [16, 32, 32]}, "down_block_types is .* a list of 3"),
        ({"down_block_types": ["SimpleCrossAttnDownBlock2D", "DownBlock2D"]}, "'SimpleCrossAttnDownBlock2D'"),
        ({"up_block_types": ["UpBlock2D", "KUpBlock2D"]}, "'KUpBlock2D'"),
        ({"mid_block_type": "UNetMidBlock2DSimpleCrossAttn"}, "mid_block_type is 'UNetMidBlock2DSimple"),
        ({"cross_attention_dim": [12, 14]}, r"cross_attention_dim is \[12, 14\]: a text whose tokens have one length"),
        ({"attention_head_dim": [3, 4]}, r"attention_head_dim is .*3 heads for 16 channels"),
        ({"num_attention_heads": 2}, "num_attention_heads is 2"),
        ({"transformer_layers_per_block": [1, [1]]}, "reverse_transformer_layers_per_block must say the way up"),
        ({"transformer_layers_per_block": -1}, "transformer_layers_per_block is -1"),
        ({"only_cross_attention": "yes"}, "only_cross_attention is 'yes'"),
        ({"dual_cross_attention": True}, "dual_cross_attention is True, an option that is not supported"),
        ({"encoder_hid_dim": 32}, "encoder_hid_dim is 32, an option"),
        ({"time_cond_proj_dim": 256}, "time_cond_proj_dim is 256, an option"),
        ({"class_embeddings_concat": True}, "class_embeddings_concat is True, an option"),
        ({"class_embed_type": "identity"}, "class_embed_type is 'identity'"),
        ({"class_embed_type": "projection"}, "'projection', which needs projection_class_embeddings_input_dim"),
        ({"addition_embed_type": "image"}, "addition_embed_type is 'image'"),
        ({"addition_embed_type": "text_time"}, "addition_time_embed_dim must be even"),
        ({"attention_type": "gated"}, "attention_type is 'gated'"),
        ({"conv_in_kernel": 1}, "conv_in_kernel is 1"),
        ({"norm_num_groups": None}, "norm_num_groups is None"),
        ({"norm_eps": -1}, "norm_eps is -1"),
        ({"act_fn": "tanh"}, "act_fn is 'tanh'"),
        ({"layers_per_block": 10**6}, "layers_per_block is 1000000"),
        ({"a new one": 3}, "'a new one' is 3, an option that is not supported"),
    ],
)
def test_an_option_that_is_not_supported_is_named(changes, message):
    with pytest.raises(UserError, match=f"^config.*{message}"):
        unet_of_options(config("stable-diffusion-1", **changes), "config")


HUGE = 2**19
HOSTILE = {
    "block_out_channels": [16, HUGE],
    "layers_per_block": 1000,
    "transformer_layers_per_block": [1, 1000],
    "cross_attention_dim": HUGE,
    "in_channels": HUGE,
    "out_channels": HUGE,
    "num_class_embeds": HUGE,
    "projection_class_embeddings_input_dim": HUGE,
}


@pytest.mark.parametrize("option", HOSTILE)
def test_sizes_that_the_weights_have_not_are_refused_before_anything_is_made(folder, option, monkeypatch):
    monkeypatch.setattr(jax, "eval_shape", None)  # not even shapes
    edit(folder / CONFIG, **{option: HOSTILE[option]})
    with pytest.raises(UserError, match=f"{CONFIG}: {option} is .*, but the weights beside it have"):
        read_unet(folder)


def test_weights_of_another_model_are_refused(folder):
    tensors = safetensors.numpy.load_file(folder / WEIGHTS)
    name = "mid_block.attentions.0.transformer_blocks.1.attn2.to_v.weight"
    safetensors.numpy.save_file({key: value for key, value in tensors.items() if key != name}, folder / WEIGHTS)
    with pytest.raises(UserError, match=f"lacks tensors that config.json calls for: {name}"):
        read_unet(folder)
    safetensors.numpy.save_file({"conv_in.weight": tensors["conv_in.weight"]}, folder / WEIGHTS)
    with pytest.raises(UserError, match=r"is of a U-Net, but the weights beside it lack down_blocks\.0"):
        read_unet(folder)
    (folder / WEIGHTS).rename(folder / "diffusion_pytorch_model.bin")
    with pytest.raises(UserError, match="is a pickle"):
        read_unet(folder)
    with pytest.raises(UserError, match="is not a folder"):
        read_unet(folder / "unet")


def test_a_net_that_diffusers_has_not_is_refused(tmp_path):
    net, variables = model("stable-diffusion-2")
    with pytest.raises(UserError, match="diffusers has no U-Net whose middle is 2 transformer blocks deep"):
        write_unet(tmp_path / "out", net.clone(mid_depth=2), variables)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "_class_name is 'FlowMatchEuler"),
        ({"rescale_betas_zero_snr": True}, "prediction_type 'epsilon', but where no signal is left"),
        ({"rescale_betas_zero_snr": 2}, "rescale_betas_zero_snr is 2"),
        ({"trained_betas": [0.1]}, "trained_betas is .* a list of num_train_timesteps = 2 numbers"),
        ({"trained_betas": [0.1, "0.2"]}, "trained_betas is .* a list"),
        ({"trained_betas": [0.1, 1.5]}, "trained_betas is .* a list"),
        ({"beta_schedule": "sigmoid"}, "beta_schedule is 'sigmoid'"),
        ({"prediction_type": "flow_prediction"}, "prediction_type is 'flow_prediction'"),
        ({"use_flow_sigmas": True}, "use_flow_sigmas is True"),
        ({"variance_type": "learned_range"}, "a net that predicts no variance"),
    ],
)
def test_a_chain_that_can_not_be_expressed_is_named(changes, message):
    values = {"_class_name": "DDIMScheduler", "num_train_timesteps": 2}
    with pytest.raises(UserError, match=f"^config.*{message}"):
        process_of_options(values | changes, "config")


def test_where_a_net_says_its_variance_the_scheduler_may_too():
    values = {"_class_name": "DDPMScheduler", "variance_type": "learned_range"}
    assert process_of_options(values, "config", learned_variance=True) == (DiscreteVP(), "eps")
