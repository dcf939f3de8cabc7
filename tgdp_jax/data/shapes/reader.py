"""What a picture of a shape shows, by closed-form rules: no network, nothing learned.

The background is the colour along the border. Every colour of shapes explains a pixel p as b + a (c - b), between the
background b and itself, c; that which explains the picture best is the shape's, and its a is how much of a pixel the
shape covers. The centroid of a gives the position. Shape, style and size are those of the ideal mask, drawn there, that
has most in common with a.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tgdp_jax.data.shapes.drawing import BACKGROUNDS, COLOURS, POSITIONS, SHAPES, SIZES, STYLES, Drawing, coverage

_RADII = np.geomspace(2.4, 6.8, 20)
_BETWEEN = np.sqrt(np.prod(list(SIZES.values())))
_LEAST = 0.5  # what an ideal mask must have in common with a picture's, as intersection over union
_FAINT = 0.3  # coverage that is taken for noise
NOTHING = "none"


class Reading(NamedTuple):
    """What was found.

    Attributes:
      drawing: the attributes; `NOTHING` where a rule finds none.
      style: one of `STYLES`, or `NOTHING`.
      overlap: intersection over union with the ideal mask, in [0, 1].
    """

    drawing: Drawing
    style: str
    overlap: float


def read(picture: np.ndarray) -> Reading:
    """Reads a picture [SIDE, SIDE, 3] in [0, 1]."""
    pixels = np.asarray(picture, float)
    border = np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])
    paper = np.median(border, 0)
    background = _nearest(paper, BACKGROUNDS)
    colour, covered = _ink(pixels, paper)
    covered = np.where(covered > _FAINT, covered, 0.0)
    total = covered.sum()
    if total < 4.0:  # pixels
        return Reading(Drawing(NOTHING, NOTHING, NOTHING, NOTHING, background), NOTHING, 0.0)
    at = np.arange(len(pixels)) - (len(pixels) - 1) / 2
    dx, dy = float(covered.sum(0) @ at / total), float(covered.sum(1) @ at / total)
    position = min(POSITIONS, key=lambda name: np.hypot(dx - POSITIONS[name][0], dy - POSITIONS[name][1]))
    found = []
    for shape in SHAPES:
        for style in STYLES:
            ideal = coverage(shape, style, _RADII, dx, dy)
            overlaps = np.minimum(ideal, covered).sum((1, 2)) / np.maximum(ideal, covered).sum((1, 2))
            best = int(overlaps.argmax())
            found.append((float(overlaps[best]), shape, style, _RADII[best]))
    overlap, shape, style, radius = max(found)
    if overlap < _LEAST:
        return Reading(Drawing(NOTHING, colour, NOTHING, position, background), NOTHING, overlap)
    small, large = SIZES
    size = small if radius < _BETWEEN else large
    return Reading(Drawing(size, colour, shape, position, background), style, overlap)


def _nearest(colour: np.ndarray, table: dict[str, tuple[float, float, float]]) -> str:
    return min(table, key=lambda name: float(np.square(colour - table[name]).sum()))


def _ink(pixels: np.ndarray, paper: np.ndarray) -> tuple[str, np.ndarray]:
    """(the colour that explains the pixels best, how much of each it covers [SIDE, SIDE])."""
    best = np.inf, "", np.zeros(pixels.shape[:2])
    for name, ink in COLOURS.items():
        way = np.array(ink) - paper
        covered = np.clip((pixels - paper) @ way / max(float(way @ way), 1e-6), 0.0, 1.0)
        left = float(np.square(pixels - paper - covered[..., None] * way).sum())
        if left < best[0]:
            best = left, name, covered
    return best[1], best[2]
