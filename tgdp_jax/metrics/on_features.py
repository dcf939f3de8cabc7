"""Metrics of images and series on learned features (`features`), against those of held-out target rows.

All are of all rows at once, with labels too, so that conditional and unconditional samplers are read on one scale:
whether samples show the class that they were asked for is label_accuracy's.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tgdp_jax.errors import UserError
from tgdp_jax.metrics import on_rows
from tgdp_jax.metrics.coverage import NEIGHBOURS, density_coverage, precision_recall
from tgdp_jax.metrics.encoded import EncoderFeatures
from tgdp_jax.metrics.evidence import COPIES, Evidence
from tgdp_jax.metrics.features import Features
from tgdp_jax.metrics.frechet import frechet_value
from tgdp_jax.metrics.spread import Value, mean_value, subsample_spread
from tgdp_jax.metrics.two_sample_classifier import FEWEST
from tgdp_jax.metrics.two_sample_classifier import c2st as c2st_value

BALLS = ("precision", "recall", "density", "coverage")


def frechet(e: Evidence) -> Value:
    x, y, _ = e.once(embedded)
    return frechet_value(x, y, num=COPIES, seed=e.seed)


def c2st(e: Evidence) -> Value:
    x, y, _ = e.once(embedded)
    if min(len(x), len(y)) < FEWEST:
        return Value(math.nan, math.nan)
    return c2st_value(x, y, num=COPIES // 2, seed=e.seed).accuracy


def precision(e: Evidence) -> Value:
    return e.once(balls)["precision"]


def recall(e: Evidence) -> Value:
    return e.once(balls)["recall"]


def density(e: Evidence) -> Value:
    return e.once(balls)["density"] if e.features is not None else on_rows.density(e)


def coverage(e: Evidence) -> Value:
    return e.once(balls)["coverage"] if e.features is not None else on_rows.coverage(e)


def memorisation(e: Evidence) -> Value:
    if e.features is None:
        return on_rows.memorisation(e)
    return on_rows.memorisation_value(*e.once(embedded), seed=e.seed)


def label_accuracy(e: Evidence) -> Value:
    assert e.features is not None
    return accuracy(e.samples, e.labels, e.features)


def caption_agreement(e: Evidence) -> Value:
    assert isinstance(e.features, EncoderFeatures) and e.captions is not None
    return mean_value(e.features.agreement(e.samples, e.captions))


def accuracy(samples: Any, labels: Any, features: Features | EncoderFeatures) -> Value:
    """Share of samples [N, *D] whose class, as the features' classifier sees it, is the one asked for [N].

    Raises:
      UserError: not one label a sample.
    """
    if np.shape(labels) != (len(samples),):
        raise UserError(
            f"labels has shape {np.shape(labels)} but there are {len(samples)} samples: pass one label a row"
        )
    return mean_value(features.classify(samples) == np.asarray(labels))


def embedded(e: Evidence) -> tuple[np.ndarray, ...]:
    """Features of samples, reference and training rows, [., F]."""
    assert e.features is not None
    return tuple(e.features.embed(rows).astype(np.float64) for rows in (e.samples, e.reference, e.train))


def balls(e: Evidence) -> dict[str, Value]:
    """Precision, recall, density and coverage, which share their neighbours, of at most `MOST_ROWS` rows of either."""
    (x, y, _), (of_x, of_y) = e.once(embedded), e.drawn
    return _ball_values(y[of_y], x[of_x], e.seed)


# Many small sets, on which several threads wait for one another longer than they compute.
@threadpool_limits.wrap(limits=1)
def _ball_values(real: np.ndarray, fake: np.ndarray, seed: int) -> dict[str, Value]:
    def balls(real: np.ndarray, fake: np.ndarray) -> tuple[float, ...]:
        return *precision_recall(real, fake), *density_coverage(real, fake)

    # As in `on_rows`: few held-out rows of some class should not fail a run, halves of them must still have k-th
    # neighbours, and brute force costs the square of the rows.
    fewest, unknown = min(len(real), len(fake)), np.full(len(BALLS), math.nan)
    values = balls(real, fake) if fewest > NEIGHBOURS else unknown
    enough = fewest >= 2 * (NEIGHBOURS + 1)
    spreads = subsample_spread(balls, real, fake, num=COPIES, seed=seed, max_rows=500) if enough else unknown
    return {name: Value(float(v), float(s)) for name, v, s in zip(BALLS, values, spreads, strict=True)}
