"""Pictures of classes, or of none, and a pipeline of labels (DiT) that is adapted to them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tests.e2e.tools import call, read, refused, stages, strict_json
from tests.helpers import evaluate
from tests.interop.pipelines import tiny_labels
from tgdp_jax.app.model import load
from tgdp_jax.errors import UserError
from tgdp_jax.interop.pipeline_folder import load_pipeline, write_pipeline
from tgdp_jax.train.reparam import flat
from tgdp_jax.transfer.class_labels import label_rows

SMALL = "--rival.optimiser.steps 10 --rival.optimiser.batch-size 2 --sampling.num 2 --sampling.steps 2 --quiet".split()
CLASSES = ("horse", "tabby", "zebra")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a pipeline, and pictures in a sub-folder for every class."""
    root, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    write_pipeline(root / "model", tiny_labels())
    for name in CLASSES:
        (root / "pictures" / name).mkdir(parents=True)
        for number in range(2):
            pixels = rng.integers(0, 255, (16, 20, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / "pictures" / name / f"{number}.png")
    return root


def command(files, *words):
    return "run", "text-images", "--pretrained", files / "model", "--target", files / "pictures", *SMALL, *words


def score_of(pipe, x, t, labels):
    return np.asarray(evaluate(pipe.score(scale=7.5), x, t, jnp.asarray(labels)))


def test_classes_are_labels_that_are_known_or_take_the_place_of_others():
    pipe = tiny_labels()
    rows = label_rows(pipe, ("tabby", "zebra", "", "horse", "3"))
    # Of the labels 0 to 4, 1 is named and 3 given by number; 5 is no label.
    np.testing.assert_array_equal(rows.labels, [1, 2, 5, 0, 3, 5])
    assert rows.new == {0: "horse", 2: "zebra"}
    with pytest.raises(UserError, match="there are 6 classes, and the pipeline has 5 labels: merge some"):
        label_rows(pipe, tuple("abcdef"))


@pytest.fixture(scope="module")
def adapted(files, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "lora"
    call(*command(files, "--method", "lora", "--lora.learning-rates", 0.05, "--out", out))
    return out


def test_adapters_of_classes_are_merged_into_a_pipeline(files, adapted):
    left = read(adapted / "samples.npz")
    assert left["x"].shape == (2, 16, 16, 3) and set(left["text"]) <= set(CLASSES)
    run, before, after = load(adapted), load_pipeline(files / "model"), load_pipeline(adapted / "pipeline")
    assert set(run.classes) == set(CLASSES) and stages(adapted) == {"latents", "source", "lora"}
    # What was a dog and had no name are new classes; diffusers takes the last row for no label, as before.
    assert after.labels == {"cat": 1, "tabby": 1, "horse": 0, "zebra": 2} and after.net == before.net
    rng = np.random.default_rng(1)
    x, t = jnp.asarray(rng.normal(size=(3, 8, 8, 4)), jnp.float32), jnp.asarray([0.2, 0.5, 0.9])
    captions = jnp.asarray([run.classes.index(name) for name in CLASSES])
    ours = np.asarray(evaluate(run.score, x, t, captions))
    np.testing.assert_allclose(ours, score_of(after, x, t, [0, 1, 2]), rtol=1e-4, atol=1e-4)
    # The source knows a tabby, and of the others what it knows of no label.
    source = np.asarray(evaluate(dataclasses.replace(run, method="source").score, x, t, captions))
    np.testing.assert_allclose(source, score_of(before, x, t, [5, 1, 5]), rtol=1e-4, atol=1e-4)
    assert np.abs(ours - source).max() > 0.05
    table = "params/transformer_blocks_0/norm1/emb/class_embedder/embedding_table/embedding"
    rows = flat(after.params)[table]
    assert np.abs(rows[0] - rows[2]).max() > 1e-4  # new classes are told apart
    trained = strict_json(adapted / "metrics.json")["trained_parameters"]
    assert trained == sum(4 * (8 + 8) for _ in range(4)) + 4 * (6 + 8)


METHODS = {
    "finetune": ("--rival.learning-rates", "1e-3"),
    "domain_guidance": ("--rival.learning-rates", "1e-3", "--domain-guidance.scale", "1.5"),
    "tgdp": (
        "--text.num-source 100 --sampling.chunk 10 --classifier.folds 2 --classifier.features 8 --head.channels 4 "
        "--classifier.regularisers mixup --classifier.optimiser.steps 10 --guidance.folds 2 --guidance.features 8 "
        "--guidance.consistency 1 --guidance.optimiser.steps 10 --guidance.optimiser.validation-rows 8"
    ).split(),
}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_methods_adapt_a_pipeline_of_labels(files, tmp_path, method):
    out = tmp_path / "run"
    call(*command(files, "--method", method, *METHODS[method], "--prompt", "", "--out", out))
    run, before = load(out), load_pipeline(files / "model")
    assert run.classes == ("",)
    x, t = jnp.ones((1, 8, 8, 4)), jnp.full(1, 0.4)
    found = np.asarray(evaluate(run.score, x, t, jnp.zeros(1, int)))
    plain = score_of(before, x, t, [5])
    assert np.isfinite(found).all() and np.abs(found - plain).max() > 1e-4
    if method == "finetune":
        after = load_pipeline(out / "pipeline")
        np.testing.assert_allclose(found, score_of(after, x, t, [5]), rtol=1e-4, atol=1e-4)
        jax.tree.map(np.testing.assert_array_equal, after.vae_params, before.vae_params)
    else:
        assert not (out / "pipeline").exists()


REFUSED = {
    "words": (["--method", "textual_inversion"], "a DiTPipeline reads labels and no words: leave out --lora.text-enc"),
    "text encoders": (["--method", "lora", "--lora.text-encoder"], "reads labels and no words: leave out --lora.text"),
    "a new word": (["--token", "<toy>", "--initial", "cat", "--prompt", "<toy>"], "leave out --token and --initial"),
    "a size": (["--size", "15"], "15 x 15 pixels do not fit this model: give multiples of 4"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_said_before_anything_is_written(files, tmp_path, name):
    words, said = REFUSED[name]
    assert said in refused(*command(files, *words, "--out", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_problems_of_other_kinds_and_pictures_without_classes_are_refused(files, tmp_path):
    out = "--out", tmp_path / "run"
    said = refused("run", "digits", "--method", "lora", "--pretrained", files / "model", *out)
    assert "a DiTPipeline makes pictures of classes: use the problem text-images" in said
    flat_folder = ("--target", files / "pictures" / "zebra")
    said = refused("run", "text-images", "--pretrained", files / "model", *flat_folder, *out)
    assert "has no caption for 2 of 2 pictures" in said


@pytest.mark.slow
def test_a_dry_run_counts_what_is_in_the_pipeline(files, tmp_path):
    out = "--out", tmp_path / "run"
    said, _ = call(*command(files, "--method", "finetune", "--dry-run", *out))
    assert "parameters of the pipeline: " in said and "decoding a sample: " in said
