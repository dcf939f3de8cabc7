"""The U-Net that looks at a text against diffusers itself, with random weights."""

import inspect
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.interop.latents import CONFIGS, ONE_LEVEL, config, inputs
from tests.interop.theirs import assert_close, channels_first, channels_last, diffusers, randomised, torch
from tgdp_jax.errors import UserError
from tgdp_jax.interop import latent_dit, tensors
from tgdp_jax.interop.latent_dit import dit_of_options, read_dit, write_dit
from tgdp_jax.interop.latent_options import unet_of_options
from tgdp_jax.interop.latent_unet import check_sizes, expected_params, latent_score, read_unet, write_unet
from tgdp_jax.interop.schedulers import SCHEDULERS, options_of_process, process_of_options, read_scheduler
from tgdp_jax.sampling import sample
from tgdp_jax.sde import DiscreteVP

# Schedulers that can leave no signal after the last step.
SHIFTED = [
    name
    for name in SCHEDULERS
    if "rescale_betas_zero_snr" in inspect.signature(getattr(diffusers, name).__init__).parameters
]


def their_model(values):
    return randomised(diffusers.UNet2DConditionModel(**{key: v for key, v in values.items() if key[0] != "_"}))


def their_output(net, x, t, text):
    def tensor(value):
        return None if value is None else torch.from_numpy(np.array(value))

    added = {} if text.pooled is None else {"text_embeds": tensor(text.pooled), "time_ids": tensor(text.time_ids)}
    with torch.no_grad():
        out = net(
            channels_first(x),
            tensor(t),
            tensor(text.tokens),
            class_labels=tensor(text.labels),
            added_cond_kwargs=added,
        )
    return channels_last(out.sample)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_folder_of_diffusers_gives_its_numbers_and_goes_back(name, tmp_path):
    theirs = their_model(config(name))
    theirs.save_pretrained(tmp_path / "theirs")
    net, variables = read_unet(tmp_path / "theirs")
    x, t, text = inputs(net)
    expected = their_output(theirs, x, t, text)
    assert_close(jax.jit(net.apply)(variables, x, t, text), expected)

    write_unet(tmp_path / "ours", net, variables)
    back, info = diffusers.UNet2DConditionModel.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(info.values()), info
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in back.state_dict().items())
    np.testing.assert_array_equal(their_output(back.eval(), x, t, text), expected)
    assert read_unet(tmp_path / "ours")[0] == net


# Their schedulers, and ours that takes the same steps: to the chain's first step, in order two but for the first.
LOOPS = {
    "ddim": (diffusers.DDIMScheduler, {"clip_sample": False, "set_alpha_to_one": False}),
    "dpmpp_2m": (
        diffusers.DPMSolverMultistepScheduler,
        {"final_sigmas_type": "sigma_min", "lower_order_final": False, "euler_at_final": False},
    ),
}


