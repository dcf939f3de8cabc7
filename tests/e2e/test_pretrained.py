"""A U-Net of diffusers as the source model, from the command line."""

import dataclasses
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from tests import tiny
from tests.e2e.tools import call, read, refused, strict_json
from tests.interop.models import model
from tgdp_jax.interop import save_unet
from tgdp_jax.transfer.pretrained import pretrained_model

pytestmark = pytest.mark.usefixtures("light_features")
RUN = ("run", "digits", "--method", "finetune", "--n-target", "12", *tiny.OPTIONS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of a small net for grey images of 8 x 8 pixels."""
    folder = tmp_path_factory.mktemp("model") / "unet"
    save_unet(folder, model("no attention, odd layers", sample_size=8, layers_per_block=1))
    return folder


@pytest.mark.slow
def test_it_is_the_source_and_is_fine_tuned(folder, tmp_path):
    options = ("--pretrained", folder, "--rival.learning-rates", "1e-12", "--out", tmp_path / "run")
    call(*RUN, *options)
    metrics = strict_json(tmp_path / "run" / "metrics.json")
    assert set(metrics["metrics"]) == {"source", "finetune"}
    assert metrics["stages"]["source"] == {"pretrained": str(folder)}
    # A rate too small to move anything: what is tuned began where the pretrained net is.
    call("run", "digits", "--method", "source", *RUN[4:], "--pretrained", folder, "--out", tmp_path / "source")
    tuned, plain = (read(tmp_path / name / "samples.npz")["x"] for name in ("run", "source"))
    assert plain.std() > 0.1
    np.testing.assert_allclose(tuned, plain, atol=1e-4)


@pytest.mark.slow
def test_weights_that_changed_make_another_run(folder, tmp_path):
    copy = tmp_path / "unet"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    options = ("--method", "source", *RUN[4:], "--pretrained", copy, "--out", tmp_path / "run")
    call("run", "digits", *options)
    weights = next(copy.glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert "pretrained file have changed" in refused("run", "digits", *options)


@pytest.mark.parametrize("command", ["run", "compare", "probe"])
def test_a_wrong_one_is_said_before_the_data_are_read(tmp_path, command):
    rows, net = tmp_path / "rows.npz", tmp_path / "net"
    rows.write_text("junk")
    net.mkdir()
    said = refused(
        command, "arrays", "--source", rows, "--target", rows, "--pretrained", net, "--out", tmp_path / "run"
    )
    assert str(net) in said and str(rows) not in said


def test_a_model_that_was_replaced_is_loaded_anew(tmp_path, monkeypatch):
    def loaded(place):
        found = pretrained_model(dataclasses.replace(tiny.TRAINING, pretrained=place))
        assert found is not None
        return jax.tree.leaves(found.variables)[0]

    first, second = (model("no attention, odd layers", seed=seed) for seed in (0, 1))
    expected = [np.asarray(jax.tree.leaves(net.variables)[0]) for net in (first, second)]
    save_unet(tmp_path / "a" / "net", first)
    save_unet(tmp_path / "b" / "net", second)
    monkeypatch.chdir(tmp_path / "a")
    np.testing.assert_array_equal(loaded(Path("net")), expected[0])
    # The same name in another folder, and other files of the same name.
    monkeypatch.chdir(tmp_path / "b")
    np.testing.assert_array_equal(loaded(Path("net")), expected[1])
    shutil.rmtree(tmp_path / "b" / "net")
    save_unet(tmp_path / "b" / "net", first)
    np.testing.assert_array_equal(loaded(Path("net")), expected[0])


def test_what_does_not_fit_is_refused(folder, tmp_path):
    out = ("--out", tmp_path / "run")
    assert "none does not exist" in refused(*RUN, "--pretrained", tmp_path / "none", *out)
    assert "leave out --process" in refused(*RUN, "--pretrained", folder, "--process.kind", "ve", *out)
    assert "leave out --conditional" in refused(*RUN, "--conditional", "--pretrained", folder, *out)
    said = refused("run", "gaussians", *tiny.OPTIONS, "--pretrained", folder, *out)
    assert "images of shape (8, 8, 1)" in said and "(2,)" in said
    assert not (tmp_path / "run").exists()  # so that the right options can follow
