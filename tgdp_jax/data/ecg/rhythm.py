"""Times of heart beats.

Sinus rhythm: intervals around their mean swing with respiration (0.25 Hz) and with the slower Mayer waves of blood
pressure (0.1 Hz), the two peaks of the RR spectrum in McSharry et al. (2003). Atrial fibrillation: intervals are
independent, with a coefficient of variation of about 0.2, and have no rhythm at all.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

Array = jax.Array

SHORTEST = 0.27  # seconds: no two beats are closer
_IRREGULAR = 0.22  # standard deviation of log RR in atrial fibrillation


def num_beats(seconds: float) -> int:
    """Beats that cover a record at any rate, those just outside included."""
    return math.ceil(seconds / SHORTEST) + 8


def beat_times(key: Array, rr: Array, irregular: Array, num: int) -> tuple[Array, Array]:
    """Times of beats, in seconds, of one record that begins at 0.

    Args:
      key: typed PRNG key.
      rr: mean interval in seconds.
      irregular: whether intervals are those of atrial fibrillation.
      num: beats.

    Returns:
      (times [num], increasing, with the first two before 0; the interval before each of them [num])
    """
    start_key, phase_key, depth_key, noise_key = jax.random.split(key, 4)
    z = jax.random.normal(noise_key, (num,))
    phases = jax.random.uniform(phase_key, (2,), maxval=2 * math.pi)
    depth = jnp.array([0.025, 0.02]) * jnp.exp(0.3 * jax.random.normal(depth_key, (2,)))
    t = rr * jnp.arange(num)[:, None]
    swing = jnp.sin(2 * math.pi * t * jnp.array([0.25, 0.1]) + phases) @ depth
    regular = 1.0 + swing + 0.006 * z
    # Cut off on both sides, so that two beats always precede the record.
    fibrillating = jnp.exp(jnp.clip(_IRREGULAR * z, -0.6, 0.6) - _IRREGULAR**2 / 2)
    intervals = jnp.maximum(rr * jnp.where(irregular, fibrillating, regular), SHORTEST)
    start = (3.7 + jax.random.uniform(start_key)) * rr
    return jnp.cumsum(intervals) - start, intervals
