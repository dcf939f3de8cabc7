"""The metrics of one set of samples by what is given: arrays of rows, or a density in closed form."""

from __future__ import annotations

from typing import Any

import jax

from tgdp_jax.data.mixture import GaussianMixture
from tgdp_jax.errors import UserError
from tgdp_jax.metrics.evidence import Evidence
from tgdp_jax.metrics.inputs import pair
from tgdp_jax.metrics.registry import measure
from tgdp_jax.metrics.spread import Value
from tgdp_jax.prediction import ScoreFn
from tgdp_jax.sde import SDE

Array = jax.Array


def evaluate(
    samples: Any,
    reference: Any,
    train: Any,
    *,
    seed: int = 0,
    labels: Any = None,
    reference_labels: Any = None,
    bandwidth: float | None = None,
) -> dict[str, Value]:
    """Metrics that need data alone: sw2, w2, mmd2, coverage, density and memorisation.

    With labels, all but memorisation are computed within each class and averaged with the reference's class shares, so
    that a sampler which ignores its label is found out even where its samples are right as a whole. Classes with fewer
    than two rows on either side are left out (labels are drawn as those of the target rows fall, of which there are
    few); where that leaves none, all rows are taken as one class.

    Args:
      samples: [N, *D].
      reference: held-out target data [M, *D].
      train: the target rows that the method was trained on [n, *D].
      seed: of projections, subsets and resampling; equal seeds make rows of one table comparable.
      labels: the classes the samples were asked for [N], or None.
      reference_labels: the classes of the reference [M]; given exactly where `labels` is.
      bandwidth: of the kernel, in units of x; None takes the median distance within the reference, which is the same
        for every sampler but not for every reference: pass a number to average over references.

    Returns:
      Name in `METRICS` to (value, spread). The spread is the bootstrap standard error (subsamples for w2, coverage
      and density), NaN where there are too few rows to tell; coverage and density themselves are NaN where the
      reference (or a class of it) has no more than five rows, and so is memorisation where every row of the reference
      repeats a training row, as discrete rows may. The training rows are held fixed. Of more than 10,000 samples or
      reference rows, mmd2, coverage and density see 10,000 that `seed` draws.

    Raises:
      UserError: bad arrays, or labels without reference labels.
    """
    if (labels is None) != (reference_labels is None):
        raise UserError("labels and reference_labels go together: pass both, or neither")
    given = Evidence(
        samples=samples,
        reference=reference,
        train=train,
        labels=labels,
        reference_labels=reference_labels,
        bandwidth=bandwidth,
        seed=seed,
    )
    pair("samples", samples, "reference", reference, at_least=2)
    return measure(given)


def evaluate_closed_form(
    samples: Any,
    score_fn: ScoreFn | None,
    target: GaussianMixture,
    sde: SDE | None,
    *,
    key: Array,
    conditional: bool = False,
    num_path: int = 20_000,
    num_likelihood: int = 1000,
) -> dict[str, Value]:
    """Metrics of a problem whose target is a mixture: avg_density, mode_balance and, of a score, path_kl and nll.

    Args:
      samples: [N, D].
      score_fn: (x [B, D], t [B], cond) -> score [B, D] of the sampler; None for a method without one.
      target: the target density.
      sde: the forward process of the score; None where score_fn is.
      key: typed PRNG key; equal keys make rows of one table comparable.
      conditional: hand the target's labels to the score as `cond`; nll is then that of x given y.
      num_path: points of the path KL.
      num_likelihood: fresh target samples of the likelihood, which costs about 200 score evaluations each.

    Returns:
      Name in `METRICS` to (value, standard error).

    Raises:
      UserError: bad samples, a score without its process, or a score that is not finite.
    """
    if score_fn is not None and sde is None:
        raise UserError("a score function needs the forward process it was trained on: pass sde")
    given = Evidence(
        samples=samples,
        target=target,
        score=score_fn,
        sde=sde,
        num_classes=len(target.weights) if conditional else 0,
        num_path=num_path,
        num_likelihood=num_likelihood,
        key=lambda name: key,
    )
    return measure(given)
