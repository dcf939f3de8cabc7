"""Runs whose samples are judged on features of a pretrained image encoder."""

from typing import Any

import numpy as np
import pytest

from tests import tiny
from tests.e2e.tools import call, read, refused, strict_json
from tests.interop.encoders import write_clip, write_dinov2
from tests.interop.pipelines import without_middle
from tgdp_jax.app.commands.probe import labelled_sets
from tgdp_jax.app.evaluation import image_features
from tgdp_jax.app.identity import identity
from tgdp_jax.data.digits import DigitsConfig
from tgdp_jax.data.registry import load_problem
from tgdp_jax.interop import load_image_encoder
from tgdp_jax.interop.pipeline_folder import write_pipeline
from tgdp_jax.metrics.encoded import Seen
from tgdp_jax.metrics.frechet import frechet_value
from tgdp_jax.metrics.probe import Labelled, probe
from tgdp_jax.settings.evaluation import EvaluationConfig
from tgdp_jax.settings.run import ProbeConfig, RunConfig
from tgdp_jax.train.checkpoint import Store
from tgdp_jax.transfer.stages import silent

DIGITS = ("run", "digits", "--method", "source", "--n-target", "12", "--network.kind", "mlp", *tiny.OPTIONS)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with encoders, a pipeline, and pictures with captions."""
    root, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    write_dinov2(root / "dino")
    write_clip(root / "clip")
    write_pipeline(root / "model", without_middle())
    for name, num in (("target", 3), ("reference", 12)):
        pixels = rng.integers(0, 255, (num, 16, 16, 3)).astype(np.uint8)
        np.savez(root / f"{name}.npz", x=pixels, text=np.array(["a cat", "a <toy>", "dogs"] * (num // 3)))
    return root


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.slow
def test_pictures_are_judged_with_their_captions(files, tmp_path):
    data = "--pretrained", files / "model", "--target", files / "target.npz", "--reference", files / "reference.npz"
    words = "--method source --token <toy> --initial cat --sampling.num 8 --sampling.steps 2 --quiet".split()
    out = tmp_path / "run"
    call("run", "text-images", *data, *words, "--evaluation.encoder", files / "clip", "--out", out)
    found = strict_json(out / "metrics.json")["metrics"]["source"]
    assert {"frechet", "precision", "coverage", "clip_score"} <= found.keys() and "label_accuracy" not in found
    samples, encoder = read(out / "samples.npz"), load_image_encoder(files / "clip", texts=True)
    seen = encoder.embed(samples["x"])
    # A new word is none of the judge's: it reads the word that this one starts from.
    told = encoder.embed_texts([text.replace("<toy>", "cat") for text in samples["text"]])
    assert found["clip_score"][0] == pytest.approx((unit(seen) * unit(told)).sum(-1).mean(), abs=1e-4)
    assert "a <toy>" in samples["text"]
    # The other side are the pictures themselves.
    reference = encoder.embed(read(files / "reference.npz")["x"])
    assert found["frechet"][0] == pytest.approx(frechet_value(seen, reference).value, rel=1e-3)


def test_images_are_judged_without_training_a_classifier(files, tmp_path):
    problem, evaluation = load_problem(DigitsConfig(), n_target=12, seed=0), EvaluationConfig(encoder=files / "dino")
    given = {"evaluation": evaluation, "seen": Seen()}
    features, again = (image_features(problem, {}, Store(tmp_path), silent, **given) for _ in range(2))
    assert features is not None and again is not None and not features.classifies
    x = problem.target.x
    np.testing.assert_array_equal(features.embed(x), load_image_encoder(files / "dino").embed(x / 2 + 0.5))
    assert again.embed(x) is features.embed(x)  # the cells of a comparison share what was seen


def test_an_encoder_is_probed_beside_source_models(files, tmp_path):
    what = "digits", "--n-target", "12", "--objectives", "masked", "--network.kind", "mlp", *tiny.OPTIONS
    out, _ = call("probe", *what, "--times", "0.1", "--evaluation.encoder", files / "dino", "--out", tmp_path / "run")
    assert "encoder dino" in out
    record = strict_json(tmp_path / "run" / "probe.json")
    (cell,) = (c for c in record["cells"] if c["model"] == "encoder")
    _, sets = labelled_sets(ProbeConfig(problem=DigitsConfig(), n_target=12))
    encoder = load_image_encoder(files / "dino")
    seen: Any = [Labelled(encoder.embed(d.x / 2 + 0.5), d.y) for d in sets if d is not None and d.y is not None]
    train, validation, test, target, fresh = seen
    right, transferred = probe(train, (validation, test)), probe(target, (fresh,))
    for kind in ("linear", "neighbours"):
        assert cell["source"][kind] == [hits.mean() for hits in getattr(right, kind)]
        assert cell["target"][kind] == getattr(transferred, kind)[0].mean()


def test_what_is_no_encoder_is_refused_before_anything_is_written(files, tmp_path):
    out = "--out", tmp_path / "run"
    said = refused(*DIGITS, "--evaluation.encoder", files / "model", *out)
    assert "config.json is missing: give the folder that holds config.json and model.safetensors" in said
    said = refused(*DIGITS, "--evaluation.encoder", files / "model" / "unet", *out)
    assert "is of a UNet2DConditionModel: image encoders are of Dinov2Model, CLIPModel" in said
    for command in ("run", "probe"):
        said = refused(command, "gaussians", *tiny.OPTIONS, "--evaluation.encoder", files / "dino", *out)
        assert "judges images, which the rows of gaussians are not: leave out --evaluation.encoder" in said
    assert not (tmp_path / "run").exists()
    # Another encoder's values are another run's.
    configs = [RunConfig(evaluation=EvaluationConfig(encoder=files / name)) for name in ("dino", "clip")]
    found = [identity(config).digests for config in configs]
    assert found[0] != found[1] and identity(RunConfig()).digests == {}
