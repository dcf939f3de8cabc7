"""Pictures of shapes: what is drawn is what is read and what is said; learned and judging pictures are apart."""

from collections import Counter

import numpy as np
import pytest

from tgdp_jax.data.captions import picture
from tgdp_jax.data.shapes.drawing import ALL, SHAPES, SIDE, STYLES, VALUES, caption, coverage, painted, parsed, render
from tgdp_jax.data.shapes.problem import ShapesConfig, any_pictures, load, source_pictures
from tgdp_jax.data.shapes.reader import NOTHING, read
from tgdp_jax.errors import UserError


@pytest.mark.parametrize("style", STYLES)
def test_every_combination_is_read_as_it_was_drawn_also_through_mild_noise(style):
    rng = np.random.default_rng(0)
    assert len(ALL) == 240
    for number, drawing in enumerate(ALL):
        # As files have them, and every third with noise of a tenth of the smallest step between two backgrounds.
        pixels = np.round(255 * render(drawing, style, rng)) / 255
        noisy = np.clip(pixels + (0.04 if number % 3 == 0 else 0.0) * rng.normal(size=pixels.shape), 0, 1)
        found = read(noisy)
        assert found[:2] == (drawing, style) and found.overlap > 0.6


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_have_their_corners_on_the_circle_and_are_centred_on_their_centroid(shape):
    """Pixels add up to the area."""
    mask = coverage(shape, "plain", 5.0, 0.7, -0.4)
    at = np.arange(SIDE) - (SIDE - 1) / 2
    centroid = mask.sum(0) @ at / mask.sum(), mask.sum(1) @ at / mask.sum()
    np.testing.assert_allclose(centroid, (0.7, -0.4), atol=0.1)
    exact = {"circle": np.pi * 25, "square": 50, "triangle": 0.75 * np.sqrt(3) * 25}
    assert mask.sum() == pytest.approx(exact[shape], rel=0.02)
    line = coverage(shape, "outlined", 5.0, 0.7, -0.4)
    assert (line <= mask + 1e-9).all() and 0.3 < line.sum() / mask.sum() < 0.8


def test_pictures_of_nothing_known_are_read_as_such():
    empty = np.ones((SIDE, SIDE, 3))
    assert read(empty).drawing == (NOTHING, NOTHING, NOTHING, NOTHING, "white")
    rng = np.random.default_rng(0)
    assert read(rng.uniform(size=(SIDE, SIDE, 3))).style == NOTHING
    # Two shapes at once have no ideal mask in common with one.
    ink, paper = np.array([0.85, 0.1, 0.1]), np.ones(3)
    both = coverage("circle", "plain", 1.8, -5.5, 0.0) + coverage("circle", "plain", 1.8, 5.5, 0.0)
    found = read(painted(both, ink, paper))
    assert found.drawing == (NOTHING, "red", NOTHING, "centre", "white")


def test_captions_say_what_they_are_made_of():
    for drawing in ALL:
        says = drawing._asdict()
        assert parsed(caption(says, "<new>")) == says
    whole = caption(ALL[0]._asdict(), "plain")
    assert whole == "a plain small red circle at the left on white"
    for name in VALUES:
        rest = {other: value for other, value in says.items() if other != name}
        assert parsed(caption(rest)) == rest
    assert caption({}) == "a shape" and parsed("a photo of a cat") == {}


def test_learned_and_judging_combinations_are_apart_and_nested():
    few, many = (load(ShapesConfig(), n_target=n, seed=3) for n in (10, 700))
    learned, judged = ({parsed_of(many, y) for y in data.y} for data in (many.target, many.reference))
    assert len(learned) == len(judged) == 120 and not learned & judged
    for name in ("target", "reference"):
        kept = min(len(few.pictures[name]), len(many.pictures[name]))
        for a, b in zip(few.pictures[name][:kept], many.pictures[name][:kept], strict=True):
            np.testing.assert_array_equal(a.content, b.content)
    # The same combination is never drawn twice alike.
    assert len({stored.digest for stored in many.pictures["target"]}) == 700
    np.testing.assert_array_equal(many.sample_labels(None, np.arange(130))[120:], many.reference.y[:10])
    other = load(ShapesConfig(), n_target=10, seed=4)
    assert other.pictures["target"][0].digest != few.pictures["target"][0].digest
    for part in ("target", "reference"):
        for stored, label in zip(few.pictures[part][:20], getattr(few, part).y, strict=False):
            found = read(picture(stored, (SIDE, SIDE), None))
            assert parsed(few.classes[label]) == found.drawing._asdict() and found.style == "outlined"


def parsed_of(problem, label):
    """The combination of attributes that a label stands for."""
    return tuple(parsed(problem.classes[label]).values())


def test_the_source_shows_plain_shapes_under_captions_of_all_lengths():
    made = source_pictures(300, 0)
    lengths = Counter()
    for x, text in zip(made.x, made.captions, strict=True):
        found, says = read(x), parsed(text)
        assert found.style == "plain" and says.items() <= found.drawing._asdict().items()
        lengths[len(says)] += 1
        lengths["named"] += "plain" in text.split()
    # Each of five attributes is left out of one caption in ten, and the style of three in ten.
    assert abs(lengths[5] / 300 - 0.9**5) < 0.1 and lengths[3] > 5 and abs(lengths["named"] / 300 - 0.7) < 0.1
    np.testing.assert_array_equal(source_pictures(300, 0).x, made.x)
    x = any_pictures(50, 0)
    assert x.shape == (50, SIDE, SIDE, 3) and x.min() >= 0 and x.max() <= 1
    assert {read(p).style for p in x} >= set(STYLES)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_source": 5}, "num-source is 5: give at least 20"),
        ({"width": 12}, "width is 12: give a multiple of 8"),
        ({"autoencoder_steps": 0}, "autoencoder-steps is 0: give at least 1"),
        ({"token": "two words"}, "token is 'two words': give one word"),
        ({"class_prompt": " "}, "class-prompt is empty"),
        ({"dropout": 1.0}, "dropout is 1.0: give a share of at least 0 and below 1"),
    ],
)
def test_options_that_can_not_be_are_refused(options, said):
    with pytest.raises(UserError, match=said):
        ShapesConfig(**options)


def test_more_pictures_than_there_are_are_refused():
    with pytest.raises(UserError, match="n-target is 1201 but only 1200 target rows"):
        load(ShapesConfig(), n_target=1201, seed=0)
