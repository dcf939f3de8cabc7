"""Pictures with captions in, files of diffusers out, and the pictures of these are the run's own."""

import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tests.e2e.tools import call, read, refused, stages, strict_json
from tests.helpers import evaluate
from tests.interop.pipelines import without_middle
from tgdp_jax.app.commands.run import load_run
from tgdp_jax.app.model import load
from tgdp_jax.interop.lora import read_lora
from tgdp_jax.interop.pipeline_folder import load_pipeline, write_pipeline
from tgdp_jax.interop.weights import headers_alone
from tgdp_jax.train.reparam import flat
from tgdp_jax.transfer.stages import named_key, silent

SMALL = "--rival.optimiser.steps 10 --rival.optimiser.batch-size 2 --sampling.num 2 --sampling.steps 2 --quiet".split()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a pipeline, and one with pictures."""
    root = tmp_path_factory.mktemp("files")
    write_pipeline(root / "model", without_middle())
    (root / "pictures").mkdir()
    rng, lines = np.random.default_rng(0), []
    for number, text in enumerate(["a cat", "a dog of which much too much is said", "a cat"]):
        pixels = rng.integers(0, 255, (20, 16 + number, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(root / "pictures" / f"{number}.png")
        lines.append(json.dumps({"file_name": f"{number}.png", "text": text}))
    (root / "pictures" / "metadata.jsonl").write_text("\n".join(lines))
    return root


def command(files, *words):
    return "run", "text-images", "--pretrained", files / "model", "--target", files / "pictures", *SMALL, *words


def source(run):
    """The model that a run started from."""
    return dataclasses.replace(run, method="source")


def assert_same_score(run, pipe, prompts, scale=7.5):
    """A run's score of its captions is the pipeline's of prompts, with guidance."""
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=(len(prompts), *pipe.shape())), jnp.float32)
    t, captions = jnp.linspace(0.2, 0.9, len(prompts)), jnp.arange(len(prompts))
    ours, theirs = evaluate(run.score, x, t, captions), evaluate(pipe.score(scale=scale), x, t, pipe.embed(prompts))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    return np.asarray(ours)


@pytest.fixture(scope="module")
def adapted(files, tmp_path_factory):
    """A run of adapters; (folder, standard output, standard error)."""
    out = tmp_path_factory.mktemp("runs") / "lora"
    return out, *call(*command(files, "--lora.rank", 2, "--lora.learning-rates", 0.05), "--out", out)


def test_adapters_of_a_run_give_its_pictures_elsewhere(files, adapted):
    out, said, warned = adapted
    left = read(out / "samples.npz")
    assert left["x"].shape == (2, 16, 16, 3) and left["x"].min() >= 0 and left["x"].max() <= 1
    assert set(left["text"]) <= {"a cat", "a dog of which much too much is said"} and len(left["y"]) == 2
    assert f"for diffusers and tgdp generate: {out / 'pytorch_lora_weights.safetensors'}" in said
    assert "warning: a prompt is longer than the 12 tokens that the text encoder takes, and this is left out:" in warned
    assert stages(out) == {"latents", "source", "lora"}
    metrics = strict_json(out / "metrics.json")
    net = load_pipeline(files / "model").params
    assert metrics["source_parameters"] == sum(leaf.size for leaf in jax.tree.leaves(net))
    # Two factors of rank 2 beside each of the four kernels of either attention, of 8 features and texts of 12.
    kernels = [leaf.shape for path, leaf in flat(net).items() if re.search(r"attn\d/to_\w+/kernel", path)]
    assert metrics["trained_parameters"] == sum(2 * (inputs + outputs) for inputs, outputs in kernels)

    run = load(out)
    assert run.classes == ("a cat", "a dog of which much too much is said")
    pipe = load_pipeline(files / "model")
    with pytest.warns(UserWarning, match="is left out"):
        ours, plain = (
            assert_same_score(*pair, run.classes) for pair in ((run, pipe.with_lora(out)), (source(run), pipe))
        )
    assert np.abs(ours - plain).max() > 0.05  # they do change it
    again = run.sample(2)
    np.testing.assert_array_equal(again.x, left["x"])


def test_a_finished_run_is_not_repeated_and_lost_files_are_made_again(files, adapted):
    out = adapted[0]
    words = command(files, "--lora.rank", 2, "--lora.learning-rates", 0.05, "--out", out)
    assert "already complete" in call(*words)[0]
    file = out / "pytorch_lora_weights.safetensors"
    bases = load_pipeline(files / "model").bases
    before = read_lora(file, bases)["unet"]
    file.unlink()
    assert "made again from what is trained" in call(*words)[1]
    again = read_lora(file, bases)["unet"]
    assert again.reparam == before.reparam
    jax.tree.map(np.testing.assert_array_equal, again.tree, before.tree)


@pytest.mark.slow
def test_a_new_word_is_learned_and_nothing_else(files, tmp_path):
    out = tmp_path / "word"
    words = ("--method", "textual_inversion", "--prompt", "a <toy>", "--token", "<toy>", "--initial", "cat")
    words += ("--class-prompt", "a dog")
    words += ("--textual-inversion.vectors", 2)
    call(*command(files, *words, "--textual-inversion.learning-rates", 0.3, "--out", out))
    assert strict_json(out / "metrics.json")["trained_parameters"] == 2 * 12
    pipe = load_pipeline(files / "model")
    with_word = pipe.with_embedding(out)
    assert_same_score(load(out), with_word, ["a <toy>", "a dog"])
    before, after = (np.asarray(p.embed([text]).tokens) for p, text in ((pipe, "a cat"), (with_word, "a <toy>")))
    assert 0.01 < np.abs(before - after).max()
    np.testing.assert_array_equal(with_word.embed(["a cat"]).tokens, before)


@pytest.mark.slow
def test_adaptations_are_averaged_to_one_denoiser(files, tmp_path):
    out = tmp_path / "stacked"
    words = ("--method", "stacked", "--text.num-source", 100, "--sampling.chunk", 10, "--lora.learning-rates", 0.05)
    quick = "--prompt cat --classifier.folds 2 --classifier.features 8 --head.channels 4".split()
    quick += "--classifier.regularisers mixup --classifier.optimiser.steps 10".split()
    call(*command(files, *words, *quick, "--out", out))
    assert stages(out) == {"latents", "source", "source_rows", "lora", "classifier", "tgdp_denoising", "stacked"}
    run, pipe = load(out), load_pipeline(out / "pipeline")
    assert_same_score(run, pipe, ["cat"])
    # Of three pictures the one that learned from them alone has a fifth.
    weights = run.trees["stacked"]["weights"][:, 0]
    np.testing.assert_allclose(weights, [0.2, 0.8], atol=1e-6)
    kernel = next(path for path in flat(pipe.params) if path.endswith("attn1/to_q/kernel"))
    base, mean = (flat(p.params)[kernel] for p in (load_pipeline(files / "model"), pipe))
    changes = []
    for name in ("lora", "tgdp_denoising"):
        factors = flat(run.trees[name]["params"])
        a, b = (factors[f"{kernel.replace('params/', 'params/net/', 1)}/{part}"] for part in "ab")
        changes.append(run.config.lora.make().scale * a @ b)
    np.testing.assert_allclose(mean - base, 0.2 * changes[0] + 0.8 * changes[1], atol=1e-5)
    assert np.abs(changes[0] - changes[1]).max() > 1e-4


@pytest.mark.slow
def test_methods_are_compared(files, tmp_path):
    pixels = np.random.default_rng(2).integers(0, 255, (6, 16, 16, 3)).astype(np.uint8)
    np.savez(tmp_path / "six.npz", x=pixels)
    out, data = tmp_path / "compared", ("--pretrained", files / "model", "--target", tmp_path / "six.npz")
    words = ("--prompt", "a cat", "--methods", "source,lora,kde", "--n-targets", 4, "--seeds", 1, "--out", out)
    call("compare", "text-images", *data, *SMALL, "--lora.learning-rates", 0.05, *words)
    cells = {cell["method"]: cell for cell in strict_json(out / "metrics.json")["cells"]}
    assert "kde does not adapt text-to-image pipelines" in cells["kde"]["failed"]
    assert cells["source"]["trained_parameters"] == 0 < cells["lora"]["trained_parameters"]
    # What a cell kept are the samples that a run draws.
    alone = tmp_path / "alone"
    call(
        "run", "text-images", *data, *SMALL, "--method", "source", "--prompt", "a cat", "--n-target", 4, "--out", alone
    )
    kept = read(out / "samples" / "source-n4-seed0.npz")["x"]
    np.testing.assert_allclose(load(alone).problem.scaler.to_user(kept), read(alone / "samples.npz")["x"], atol=1e-6)
    assert "a pretrained pipeline; 4 target rows." in (out / "report.html").read_text()


@pytest.mark.slow
def test_text_encoders_are_adapted_beside_the_denoiser(files, tmp_path):
    out = tmp_path / "both"
    words = ("--prompt", "a photo", "--class-prompt", "a dog", "--lora.text-encoder", "--lora.learning-rates", 0.05)
    call(*command(files, *words, "--out", out))
    pipe = load_pipeline(files / "model")
    found = read_lora(out, pipe.bases)
    assert found.keys() == {"unet", "text_encoder"}
    kernels = {path.rpartition("/")[0] for path in flat(found["text_encoder"].tree)}
    # Queries, keys, values and outputs of two layers, as alpha and rank say them.
    assert len(kernels) == 8 and all("self_attn" in kernel for kernel in kernels)
    adapted = pipe.with_lora(out)
    before, after = (np.asarray(one.embed(["a photo"]).tokens) for one in (pipe, adapted))
    assert np.abs(before - after).max() > 0.01
    assert_same_score(load(out), adapted, ["a photo", "a dog"])


@pytest.mark.slow
def test_dreambooth_keeps_the_class_and_leaves_a_pipeline(files, tmp_path):
    out = tmp_path / "booth"
    words = ("--method", "dreambooth", "--prompt", "a pho dog", "--class-prompt", "a dog", "--dreambooth.num-prior", 2)
    call(*command(files, *words, "--dreambooth.no-lora", "--rival.learning-rates", 1e-3, "--out", out))
    run, pipe = load(out), load_pipeline(out / "pipeline")
    assert run.classes == ("a pho dog", "a dog") and run.trees["prior"]["y"].tolist() == [1, 1]
    assert read(out / "samples.npz")["text"].tolist() == ["a pho dog"] * 2
    assert_same_score(run, pipe, run.classes)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), pipe.params, load_pipeline(files / "model").params)
    assert 1e-4 < max(jax.tree.leaves(moved)) < 0.1
    for path, leaf in flat(run.trees["dreambooth"]["params"]).items():
        assert path.startswith("params/net/"), path
        assert leaf.dtype == jnp.float32


@pytest.mark.slow
def test_guidance_is_learned_from_samples_of_the_pipeline(files, tmp_path):
    out = tmp_path / "guided"
    words = ("--method", "discriminator_guidance", "--text.num-source", 100, "--sampling.chunk", 10, "--out", out)
    quick = "--guidance.folds 2 --guidance.features 8 --head.channels 4 --guidance.optimiser.steps 10".split()
    call(*command(files, *words, *quick, "--guidance.optimiser.validation-rows", 8))
    assert stages(out) == {"latents", "source", "source_rows", "noisy_classifier"}
    drawn = load_run(out, silent)[1].source
    assert drawn.x.shape == (100, 8, 8, 4) and drawn.y is not None
    # Captions are as frequent as the target's, of which two in three are the first.
    assert 45 < (drawn.y == 0).sum() < 90
    run, pipe = load(out), load_pipeline(files / "model")
    x, t, captions = jnp.ones((2, *pipe.shape())), jnp.asarray([0.3, 0.8]), jnp.arange(2)
    plain, guided = (np.asarray(evaluate(one.score, x, t, captions)) for one in (source(run), run))
    twice = dataclasses.replace(run.config, guidance=dataclasses.replace(run.config.guidance, scale=2.0))
    doubled = np.asarray(evaluate(dataclasses.replace(run, config=twice).score, x, t, captions))
    np.testing.assert_allclose(doubled - guided, guided - plain, atol=1e-3)
    assert np.abs(guided - plain).max() > 1e-3
    # What is compared with the target are samples of the density that the pipeline was trained on, not a sharper one.
    alone = dataclasses.replace(run.config, text=dataclasses.replace(run.config.text, scale=1.0))
    generator = dataclasses.replace(source(run), config=alone).generator
    again = generator.draw(named_key(0, "source rows"), np.arange(10), drawn.y[:10])
    np.testing.assert_array_equal(again, drawn.x[:10])


REFUSED = {
    "no pipeline": (["--pretrained", "{model}/unet"], "config.json is of a UNet2DConditionModel"),
    "an unknown token": (["--prompt", "a <toy>"], r"names <toy>, an unknown token \(embeddings: none\)"),
    "no class": (["--method", "dreambooth"], "give --class-prompt, such as"),
    "no new word": (["--method", "textual_inversion"], "give --token and --initial, such as"),
    "another method": (["--method", "kde"], "kde does not adapt text-to-image pipelines: choose one of tgdp, "),
    "a size": (["--size", "15"], "15 x 15 pixels do not fit this model: give multiples of 2"),
    "moved latents": (["--augment", "shift"], "leave out --augment"),
    "shrunk": (["--rival.shrink", "--rival.folds", "2"], "leave out --rival.shrink"),
    "several rates": (["--lora.learning-rates", "1", "2"], "with one fold nothing chooses among them: give one"),
    "a word and text encoders": (
        "--method textual_inversion --token <toy> --initial cat --prompt <toy> --lora.text-encoder".split(),
        "trains a word and no text encoder: leave out --lora.text-encoder",
    ),
    "text encoders in an average": (
        ["--method", "stacked", "--lora.text-encoder"],
        "the networks that are averaged are denoisers: leave out --lora.text-encoder",
    ),
    "no kernels": (["--lora.targets", "nothing"], "no parameters match 'nothing'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_said_before_anything_is_written(files, tmp_path, name):
    words, said = REFUSED[name]
    words = [word.format(model=files / "model") for word in words]
    assert re.search(said, refused(*command(files, *words, "--out", tmp_path / "run")))
    assert not (tmp_path / "run").exists()


def test_models_and_problems_of_different_kinds_are_refused(files, tmp_path):
    out = "--out", tmp_path / "run"
    pictures = "--target", files / "pictures"
    assert "is for a pretrained pipeline: give the folder" in refused("run", "text-images", *pictures, *out)
    said = refused("run", "digits", "--method", "lora", "--pretrained", files / "model", *out)
    assert "makes pictures of captions: use the problem text-images" in said
    said = refused("probe", "text-images", *pictures, "--pretrained", files / "model", *out)
    assert "tgdp probe takes no pictures with captions: use tgdp run or tgdp compare" in said


def test_a_dry_run_loads_no_weights(files, tmp_path, monkeypatch):
    def read(*_, **__):
        raise AssertionError("weights were read")

    monkeypatch.setattr("tgdp_jax.interop.tensors.read_tensors", read)
    out = "--out", tmp_path / "run"
    said, _ = call(*command(files, "--method", "source", "--prompt", "a horse", "--dry-run", *out))
    weights = flat(load_shapes(files / "model"))
    assert f"parameters of the denoiser: {sum(leaf.size for leaf in weights.values()):,}\n" in said
    assert "decoding a sample: " in said and not (tmp_path / "run").exists()


def load_shapes(folder):
    """Shapes of a pipeline's denoiser."""
    with headers_alone():
        return load_pipeline(folder).params
