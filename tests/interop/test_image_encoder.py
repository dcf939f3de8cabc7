"""Folders of image encoders: what is read, and what is refused."""

import json
import shutil

import numpy as np
import pytest

from tests.interop.encoders import write_clip, write_dinov2
from tests.interop.pipelines import tiny_pipeline
from tgdp_jax.errors import UserError
from tgdp_jax.interop import load_image_encoder, write_pipeline
from tgdp_jax.interop.image_encoder import image_encoder_files
from tgdp_jax.nets.vision import interpolation


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("encoders")
    return {"dino": write_dinov2(root / "dino"), "clip": write_clip(root / "clip")}


@pytest.mark.parametrize("name", ["dino", "clip"])
def test_features_are_of_each_picture_alone(folders, name):
    """Pictures of different sizes, grey ones too, give the same bits beside others and in parts."""
    encoder, rng = load_image_encoder(folders[name]), np.random.default_rng(0)
    images = [rng.random((8, 8, 3), np.float32), rng.random((20, 9, 1), np.float32), np.zeros((8, 8, 3), np.uint8)]
    found = encoder.embed(images)
    assert found.shape == (3, 8 if name == "dino" else 6) and np.abs(found[0] - found[1]).max() > 1e-3
    np.testing.assert_array_equal(encoder.embed(images[1:]), found[1:])
    np.testing.assert_array_equal(encoder.embed([np.repeat(images[1], 3, -1)]), found[1:2])


def test_interpolation_is_the_cubic_of_torch():
    """Midway between places, where an edge is repeated; constants stay so, and places that are there already too."""
    near, far = 19 / 32, -3 / 32
    np.testing.assert_allclose(interpolation(4, 2), [[near + far, near, far, 0], [0, far, near, near + far]])
    np.testing.assert_array_equal(interpolation(5, 5), np.eye(5))
    np.testing.assert_allclose(interpolation(5, 12).sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(interpolation(5, 12), interpolation(5, 12)[::-1, ::-1], atol=1e-6)


def changed(file, **values):
    def change(folder):
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


REFUSED = {
    "another model": (changed("config.json", architectures=["ViTModel"]), "is of a ViTModel: image encoders are of"),
    "no preprocessor": (
        lambda folder: (folder / "preprocessor_config.json").unlink(),
        "preprocessor_config.json is missing, which says how pictures are resized: fetch it",
    ),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "has no model.safetensors: fetch it"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "config.json is missing: give the folder that"),
    "another size": (changed("config.json", hidden_size=4096), "hidden_size is 4096, but the weights beside it have 8"),
    "places": (changed("config.json", image_size=2**19), r"places by image_size is \d+, but the weights .* have 5"),
    "an option": (changed("config.json", use_registers=True), "'use_registers'|use_registers is True, an option"),
    "no size": (changed("preprocessor_config.json", do_center_crop=False), "brings pictures to no one size"),
    "pixels as they are": (changed("preprocessor_config.json", do_normalize=False), "do_normalize is False, which is"),
    "a deviation": (
        changed("preprocessor_config.json", image_std=[0, 1, 1]),
        r"image_std is \[0, 1, 1\], which is not",
    ),
    "too large": (changed("preprocessor_config.json", crop_size=33), "brings pictures to 33 x 33: .* at most 32 x 32"),
    "cut out of less": (changed("preprocessor_config.json", crop_size=12), "cuts 12 x 12 pixels out of pictures of 8"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_folders_that_do_not_fit_are_refused(folders, name, tmp_path):
    change, said = REFUSED[name]
    shutil.copytree(folders["dino"], tmp_path / "copy")
    change(tmp_path / "copy")
    with pytest.raises(UserError, match=said):
        load_image_encoder(tmp_path / "copy").embed([np.zeros((8, 8, 3), np.uint8)])


def test_clip_takes_pictures_of_its_size_alone_and_other_folders_are_refused(folders, tmp_path):
    shutil.copytree(folders["clip"], tmp_path / "copy")
    changed("preprocessor_config.json", crop_size=4)(tmp_path / "copy")
    with pytest.raises(UserError, match="gives pictures of 4 x 4 pixels, and the model takes 8 x 8"):
        load_image_encoder(tmp_path / "copy")
    (tmp_path / "copy" / "vocab.json").unlink()
    changed("preprocessor_config.json", crop_size=8)(tmp_path / "copy")
    load_image_encoder(tmp_path / "copy")  # pictures alone need no tokenizer
    with pytest.raises(UserError, match="has neither"):
        load_image_encoder(tmp_path / "copy", texts=True)
    write_pipeline(tmp_path / "pipeline", tiny_pipeline())
    with pytest.raises(UserError, match="is missing: give the folder that holds"):
        load_image_encoder(tmp_path / "pipeline")
    with pytest.raises(UserError, match="is of a UNet2DConditionModel: image encoders are of Dinov2Model"):
        load_image_encoder(tmp_path / "pipeline" / "unet")


def test_files_are_those_that_are_read(folders):
    names = {"config.json", "model.safetensors", "preprocessor_config.json"}
    assert image_encoder_files(folders["dino"]).keys() == names
    assert image_encoder_files(folders["clip"]).keys() > names | {"merges.txt", "vocab.json"}
