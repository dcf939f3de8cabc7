"""Rows of two modalities from the command line: a run, and what is drawn of it given something."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from tests import tiny
from tests.e2e.tools import call, read, refused, stages
from tgdp_jax.app.commands import pages
from tgdp_jax.app.commands.modalities import modal_score
from tgdp_jax.data.digit_pairs import WORDS, DigitPairsConfig, load
from tgdp_jax.data.digits import DigitsConfig
from tgdp_jax.data.digits import load as load_digits
from tgdp_jax.errors import UserError

# Any method's network will do; the method `multimodal` is walked through with all others (`protocol`).
RUN = "run digit-pairs --method source --n-target 8 --network.channels 4 --network.attention".split()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs") / "run"
    call(*RUN, *tiny.OPTIONS, "--source.optimiser.validation-rows", "64", "--out", folder)
    return folder


def test_a_run_leaves_rows_of_image_and_text(finished):
    assert stages(finished) == {"source"}
    assert read(finished / "samples.npz")["x"].shape == (64, 84)


def test_pictures_show_images_by_the_word_beside_them(monkeypatch):
    problem = load(DigitPairsConfig(), n_target=20, seed=3)
    digit, word = problem.modalities.split(problem.source.x[:3]).values()
    nothing = {"image": digit, "text": np.ones_like(word)}  # bits that are no character
    samples = np.concatenate([problem.source.x[:3], problem.modalities.join(nothing, problem.shape)])
    seen = []
    monkeypatch.setattr(pages.plots, "samples", lambda panels, *, labels: seen.append((panels, labels)) or b"")
    pages.sample_picture(problem, {"mine": samples}, {})
    [(panels, labels)] = seen
    np.testing.assert_array_equal(panels["samples: mine"], digit)
    assert labels["samples: mine"].tolist() == [WORDS[label] for label in problem.source.y[:3]]


def test_images_are_drawn_given_text_and_text_given_these_images(finished, tmp_path):
    out = tmp_path / "images.npz"
    call("sample", finished, "--num", "5", "--given", "text=three,seven", "--scale", "2", "--out", out)
    found = read(out)
    assert found["image"].shape == (5, 8, 8, 1) and found["text"].tolist() == ["three", "seven"] * 2 + ["three"]
    # A sample depends on what is given to it and its id, not on the others.
    call("sample", finished, "--num", "3", "--given", "text=three,seven", "--scale", "2", "--out", out)
    np.testing.assert_array_equal(read(out)["image"], found["image"][:3])
    # The sampler's settings count here too, and the file says which are not the run's.
    assert json.loads(str(found["about"]))["changed"] == {"scale": {"run": 1.0, "here": 2.0}}
    other = ("--given", "text=three,seven", "--steps", "3", "--solver", "ddim", "--out", tmp_path / "other.npz")
    call("sample", finished, "--num", "5", *other)
    assert not np.array_equal(read(tmp_path / "other.npz")["image"], found["image"])
    assert set(json.loads(str(read(tmp_path / "other.npz")["about"]))["changed"]) == {"steps", "solver", "grid"}
    # In the user's units there and back.
    np.savez(tmp_path / "known.npz", x=found["image"])
    known = f"image={tmp_path / 'known.npz'}"
    call("sample", finished, "--num", "7", "--given", known, "--modality", "text", "--out", tmp_path / "text.npz")
    text = read(tmp_path / "text.npz")
    assert text["text"].shape == (7,) and text["text"].dtype.kind == "U"
    np.testing.assert_allclose(text["image"], found["image"][[0, 1, 2, 3, 4, 0, 1]], atol=1e-6)


def test_a_modality_is_drawn_alone(finished, tmp_path):
    call("sample", finished, "--num", "4", "--modality", "image", "--out", tmp_path / "alone.npz")
    found = read(tmp_path / "alone.npz")
    assert set(found) == {"image"} and np.isfinite(found["image"]).all()


def test_what_can_not_be_drawn_is_refused(finished, tmp_path):
    np.savez(tmp_path / "rows.npz", x=np.zeros((3, 4)))
    for given, said in (
        ("text", "write NAME=TEXT"),
        ("text=eleven", "'eleven' is no text"),
        ("sound=x.npz", "unknown modality 'sound': choose one of image, text"),
        (f"image={tmp_path / 'rows.npz'}", "has rows of shape (4,) but image has (8, 8, 1)"),
    ):
        assert said in refused("sample", finished, "--given", given, "--out", tmp_path / "a.npz")
    # Of a method without a score, as of any whose score has one time.
    with pytest.raises(UserError, match="run --method multimodal"):
        modal_score(SimpleNamespace(generator=SimpleNamespace(score=None)))  # type: ignore[arg-type]


@pytest.mark.parametrize("shift", ["thick", "classes"])
def test_pairs_are_the_digits_and_their_names(shift):
    plain = load_digits(DigitsConfig(shift=shift), n_target=20, seed=3)
    text = load(DigitPairsConfig(shift=shift), n_target=20, seed=3)
    halves = load(DigitPairsConfig(shift=shift, pair="halves"), n_target=20, seed=3)
    for part in ("source", "target", "reference"):
        images, pairs = getattr(plain, part), getattr(text, part)
        split = text.modalities.split(pairs.x)
        np.testing.assert_array_equal(split["image"], images.x)
        assert text.modalities.named("text").decode(split["text"]) == [WORDS[label] for label in images.y]
        np.testing.assert_array_equal(getattr(halves, part).x, images.x)
    assert halves.modalities.names == ("upper", "lower")
    np.testing.assert_allclose(
        text.scaler.to_user(text.source.x)[:, :64], plain.scaler.to_user(plain.source.x).reshape(-1, 64)
    )
