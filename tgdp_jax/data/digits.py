"""Hand-written digits that come with scikit-learn: 1,797 images of 8 x 8 pixels, no download.

Every third image belongs to the target, which shows it in another style; the others are the source's. With
`shift="classes"` the source has the digits 0 to 4 and the target 5 to 9. No image is on both sides.

Styles do not overlap: with 300 images a side a linear classifier tells each from the source without error, so transfer
by density ratio has little to go by and fine-tuning should win. Classes do overlap (AUC 0.95).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from tgdp_jax.data.pixels import UNIT, check_size, to_model
from tgdp_jax.data.problem import Data, Problem, check_n_target
from tgdp_jax.errors import UserError, choose


def _thick(x: np.ndarray) -> np.ndarray:
    from scipy import ndimage  # late: options need not wait for it

    return ndimage.grey_dilation(x, size=(1, 2, 2))


# Style of the target: images [N, 8, 8] in [0, 1] to the same.
STYLES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    # Every pixel as bright as the brightest in a window of 2 x 2: strokes grow by one pixel.
    "thick": _thick,
    "inverted": lambda x: 1.0 - x,
    "rotated": lambda x: np.rot90(x, axes=(1, 2)),
}
CLASSES = "classes"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DigitsConfig:
    """Small hand-written digits; the target shows other images in another style, or other digits.

    Attributes:
      shift: what the target is: thick (strokes a pixel wider), inverted, rotated (by 90 degrees), or classes (digits
        5 to 9, the source having 0 to 4).
      conditional: models see the digit as a label; not with shift classes.
      size: height and width in pixels; beyond 8 the images are enlarged.
    """

    shift: str = "thick"
    conditional: bool = False
    size: int = 8

    def __post_init__(self):
        choose("shift", self.shift, (*STYLES, CLASSES))
        if self.conditional and self.shift == CLASSES:
            raise UserError("with --shift classes no digit is in both data sets: leave out --conditional")
        if self.size < 8:
            raise UserError(f"size is {self.size}: the digits have 8 x 8 pixels, give at least 8")


def load(config: DigitsConfig, *, n_target: int | None, seed: int, source_seed: int | None = None) -> Problem:
    """Splits the images; half of the target's are kept for judging, whatever n_target is.

    Source rows depend on the config alone, target and reference rows on (config, seed), target rows nested in n.
    Labels stay with the rows for judging where models do not see them.

    Raises:
      UserError: n_target is out of range.
    """
    from sklearn.datasets import load_digits  # late: the command line's help need not wait for it

    n_target = 50 if n_target is None else n_target
    digits: Any = load_digits()
    x, y = digits.images / 16.0, digits.target.astype(np.int32)
    # The digits come in runs of 0 to 9, writer by writer: each third has all digits of all writers.
    ours = y >= 5 if config.shift == CLASSES else np.arange(len(y)) % 3 == 2
    style = STYLES.get(config.shift, lambda images: images)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(ours))
    available = len(order) // 2
    check_n_target(n_target, available)
    check_size(len(x), config.size, 1)

    def data(images: np.ndarray, rows: np.ndarray) -> Data:
        return Data(to_model(images[rows][..., None], config.size), y[rows])

    styled = style(x)
    return Problem(
        "digits",
        data(x, np.flatnonzero(~ours)),
        data(styled, order[:n_target]),
        data(styled, order[available:]),
        num_classes=10 if config.conditional else 0,
        scaler=UNIT,
    )
