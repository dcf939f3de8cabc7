"""`tgdp run digits`, from data to report, and what it leaves."""

import numpy as np
import pytest

from tests import tiny
from tests.e2e.tools import LEFT, call, read, refused, stages, strict_json

pytestmark = pytest.mark.usefixtures("light_features")
# Networks that compile fast: what is tried here is the way from data to report.
RUN = ("run", "digits", "--conditional", "--n-target", "60", "--network.kind", "mlp", *tiny.OPTIONS)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, light_features):
    folder = tmp_path_factory.mktemp("digits") / "run"
    out, _ = call(*RUN, "--out", folder)
    return folder, out


@pytest.mark.slow
def test_a_run_leaves_samples_metrics_and_pictures(finished):
    folder, out = finished
    assert "tgdp on digits, 60 target rows" in out
    assert all((folder / name).exists() for name in LEFT)
    assert stages(folder) == {"source", "classifier", "guidance", "features"}
    metrics = strict_json(folder / "metrics.json")["metrics"]
    assert set(metrics) == {"source", "tgdp"}
    assert {"frechet", "c2st", "precision", "recall", "label_accuracy", "utility", "mmd2"} <= set(metrics["tgdp"])
    samples = read(folder / "samples.npz")
    assert samples["x"].shape == (64, 8, 8, 1) and np.isfinite(samples["x"]).all()
    assert set(samples["y"]) <= set(range(10))
    assert "Source, target and samples" in (folder / "report.html").read_text()


@pytest.mark.slow
def test_more_samples_of_a_run_begin_with_its_own(finished, tmp_path):
    folder, _ = finished
    call("sample", folder, "--num", "100", "--out", tmp_path / "more.npz")
    more, own = read(tmp_path / "more.npz"), read(folder / "samples.npz")
    np.testing.assert_array_equal(more["x"][:64], own["x"])


@pytest.mark.slow
def test_image_networks_with_a_head_on_the_frozen_source(tmp_path):
    networks = "--network.kind unet --network.channels 8 8 --network.attention 1 --head.on source".split()
    training = "--augment shift --source.optimiser.validation-rows 64 --guidance.optimiser.validation-rows 64".split()
    options = ("--method", "discriminator_guidance", *networks, *training)
    call("run", "digits", "--n-target", "12", *tiny.OPTIONS, *options, "--out", tmp_path / "run")
    metrics = strict_json(tmp_path / "run" / "metrics.json")["metrics"]
    assert all(np.isfinite(metrics[name]["frechet"][0]) for name in ("source", "discriminator_guidance"))


def test_what_does_not_fit_is_refused(tmp_path):
    said = refused("run", "gaussians", "--network.kind", "unet", "--out", tmp_path / "a")
    assert "for images" in said and "--network.kind mlp" in said
    said = refused("run", "digits", "--network.kind", "cnn", "--out", tmp_path / "a")
    assert "unknown network 'cnn'" in said and "unet" in said
    assert "levels 0..2" in refused("run", "digits", "--network.attention", "3", "--out", tmp_path / "a")
    said = refused("run", "gaussians", "--augment", "shift", *tiny.OPTIONS, "--out", tmp_path / "b")
    assert "for images" in said
