"""Pictures of one shape: what they show, what their captions say, and how they are drawn.

A shape is drawn by its signed distance: a pixel whose centre lies d pixels within the edge is covered by
min(max(d + 1/2, 0), 1). Shapes are centred on their centroid, which the outline has in common with the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

SIDE = 16  # pixels
SIZES: Mapping[str, float] = {"small": 4.0, "large": 5.6}  # radius of a circle in pixels
COLOURS = {
    "red": (0.85, 0.1, 0.1),
    "green": (0.1, 0.6, 0.2),
    "blue": (0.1, 0.25, 0.9),
    "yellow": (0.95, 0.85, 0.1),
}
SHAPES = ("circle", "square", "triangle")
# Of the centre, in pixels from the middle: to the right and down.
POSITIONS = {"left": (-2.2, 0.0), "right": (2.2, 0.0), "top": (0.0, -2.2), "bottom": (0.0, 2.2), "centre": (0.0, 0.0)}
BACKGROUNDS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0)}
VALUES: Mapping[str, tuple[str, ...]] = {
    "size": tuple(SIZES),
    "colour": tuple(COLOURS),
    "shape": SHAPES,
    "position": tuple(POSITIONS),
    "background": tuple(BACKGROUNDS),
}
STYLES = ("plain", "outlined")
LINE = 1.2  # width of an outline in pixels
# Half the ranges of what differs between two drawings of the same.
MOVED, SCALED, TINTED = 0.2, 0.04, 0.03
_FARTHEST, _RADII = 3.0, (3.2, 6.2)  # pixels from the middle, and of radius, of any picture


class Drawing(NamedTuple):
    """What a picture shows; each is a key or an entry of the table of its name."""

    size: str
    colour: str
    shape: str
    position: str
    background: str


ALL = tuple(
    Drawing(size, colour, shape, position, background)
    for size in SIZES
    for colour in COLOURS
    for shape in SHAPES
    for position in POSITIONS
    for background in BACKGROUNDS
)


def caption(says: Mapping[str, str], style: str | None = None) -> str:
    """What a caption says of some attributes or of all, such as "a plain large red circle at the left on white".

    Args:
      says: attribute -> its value.
      style: the word for the style; None: it is not named.
    """
    words = ["a", style, says.get("size"), says.get("colour"), says.get("shape", "shape")]
    words += ["at the", says["position"]] if "position" in says else []
    words += ["on", says["background"]] if "background" in says else []
    return " ".join(word for word in words if word)


def parsed(text: str) -> dict[str, str]:
    """The attributes that a caption names, with their values; other words say nothing."""
    words = text.lower().split()
    return {name: word for name, values in VALUES.items() for word in words if word in values}


def render(drawing: Drawing, style: str, rng: np.random.Generator) -> np.ndarray:
    """One picture [SIDE, SIDE, 3] in [0, 1]; place, size and colours differ a little from draw to draw."""
    dx, dy = rng.uniform(-MOVED, MOVED, 2) + POSITIONS[drawing.position]
    radius = SIZES[drawing.size] * (1.0 + rng.uniform(-SCALED, SCALED))
    ink, paper = (
        np.clip(np.array(table[name]) + rng.uniform(-TINTED, TINTED, 3), 0.0, 1.0)
        for table, name in ((COLOURS, drawing.colour), (BACKGROUNDS, drawing.background))
    )
    return painted(coverage(drawing.shape, style, radius, dx, dy), ink, paper)


def any_picture(rng: np.random.Generator) -> np.ndarray:
    """A picture of any shape and style, anywhere, of any size and of two of all colours, shapes' and backgrounds'.

    It is a wider choice than `render` has, and every picture has more colours and edges to learn from.
    """
    shape, style = SHAPES[rng.integers(len(SHAPES))], STYLES[rng.integers(len(STYLES))]
    dx, dy = rng.uniform(-_FARTHEST, _FARTHEST, 2)
    colours = [*COLOURS.values(), *BACKGROUNDS.values()]
    ink, paper = (
        np.clip(np.array(colours[i]) + rng.uniform(-TINTED, TINTED, 3), 0.0, 1.0)
        for i in rng.choice(len(colours), 2, replace=False)
    )
    return painted(coverage(shape, style, rng.uniform(*_RADII), dx, dy), ink, paper)


def painted(covered: np.ndarray, ink: np.ndarray, paper: np.ndarray) -> np.ndarray:
    """A picture [SIDE, SIDE, 3] of two colours [3], by the share of every pixel that has the first."""
    return (paper + covered[..., None] * (ink - paper)).astype(np.float32)


def coverage(shape: str, style: str, radius: np.ndarray | float, dx: float, dy: float) -> np.ndarray:
    """The share of every pixel that a shape covers, [SIDE, SIDE]; for radii [R] it is [R, SIDE, SIDE].

    Args:
      shape: one of `SHAPES`.
      style: one of `STYLES`.
      radius: of the circle, which the corners of other shapes lie on.
      dx: of the centre from the picture's middle, in pixels to the right.
      dy: likewise, down.
    """
    at = np.arange(SIDE) - (SIDE - 1) / 2
    x, y = at[None, :] - dx, at[:, None] - dy
    distance = _distance(shape, x, y, np.asarray(radius, float)[..., None, None])
    if style == "outlined":
        distance = np.abs(distance + LINE / 2) - LINE / 2
    return np.clip(0.5 - distance, 0.0, 1.0)


def _distance(shape: str, x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Distance from the edge in pixels, negative within."""
    match shape:
        case "circle":
            return np.hypot(x, y) - radius
        case "square":
            return np.maximum(np.abs(x), np.abs(y)) - np.sqrt(0.5) * radius
        case "triangle":
            return np.maximum(y, 0.5 * (np.sqrt(3.0) * np.abs(x) - y)) - 0.5 * radius
    raise ValueError(shape)
