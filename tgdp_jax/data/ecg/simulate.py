"""Simulated records: beats of a `waves` dipole at the times of a `rhythm`, turned, scaled, projected to leads, and
noisy.

Record i depends on (key, population, i) alone: its numbers come from fold_in(key, i), and records are computed in
chunks of one shape.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.data.ecg import waves
from tgdp_jax.data.ecg.latents import Latents, draw_latents
from tgdp_jax.data.ecg.leads import DOWER
from tgdp_jax.data.ecg.populations import Population, means
from tgdp_jax.data.ecg.rhythm import num_beats

Array = jax.Array
CHUNK = 128  # records a launch

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

    x: np.ndarray
    y: np.ndarray
    bpm: np.ndarray


def simulate(
    key: Array, population: Population, num: int, *, seconds: float = 10.0, rate: int = 100, label: int | None = None
) -> Simulated:
    """Draws records; the first n of them are the same whatever `num` is.

    Args:
      key: typed PRNG key.
      population: whose.
      num: how many.
      seconds: length of a record.
      rate: samples a second.
      label: class of all; default drawn from the population's shares.
    """
    shares = population.shares if label is None else tuple(float(i == label) for i in range(len(population.shares)))
    settings = np.array(shares, np.float32), means(population)
    length = round(seconds * rate)
    draw, record = _programs(seconds, rate)
    x = np.empty((num, length, len(DOWER)), np.float32)
    y, bpm = np.empty(num, np.int32), np.empty(num, np.float32)
    for start in range(0, num, CHUNK):
        latents, white = draw(key, np.arange(start, start + CHUNK, dtype=np.uint32), *settings)
        part = slice(start, start + CHUNK)
        rows = len(y[part])
        x[part] = np.asarray(record(latents, white))[:rows]
        y[part], bpm[part] = np.asarray(latents.label)[:rows], np.asarray(latents.bpm)[:rows]
    return Simulated(x, y, bpm)


@functools.lru_cache(maxsize=8)
def _programs(seconds: float, rate: int) -> tuple[Any, Any]:
    """(what is drawn, what becomes of it). Two programs: XLA on a CPU would draw each number again at every sample."""
    times = np.arange(round(seconds * rate), dtype=np.float32) / rate

    def draw(key: Array, shares: Array, numbers: dict[str, Array]) -> tuple[Latents, Array]:
        latent_key, noise_key = jax.random.split(key)
        white = jax.random.normal(noise_key, (len(times), _ELECTRODES.shape[1]))
        return draw_latents(latent_key, shares, numbers, beats=num_beats(seconds)), white

    @jax.jit
    def draw_all(key: Array, ids: Array, shares: Array, numbers: dict[str, Array]) -> tuple[Latents, Array]:
        return jax.vmap(lambda i: draw(jax.random.fold_in(key, i), shares, numbers))(ids)

    @jax.jit
    def record_all(latents: Latents, white: Array) -> Array:
        return jax.vmap(lambda one, noise: _record(one, noise, jnp.asarray(times)))(latents, white)

    return draw_all, record_all


def _record(one: Latents, white: Array, t: Array) -> Array:
    """Leads [T, 8] in mV at times t [T]."""
    heart = (_beats(one, t) + _atria(one, t)) @ one.turn @ jnp.asarray(DOWER.T, jnp.float32)
    swing = jnp.sin(2 * math.pi * one.hertz[:, None] * t[:, None, None] + one.phase)
    electrodes = one.noise * white + jnp.sum(one.wander * swing, axis=1)
    return heart + electrodes @ jnp.asarray(_ELECTRODES.T, jnp.float32)


def _beats(one: Latents, t: Array) -> Array:
    """Dipole [T, 3] of the last two beats and of the next one."""
    centre, width, power = (
        jnp.asarray(table, jnp.float32)[one.label] for table in (waves.CENTRE, waves.WIDTH, waves.POWER)
    )
    last = jnp.sum(t[:, None] >= one.beats, axis=1) - 1
    total = jnp.zeros((len(t), 3))
    for step in (-1, 0, 1):
        beat = jnp.clip(last + step, 0, len(one.beats) - 1)
        scale = one.intervals[beat][:, None] ** power * one.stretch
        gaussian = jnp.exp(-0.5 * (((t - one.beats[beat])[:, None] / scale - centre) / width) ** 2)
        total = total + one.heights[beat][:, None] * (gaussian @ one.dipole)
    return total


def _atria(one: Latents, t: Array) -> Array:
    """Dipole [T, 3] of f waves, whose frequency swings a little."""
    hertz, swing, first, second = one.flutter
    phase = 2 * math.pi * hertz * t + 2.0 * jnp.sin(2 * math.pi * 0.4 * t + swing)
    return (jnp.sin(phase + first) + 0.4 * jnp.sin(2 * phase + second))[:, None] * one.atria
