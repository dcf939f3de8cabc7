"""Times of heart beats.

Sinus rhythm: intervals around their mean swing with respiration (0.25 Hz) and with the slower Mayer waves of blood
pressure (0.1 Hz), the two peaks of the RR spectrum in McSharry et al. (2003). Atrial fibrillation: intervals are
independent, with a coefficient of variation of about 0.2, and have no rhythm at all.
"""

from __future__ import annotations

import math

import numpy as np

Array = np.ndarray

SHORTEST = 0.27  # seconds: no two beats are closer
_IRREGULAR = 0.22  # standard deviation of log RR in atrial fibrillation


def num_beats(seconds: float) -> int:
    """Beats that cover a record at any rate, those just outside included."""
    return math.ceil(seconds / SHORTEST) + 8


def beat_times(rr: Array, irregular: Array, z: Array, depth: Array, phase: Array, start: Array) -> tuple[Array, Array]:
    """Times of beats, in seconds, of records that begin at 0.

    Args:
      rr: mean interval in seconds [N].
      irregular: whether intervals are those of atrial fibrillation [N].
      z: standard normal numbers, one a beat [N, K].
      depth: standard normal numbers, how far the two rhythms swing [N, 2].
      phase: of the two rhythms [N, 2].
      start: uniform numbers in [0, 1), where in an interval the record begins [N].

    Returns:
      (times [N, K], increasing, with the first two before 0; the interval before each of them [N, K])
    """
    t = rr[:, None] * np.arange(z.shape[1])
    swings = np.array([0.025, 0.02]) * np.exp(0.3 * depth)
    angle = 2 * math.pi * np.array([0.25, 0.1]) * t[..., None] + phase[:, None]
    regular = 1.0 + np.sum(swings[:, None] * np.sin(angle), axis=-1) + 0.006 * z
    # Cut off on both sides, so that two beats always precede the record.
    fibrillating = np.exp(np.clip(_IRREGULAR * z, -0.6, 0.6) - _IRREGULAR**2 / 2)
    intervals = np.maximum(rr[:, None] * np.where(irregular[:, None], fibrillating, regular), SHORTEST)
    return np.cumsum(intervals, axis=1) - ((3.7 + start) * rr)[:, None], intervals
