"""The study of emoji on made-up ones: coloured squares of three designers, each with a way of drawing."""

import itertools
import json

import jax
import numpy as np
import pytest

from experiments.emoji.__main__ import main
from experiments.emoji.cells import Bench, Words
from experiments.emoji.data import PARTS, SOURCE, SUBJECTS, TARGETS, Pictures, divided, read_emoji, to_unit
from experiments.emoji.judges import trained_judge
from experiments.emoji.measures import pairs
from experiments.emoji.source import pixels_as_latents, word_tokenizer
from experiments.emoji.subjects import held_back
from tgdp_jax.app.console import Display
from tgdp_jax.data.registry import load_problem
from tgdp_jax.data.text_images import TextImagesConfig
from tgdp_jax.errors import UserError
from tgdp_jax.interop.pipeline_folder import load_pipeline
from tgdp_jax.nets.autoencoder import from_denoiser, to_denoiser
from tgdp_jax.train.checkpoint import Store
from tgdp_jax.transfer.stages import silent

SIDE = 8
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 60), "blue": (40, 60, 230), "black": (20, 20, 20)}
THINGS = [f"thing {a}{b}" for a, b in itertools.product("abcdef", "uvwxyz")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The three files; of one designer the names leave out the words that the others have of skin tones."""
    root, rng = tmp_path_factory.mktemp("emoji"), np.random.default_rng(0)
    plain = [f"{colour} {thing}" for colour, thing in zip(itertools.cycle(COLOURS), THINGS, strict=False)]
    names = [*plain, *(f"{name} {tone} skin tone" for name in plain for tone in ("dark", "medium light"))]
    names += [name for several in SUBJECTS.values() for name in several]
    for style, designer in enumerate((SOURCE, *TARGETS)):
        x = np.full((len(names), SIDE, SIDE, 3), 255, np.uint8)
        for picture, name in zip(x, names, strict=True):
            picture[style : SIDE - style, 1:7] = COLOURS.get(name.split()[0], (120, 120, 120))
            picture[rng.integers(2, 6), rng.integers(2, 6)] = rng.integers(0, 255, 3)
        shown = [name.removesuffix(" skin tone") if designer == "fluent" else name for name in names]
        # What only one designer has is no name in common.
        np.savez(root / f"{designer}.npz", x=np.concatenate([x, x[:1]]), text=[*shown, f"{designer} alone"])
    return root


def test_no_row_that_judges_is_learned_from(folder):
    emoji = read_emoji(folder)
    for target in TARGETS:
        parts = emoji.parts[target]
        assert all(len(parts[name]) for name in PARTS)
        assert sum(map(len, parts.values())) == len(emoji.source) - 1  # all but what the designer alone has
        for one, other in itertools.combinations(parts.values(), 2):
            assert not set(one.text) & set(other.text)
            assert not {x.tobytes() for x in one.x} & {x.tobytes() for x in other.x}
        # A thing and its skin tones are together, and the names are those of the source.
        for part in parts.values():
            bare = [name for name in part.text.tolist() if name.startswith(tuple(COLOURS)) and "tone" not in name]
            assert {f"{name} dark skin tone" for name in bare} <= set(part.text.tolist()) <= set(emoji.source.text)
        for subject, names in SUBJECTS.items():
            assert set(parts[subject].text) == set(names)
        judge = {x.tobytes() for x in emoji.for_judge(target).x}
        asked, rest = emoji.asked(target, 5)
        assert len(asked) == 5 and len(asked) + len(rest) == len(parts["reference"])
        unseen = [*asked.x, *rest.x, *parts["learned"].x, *parts["cat"].x]
        assert not judge & {x.tobytes() for x in unseen}


def test_equal_pixels_are_in_one_part():
    rng = np.random.default_rng(1)
    x = np.repeat(rng.integers(0, 255, (40, 4, 4, 3)), 2, 0).astype(np.uint8)
    parts = divided(Pictures(x, np.array([f"name {i}" for i in range(80)])))
    for one, other in itertools.combinations(parts.values(), 2):
        assert not {row.tobytes() for row in one.x} & {row.tobytes() for row in other.x}
    assert sum(map(len, parts.values())) == 80 and all(len(parts[name]) for name in PARTS)


def test_chosen_pictures_are_those_that_methods_see(folder, tmp_path):
    pool = read_emoji(folder).parts["twemoji"]["learned"]
    np.savez(tmp_path / "pool.npz", x=pool.x, text=pool.text)
    config = TextImagesConfig(target=tmp_path / "pool.npz", reference=tmp_path / "pool.npz")
    few, more = pool.chosen(4, 3), pool.chosen(7, 3)
    loaded = load_problem(config, n_target=4, seed=3)
    seen = np.stack([picture.content for picture in loaded.pictures["target"]])
    np.testing.assert_array_equal(few.x, seen)
    np.testing.assert_array_equal(few.x, more.x[:4])


def test_latents_are_pixels():
    x = np.random.default_rng(0).integers(100, 255, (6, SIDE, SIDE, 3)).astype(np.uint8)
    x[0, :2] = 0
    net, params = pixels_as_latents(x)
    latents = to_denoiser(net, net.apply(params, to_unit(x), method="encode").mean)
    assert abs(latents.mean()) < 1e-3 and abs(latents.std() - 1) < 1e-3
    np.testing.assert_allclose(latents[2, 3, 4], (x[2, 3, 4] - x.mean()) / x.std(), atol=1e-3)
    back = net.apply(params, from_denoiser(net, latents), method="decode")
    np.testing.assert_allclose(127.5 * (back + 1), x, atol=0.02)


def test_words_are_tokens_and_others_are_spelled():
    tokenizer = word_tokenizer(["grinning", "cat", "eyes", "1st"])
    rows = tokenizer(["grinning cat", "cat 1st", "sks cat", "dog"]).ids
    end = tokenizer.vocab["<|endoftext|>"]
    lengths = (rows != end).sum(1) - 1  # without the start
    assert lengths.tolist() == [2, 3, 4, 3]
    assert rows[0, 2] == rows[1, 1] == rows[2, 4]
    named = tokenizer.with_token("<new>")(["grinning <new>"]).ids[0]
    assert named[2] == tokenizer.size and named[3] == end


def test_captions_name_what_is_new():
    style, cat = Words(None, "with", "face"), Words("cat", "cat", "cat")
    assert style.told("lora", "weary cat") == cat.told("source", "weary cat") == "weary cat"
    assert style.told("dreambooth", "weary cat") == "weary cat sks"
    assert style.told("textual_inversion", "weary cat") == "weary cat <new>"
    assert cat.told("dreambooth", "cat with wry smile") == "sks cat with wry smile"
    assert cat.told("textual_inversion", "weary cat") == "weary <new>"


@pytest.mark.parametrize("method", ["lora", "dreambooth", "textual_inversion"])
def test_methods_are_given_captions_with_their_words(folder, tmp_path, method):
    cats = read_emoji(folder).parts["twemoji"]["cat"]
    learned, asked = held_back(cats, 0)
    assert sorted([*learned.text, *asked.text]) == sorted(cats.text) and len(learned) == 5
    words = Words("cat", "cat", "cat")
    bench = Bench(tmp_path, "tiny", {}, Store(tmp_path), Display(quiet=True))
    problem = load_problem(bench.problem("cats", method, learned, asked, words), n_target=5, seed=0)
    said = [problem.classes[label] for data in (problem.target, problem.reference) for label in data.y]
    assert sorted(said) == sorted(words.told(method, text) for text in cats.text)
    assert problem.captions.class_prompt == ("cat" if method == "dreambooth" else None)
    assert problem.captions.token == ("<new>" if method == "textual_inversion" else None)


def test_a_judge_tells_names_apart(tmp_path, monkeypatch):
    from experiments.emoji import judges

    channels, width, how = judges._sizes("tiny")
    monkeypatch.setattr(judges, "_sizes", lambda size: (channels, width, how.shortened(150)))
    rng = np.random.default_rng(0)
    names = [f"{colour} {shape}" for colour in COLOURS for shape in ("top", "bottom")]
    text = np.array(names * 12)
    x = np.full((len(text), SIDE, SIDE, 3), 255, np.uint8)
    for picture, name in zip(x, text, strict=True):
        colour, place = name.split()
        picture[slice(0, 4) if place == "top" else slice(4, 8)] = COLOURS[colour]
    x = (x * rng.uniform(0.9, 1.0, (len(x), 1, 1, 1))).astype(np.uint8)
    judge = trained_judge("judge", Pictures(x, text), "tiny", Store(tmp_path), silent)
    asked, own = np.unique(text, return_inverse=True)
    assert (judge.places(to_unit(x), asked, own) == 0).mean() > 0.9
    assert (judge.places(to_unit(x), asked, (own + 1) % len(asked)) == 0).mean() < 0.1
    again = trained_judge("judge", Pictures(x, text), "tiny", Store(tmp_path), silent)
    jax.tree.map(np.testing.assert_array_equal, again.features.params, judge.features.params)


def test_pairs_are_the_same_drawing_or_any():
    real = np.random.default_rng(0).normal(size=(400, 6))
    assert pairs(real, real).value == 0
    made = np.random.default_rng(1).normal(size=(400, 6))
    assert abs(pairs(made, real).value - 1) < 0.1
    # Of another name's drawing, which is as far from this one's as two draws, the distance is sqrt(2) as much.
    assert abs(pairs(real + 0.1 * made, real).value - 0.1 / np.sqrt(2)) < 0.01


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    """Runs the study; options differ."""
    out = tmp_path_factory.mktemp("runs")

    def call(study, **options):
        main(study, folder, out, size="tiny", targets=("fluent",), seeds=1, **options)
        return out / "emoji-tiny"

    return call


def test_styles_are_measured_and_nothing_is_done_twice(run, capsys, monkeypatch):
    how = {"methods": ("source",), "n_targets": (6,), "num": 12}
    out = run("styles", **how)
    real, drawn, made = (
        json.loads((out / "cells" / f"fluent-{name}-n6-seed0.json").read_text())
        for name in ("real", "drawn_by_noto", "source")
    )
    assert real["paired"][0] == real["pixels"][0] == 0 < drawn["pixels"][0] < made["pixels"][0]
    assert real["frechet"][0] < min(drawn["frechet"][0], made["frechet"][0]) and made["memorisation"][0] > 0
    assert "noto to fluent" in capsys.readouterr().out
    assert (out / "pictures" / "fluent-n6.png").stat().st_size > 1000
    pipes = {name: load_pipeline(next((out / "pipelines").iterdir()) / name) for name in ("source", "blank")}
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), pipes["source"].params, pipes["blank"].params)
    assert max(jax.tree.leaves(moved)) > 1e-4

    (out / "cells" / "fluent-source-n6-seed0.json").unlink()
    with monkeypatch.context() as patch:
        # Samples are there, and so are the judges.
        patch.setattr("experiments.emoji.cells.train_method", None)
        patch.setattr("experiments.emoji.judges.fit_features", None)
        patch.setattr("experiments.emoji.source.blank_pipeline", None)
        run("styles", **how)
    assert json.loads((out / "cells" / "fluent-source-n6-seed0.json").read_text()) == made


@pytest.mark.slow  # a method has programs of its own
def test_one_subject_is_learned_by_its_rare_word(run, capsys, monkeypatch):
    monkeypatch.setattr("experiments.emoji.subjects.SUBJECTS", {"cat": SUBJECTS["cat"]})
    out = run("subjects", methods=("dreambooth",))
    said = capsys.readouterr()
    assert "subjects of fluent" in said.out and "failed" not in said.err
    real, made = (
        json.loads((out / "cells" / f"fluent-cat-{name}-seed0.json").read_text()) for name in ("real", "dreambooth")
    )
    assert real["fidelity"][0] == 1 and real["copies"][0] == real["paired"][0] == 0 < made["paired"][0]
    samples = np.load(out / "samples" / "fluent-cat-of0-dreambooth-n5-seed0.npz")["x"]
    assert samples.shape == (32, SIDE, SIDE, 3) and samples.dtype == np.uint8


def test_bad_input_is_one_sentence(folder, tmp_path):
    with pytest.raises(UserError, match=r"noto\.npz does not exist: see"):
        main("styles", tmp_path, tmp_path)
    for designer in (SOURCE, *TARGETS):
        np.savez(tmp_path / f"{designer}.npz", x=np.zeros((3, 8, 8, 3)), text=["a", "b", "c"])
    with pytest.raises(UserError, match=r"noto\.npz has x float64"):
        main("styles", tmp_path, tmp_path)
    with pytest.raises(UserError, match="kde"):
        main("styles", folder, tmp_path, methods=("kde",))
    assert not (tmp_path / "emoji-cpu").exists()