@pytest.mark.parametrize(
    ("solver", "prediction", "options", "rescale"),
    [
        ("ddim", "epsilon", {}, 0.0),
        ("ddim", "v_prediction", {"rescale_betas_zero_snr": True}, 0.7),
        ("dpmpp_2m", "v_prediction", {"rescale_betas_zero_snr": True}, 0.7),
        ("dpmpp_2m", "epsilon", {}, 0.3),
    ],
)
def test_pictures_are_those_of_their_pipeline(solver, prediction, options, rescale, tmp_path):
    """Whole sampling with guidance away from a negative text, from the same noise."""
    theirs = their_model(config("stable-diffusion-1", **ONE_LEVEL))
    kind, how = LOOPS[solver]
    scheduler = kind(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction,
        timestep_spacing="trailing",
        **how,
        **options,
    )
    theirs.save_pretrained(tmp_path / "unet")
    scheduler.save_pretrained(tmp_path / "scheduler")
    net, variables = read_unet(tmp_path / "unet")
    sde, predicts = read_scheduler(tmp_path / "scheduler")
    _, _, text = inputs(net, num=3)
    tokens, negative = text.tokens[:2], text.tokens[2:]
    score = latent_score(net, variables, sde, predicts, None, negative, scale=4.0, rescale=rescale)
    key, shape = jax.random.key(3), (8, 8, 4)
    ours = sample(key, score, sde, 2, shape, cond=tokens, solver=solver, grid="trailing", num_steps=10, chunk=2)

    keys = [jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(key, i), 0), 0) for i in range(2)]
    noise = np.stack([jax.random.normal(one, shape) for one in keys])
    pipeline = diffusers.StableDiffusionPipeline(
        vae=None,
        text_encoder=None,
        tokenizer=None,
        unet=theirs,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    found = pipeline(
        prompt_embeds=torch.from_numpy(np.array(tokens)),
        negative_prompt_embeds=torch.from_numpy(np.array(negative).repeat(2, 0)),
        latents=channels_first(noise),
        height=64,
        width=64,
        num_inference_steps=10,
        guidance_scale=4.0,
        guidance_rescale=rescale,
        output_type="latent",
    )
    assert_close(ours, channels_last(found.images), rtol=1e-3, small=1.0)


@pytest.mark.parametrize(
    ("name", "options"),
    [(name, {}) for name in SCHEDULERS]
    + [(name, {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}) for name in SHIFTED],
)
def test_every_scheduler_has_the_chain_that_is_read(name, options, tmp_path):
    if name == "DPMSolverSDEScheduler":
        pytest.importorskip("torchsde", reason="diffusers takes its noise from there")
    kind = getattr(diffusers, name)
    kind(**options).save_pretrained(tmp_path)
    sde, prediction = read_scheduler(tmp_path)
    assert prediction == ("v" if options else "eps")
    assert_chain(sde, kind(**options))
    values = json.loads((tmp_path / "scheduler_config.json").read_text())
    assert process_of_options({"_class_name": name, **options}, "config") == (sde, prediction)  # by its defaults
    listed = kind(trained_betas=np.linspace(0.01, 0.2, 30).tolist(), num_train_timesteps=30)
    listed.save_pretrained(tmp_path / "listed")
    assert_chain(read_scheduler(tmp_path / "listed")[0], listed)
    assert values["num_train_timesteps"] == sde.num_steps


@pytest.mark.parametrize(
    "sde",
    [
        DiscreteVP("scaled_linear", 0.00085, 0.012, zero_snr=True),
        DiscreteVP("trained", num_steps=3, betas=(0.1, 0.2, 0.4)),
    ],
)
def test_their_scheduler_has_the_chain_that_is_written(sde):
    assert_chain(sde, diffusers.DDPMScheduler.from_config(options_of_process(sde, "v")))
    assert process_of_options(options_of_process(sde, "v"), "config") == (sde, "v")


def assert_chain(sde, scheduler):
    t = jnp.asarray((np.arange(sde.num_steps) + 1) / sde.num_steps, jnp.float32)
    theirs = scheduler.alphas_cumprod.numpy().astype(np.float64)
    # They multiply in float32, and what is zero with some of them is 2^-24 with others and with us.
    np.testing.assert_allclose(np.asarray(sde.alpha(t)) ** 2, theirs, rtol=3e-4, atol=2e-7)


# Configs of published models, as far as they are not diffusers' own defaults.
FULL = {
    "stable-diffusion-v1-5": {"sample_size": 64, "cross_attention_dim": 768},
    "stable-diffusion-2-1": {
        "sample_size": 96,
        "attention_head_dim": [5, 10, 20, 20],
        "cross_attention_dim": 1024,
        "use_linear_projection": True,
        "upcast_attention": True,
    },
    "stable-diffusion-xl-base-1.0": {
        "sample_size": 128,
        "block_out_channels": [320, 640, 1280],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "transformer_layers_per_block": [1, 2, 10],
        "attention_head_dim": [5, 10, 20],
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
PARAMETERS = {
    "stable-diffusion-v1-5": 859_520_964,
    "stable-diffusion-2-1": 865_910_724,
    "stable-diffusion-xl-base-1.0": 2_567_463_684,
}


@pytest.mark.parametrize("name", FULL)
def test_every_tensor_of_a_published_model_has_its_place(name):
    with torch.device("meta"):
        theirs = diffusers.UNet2DConditionModel(**FULL[name])
    found = {key: tuple(value.shape) for key, value in theirs.state_dict().items()}
    net = unet_of_options({"_class_name": "UNet2DConditionModel"} | FULL[name], name)
    check_sizes(net, found, name)
    expected = expected_params(net)
    tensors.check_fit(found, expected, name)
    assert sum(leaf.size for leaf in jax.tree.leaves(expected)) == PARAMETERS[name]


def test_parts_and_variants_are_read(tmp_path):
    theirs = their_model(config("stable-diffusion-1"))
    theirs.half().save_pretrained(tmp_path, variant="fp16", max_shard_size="100KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    net, variables = read_unet(tmp_path)
    write_unet(tmp_path / "ours", net, variables)
    back = diffusers.UNet2DConditionModel.from_pretrained(tmp_path / "ours")
    assert all(torch.equal(value, theirs.state_dict()[key].float()) for key, value in back.state_dict().items())


def test_every_option_of_diffusers_is_known(tmp_path):
    """A new one, switched on by default, must be looked at before its nets are loaded."""
    their_model(config("stable-diffusion-1")).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    names = set(inspect.signature(diffusers.UNet2DConditionModel.__init__).parameters) - {"self"}
    assert names == {name for name in written if name[0] != "_"}
    unet_of_options(written, "config")
    silent = {"dropout", "addition_embed_type_num_heads", "mid_block_only_cross_attention"}
    for name in names - silent:
        with pytest.raises(UserError, match=name):
            unet_of_options(written | {name: "unheard of"}, "config")


DITS = {
    "with a variance": {"out_channels": 8},
    "without one": {"patch_size": 4, "attention_bias": False, "activation_fn": "geglu", "norm_eps": 1e-6},
}


@pytest.mark.parametrize("name", DITS)
def test_a_diffusion_transformer_gives_its_numbers_and_goes_back(name, tmp_path):
    small = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2, "sample_size": 8}
    theirs = randomised(diffusers.DiTTransformer2DModel(num_embeds_ada_norm=5, **small | DITS[name]))
    theirs.save_pretrained(tmp_path / "theirs")
    net, variables = read_dit(tmp_path / "theirs")
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 8, 8, 4)), jnp.float32)
    t, labels = jnp.array([0, 999]), jnp.array([2, 5])  # the last is no label

    def their_output(net):
        with torch.no_grad():
            found = net(channels_first(x), *(torch.from_numpy(np.array(value)) for value in (t, labels)))
        return channels_last(found.sample)

    expected = their_output(theirs)
    ours = jax.jit(lambda v: (net.apply(v, x, t, labels, method="outputs"), net.apply(v, x, t, labels)))(variables)
    assert_close(ours[0], expected)
    np.testing.assert_array_equal(ours[1], ours[0][..., :4])
    # Places of a larger picture are stretched.
    large = jnp.asarray(np.random.default_rng(2).normal(size=(1, 16, 16, 4)), jnp.float32)
    places = theirs.pos_embed(channels_first(large)).detach().numpy()
    bound = net.bind(variables)
    np.testing.assert_allclose(bound.pos_embed(large), places, rtol=1e-4, atol=1e-5)

    write_dit(tmp_path / "ours", net, variables)
    back, info = diffusers.DiTTransformer2DModel.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(info.values()), info
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in back.state_dict().items())
    np.testing.assert_array_equal(their_output(back.eval()), expected)
    assert read_dit(tmp_path / "ours")[0] == net


def test_every_tensor_of_dit_xl_2_has_its_place():
    with torch.device("meta"):
        theirs = diffusers.DiTTransformer2DModel(out_channels=8)
    found = {key: tuple(value.shape) for key, value in theirs.state_dict().items()}
    # As the published folder says it, under its former name.
    former = {"_class_name": "Transformer2DModel", "norm_type": "ada_norm_zero", "cross_attention_dim": None}
    net = dit_of_options(former | {"out_channels": 8, "only_cross_attention": False}, "config")
    latent_dit.check_sizes(net, found, "config")
    tensors.check_fit(found, latent_dit.expected_params(net), "the model")


def test_every_option_of_a_diffusion_transformer_is_known(tmp_path):
    diffusers.DiTTransformer2DModel(num_layers=1, num_attention_heads=1, sample_size=4).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    names = set(inspect.signature(diffusers.DiTTransformer2DModel.__init__).parameters) - {"self"}
    assert names == {name for name in written if name[0] != "_"}
    dit_of_options(written, "config")
    for name in names - {"dropout", "norm_num_groups", "upcast_attention"}:
        with pytest.raises(UserError, match=name):
            dit_of_options(written | {name: "unheard of"}, "config")
