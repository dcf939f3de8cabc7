"""Whole pipelines against diffusers itself: the same images from the same noise, and folders both ways."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from tests.interop.latents import config
from tests.interop.test_against_diffusers_autoencoders import kl
from tests.interop.texts import tiny_tokenizer
from tests.interop.theirs import diffusers, randomised, torch
from tgdp_jax.errors import UserError
from tgdp_jax.interop.embeddings import write_embedding
from tgdp_jax.interop.lora import read_lora, write_lora
from tgdp_jax.interop.lora_names import with_aliases
from tgdp_jax.interop.pipeline_folder import load_pipeline, write_pipeline
from tgdp_jax.interop.tokenizer import write_tokenizer
from tgdp_jax.sampling import sample

transformers = pytest.importorskip(
    "transformers", reason="needs transformers: python -m pip install -e '.[interop-test]'"
)
peft = pytest.importorskip("peft", reason="needs peft: python -m pip install -e '.[interop-test]'")
import safetensors.torch  # noqa: E402
from diffusers.utils import convert_state_dict_to_diffusers, convert_unet_state_dict_to_peft  # noqa: E402
from peft.utils import get_peft_model_state_dict  # noqa: E402

KEY = jax.random.key(3)
PROMPTS, NEGATIVE = ["a photo of a cat", "dog, of which much too much is said"], "blurry"


def their_text(width, seed, **changes):
    tokens = tiny_tokenizer()
    end = tokens.vocab["<|endoftext|>"]
    config = transformers.CLIPTextConfig(
        vocab_size=tokens.size,
        hidden_size=width,
        intermediate_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=tokens.length,
        bos_token_id=end - 1,
        eos_token_id=end,
        pad_token_id=end,
        **changes,
    )
    kind = transformers.CLIPTextModelWithProjection if changes else transformers.CLIPTextModel
    return randomised(kind(config), seed)


def their_pipeline(name, folder, **scheduler):
    """A pipeline of diffusers with random weights, and its folder."""
    write_tokenizer(folder / "words", tiny_tokenizer())
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "words")
    values = {key: value for key, value in config(name).items() if key[0] != "_"}
    xl = name == "stable-diffusion-xl"
    text = {"text_encoder": their_text(8 if xl else 12, 1), "tokenizer": tokenizer}
    if xl:
        text |= {"text_encoder_2": their_text(4, 2, projection_dim=10, hidden_act="gelu"), "tokenizer_2": tokenizer}
    else:
        text |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    kind = diffusers.StableDiffusionXLPipeline if xl else diffusers.StableDiffusionPipeline
    made = kind(
        vae=randomised(diffusers.AutoencoderKL(**kl([8, 8], scaling_factor=0.5)), 3),
        unet=randomised(diffusers.UNet2DConditionModel(**values), 4),
        scheduler=diffusers.DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
            timestep_spacing="trailing",
            **scheduler,
        ),
        **text,
    )
    made.set_progress_bar_config(disable=True)
    made.save_pretrained(folder / "theirs")
    return made


def their_noise(shape, num=2):
    """What `sample` starts from."""
    keys = [jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(KEY, i), 0), 0) for i in range(num)]
    noise = np.stack([np.asarray(jax.random.normal(key, shape)) for key in keys])
    return torch.from_numpy(noise.transpose(0, 3, 1, 2).copy())


def their_labels(folder):
    """A pipeline of diffusers that knows labels, with random weights, and its folder."""
    net = diffusers.DiTTransformer2DModel(
        sample_size=4,
        patch_size=2,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        num_attention_heads=2,
        attention_head_dim=8,
        num_embeds_ada_norm=1000,  # their pipeline takes 1000 for no label, whatever the net says
    )
    made = diffusers.DiTPipeline(
        transformer=randomised(net, 5),
        vae=randomised(diffusers.AutoencoderKL(**kl([8, 8], scaling_factor=0.5)), 3),
        scheduler=diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=False, timestep_spacing="trailing"),
    )
    made.set_progress_bar_config(disable=True)
    made.save_pretrained(folder / "theirs")
    file = folder / "theirs" / "model_index.json"
    names = {"0": "tench, Tinca tinca", "7": "cock", "999": "toilet tissue"}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"id2label": names}))
    return made


def start_labels_from(monkeypatch, noise):
    """Has their pipeline of labels, which takes no latents, start from the noise."""
    monkeypatch.setattr("diffusers.pipelines.dit.pipeline_dit.randn_tensor", lambda *args, **kwargs: noise)


def test_pictures_of_labels_are_those_of_diffusers(tmp_path, monkeypatch):
    made = their_labels(tmp_path)
    pipe = load_pipeline(tmp_path / "theirs")
    start_labels_from(monkeypatch, their_noise(pipe.shape()))
    wanted = made([7, 999], guidance_scale=3.0, num_inference_steps=4, output_type="np").images
    options = {"solver": "ddim", "grid": "trailing", "num_steps": 4, "chunk": 2}
    latents = sample(KEY, pipe.score(scale=3.0), pipe.sde, 2, pipe.shape(), cond=pipe.embed(["cock", "999"]), **options)
    assert_same_images(pipe.decode(latents, chunk=2), wanted)
    write_pipeline(tmp_path / "ours", pipe)
    back = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "ours")
    back.set_progress_bar_config(disable=True)
    assert back.get_label_ids(["Tinca tinca", "cock"]) == [0, 7]
    again = back([7, 999], guidance_scale=3.0, num_inference_steps=4, output_type="np").images
    np.testing.assert_allclose(again, wanted, atol=1e-6)
    for name in ("tinka", "1000", "-1"):
        with pytest.raises(UserError, match=r"there is no label .*: give one of its names.* or a number from 0 to 999"):
            pipe.embed([name])


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """(a pipeline of diffusers, ours, its folder)."""
    folder = tmp_path_factory.mktemp("one")
    theirs = their_pipeline("stable-diffusion-1", folder)
    return theirs, load_pipeline(folder / "theirs"), folder / "theirs"


def their_copy(folder):
    made = diffusers.DiffusionPipeline.from_pretrained(folder)
    made.set_progress_bar_config(disable=True)
    return made


def their_images(pipe, shape, **changes):
    latents = their_noise(shape)
    options = {"guidance_scale": 3.0, "negative_prompt": [NEGATIVE] * 2, "num_inference_steps": 4} | changes
    return pipe(PROMPTS, latents=latents, output_type="np", **options).images


def our_images(pipe, *, scale=3.0, negative=NEGATIVE, rescale=0.0, solver="ddim"):
    with pytest.warns(UserWarning, match="longer than the 12 tokens .* left out: "):
        text = pipe.embed(PROMPTS)
    score = pipe.score(scale=scale, negative=negative, rescale=rescale)
    options = {"solver": solver, "grid": "trailing", "num_steps": 4, "chunk": 2}
    latents = sample(KEY, score, pipe.sde, 2, pipe.shape(), cond=text, **options)
    return pipe.decode(latents, chunk=2)


def assert_same_images(ours, theirs):
    assert theirs.std() > 0.1 and (np.abs(theirs - 0.5) < 0.5).mean() > 0.3  # pictures say something
    assert np.abs(theirs[0] - theirs[1]).max() > 0.1
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "prediction"), [("stable-diffusion-1", "epsilon"), ("stable-diffusion-xl", "v_prediction")]
)
def test_pictures_are_those_of_diffusers_and_folders_go_both_ways(name, prediction, tmp_path):
    theirs = their_pipeline(name, tmp_path, prediction_type=prediction)
    pipe = load_pipeline(tmp_path / "theirs")
    wanted = their_images(theirs, pipe.shape())
    assert_same_images(our_images(pipe), wanted)
    # Without a negative prompt, and of other layers of the text encoders: no program is compiled for the former.
    without = their_images(theirs, pipe.shape(), negative_prompt=None, guidance_scale=2.0)
    assert np.abs(without - wanted).max() > 0.1
    assert_same_images(our_images(pipe, scale=2.0, negative=None), without)
    if name == "stable-diffusion-xl":
        skipped = their_images(theirs, pipe.shape(), clip_skip=1)
        assert np.abs(skipped - wanted).max() > 0.01
        assert_same_images(our_images(dataclasses.replace(pipe, clip_skip=1)), skipped)
    write_pipeline(tmp_path / "ours", pipe)
    back = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "ours")
    back.set_progress_bar_config(disable=True)
    assert type(back) is type(theirs)
    np.testing.assert_allclose(their_images(back, pipe.shape()), wanted, atol=1e-6)
    places = [tmp_path / place / "scheduler" / "scheduler_config.json" for place in ("theirs", "ours")]
    first, second = (json.loads(place.read_text()) for place in places)
    assert first == second
    again = load_pipeline(tmp_path / "ours")
    assert again.net == pipe.net and again.encoders[0].tokenizer == pipe.encoders[0].tokenizer
    jax.tree.map(np.testing.assert_array_equal, again.params, pipe.params)
    first, second = (json.loads((tmp_path / place / "model_index.json").read_text()) for place in ("theirs", "ours"))
    assert {key: value for key, value in first.items() if key != "_diffusers_version"} == second


TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "conv1", "proj_in", "ff.net.0.proj"]
TEXT_TARGETS = ["q_proj", "out_proj", "fc1"]


def adapted(folder, seed, *, rank=4, alpha=7.0):
    """(a pipeline of diffusers with adapters of peft, their state of the U-Net, of the text encoder, their configs)."""
    torch.manual_seed(seed)
    pipe = their_copy(folder)
    configs = [
        peft.LoraConfig(r=rank, lora_alpha=number, init_lora_weights=False, target_modules=targets)
        for number, targets in ((alpha, TARGETS), (2.0, TEXT_TARGETS))
    ]
    pipe.unet.add_adapter(configs[0])
    peft.inject_adapter_in_model(configs[1], pipe.text_encoder)
    return pipe, *map(get_peft_model_state_dict, (pipe.unet, pipe.text_encoder)), [one.to_dict() for one in configs]


def save(folder, unet, text, configs):
    metadata = {"unet_lora_adapter_metadata": configs[0], "text_encoder_lora_adapter_metadata": configs[1]}
    layers = {"unet_lora_layers": unet, "text_encoder_lora_layers": text}
    diffusers.StableDiffusionPipeline.save_lora_weights(folder, **layers, **(metadata if configs[0] else {}))


def kohya(unet, text):
    out = {}
    for prefix, state, alpha in (("lora_unet_", unet, 7.0), ("lora_te_text_model_", text, 2.0)):
        for key, value in state.items():
            stem, factor = key.rsplit(".lora_", 1)
            name = prefix + stem.replace(".", "_")
            out[f"{name}.lora_{'down' if factor[0] == 'A' else 'up'}.weight"] = value.contiguous()
            out[f"{name}.alpha"] = torch.tensor(alpha)
    return out


def assert_same_params(ours, theirs):
    for one, other in zip(parts(ours), parts(theirs), strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one, other)


def parts(pipe):
    return pipe.params, *(encoder.params for encoder in pipe.encoders)


def test_adapters_in_every_form_are_those_of_diffusers(one, tmp_path):
    _, base, folder = one
    theirs, unet, text, configs = adapted(folder, 0)
    with_metadata = tmp_path / "metadata"
    save(with_metadata, unet, text, configs)
    ours = base.with_lora(with_metadata)
    wanted = their_images(theirs, base.shape())
    assert np.abs(wanted - our_images(base)).max() > 0.05
    assert_same_images(our_images(ours), wanted)

    safetensors.torch.save_file(kohya(unet, text), tmp_path / "kohya.safetensors")
    assert_same_params(base.with_lora(tmp_path / "kohya.safetensors"), ours)

    # Former names say nothing of alpha, which then is the rank: as if alpha were 4 of 7 and of 2.
    old = tmp_path / "old"
    save(old, convert_state_dict_to_diffusers(unet), convert_state_dict_to_diffusers(text), [None, None])
    assert any(".lora.down." in key for key in safetensors.torch.load_file(old / "pytorch_lora_weights.safetensors"))
    plain = read_lora(old, base.bases)
    found = read_lora(with_metadata, base.bases)
    for part, alpha in (("unet", 7.0), ("text_encoder", 2.0)):
        assert [one.alpha for one in found[part].reparam.parts] == [alpha]
        assert [one.alpha for one in plain[part].reparam.parts] == [4.0]
        jax.tree.map(np.testing.assert_array_equal, plain[part].tree, found[part].tree)

    alone = tmp_path / "peft"
    alone.mkdir()
    state = {f"base_model.model.{key}": value for key, value in unet.items()}
    safetensors.torch.save_file(state, alone / "adapter_model.safetensors")
    with pytest.raises(UserError, match=r"adapter_config\.json, which says its alpha, is not beside it"):
        base.with_lora(alone)
    (alone / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 7, "peft_type": "LORA"}))
    jax.tree.map(np.testing.assert_array_equal, base.with_lora(alone).params, ours.params)

    stabilised = configs[0] | {"use_rslora": True}
    save(tmp_path / "stabilised", unet, {}, [stabilised, None])
    (part,) = read_lora(tmp_path / "stabilised", base.bases)["unet"].reparam.parts
    assert part.scale == pytest.approx(7.0 / 4**0.5)


def test_several_adapters_are_written_weighted_and_read_by_diffusers(one, tmp_path):
    theirs, base, folder = one
    for name, seed, rank in (("first", 1, 4), ("second", 2, 3)):
        save(tmp_path / name, *adapted(folder, seed, rank=rank)[1:])
    weights = {"first": 0.8, "second": -0.3}
    ours = base
    copy = their_copy(folder)
    for name, weight in weights.items():
        ours = ours.with_lora(tmp_path / name, weight)
        # Ours, written anew.
        found = read_lora(tmp_path / name, base.bases)
        assert write_lora(tmp_path / f"{name}-ours", found, base.bases).name == "pytorch_lora_weights.safetensors"
        assert_same_params(base.with_lora(tmp_path / f"{name}-ours"), base.with_lora(tmp_path / name))
        copy.load_lora_weights(tmp_path / f"{name}-ours", adapter_name=name)
    copy.set_adapters(list(weights), list(weights.values()))
    wanted = their_images(copy, base.shape())
    assert np.abs(wanted - their_images(theirs, base.shape())).max() > 0.05
    assert_same_images(our_images(ours), wanted)


def test_names_of_the_first_implementation_are_those_that_diffusers_maps():
    """Of Stable Diffusion XL's own blocks: three levels of two layers."""
    with torch.device("meta"):
        net = diffusers.UNet2DConditionModel(
            block_out_channels=(32, 64, 128),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(1, 2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=4,
            projection_class_embeddings_input_dim=32,
        )
    modules = [name for name, module in net.named_modules() if hasattr(module, "weight") and module.weight.ndim > 1]
    own = {*modules, *(module.replace(".", "_") for module in modules)}
    firsts = {alias: module for alias, module in with_aliases(modules).items() if alias not in own}
    assert len(firsts) == len(modules)
    assert firsts["input_blocks_4_1_transformer_blocks_0_attn1_to_q"] == (
        "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    )
    # diffusers maps those of attentions.
    keys = {
        f"lora_unet_{alias}.{factor}.weight": torch.zeros(1)
        for alias, module in firsts.items()
        if "attentions" in module
        for factor in ("lora_down", "lora_up")
    }
    state, _ = diffusers.StableDiffusionXLPipeline.lora_state_dict(keys, unet_config=net.config)
    assert {name.split(".", 1)[1] for name in convert_unet_state_dict_to_peft(state)} == {
        f"{module}.lora_{factor}.weight" for module in firsts.values() if "attentions" in module for factor in "AB"
    }


def test_embeddings_of_new_tokens_go_both_ways(one, tmp_path):
    _, base, folder = one
    rng = np.random.default_rng(0)
    vectors = {"<toy>": rng.normal(size=(1, 12)).astype(np.float32), "<two>": rng.normal(size=(3, 12))}
    copy, ours = their_copy(folder), base
    for name, value in vectors.items():
        file = write_embedding(tmp_path / f"{name[1:-1]}.safetensors", name, value)
        ours = ours.with_embedding(file)
        copy.load_textual_inversion(str(file))
    prompt = ["a <toy>", "cat <two> dog"]
    wanted, _ = copy.encode_prompt(prompt, "cpu", 1, False)
    np.testing.assert_allclose(ours.embed(prompt).tokens, wanted.detach().numpy(), rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match=r"<toys>, an unknown token \(embeddings: <toy>, <two>, <two>_1, <two>_2\)"):
        ours.embed(["a <toy> or <toys>"])
    with pytest.raises(UserError, match="'<toy>' is a token already"):
        ours.with_embedding(tmp_path / "toy.safetensors")
    # What diffusers' own scripts write: one tensor of one vector, without a row.
    safetensors.torch.save_file(
        {"<flat>": torch.from_numpy(vectors["<toy>"][0])}, tmp_path / "learned_embeds.safetensors"
    )
    flat = base.with_embedding(tmp_path, "<mine>")
    np.testing.assert_array_equal(flat.embed(["a <mine>"]).tokens, ours.embed(["a <toy>"]).tokens)
    # A pipeline with new tokens is written with them.
    write_pipeline(tmp_path / "written", ours)
    again, read = their_copy(tmp_path / "written"), load_pipeline(tmp_path / "written")
    assert again.text_encoder.config.vocab_size == len(again.tokenizer) == ours.encoders[0].net.vocab
    wanted, _ = again.encode_prompt(prompt, "cpu", 1, False)
    np.testing.assert_allclose(read.embed(prompt).tokens, wanted.detach().numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(read.embed(prompt).tokens, ours.embed(prompt).tokens)
