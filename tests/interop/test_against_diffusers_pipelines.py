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
from tgdp_jax.interop.pipeline import load_pipeline, write_pipeline
from tgdp_jax.interop.tokenizer import write_tokenizer
from tgdp_jax.sampling import sample

transformers = pytest.importorskip(
    "transformers", reason="needs transformers: python -m pip install -e '.[interop-test]'"
)
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
