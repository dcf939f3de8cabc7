"""Do series have the right frequencies? Spectra of samples against those of data, channel by channel.

The mean periodogram of N series of L places estimates the power spectrum,

    P(f) = mean over series of |sum_k x_k e^(-2 pi i f k)|^2 / L,      f = 0, 1/L, ..., 1/2,

and the log-spectral distance (Gray & Markel 1976, "Distance measures for speech processing") of two spectra is the root
mean square over f of 10 log10 P/Q, in decibels: 3 dB is a factor of two in power. Every frequency counts alike, so that
noise floors are judged as the waves above them are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tgdp_jax.errors import UserError
from tgdp_jax.metrics.inputs import pair
from tgdp_jax.metrics.spread import Value, bootstrap

Array = np.ndarray
LEAST = 1e-12  # of the greatest power: below it a number is rounding
# Of the greatest power of a channel, f = 0 included: less is what rounding leaves of a flat line.
FLAT = 1e-24


def periodograms(x: Any) -> Array:
    """|FFT|^2 / L of series x [N, L, C], [N, L // 2 + 1, C] in squared units of x; the mean at f = 0 included."""
    x = np.asarray(x, np.float64)
    return np.abs(np.fft.rfft(x, axis=1)) ** 2 / x.shape[1]


def log_spectral_distance_value(x: Any, y: Any, *, num: int = 20, seed: int = 0) -> Value:
    """Log-spectral distance of the mean spectra, averaged over channels, with its bootstrap standard error.

    Args:
      x: series [N, L, C].
      y: series [M, L, C].
      num: bootstrap copies.
      seed: of the resampling.

    Returns:
      (value, spread) in decibels; 0 for equal mean spectra. The mean of the series (f = 0) is left out.

    Raises:
      UserError: bad arrays.
    """
    shape = np.shape(x)
    if len(shape) != 3 or shape[1] < 2 or np.shape(y)[1:] != shape[1:]:
        raise UserError(f"spectra are of series [N, L, C] of one form, got {shape} and {np.shape(y)}")
    pair("x", x, "y", y)
    powers = periodograms(x), periodograms(y)
    return Value(_distance(*powers), bootstrap(_distance, *powers, num=num, seed=seed))


def _distance(x: Array, y: Array) -> float:
    mean = [power.mean(0) for power in (x, y)]
    mean = [np.where(power > FLAT * power.max(0), power, 0.0)[1:] for power in mean]
    least = LEAST * max(power.max() for power in mean)
    if not least > 0:
        return 0.0  # flat lines both
    decibels = 10 * np.log10((mean[0] + least) / (mean[1] + least))
    return float(np.sqrt(np.mean(decibels**2, axis=0)).mean())
