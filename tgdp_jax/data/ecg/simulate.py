"""Simulated records: beats of a `waves` dipole at the times of a `rhythm`, turned, scaled, projected to leads, and
noisy.

Record i depends on (seed, population, i) alone, as its numbers come from a generator of its own. All else is NumPy over
chunks of records: there is nothing to compile, and two thousand records take a second or two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tgdp_jax.data.ecg import waves
from tgdp_jax.data.ecg.latents import Latents, make_latents, num_draws
from tgdp_jax.data.ecg.leads import DOWER
from tgdp_jax.data.ecg.populations import Population

Array = np.ndarray
CHUNK = 32  # records at once: what is computed on the way stays in the processor's cache

# What leads I, II, V1..V6 measure of the noise of electrodes R, L, F and V1..V6: noise is the electrodes' own, and
# keeps to the relations between leads. The chest leads' other pole is Wilson's, the mean of the limbs.
_ELECTRODES = np.zeros((8, 9))
_ELECTRODES[0, :3] = [-1, 1, 0]
_ELECTRODES[1, :3] = [-1, 0, 1]
_ELECTRODES[2:, :3] = -1 / 3
_ELECTRODES[2:, 3:] = np.eye(6)


class Simulated(NamedTuple):
    """Simulated records.

    Attributes:
      x: leads I, II, V1..V6 in mV, float32 [N, T, 8].
      y: class in `populations.CLASSES`, int32 [N].
      bpm: mean heart rate that was asked for, beats a minute [N].
    """

    x: Array
    y: Array
    bpm: Array


def simulate(
    seed: Sequence[int], population: Population, num: int, *, seconds: float = 10.0, rate: int = 100
) -> Simulated:
    """Draws records; the first n of them are the same whatever `num` is.

    Args:
      seed: non-negative integers.
      population: whose.
      num: how many.
      seconds: length of a record.
      rate: samples a second.
    """
    t = np.arange(round(seconds * rate), dtype=np.float32) / np.float32(rate)
    normals, uniforms = num_draws(seconds)
    x = np.empty((num, len(t), len(DOWER)), np.float32)
    y, bpm = np.empty(num, np.int32), np.empty(num)
    for start in range(0, num, CHUNK):
        ids = range(start, min(start + CHUNK, num))
        generators = [np.random.default_rng([*seed, i]) for i in ids]
        normal = np.stack([g.standard_normal(normals) for g in generators])
        uniform = np.stack([g.random(uniforms) for g in generators])
        white = np.stack([g.standard_normal((len(t), 9), np.float32) for g in generators])
        latents = make_latents(normal, uniform, population, seconds)
        part = slice(ids.start, ids.stop)
        x[part], y[part], bpm[part] = _records(latents, white, t), latents.label, latents.bpm
    return Simulated(x, y, bpm)


def _records(latents: Latents, white: Array, t: Array) -> Array:
    """Leads [N, T, 8] in mV at times t [T]."""
    one = Latents(*(part.astype(np.float32) if part.dtype == np.float64 else part for part in latents))
    heart = (_beats(one, t) + _atria(one, t)) @ one.turn @ DOWER.T.astype(np.float32)
    electrodes = one.noise[:, None, None] * white
    for swing in range(one.hertz.shape[1]):
        angle = 2 * math.pi * one.hertz[:, swing, None, None] * t[:, None] + one.phase[:, None, swing]
        electrodes += one.wander[:, None, swing] * np.sin(angle)
    return heart + electrodes @ _ELECTRODES.T.astype(np.float32)


def _beats(one: Latents, t: Array) -> Array:
    """Dipole [N, T, 3] of the last two beats and of the next one."""
    centre, width, power = (
        table.astype(np.float32)[one.label][:, None] for table in (waves.CENTRE, waves.WIDTH, waves.POWER)
    )
    last = np.stack([np.searchsorted(beats, t, side="right") - 1 for beats in one.beats])
    total = np.zeros((*last.shape, 3), np.float32)
    for step in (-1, 0, 1):
        beat = np.clip(last + step, 0, one.beats.shape[1] - 1)
        time, interval, height = (
            np.take_along_axis(part, beat, axis=1) for part in (one.beats, one.intervals, one.heights)
        )
        # A wave's time scale is its stretch times a power of the interval, and few powers occur.
        scale = np.ones((*last.shape, len(waves.WAVES)), np.float32) * one.stretch[:, None]
        for exponent in np.unique(waves.POWER):
            scale *= np.where(power == exponent, (interval ** np.float32(exponent))[..., None], np.float32(1))
        gaussian = np.exp(-0.5 * (((t - time)[..., None] / scale - centre) / width) ** 2)
        total += height[..., None] * (gaussian @ one.dipole)
    return total


def _atria(one: Latents, t: Array) -> Array:
    """Dipole [N, T, 3] of f waves, whose frequency swings a little."""
    hertz, swing, first, second = one.flutter.T[..., None]
    phase = 2 * math.pi * hertz * t + 2.0 * np.sin(2 * math.pi * 0.4 * t + swing)
    return (np.sin(phase + first) + 0.4 * np.sin(2 * phase + second))[..., None] * one.atria[:, None]
