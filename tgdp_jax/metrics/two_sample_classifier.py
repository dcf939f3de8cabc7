"""Classifier two-sample test: can a classifier tell samples from data? (Lopez-Paz & Oquab 2017)

A logistic regression on standardised features learns to tell the two sets apart and is judged, by cross-validation, on
rows it has not seen. Its accuracy is 1/2 for equal distributions and (1 + TV)/2 at best, with TV the total variation
distance of the features: any accuracy above 1/2 bounds that from below. The classifier is linear: it sees what the
features spell out.

The spread of a share of rows, sqrt(p (1 - p)/N), is too small here by up to two, for folds share training rows and no
estimate from one cross-validation is unbiased (Bengio & Grandvalet 2004). So the cross-validation is repeated on
subsamples.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from tgdp_jax.metrics.inputs import pair
from tgdp_jax.metrics.spread import Value, subsample_spread

FOLDS = 5
FEWEST = 2 * FOLDS  # rows of a set: two in every fold
MAX_ROWS = 1000  # of a set in a subsample


class C2ST(NamedTuple):
    """How well held-out rows are told apart.

    Attributes:
      accuracy: share of rows that are put into the right set; 1/2 for equal distributions.
      auc: area under the ROC curve, the chance that a row of y scores above one of x; 1/2 for equal distributions.
    """

    accuracy: Value
    auc: Value


# Hundreds of small matrices, on which several threads wait for one another longer than they compute.
@threadpool_limits.wrap(limits=1)
def c2st(x: Any, y: Any, *, num: int = 10, seed: int = 0) -> C2ST:
    """Cross-validated accuracy and AUC of a logistic regression that tells x from y, with their standard errors.

    Of the longer set as many rows are drawn as the shorter has: guessing then is right half of the time.

    Args:
      x: features [N, *D], N >= 10.
      y: features [M, *D], M >= 10.
      num: subsamples behind the spread.
      seed: of the rows drawn, the folds and the subsamples.

    Returns:
      Both numbers; their spread is NaN with fewer than 20 rows of either set.

    Raises:
      UserError: bad arrays, fewer than ten rows, or num below two.
    """
    x, y = pair("x", x, "y", y, at_least=FEWEST)
    size = min(len(x), len(y))
    rng = np.random.default_rng(seed)
    x, y = (a if len(a) == size else a[rng.choice(len(a), size, replace=False)] for a in (x, y))

    def judged(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        return _cross_validated(x, y, seed)

    spreads = np.full(2, math.nan)
    if size >= 2 * FEWEST:
        spreads = subsample_spread(judged, x, y, num=num, seed=seed, max_rows=MAX_ROWS)
    return C2ST(*(Value(value, float(spread)) for value, spread in zip(judged(x, y), spreads, strict=True)))


def _cross_validated(x: np.ndarray, y: np.ndarray, seed: int) -> tuple[float, float]:
    """(accuracy, AUC) on rows x [N, D] and y [N, D]."""
    rows, of_y = np.concatenate([x, y]), np.repeat([0, 1], len(x))
    splits = list(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(rows, of_y))
    # Newton's method: few features, and a fraction of the iterations of the default.
    model = make_pipeline(StandardScaler(), LogisticRegression(solver="newton-cholesky"))
    scores = np.asarray(cross_val_predict(model, rows, of_y, cv=splits, method="decision_function"))
    # Fold by fold: scores of different fits have no common scale.
    auc = np.mean([roc_auc_score(of_y[held], scores[held]) for _, held in splits])
    return float(((scores > 0) == of_y).mean()), float(auc)
