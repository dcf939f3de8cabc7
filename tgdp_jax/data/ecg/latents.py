"""The latent numbers of simulated records: all that is random about a record but for its white noise."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tgdp_jax.data.ecg import waves
from tgdp_jax.data.ecg.populations import AFIB, RATES, SPREAD
from tgdp_jax.data.ecg.rhythm import beat_times

Array = jax.Array


class Latents(NamedTuple):
    """Of one record, or with a leading axis of several.

    Attributes:
      label: class in `populations.CLASSES`.
      bpm: mean heart rate, beats a minute.
      beats: times of beats in seconds [K], the record beginning at 0.
      intervals: before each beat [K].
      heights: factor on each beat's amplitudes [K].
      stretch: factor on centre and width of each wave [W].
      dipole: of each wave, in mV [W, 3].
      turn: rotation of the dipole, transposed [3, 3].
      atria: f waves of fibrillating atria in mV along the three axes [3]; zero in other rhythms.
      flutter: their frequency in Hz, and phases of its swing, of the wave and of its overtone [4].
      noise: white noise of the electrodes, mV.
      hertz: of the baseline's two swings [2].
      phase: of these at each electrode [2, 9].
      wander: their amplitudes in mV [2, 9].
    """

    label: Array
    bpm: Array
    beats: Array
    intervals: Array
    heights: Array
    stretch: Array
    dipole: Array
    turn: Array
    atria: Array
    flutter: Array
    noise: Array
    hertz: Array
    phase: Array
    wander: Array


def draw_latents(key: Array, shares: Array, means: dict[str, Array], *, beats: int) -> Latents:
    """Latents of one record.

    Args:
      key: typed PRNG key, the record's own.
      shares: probabilities of the classes.
      means: of the population's latents, see `populations.means`.
      beats: beats that cover a record.
    """
    keys = jax.random.split(key, 10)
    label = jax.random.choice(keys[0], len(shares), p=shares).astype(jnp.int32)
    fibrillates = label == AFIB
    bpm = _rate(keys[1], label, means["rate"])
    names = [name for name in means if name != "rate"]
    z = jax.random.normal(keys[2], (len(names),))
    own = {name: means[name] + getattr(SPREAD, name) * z[i] for i, name in enumerate(names)}
    times, intervals = beat_times(keys[3], 60.0 / bpm, fibrillates, beats)
    voltage = jnp.exp(own["voltage"])

    pr, qt, atria, speed, flat = jax.random.normal(keys[4], (5,))
    stretch = jnp.where(waves.QRS, jnp.exp(own["qrs"]), 1.0)
    stretch *= jnp.where(waves.T_WAVE | waves.ST, jnp.exp(0.05 * qt), 1.0)
    stretch *= jnp.where(waves.P_WAVE, jnp.exp(0.1 * pr), 1.0)

    dipole = jnp.asarray(waves.DIPOLE, jnp.float32)[label]
    dipole *= 1.0 + 0.15 * jax.random.normal(keys[5], dipole.shape)
    dipole *= jnp.where(waves.T_WAVE, jnp.exp(own["t_wave"]), 1.0)[:, None]
    dipole += jnp.where(waves.ST, own["st"], 0.0)[:, None] * jnp.array(waves.MAIN_AXIS)

    angles = jax.random.uniform(keys[8], (3 + 18,), maxval=2 * math.pi)
    slow = jax.random.normal(keys[9], (2 + 18,))
    return Latents(
        label,
        bpm,
        times,
        intervals,
        1.0 + 0.03 * jax.random.normal(keys[6], times.shape),
        stretch,
        voltage * dipole,
        _turn(own["axis"] * math.pi / 180, 0.2 * flat),
        jnp.where(fibrillates, voltage * jnp.exp(0.3 * atria), 0.0) * jnp.array(waves.F_WAVE),
        jnp.concatenate([jnp.array([5.8]) + 0.8 * jnp.clip(speed, -2, 2), angles[:3]]),
        jnp.exp(own["noise"]),
        jnp.array([0.25, 0.05]) * jnp.exp(0.3 * slow[:2]),
        angles[3:].reshape(2, 9),
        jnp.exp(own["wander"]) * slow[2:].reshape(2, 9),
    )


def _rate(key: Array, label: Array, shift: Array) -> Array:
    """Beats a minute: log-normal, cut off where the class ends."""
    median, spread, least, most = jnp.asarray(RATES, jnp.float32)[label]
    middle = jnp.log(median) + shift
    low, high = ((jnp.log(end) - middle) / spread for end in (least, most))
    return jnp.exp(middle + spread * jax.random.truncated_normal(key, low, high))


def _turn(frontal: Array, horizontal: Array) -> Array:
    """Rotation of a heart that lies otherwise: in the frontal plane (positive to the feet), then in the horizontal one.

    Transposed: dipoles are rows."""
    c, s = jnp.cos(frontal), jnp.sin(frontal)
    first = jnp.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    c, s = jnp.cos(horizontal), jnp.sin(horizontal)
    return first @ jnp.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
