"""Pictures from prompts: what is written, what it depends on, and that nothing compiles anew."""

import contextlib
import dataclasses
import json
import re

import jax
import numpy as np
import pytest
from PIL import Image

from tests.interop.pipelines import tiny_pipeline
from tgdp_jax.app.cli import main
from tgdp_jax.app.commands.generate import KEYWORD, draw, in_a_grid
from tgdp_jax.interop.embeddings import write_embedding
from tgdp_jax.interop.lora import write_lora
from tgdp_jax.interop.pipeline_folder import load_pipeline, write_pipeline
from tgdp_jax.settings.generation import GenerationConfig
from tgdp_jax.train.reparam import LowRank


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a pipeline, adapters, an embedding and a picture."""
    root, pipe = tmp_path_factory.mktemp("files"), tiny_pipeline()
    write_pipeline(root / "model", pipe)
    low = LowRank(2, 5.0, "attn2/to_[kv]/kernel$")
    adapters = jax.tree.map(lambda leaf: leaf + 0.5, low.init(jax.random.key(0), pipe.params))
    write_lora(root / "style.safetensors", {"unet": (low, adapters)}, pipe.bases)
    write_embedding(root / "toy.safetensors", "<toy>", 3 * np.random.default_rng(0).normal(size=(2, 12)))
    ramp = np.linspace(0, 255, 20 * 30 * 3).reshape(20, 30, 3).astype(np.uint8)
    Image.fromarray(ramp).save(root / "init.png")
    return root


def generate(files, out, *words):
    """Pictures by their names, and the settings in them."""
    main(["generate", str(files / "model"), "--steps", "4", "--out", str(out), "--quiet", *map(str, words)])
    found = {file.name: Image.open(file) for file in sorted(out.iterdir())}
    return {name: np.asarray(image, int) for name, image in found.items()}, {
        name: json.loads(image.info[KEYWORD]) for name, image in found.items()
    }


@contextlib.contextmanager
def compiled():
    """A list that grows by an entry with every program that is compiled."""
    seen = []

    def hear(name, *_, **__):
        if name.endswith("jaxpr_to_mlir_module_duration"):
            seen.append(name)

    jax.monitoring.register_event_duration_secs_listener(hear)
    try:
        yield seen
    finally:  # this one alone: the library listens too
        jax.monitoring.unregister_event_duration_listener(hear)


def test_pictures_are_what_was_asked_for_and_nothing_compiles_anew(files, tmp_path, capsys):
    prompts = "--prompt", "a cat, a dog", "a photo"
    first, said = generate(files, tmp_path / "first", "--num", 3, *prompts, "--negative", "blurry")
    assert list(first) == ["00000.png", "00001.png", "00002.png", "grid.png"]
    assert "3 pictures of 16 x 16 pixels" in capsys.readouterr().out
    assert first["00000.png"].shape == (16, 16, 3) and first["grid.png"].shape == (32, 32, 3)
    np.testing.assert_array_equal(first["grid.png"][:16, 16:], first["00001.png"])
    assert (first["grid.png"][16:, 16:] == 255).all()
    assert [said[f"0000{i}.png"]["prompt"] for i in range(3)] == ["a cat, a dog", "a photo", "a cat, a dog"]
    one = said["00002.png"]
    assert (one["number"], one["negative"], one["scale"], one["seed"], one["steps"]) == (2, "blurry", 7.5, 0, 4)
    assert said["grid.png"]["prompts"] == ["a cat, a dog", "a photo"] and one["model"] == "model"
    assert all(image.std() > 10 for image in first.values())

    pipe = load_pipeline(files / "model")
    styled = pipe.with_lora(files / "style.safetensors")
    config = GenerationConfig(prompt=("a cat, a dog", "a photo"), negative="blurry", steps=4, num=3)
    with compiled() as count:
        same = draw(pipe, config, list(config.prompt))
        np.testing.assert_array_equal(np.round(255 * same[1]), first["00001.png"])
        for change in (
            {"prompt": ("of a dog", "a photo")},
            {"scale": 2.0},
            {"negative": None},
            {"seed": 1},
            {"rescale": 0.7},
        ):
            other = dataclasses.replace(config, **change)
            assert np.abs(draw(pipe, other, list(other.prompt))[0] - same[0]).max() > 0.01, change
        drawn = [draw(styled.with_lora(files / "style.safetensors", w), config, ["a cat"]) for w in (0.0, 0.3)]
        assert np.abs(drawn[0] - drawn[1]).max() > 0.01
        assert not count


def test_a_picture_does_not_depend_on_how_many_are_made(files, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\ufeffa cat\n\n  a dog \n", encoding="utf-8")
    few, said = generate(files, tmp_path / "few", "--num", 2, "--prompts", prompts)
    many, _ = generate(files, tmp_path / "many", "--num", 5, "--prompts", prompts)
    assert [said[f"0000{i}.png"]["prompt"] for i in range(2)] == ["a cat", "a dog"]
    for name in ("00000.png", "00001.png"):
        np.testing.assert_array_equal(few[name], many[name])


def test_a_picture_to_start_from_is_hardly_changed_at_little_strength(files, tmp_path):
    words = "--num", 2, "--prompt", "a cat", "--init", files / "init.png", "--scale", 1
    near, said = generate(files, tmp_path / "near", *words, "--strength", 0.002)
    far, _ = generate(files, tmp_path / "far", "--num", 2, "--prompt", "a cat", "--scale", 1)
    assert said["00000.png"]["init"] == "init.png" and said["00000.png"]["strength"] == 0.002
    change = [np.abs(found["00000.png"] - found["00001.png"]).mean() for found in (near, far)]
    assert 0 < 3 * change[0] < change[1]


def test_a_prompt_may_name_an_embedding(files, tmp_path):
    words = "--num", 1, "--prompt", "a <toy>"
    with_toy, _ = generate(files, tmp_path / "toy", *words, "--embedding", files / "toy.safetensors")
    without, _ = generate(files, tmp_path / "none", "--num", 1, "--prompt", "a toy")
    assert np.abs(with_toy["00000.png"] - without["00000.png"]).max() > 3


def test_images_lie_in_a_grid_row_by_row():
    images = np.arange(5.0)[:, None, None, None] * np.ones((5, 2, 3, 1)) / 10
    grid = in_a_grid(images)
    assert grid.shape == (4, 9, 1)
    np.testing.assert_allclose(grid[::2, ::3, 0], [[0, 0.1, 0.2], [0.3, 0.4, 1.0]])


REFUSED = {
    "no prompt": ([], "pictures need a prompt: give --prompt TEXT"),
    "two kinds": (["--prompt", "a", "--prompts", "{root}/latin"], "pictures need a prompt"),
    "no UTF-8": (["--prompts", "{root}/latin"], r"latin is no text in UTF-8 \(byte 3 is not\): save it as UTF-8"),
    "an empty file": (["--prompts", "{root}/empty"], "empty holds no prompt"),
    "an unknown token": (["--prompt", "a <toy>"], r"names <toy>, an unknown token \(embeddings: none\)"),
    "no such adapters": (["--prompt", "a", "--lora", "{root}/none.safetensors:0.5"], "none.safetensors does not exist"),
    "adapters of another kind": (["--prompt", "a", "--lora", "{root}/toy.safetensors"], "<toy>, which is no tensor of"),
    "an embedding of another kind": (
        ["--prompt", "a", "--embedding", "{root}/style.safetensors"],
        "an embedding is one",
    ),
    "an unknown solver": (["--prompt", "a", "--solver", "rk45"], "unknown solver 'rk45'"),
    "a strength": (["--prompt", "a", "--strength", "0"], "strength is 0.0"),
    "layers": (["--prompt", "a", "--clip-skip", "2"], "clip skip is 2: choose one from 0 to 1"),
    "a size": (["--prompt", "a", "--size", "15", "16"], "15 x 16 pixels do not fit this model: give multiples of 2"),
    "a picture": (["--prompt", "a", "--init", "{root}/latin"], "latin can not be read as a picture"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_not_be_made_is_one_sentence(files, tmp_path, capsys, name):
    words, message = REFUSED[name]
    (files / "latin").write_bytes(b"abc\xe4")
    (files / "empty").write_text("\n \n")
    with pytest.raises(SystemExit) as stopped:
        generate(files, tmp_path / "out", *(word.format(root=files) for word in words))
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and said.startswith("tgdp: ") and said.count("\n") == 1
    assert re.search(message, said), said
    assert not list(tmp_path.glob("out/*"))
