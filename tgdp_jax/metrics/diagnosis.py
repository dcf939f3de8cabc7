"""How well a classifier of several classes diagnoses: macro AUC, F2 and G2.

With TP, FP and FN counts of one class against all others,

    F_b = (1 + b^2) TP / ((1 + b^2) TP + FP + b^2 FN),      G_b = TP / (TP + FP + b FN),      b = 2,

which both weigh a missed patient more than a false alarm: the measures of the PhysioNet/CinC Challenge 2020 and, next
to the area under the ROC curve, of the PTB-XL benchmark (Strodthoff, Wagner, Schaeffter & Samek 2021, "Deep learning
for ECG analysis"). Macro: the mean over the classes that occur among the truths, each counting alike. Here every record
has one class, and the likeliest one is what it is taken for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata

from tgdp_jax.errors import UserError
from tgdp_jax.metrics.inputs import rows
from tgdp_jax.metrics.spread import Value, bootstrap

Array = np.ndarray
BETA = 2.0
COPIES = 100  # resampled copies behind a spread


class Diagnosis(NamedTuple):
    """Macro measures, each in [0, 1], higher being better; numbers, or values with their spread."""

    auc: Any
    f2: Any
    g2: Any


def diagnosis(scores: Any, truth: Any) -> Diagnosis:
    """Macro AUC, F2 and G2 of scores [N, K], larger being likelier, against classes [N] in [0, K).

    Classes that no record has are left out; where there is but one, the AUC is NaN.

    Raises:
      UserError: bad arrays.
    """
    scores, truth = _checked(scores, truth)
    return _measures(scores, truth)


def diagnosis_value(scores: Any, truth: Any) -> Diagnosis:
    """`diagnosis` with bootstrap standard errors over the records, which are drawn within their classes.

    A copy of the records that lacked a class would have measures of other classes, and of one class alone no AUC at all
    (Robin et al. 2011, "pROC", draw within classes too).

    Args:
      scores: [N, K].
      truth: classes [N].

    Raises:
      UserError: bad arrays.
    """
    scores, truth = _checked(scores, truth)
    spreads = bootstrap(lambda i: _measures(scores[i], truth[i]), np.arange(len(truth)), num=COPIES, strata=truth)
    return Diagnosis(*(Value(v, float(s)) for v, s in zip(_measures(scores, truth), spreads, strict=True)))


def _checked(scores: Any, truth: Any) -> tuple[Array, Array]:
    scores, truth = rows("scores", scores), np.asarray(truth)
    classes = scores.shape[1]
    if truth.shape != (len(scores),) or not np.issubdtype(truth.dtype, np.integer):
        raise UserError(f"truths are {truth.dtype} {truth.shape} for {len(scores)} scores: pass one class a record")
    if truth.min() < 0 or truth.max() >= classes:
        raise UserError(f"truths reach from {truth.min()} to {truth.max()} but there are scores of {classes} classes")
    return scores, truth


def _measures(scores: Array, truth: Array) -> Diagnosis:
    taken = scores.argmax(1)
    found = [_of_class(scores[:, k], truth == k, taken == k) for k in np.unique(truth)]
    return Diagnosis(*(float(column) for column in np.mean(found, axis=0)))


def _of_class(score: Array, true: Array, taken: Array) -> tuple[float, float, float]:
    positive, negative = int(true.sum()), int((~true).sum())
    # Mann-Whitney: ranks share ties.
    above = rankdata(score)[true].sum() - positive * (positive + 1) / 2
    auc = above / (positive * negative) if negative else np.nan
    hits, alarms, missed = np.sum(true & taken), np.sum(~true & taken), np.sum(true & ~taken)
    f = (1 + BETA**2) * hits / ((1 + BETA**2) * hits + alarms + BETA**2 * missed)
    return float(auc), float(f), float(hits / (hits + alarms + BETA * missed))
