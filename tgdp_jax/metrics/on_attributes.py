"""Metrics of generated pictures of shapes: whether they show what their captions ask for, read by closed-form rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tgdp_jax.data.shapes.drawing import VALUES, parsed
from tgdp_jax.data.shapes.reader import read
from tgdp_jax.metrics.evidence import Evidence
from tgdp_jax.metrics.spread import Value, mean_value

STYLE, ALL = "style", "all"
NAMES = (*VALUES, STYLE, ALL)


def right(name: str) -> Callable[[Evidence], Value]:
    """The share of samples of which an attribute is right; one of `NAMES`."""
    return lambda e: e.once(_of_samples)[name]


def _of_samples(e: Evidence) -> dict[str, Value]:
    assert e.captions is not None and e.drawn_style is not None
    return shares_right(e.to_user(e.samples), e.captions, e.drawn_style)


def shares_right(pictures: np.ndarray, captions: Sequence[str], style: str) -> dict[str, Value]:
    """The shares of pictures of which each attribute is what the caption asks for.

    Args:
      pictures: [N, H, W, 3] in [0, 1].
      captions: of each; a picture counts for the attributes that its caption names.
      style: that all of them should have.

    Returns:
      Name in `NAMES` to the share and its standard error; `ALL` is of pictures of which everything is right. NaN where
      no caption names an attribute.
    """
    found: dict[str, list[bool]] = {name: [] for name in NAMES}
    for picture, caption in zip(pictures, captions, strict=True):
        reading, asked = read(picture), parsed(caption)
        shown = reading.drawing._asdict()
        fits = {name: shown[name] == value for name, value in asked.items()} | {STYLE: reading.style == style}
        for name, value in (fits | {ALL: all(fits.values())}).items():
            found[name].append(value)
    return {name: mean_value(values) if values else Value(np.nan, np.nan) for name, values in found.items()}
