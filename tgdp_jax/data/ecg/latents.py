"""The latent numbers of simulated records: all that is random about them but for their white noise."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from tgdp_jax.data.ecg import waves
from tgdp_jax.data.ecg.populations import AFIB, RATES, SPREAD, Population, means
from tgdp_jax.data.ecg.rhythm import beat_times, num_beats

Array = np.ndarray
# Where a record's standard normal and its uniform numbers go.
_NORMAL = {"own": (7,), "shape": (5,), "dipole": waves.DIPOLE.shape[1:], "depth": (2,), "slow": (2,), "wander": (2, 9)}
_UNIFORM = {"label": (), "rate": (), "start": (), "rhythm": (2,), "flutter": (3,), "phase": (2, 9)}


class Latents(NamedTuple):
    """Of N records.

    Attributes:
      label: class in `populations.CLASSES` [N].
      bpm: mean heart rate, beats a minute [N].
      beats: times of beats in seconds [N, K], records beginning at 0.
      intervals: before each beat [N, K].
      heights: factor on each beat's amplitudes [N, K].
      stretch: factor on centre and width of each wave [N, W].
      dipole: of each wave, in mV [N, W, 3].
      turn: rotation of the dipole, transposed [N, 3, 3].
      atria: f waves of fibrillating atria in mV along the three axes [N, 3]; zero in other rhythms.
      flutter: their frequency in Hz, and phases of its swing, of the wave and of its overtone [N, 4].
      noise: white noise of the electrodes, mV [N].
      hertz: of the baseline's two swings [N, 2].
      phase: of these at each electrode [N, 2, 9].
      wander: their amplitudes in mV [N, 2, 9].
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


def num_draws(seconds: float) -> tuple[int, int]:
    """How many standard normal and uniform numbers a record's latents are made of."""
    sizes = [sum(math.prod(shape) for shape in shapes.values()) for shapes in (_NORMAL, _UNIFORM)]
    return sizes[0] + 2 * num_beats(seconds), sizes[1]


def make_latents(normal: Array, uniform: Array, population: Population, seconds: float) -> Latents:
    """Latents from standard normal and uniform numbers, [N, ...] each as `num_draws` says."""
    z, at = _parted(normal, _NORMAL)
    u, _ = _parted(uniform, _UNIFORM)
    beat_z, height_z = np.split(normal[:, at:], 2, axis=1)
    middle = means(population)
    names = [name for name in middle if name != "rate"]
    own = {name: middle[name] + getattr(SPREAD, name) * z["own"][:, i] for i, name in enumerate(names)}
    # The last class takes what rounding leaves of the shares.
    label = np.searchsorted(np.cumsum(population.shares)[:-1], u["label"], side="right")
    fibrillates = label == AFIB
    bpm = _rate(label, middle["rate"], u["rate"])
    phases = {name: 2 * math.pi * u[name] for name in ("rhythm", "flutter", "phase")}
    beats, intervals = beat_times(60.0 / bpm, fibrillates, beat_z, z["depth"], phases["rhythm"], u["start"])
    pr, qt, atria, speed, flat = z["shape"].T
    voltage = np.exp(own["voltage"])

    stretch = np.where(waves.QRS, np.exp(own["qrs"])[:, None], 1.0)
    stretch *= np.where(waves.T_WAVE | waves.ST, np.exp(0.05 * qt)[:, None], 1.0)
    stretch *= np.where(waves.P_WAVE, np.exp(0.1 * pr)[:, None], 1.0)
    dipole = waves.DIPOLE[label] * (1.0 + 0.15 * z["dipole"])
    dipole *= np.where(waves.T_WAVE, np.exp(own["t_wave"])[:, None], 1.0)[..., None]
    dipole += np.where(waves.ST, own["st"][:, None], 0.0)[..., None] * waves.MAIN_AXIS
    return Latents(
        label,
        bpm,
        beats,
        intervals,
        1.0 + 0.03 * height_z,
        stretch,
        voltage[:, None, None] * dipole,
        _turn(np.radians(own["axis"]), 0.2 * flat),
        np.where(fibrillates, voltage * np.exp(0.3 * atria), 0.0)[:, None] * waves.F_WAVE,
        np.concatenate([5.8 + 0.8 * np.clip(speed, -2, 2)[:, None], phases["flutter"]], axis=1),
        np.exp(own["noise"]),
        np.array([0.25, 0.05]) * np.exp(0.3 * z["slow"]),
        phases["phase"],
        np.exp(own["wander"])[:, None, None] * z["wander"],
    )


def _parted(numbers: Array, shapes: dict[str, tuple[int, ...]]) -> tuple[dict[str, Array], int]:
    """(the first columns of numbers [N, M] by name and shape, how many columns that are)."""
    out, at = {}, 0
    for name, shape in shapes.items():
        size = math.prod(shape)
        out[name] = numbers[:, at : at + size].reshape(len(numbers), *shape)
        at += size
    return out, at


def _rate(label: Array, shift: float, uniform: Array) -> Array:
    """Beats a minute [N]: log-normal, cut off where the class ends."""
    median, spread, least, most = RATES[label].T
    middle = np.log(median) + shift
    from scipy.special import ndtr, ndtri  # late: options need not wait for it

    low, high = (ndtr((np.log(end) - middle) / spread) for end in (least, most))
    return np.exp(middle + spread * ndtri(low + (high - low) * uniform))


def _turn(frontal: Array, horizontal: Array) -> Array:
    """Rotations [N, 3, 3] of hearts that lie otherwise: in the frontal plane (positive to the feet), then in the
    horizontal one. Transposed: dipoles are rows."""
    first, second = np.zeros((2, len(frontal), 3, 3))
    c, s = np.cos(frontal), np.sin(frontal)
    first[:, 0, 0], first[:, 0, 1], first[:, 1, 0], first[:, 1, 1], first[:, 2, 2] = c, s, -s, c, 1.0
    c, s = np.cos(horizontal), np.sin(horizontal)
    second[:, 0, 0], second[:, 0, 2], second[:, 2, 0], second[:, 2, 2], second[:, 1, 1] = c, s, -s, c, 1.0
    return first @ second
