"""Do hearts beat as fast as they should? Heart rates of ECGs, and how far two sets of them are apart.

R peaks are the steepest places of a record: the power of its slope, summed over leads and smoothed over a QRS complex
(after Pan & Tompkins 1985, "A real-time QRS detection algorithm"), has a hump at each. Rates of samples and data are
compared by the Wasserstein-1 distance, in beats a minute: how much a heart rate is off, on the mean.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks
from scipy.stats import wasserstein_distance

from tgdp_jax.errors import UserError
from tgdp_jax.metrics.inputs import rows
from tgdp_jax.metrics.spread import Value, bootstrap

Array = np.ndarray
WIDTH = 0.03  # seconds, standard deviation of what smooths the power of the slope
REFRACTORY = 0.25  # seconds: no two beats are closer
HEIGHT = 0.25  # of a record's highest humps (their 90th percentile) is what a beat reaches at least


def beats(record: Any, *, rate: float) -> Array:
    """Places of the R peaks of a record [L, C], integers in increasing order."""
    record = np.asarray(record, np.float64)
    slope = np.square(np.gradient(record, axis=0)).sum(1)
    power = gaussian_filter1d(slope, WIDTH * rate, mode="constant")
    apart = max(1, round(REFRACTORY * rate))
    humps, _ = find_peaks(power, distance=apart)
    if len(humps) == 0:
        return humps
    return humps[power[humps] >= HEIGHT * np.quantile(power[humps], 0.9)]


def heart_rates(x: Any, *, rate: float) -> Array:
    """Heart rate of every record [N], beats a minute, from the mean interval between R peaks; NaN below two beats.

    Args:
      x: records [N, L, C], in any unit that leads share.
      rate: samples a second.

    Raises:
      UserError: bad arrays.
    """
    if np.ndim(x) != 3 or np.shape(x)[1] < 2:
        raise UserError(f"ECGs are [N, L, C] with at least two samples in time, got {np.shape(x)}")
    rows("ECGs", x)
    found = [beats(record, rate=rate) for record in np.asarray(x)]
    return np.array([60 * rate * (len(at) - 1) / (at[-1] - at[0]) if len(at) > 1 else np.nan for at in found])


def heart_rate_distance(x: Any, y: Any, *, rate: float, num: int = 20, seed: int = 0) -> Value:
    """Wasserstein-1 distance between heart rates, beats a minute, with its bootstrap standard error.

    A record without a rhythm to speak of counts as a heart that does not beat.

    Args:
      x: records [N, L, C].
      y: records [M, L, C].
      rate: samples a second.
      num: bootstrap copies.
      seed: of the resampling.

    Raises:
      UserError: bad arrays.
    """
    found = [np.nan_to_num(heart_rates(part, rate=rate)) for part in (x, y)]
    return Value(float(wasserstein_distance(*found)), bootstrap(wasserstein_distance, *found, num=num, seed=seed))
