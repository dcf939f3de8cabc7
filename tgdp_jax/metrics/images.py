"""All metrics of one set of samples of images or series, on learned features (see `features`)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tgdp_jax.errors import UserError
from tgdp_jax.metrics.coverage import NEIGHBOURS, density_coverage, precision_recall
from tgdp_jax.metrics.evaluate import COPIES, memorisation_value
from tgdp_jax.metrics.features import Features
from tgdp_jax.metrics.frechet import frechet_value
from tgdp_jax.metrics.inputs import pair
from tgdp_jax.metrics.spread import Value, mean_value, subsample_spread
from tgdp_jax.metrics.two_sample import median_bandwidth, mmd2_value
from tgdp_jax.metrics.two_sample_classifier import FEWEST, c2st

BALLS = ("precision", "recall", "density", "coverage")


def evaluate_images(
    samples: Any,
    reference: Any,
    train: Any,
    features: Features,
    *,
    seed: int = 0,
    labels: Any = None,
) -> dict[str, Value]:
    """Metrics of images or series: frechet, c2st, precision, recall, density, coverage and memorisation on features,
    mmd2 on the rows themselves and, with labels, label_accuracy.

    All are of all rows at once, with labels too, so that conditional and unconditional samplers are read on one scale:
    whether samples show the class that they were asked for is label_accuracy's.

    Args:
      samples: [N, *D], in the reference's units.
      reference: held-out target rows [M, *D], images in [-1, 1].
      train: the target rows that the method was trained on [n, *D].
      features: of source rows, see `fit_features`.
      seed: of subsets and resampling; equal seeds make rows of one table comparable.
      labels: the classes the samples were asked for [N], or None.

    Returns:
      Name in `METRICS` to (value, spread); the spread is NaN where there are too few rows to tell. Precision, recall,
      density and coverage are NaN where samples or reference have no more than five rows, c2st where either has fewer
      than ten, memorisation where every row of the reference repeats a training row. The training rows are held fixed.

    Raises:
      UserError: bad arrays, or not one label a sample.
    """
    pixels, reference_pixels = pair("samples", samples, "reference", reference, at_least=2)
    x, y, known = (features.embed(images).astype(np.float64) for images in (samples, reference, train))
    out = {
        "frechet": frechet_value(x, y, num=COPIES, seed=seed),
        "c2st": Value(math.nan, math.nan),
        "memorisation": memorisation_value(x, y, known, seed=seed),
    }
    if min(len(x), len(y)) >= FEWEST:
        out["c2st"] = c2st(x, y, num=COPIES // 2, seed=seed).accuracy
    bandwidth = median_bandwidth(reference_pixels, seed=seed)
    out["mmd2"] = mmd2_value(pixels, reference_pixels, bandwidth=bandwidth, num=COPIES, seed=seed)
    out |= _ball_values(y, x, seed)
    if labels is not None:
        out["label_accuracy"] = label_accuracy(samples, labels, features)
    return out


def label_accuracy(samples: Any, labels: Any, features: Features) -> Value:
    """Share of samples [N, *D] whose class, as the features' classifier sees it, is the one asked for [N].

    Raises:
      UserError: not one label a sample.
    """
    if np.shape(labels) != (len(samples),):
        raise UserError(
            f"labels has shape {np.shape(labels)} but there are {len(samples)} samples: pass one label a row"
        )
    return mean_value(features.classify(samples) == np.asarray(labels))


# Many small sets, on which several threads wait for one another longer than they compute.
@threadpool_limits.wrap(limits=1)
def _ball_values(real: np.ndarray, fake: np.ndarray, seed: int) -> dict[str, Value]:
    def balls(real: np.ndarray, fake: np.ndarray) -> tuple[float, ...]:
        return *precision_recall(real, fake), *density_coverage(real, fake)

    # As in `evaluate`: few held-out rows of some class should not fail a run, halves of them must still have k-th
    # neighbours, and brute force costs the square of the rows.
    fewest, unknown = min(len(real), len(fake)), np.full(len(BALLS), math.nan)
    values = balls(real, fake) if fewest > NEIGHBOURS else unknown
    enough = fewest >= 2 * (NEIGHBOURS + 1)
    spreads = subsample_spread(balls, real, fake, num=COPIES, seed=seed, max_rows=500) if enough else unknown
    return {name: Value(float(v), float(s)) for name, v, s in zip(BALLS, values, spreads, strict=True)}
