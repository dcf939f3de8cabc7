"""Series [L, C] of the user's own through the command line: state space networks, heads and features of series."""

import numpy as np
import pytest

from tests import tiny
from tests.e2e.tools import call, read, refused, strict_json

pytestmark = pytest.mark.usefixtures("light_features")
NETWORK = """
    --network.kind sssd --network.sssd.layers 1 --network.sssd.width 4 --network.sssd.states 4
    --network.sssd.hidden 8 --network.sssd.label-dim 4 --network.sssd.patch 2 --head.channels 4 4
    --process.kind discrete --process.num-steps 50
""".split()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Waves of two frequencies, which are the classes; the target's are louder."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("series")
    for name, rows, scale in (("source", 200, 1.0), ("target", 60, 2.0)):
        y = np.arange(rows) % 2
        angles = (1 + y[:, None]) * np.linspace(0, 2 * np.pi, 16) + rng.uniform(0, 2 * np.pi, (rows, 1))
        x = scale * np.stack([np.sin(angles), np.cos(angles)], -1) + 0.1 * rng.normal(size=(rows, 16, 2))
        np.savez(folder / f"{name}.npz", x=x, y=y)
    return folder


def command(kind, files, *options):
    data = "--source", files / "source.npz", "--target", files / "target.npz", "--conditional"
    return kind, "arrays", *data, *tiny.OPTIONS, *NETWORK, *options


@pytest.mark.slow
def test_a_run_on_series_is_judged_on_learned_features(files, tmp_path):
    options = ("--n-target", "12", "--head.on", "source", "--augment", "shift", "--out", tmp_path / "run")
    call(*command("run", files, *options))
    samples = read(tmp_path / "run" / "samples.npz")
    assert samples["x"].shape == (64, 16, 2) and np.isfinite(samples["x"]).all() and set(samples["y"]) == {0, 1}
    metrics = strict_json(tmp_path / "run" / "metrics.json")["metrics"]
    wanted = {"frechet", "precision", "coverage", "label_accuracy", "utility", "memorisation"}
    assert set(metrics) == {"source", "tgdp"} and all(wanted <= set(values) for values in metrics.values())
    assert metrics["tgdp"]["frechet"] != metrics["source"]["frechet"]


def test_rows_that_are_no_series_are_refused(tmp_path):
    said = refused("run", "gaussians", "--network.kind", "sssd", *tiny.OPTIONS, "--out", tmp_path / "run")
    assert "series [L, C]" in said and "--network.kind mlp" in said


def test_heads_on_labels_need_images_or_series(tmp_path):
    said = refused("run", "gaussians", "--head.on", "labels", *tiny.OPTIONS, "--out", tmp_path / "run")
    assert "images and series" in said and "--head.on own" in said and not (tmp_path / "run").exists()
