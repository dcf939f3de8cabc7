"""What is asked of ECGs beside: spectra, heart rates, and relations between the twelve leads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tgdp_jax.data.ecg.leads import residual, twelve
from tgdp_jax.metrics.evidence import COPIES, Evidence
from tgdp_jax.metrics.heart_rate import heart_rate_distance
from tgdp_jax.metrics.spectra import log_spectral_distance_value
from tgdp_jax.metrics.spread import Value


def spectrum(e: Evidence) -> Value:
    return log_spectral_distance_value(*e.once(millivolts), num=COPIES, seed=e.seed)


def heart_rate(e: Evidence) -> Value:
    assert e.ecg_rate is not None
    return heart_rate_distance(*e.once(millivolts), rate=e.ecg_rate, num=COPIES, seed=e.seed)


def einthoven(e: Evidence) -> Value:
    samples, _ = e.once(millivolts)
    return Value(residual(twelve(np.asarray(samples, np.float32))), math.nan)


def millivolts(e: Evidence) -> tuple[Any, Any]:
    """Samples and reference [., L, 8], leads I, II, V1..V6."""
    return e.to_user(e.samples), e.to_user(e.reference)
