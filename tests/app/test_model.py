"""A run folder is a model, and so is what a method leaves in Python: both sample, score and show themselves."""

import dataclasses
import json
import os
import shutil

import jax
import numpy as np
import pytest
from scipy import stats

import tgdp_jax as tg
from tests import tiny
from tests.e2e.tools import GAUSSIANS, call, read
from tests.light import light_metrics  # noqa: F401 (a fixture)
from tgdp_jax.app.model_file import read_model
from tgdp_jax.data.facts import problem_facts, problem_of_facts
from tgdp_jax.errors import UserError

OPTIONS = ("--conditional", "--sampling.num", "16")


def rows(num, seed, scale=(1.0, 30.0)):
    return np.random.default_rng(seed).normal(size=(num, 2)) * scale


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, num, seed in (("source", 200, 0), ("target", 30, 1)):
        np.savez(folder / f"{name}.npz", x=rows(num, seed) + seed, y=np.array(["cat", "dog"])[np.arange(num) % 2])
    return folder


@pytest.fixture(scope="module")
def finished(files):
    """A conditional run on files that are gone since, loaded from another directory."""
    data = ("--source", files / "source.npz", "--target", files / "target.npz")
    call("run", "arrays", *data, *tiny.OPTIONS, *OPTIONS, "--out", files / "run")
    for name in ("source", "target"):
        os.remove(files / f"{name}.npz")
    return files / "run"


@pytest.fixture
def model(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tg.load(finished)


def test_a_folder_draws_the_runs_own_samples_without_its_data(model, finished):
    own, drawn = read(finished / "samples.npz"), model.sample(16)
    np.testing.assert_array_equal(drawn.x, own["x"])
    np.testing.assert_array_equal(drawn.y, own["y"])
    assert model.classes == ("cat", "dog") and model.shape == (2,)
    np.testing.assert_array_equal(model.sample(8).x, drawn.x[:8])
    stored = json.loads((finished / "metrics.json").read_text())["metrics"]
    assert model.metrics == stored


def test_how_it_is_sampled_can_change_and_nothing_is_trained(model):
    plain = model.sample(16).x
    for change in ({"solver": "heun"}, {"steps": 9}, {"grid": "uniform"}, {"scale": 2.0}, {"seed": 5}, {"cond": 1}):
        assert not np.array_equal(model.sample(16, **change).x, plain), change
    assert set(model.sample(4, cond=1).y) == {1}
    np.testing.assert_array_equal(model.sample(16).x, plain)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"num": 0}, "num is 0"),
        ({"solver": "nope"}, "unknown solver 'nope'"),
        ({"steps": 0}, "at least 1"),
        ({"cond": 2}, r"labels in 0\.\.1"),
        ({"cond": np.zeros(3, int)}, "one for all or one a sample"),
    ],
)
def test_what_can_not_be_drawn_is_refused(model, asked, said):
    with pytest.raises(UserError, match=said):
        model.sample(**{"num": 4, **asked})


def test_labels_are_asked_for_by_name_too(model, finished, tmp_path):
    named = model.sample(4, cond=["dog", "cat", "dog", "1"])
    assert named.y.tolist() == [1, 0, 1, 1]
    np.testing.assert_array_equal(named.x, model.sample(4, cond=np.array([1, 0, 1, 1])).x)
    call("sample", finished, "--num", "4", "--label", "dog", "cat", "--out", tmp_path / "pets.npz")
    pets = read(tmp_path / "pets.npz")
    assert pets["y"].tolist() == [1, 0, 1, 0]
    np.testing.assert_array_equal(pets["x"][:3], named.x[:3])
    assert json.loads(str(pets["about"]))["changed"] == {"label": {"run": None, "here": ["dog", "cat"]}}
    with pytest.raises(UserError, match="unknown label 'cow': choose one of 0, 1, cat, dog"):
        model.sample(1, cond="cow")


def test_its_picture_is_one(model, tmp_path):
    picture = model.plot(8)
    picture.save(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG") and picture._repr_png_() == picture.png


def test_a_damaged_model_file_and_a_missing_stage_are_named(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(next((copy / "checkpoints").glob("guidance-*")))
    with pytest.raises(UserError, match="no checkpoint of its stage 'guidance'"):
        tg.load(copy)
    (copy / "model.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(UserError, match=r"model\.npz is damaged"):
        tg.load(copy)
    with pytest.raises(UserError, match="is not a run folder"):
        tg.load(tmp_path)


def test_facts_of_a_problem_survive_the_file(finished):
    found = read_model(finished)
    assert found is not None and set(found.versions) == {"tgdp_jax", "jax"}
    again = problem_of_facts(problem_facts(found.problem))
    for name in ("name", "shape", "kind", "num_classes", "num_labels", "data_std", "classes", "modalities", "ecg_rate"):
        assert getattr(again, name) == getattr(found.problem, name), name


def test_references_are_drawn_from_their_rows(tmp_path):
    call(*GAUSSIANS, "--method", "kde", "--out", tmp_path / "run")
    np.testing.assert_array_equal(tg.load(tmp_path / "run").sample(64).x, read(tmp_path / "run" / "samples.npz")["x"])


def test_a_method_runs_from_python_as_on_the_command_line(tmp_path):
    """The same rows and settings give the same bits; reference rows keep the command line from holding any back."""
    source, target = rows(200, 0), rows(8, 1) + 1
    for name, x in (("source", source), ("target", target), ("reference", rows(40, 2))):
        np.savez(tmp_path / f"{name}.npz", x=x)
    paths = [part for name in ("source", "target", "reference") for part in (f"--{name}", tmp_path / f"{name}.npz")]
    call("run", "arrays", *paths, *tiny.OPTIONS, "--method", "lora", "--out", tmp_path / "run")
    model = tg.transfer.run("LoRA", source, target, settings=tiny.TRAINING, store=tmp_path / "stages")
    np.testing.assert_array_equal(model.sample(64).x, read(tmp_path / "run" / "samples.npz")["x"])
    # Another method on the same rows trains its own stages alone.
    ran = []
    tg.transfer.run(
        "finetune",
        source,
        target,
        settings=tiny.TRAINING,
        store=tmp_path / "stages",
        watch=lambda name, finished: ran.append((name, finished)),
    )
    assert ran == [("source", True), ("finetune", False)]


def test_a_key_is_a_seed():
    one, other = (
        tg.transfer.run("kde", rows(200, 0), rows(8, 1), key=jax.random.key(seed)).sample(4).x for seed in (0, 1)
    )
    assert not np.array_equal(one, other)


def test_likelihoods_are_densities_in_the_users_units():
    """A kernel density has no score: the source model of wide Gaussian rows must give about their density."""
    source, full = rows(4000, 0, scale=(3.0, 50.0)), tg.TrainingConfig().source
    some = dataclasses.replace(full, optimiser=dataclasses.replace(full.optimiser, steps=400, steps_per_launch=200))
    model = tg.transfer.run("source", source, rows(8, 1), settings=tg.TrainingConfig(source=some))
    x = rows(50, 3, scale=(3.0, 50.0))
    exact = stats.norm.logpdf(x[:, 0], scale=3.0) + stats.norm.logpdf(x[:, 1], scale=50.0)
    error = model.log_likelihood(x) - exact
    assert abs(error.mean()) < 0.1 and np.abs(error).mean() < 0.25
    with pytest.raises(UserError, match="rows of shape"):
        model.log_likelihood(x[:, :1])
