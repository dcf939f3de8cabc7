"""What is asked of ECGs beside: spectra, heart rates, and relations between the twelve leads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tgdp_jax.data.ecg.leads import residual, twelve
from tgdp_jax.metrics.evaluate import COPIES
from tgdp_jax.metrics.heart_rate import heart_rate_distance
from tgdp_jax.metrics.spectra import log_spectral_distance_value
from tgdp_jax.metrics.spread import Value


def evaluate_ecg(samples: Any, reference: Any, *, rate: float, seed: int = 0) -> dict[str, Value]:
    """Metrics of ECGs: spectrum, heart_rate and einthoven, see `METRICS`.

    Args:
      samples: leads I, II, V1..V6 in mV, [N, L, 8].
      reference: held-out target records [M, L, 8].
      rate: samples a second.
      seed: of resampling.

    Returns:
      Name to (value, spread).

    Raises:
      UserError: bad arrays.
    """
    return {
        "spectrum": log_spectral_distance_value(samples, reference, num=COPIES, seed=seed),
        "heart_rate": heart_rate_distance(samples, reference, rate=rate, num=COPIES, seed=seed),
        "einthoven": Value(residual(twelve(np.asarray(samples, np.float32))), math.nan),
    }
