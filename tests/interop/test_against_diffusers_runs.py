"""What runs on text-to-image pipelines leave, in diffusers: the same pictures from the same noise."""

import numpy as np
import pytest

from tests.e2e.test_shapes import SMALL as SHAPES
from tests.e2e.tools import call
from tests.interop.test_against_diffusers_pipelines import (
    KEY,
    assert_same_images,
    start_labels_from,
    their_labels,
    their_noise,
    their_pipeline,
)
from tests.interop.theirs import diffusers
from tgdp_jax.app.model import load
from tgdp_jax.interop.pipeline_folder import load_pipeline
from tgdp_jax.sampling import sample

SMALL = "--rival.optimiser.steps 10 --rival.optimiser.batch-size 2 --sampling.num 1 --sampling.steps 2 --quiet".split()
LORA = (
    "--method",
    "lora",
    "--lora.rank",
    "3",
    "--lora.alpha",
    "5",
    "--lora.learning-rates",
    "0.1",
    "--prompt",
    "a cat",
)
WORD = (
    *("--method", "textual_inversion", "--prompt", "a <toy>", "--token", "<toy>", "--initial", "cat"),
    *("--textual-inversion.learning-rates", "0.3"),
)
RUNS = {
    "lora": LORA,
    "lora of the text encoder too": (*LORA, "--lora.text-encoder"),
    "a word": WORD,
    "a word of three vectors": (*WORD, "--textual-inversion.vectors", "3"),
    "finetune": ("--method", "finetune", "--prompt", "a pho dog", "--rival.learning-rates", "1e-3"),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with a pipeline of diffusers, and pictures."""
    root = tmp_path_factory.mktemp("base")
    their_pipeline("stable-diffusion-1", root)
    x = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3)).astype(np.uint8)
    np.savez(root / "pictures.npz", x=x)
    return root


def with_result(base, out):
    """diffusers' pipeline with what a run left."""
    whole, word = out / "pipeline", out / "learned_embeds.safetensors"
    pipe = diffusers.DiffusionPipeline.from_pretrained(whole if whole.exists() else base / "theirs")
    pipe.set_progress_bar_config(disable=True)
    if (out / "pytorch_lora_weights.safetensors").exists():
        pipe.load_lora_weights(out)
    if word.exists():
        pipe.load_textual_inversion(word)
    return pipe


@pytest.mark.parametrize("name", RUNS)
def test_diffusers_reads_what_a_run_learned_and_makes_its_pictures(base, tmp_path, name):
    out = tmp_path / "run"
    data = "--pretrained", base / "theirs", "--target", base / "pictures.npz"
    call("run", "text-images", *data, *RUNS[name], *SMALL, "--out", out)
    run = load(out)
    options = {"solver": "ddim", "grid": "trailing", "num_steps": 4, "chunk": 2}
    captions = np.zeros(2, np.int32)
    latents = sample(KEY, run.score, run.sde, 2, run.shape, cond=captions, **options)
    ours = run.problem.scaler.to_user(latents)
    words = {"guidance_scale": 7.5, "num_inference_steps": 4, "output_type": "np"}
    prompts = [run.classes[0]] * 2
    theirs = with_result(base, out)(prompts, latents=their_noise(run.shape), **words).images
    assert_same_images(ours, theirs)
    before = with_result(base, tmp_path)(prompts, latents=their_noise(run.shape), **words).images
    assert np.abs(theirs - before).max() > 0.02


def test_diffusers_makes_the_pictures_of_the_pipeline_that_shapes_trained(tmp_path):
    out = tmp_path / "run"
    call("run", "shapes", *SHAPES, "--method", "source", "--out", out)
    pipe, prompts = load_pipeline(out / "source"), ["a large red circle at the left on white", "a shape"]
    options = {"solver": "ddim", "grid": "trailing", "num_steps": 4, "chunk": 2}
    latents = sample(KEY, pipe.score(scale=3.0), pipe.sde, 2, pipe.shape(), cond=pipe.embed(prompts), **options)
    made = diffusers.DiffusionPipeline.from_pretrained(out / "source")
    made.set_progress_bar_config(disable=True)
    # The folder's own sampler draws noise at every step.
    options = {"timestep_spacing": "trailing", "set_alpha_to_one": False}
    made.scheduler = diffusers.DDIMScheduler.from_config(made.scheduler.config, **options)
    words = {"guidance_scale": 3.0, "num_inference_steps": 4, "output_type": "np"}
    theirs = made(prompts, latents=their_noise(pipe.shape()), **words).images
    assert_same_images(pipe.decode(latents, chunk=2), theirs)


def test_a_pipeline_of_labels_that_a_run_adapted_is_one_of_diffusers(tmp_path, monkeypatch):
    their_labels(tmp_path)
    rng, out = np.random.default_rng(0), tmp_path / "run"
    text = np.array(["zebra", "cock", "zebra", "cock"])
    np.savez(tmp_path / "pictures.npz", x=rng.integers(0, 255, (4, 8, 8, 3)).astype(np.uint8), text=text)
    data = "--pretrained", tmp_path / "theirs", "--target", tmp_path / "pictures.npz"
    lora = "--method", "lora", "--lora.learning-rates", "0.05", "--text.scale", "3"
    call("run", "text-images", *data, *lora, *SMALL, "--out", out)
    run = load(out)
    captions = np.array([run.classes.index(name) for name in ("zebra", "cock")], np.int32)
    options = {"solver": "ddim", "grid": "trailing", "num_steps": 4, "chunk": 2}
    latents = sample(KEY, run.score, run.sde, 2, run.shape, cond=captions, **options)
    ours = run.problem.scaler.to_user(latents)
    start_labels_from(monkeypatch, their_noise(run.shape))

    def theirs(folder, labels):
        pipe = diffusers.DiTPipeline.from_pretrained(folder)
        pipe.set_progress_bar_config(disable=True)
        given = pipe.get_label_ids(labels) if isinstance(labels[0], str) else labels
        return pipe(given, guidance_scale=3.0, num_inference_steps=4, output_type="np").images

    assert_same_images(ours, theirs(out / "pipeline", ["zebra", "cock"]))
    assert np.abs(ours - theirs(tmp_path / "theirs", [0, 7])).max() > 0.02
