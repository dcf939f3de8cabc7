"""Shares of pictures that are as their captions say: exact on pictures that are wrong in known ways."""

import math

import numpy as np
import pytest

from tgdp_jax.data.shapes.drawing import ALL, caption, render
from tgdp_jax.metrics.evidence import Evidence
from tgdp_jax.metrics.on_attributes import NAMES, shares_right
from tgdp_jax.metrics.registry import METRICS, measure

DRAWINGS = tuple(ALL[37 * i % len(ALL)] for i in range(40))


def pictures(style, drawings=DRAWINGS):
    rng = np.random.default_rng(0)
    return np.stack([render(drawing, style, rng) for drawing in drawings])


def test_shares_are_those_of_pictures_that_are_right():
    texts = [caption(drawing._asdict(), "<new>") for drawing in DRAWINGS]
    right = shares_right(pictures("outlined"), texts, "outlined")
    assert {name: tuple(value) for name, value in right.items()} == {name: (1.0, 0.0) for name in NAMES}
    # Ten are of another colour, and thirty of another style, ten of which are both.
    others = [d._replace(colour="red" if d.colour != "red" else "blue") for d in DRAWINGS[:10]]
    mixed = np.concatenate([pictures("plain", [*others, *DRAWINGS[10:30]]), pictures("outlined", DRAWINGS[30:])])
    found = shares_right(mixed, texts, "outlined")
    assert found["colour"].value == 0.75 and found["style"].value == 0.25 and found["all"].value == 0.25
    assert all(found[name].value == 1.0 for name in ("size", "shape", "position", "background"))
    # Of a share p of n independent pictures.
    assert found["colour"].spread == pytest.approx(math.sqrt(0.75 * 0.25 / 39))


def test_pictures_count_for_what_their_captions_name():
    texts = [
        caption({"colour": d.colour} if i < 30 else {"colour": "red", "size": "small"}) for i, d in enumerate(DRAWINGS)
    ]
    found = shares_right(pictures("plain"), texts, "plain")
    small = np.mean([d.size == "small" for d in DRAWINGS[30:]])
    assert found["size"].value == small and math.isnan(found["position"].value)


def test_they_are_metrics_of_pictures_of_shapes_alone():
    texts = [caption(drawing._asdict()) for drawing in DRAWINGS]
    x = pictures("plain")
    made = measure(Evidence(samples=1 - x, to_user=lambda x: 1 - x, captions=texts, drawn_style="plain"))
    assert made == {f"right_{name}": (1.0, 0.0) for name in NAMES}
    assert not any(METRICS[name].applies(Evidence(samples=x)) for name in made)
