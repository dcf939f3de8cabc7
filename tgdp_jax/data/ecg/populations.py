"""Whom the simulator draws: classes of records, and two hospitals that see them differently.

A record is a function of a few latent numbers (class, rate, axis, voltage, noise, ...). Source and target differ in the
distribution of these alone, and each of them can take all values on both sides: the density ratio of records exists,
and by the data-processing inequality diverges no more than that of the latents.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

CLASSES = ("sinus rhythm", "bradycardia", "tachycardia", "left bundle branch block", "atrial fibrillation")
SINUS, BRADY, TACHY, LBBB, AFIB = range(len(CLASSES))

# Heart rate in beats a minute by class: median, standard deviation of its logarithm, least and greatest. Bradycardia
# and tachycardia are rates below 60 and above 100 by definition.
RATES = np.array(
    [
        [72.0, 0.13, 60.0, 98.0],
        [50.0, 0.10, 38.0, 59.0],
        [122.0, 0.11, 102.0, 170.0],
        [74.0, 0.15, 60.0, 98.0],
        [92.0, 0.20, 62.0, 140.0],
    ]
)


class Population(NamedTuple):
    """Means of the latents of a population; spreads are common (`SPREAD`).

    Attributes:
      shares: of the classes.
      rate: factor on the median heart rate.
      axis: degrees by which the electrical axis is turned in the frontal plane, positive to the feet.
      voltage: factor on all amplitudes.
      t_wave: factor on the T wave.
      st: elevation of the ST segment along the main vector, mV.
      qrs: factor on the duration of the QRS complex.
      noise: white noise of an electrode, mV (median).
      wander: baseline wander of an electrode, mV (median).
    """

    shares: tuple[float, ...]
    rate: float
    axis: float
    voltage: float
    t_wave: float
    st: float
    qrs: float
    noise: float
    wander: float


# Standard deviations: of logarithms but for axis (degrees) and st (mV). Axis of the horizontal plane, and PR and QT
# intervals, have one mean for all.
SPREAD = Population(
    (), rate=0.0, axis=18.0, voltage=0.22, t_wave=0.28, st=0.035, qrs=0.07, noise=0.5, wander=0.6
)  # the rate's stand in RATES

SOURCE = Population(
    (0.45, 0.15, 0.15, 0.10, 0.15),
    rate=1.0,
    axis=0.0,
    voltage=1.0,
    t_wave=1.0,
    st=0.0,
    qrs=1.0,
    noise=0.010,
    wander=0.05,
)
# Older and sicker, recorded with worse electrodes: faster, axis to the left, low voltage, flat T waves, depressed ST.
TARGET = Population(
    (0.25, 0.10, 0.20, 0.20, 0.25),
    rate=1.08,
    axis=-25.0,
    voltage=0.8,
    t_wave=0.7,
    st=-0.03,
    qrs=1.06,
    noise=0.018,
    wander=0.09,
)


def means(population: Population) -> dict[str, float]:
    """Means of the latents on the scale on which they are normal: logarithms but for axis and st."""
    plain = ("axis", "st")
    numbers = {name: value for name, value in population._asdict().items() if name != "shares"}
    return {name: value if name in plain else math.log(value) for name, value in numbers.items()}
