"""Rows of two modalities, from the bundled digits: an image and its name as text, or an image's two halves.

Text is the digit's English name, letter by letter (`modalities`). Source, target and what is kept for judging are those
of `digits`; text is the same on both sides, so that the target asks for another style of image, and not of text.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tgdp_jax.data import digits
from tgdp_jax.data.modalities import Modalities, Modality, halves
from tgdp_jax.data.problem import Data, Problem, Scaler
from tgdp_jax.errors import choose

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PAIRS = ("text", "halves")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DigitPairsConfig:
    """Small hand-written digits as rows of two modalities.

    Attributes:
      pair: text (an image and its name, "three"), or halves (the upper and the lower half of an image).
      shift: what the target is: thick (strokes a pixel wider), inverted, rotated (by 90 degrees), or classes (digits
        5 to 9, the source having 0 to 4).
    """

    pair: str = "text"
    shift: str = "thick"

    def __post_init__(self):
        choose("pair", self.pair, PAIRS)
        digits.DigitsConfig(shift=self.shift)


def with_text(problem: Problem, words: tuple[str, ...] = WORDS) -> Problem:
    """A problem of labelled images with the names of their classes beside them: rows [image, text], flat."""
    text = Modality.text("text", words)
    modalities = Modalities((Modality("image", problem.shape), text))
    names = text.encode(words).reshape(len(words), -1)

    def joined(data: Data) -> Data:
        assert data.y is not None
        return Data(np.concatenate([data.x.reshape(len(data), -1), names[data.y]], 1), data.y)

    def spread(of_image: np.ndarray, of_text: float) -> np.ndarray:
        pixels = np.broadcast_to(of_image, problem.shape).reshape(-1)
        return np.concatenate([pixels, np.full(text.size, of_text)])

    return dataclasses.replace(
        problem,
        source=joined(problem.source),
        target=joined(problem.target),
        reference=None if problem.reference is None else joined(problem.reference),
        scaler=Scaler(spread(problem.scaler.shift, 0.0), spread(problem.scaler.scale, 1.0)),
        modalities=modalities,
    )


def load(config: DigitPairsConfig, *, n_target: int | None, seed: int, source_seed: int | None = None) -> Problem:
    """The rows of `digits.load` as pairs.

    Raises:
      UserError: n_target is out of range.
    """
    problem = digits.load(digits.DigitsConfig(shift=config.shift), n_target=n_target, seed=seed)
    if config.pair == "text":
        problem = with_text(problem)
    else:
        problem = dataclasses.replace(problem, modalities=halves(problem.shape))
    return dataclasses.replace(problem, name="digit-pairs")
