"""The metrics of one set of samples of images or series, on learned features (see `features`)."""

from __future__ import annotations

from typing import Any

from tgdp_jax.metrics.evidence import Evidence
from tgdp_jax.metrics.features import Features
from tgdp_jax.metrics.inputs import pair
from tgdp_jax.metrics.registry import measure
from tgdp_jax.metrics.spread import Value


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
    pair("samples", samples, "reference", reference, at_least=2)
    return measure(
        Evidence(samples=samples, reference=reference, train=train, features=features, seed=seed, labels=labels)
    )
