"""Are samples new, or copies of the training rows?

    distance(x) = min over training rows |x - row|
    ratio       = median over samples of distance / median over held-out target data of distance

The ratio is 1 where samples are as far from the training rows as fresh data of the target is, near 0 where they are
copies (compare the authenticity and nearest-neighbour checks of Meehan et al. 2020, "A non-parametric test to detect
data-copying"), and above 1 where samples lie off the target.

Fresh data of some targets repeat training rows as well: blank images, rows of zeros. Let c be the share of the held-out
rows that do, at distance zero. They say nothing of novelty, and beyond one half they make the median zero. So the
nearest share c of either set is left out before the medians are taken: fresh data keep the ratio 1, copies 0, and a
sampler that never repeats where the target does reads above 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tgdp_jax.errors import UserError
from tgdp_jax.metrics.inputs import pair
from tgdp_jax.metrics.neighbours import nearest_distance


def nearest_training_distance(samples: Any, train: Any) -> np.ndarray:
    """Euclidean distance from each sample to the nearest training row.

    Args:
      samples: [N, *D].
      train: the target rows that the method was trained on [M, *D].

    Returns:
      Distances [N], in units of x; exactly 0 for a copy.

    Raises:
      UserError: bad arrays.
    """
    return nearest_distance(*pair("samples", samples, "train", train))


def memorisation_ratio(samples: Any, train: Any, *, reference: Any) -> float:
    """Median distance of samples to the training rows, relative to that of fresh target data.

    Args:
      samples: [N, *D].
      train: the target rows that the method was trained on [M, *D].
      reference: held-out target data [R, *D], none of it in `train`.

    Returns:
      The ratio: 1 as new as fresh data, near 0 copies.

    Raises:
      UserError: bad arrays, or a reference made of training rows alone.
    """
    return ratio_of_medians(
        nearest_training_distance(samples, train), nearest_distance(*pair("reference", reference, "train", train))
    )


def ratio_of_medians(distance: np.ndarray, reference: np.ndarray) -> float:
    """Median of distances [N] over the median of the reference's [R], without the share of the latter that is zero.

    Raises:
      UserError: all of the reference's are zero.
    """
    positive = reference[reference > 0]
    if not positive.size:
        raise UserError("every reference row repeats a training row: hold the reference out of training")
    nearest = len(distance) * (len(reference) - len(positive)) // len(reference)
    return float(np.median(np.sort(distance)[nearest:])) / float(np.median(positive))
