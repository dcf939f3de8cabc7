"""Fréchet distance between Gaussian fits to two sets of feature vectors (FID; Heusel et al. 2017).

    d^2 = |m_x - m_y|^2 + tr S_x + tr S_y - 2 tr (S_x S_y)^{1/2}

with means m and covariances S: the squared Wasserstein-2 distance of the Gaussians (Dowson & Landau 1982). With
S = L L^T, the trace of the root is the sum of the singular values of L_x^T L_y, for these squared are the eigenvalues
of S_x S_y. So no product of covariances is formed, whose small eigenvalues would drown in rounding (a root turns 1e-16
into 1e-8), and covariances of too few rows need no ridge: their factors have fewer columns.

The estimate is biased upwards by about c/N, the more the more features there are (Chong & Forsyth 2020, "Effectively
unbiased FID"): compare values at equal N and M alone. Values are in squared units of the features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import eigh

from tgdp_jax.metrics.inputs import pair
from tgdp_jax.metrics.spread import Value, bootstrap


def frechet_value(x: Any, y: Any, *, num: int = 20, seed: int = 0) -> Value:
    """Squared Fréchet distance d^2 with its bootstrap standard error.

    It is at least 0; 0 for equal means and covariances, also for distributions that differ otherwise.

    Args:
      x: features [N, *D], N >= 2.
      y: features [M, *D], M >= 2.
      num: bootstrap copies.
      seed: of the resampling.

    Returns:
      (value, spread).

    Raises:
      UserError: bad arrays, fewer than two rows, or num below two.
    """
    x, y = pair("x", x, "y", y, at_least=2)
    return Value(_distance(x, y), bootstrap(_distance, x, y, num=num, seed=seed))


def _distance(x: np.ndarray, y: np.ndarray) -> float:
    (mean_x, factor_x), (mean_y, factor_y) = _gaussian(x), _gaussian(y)
    traces = (factor_x**2).sum() + (factor_y**2).sum()
    square = ((mean_x - mean_y) ** 2).sum() + traces - 2 * np.linalg.norm(factor_x.T @ factor_y, "nuc")
    return max(float(square), 0.0)  # equal fits leave rounding of either sign


def _gaussian(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [D] and a factor L [D, D] of the unbiased covariance L L^T."""
    mean = x.mean(0)
    centred = x - mean
    values, axes = eigh(centred.T @ centred / (len(x) - 1))
    # The eigenvalues that are zero come out as rounding of either sign.
    return mean, axes * np.sqrt(np.maximum(values, 0.0))
