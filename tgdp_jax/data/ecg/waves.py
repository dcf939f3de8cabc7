"""The heart's electric dipole over one beat, as a sum of Gaussians.

McSharry, Clifford, Tarassenko and Smith (2003), "A dynamical model for generating synthetic electrocardiogram signals",
IEEE Trans. Biomed. Eng. 50:289, move a point round a circle, once a beat; near the angles of P, Q, R, S and T it is
pushed up and down, in closed form by one Gaussian a wave in the beat's phase. Sameni, Clifford, Jutten and Shamsollahi
(2007), "Multichannel ECG and noise modeling", EURASIP J. Adv. Signal Process., do so in the three axes of a dipole,
which a matrix projects to leads. Here phase is counted in seconds from the R peak, and a wave that moves with the rate
does so by a power of the RR interval (Bazett's square root for T; none for the QRS complex, whose duration does not
depend on the rate).
"""

from __future__ import annotations

import numpy as np

from tgdp_jax.data.ecg.populations import AFIB, CLASSES, LBBB

# Waves of a beat: centre and width (standard deviation) in seconds at 60 beats a minute, the power of the RR interval
# that both go by, and the dipole in mV along x (left), y (feet), z (back).
_NORMAL = {
    "P": (-0.160, 0.022, 0.25, (0.09, 0.12, -0.01)),
    "Q": (-0.028, 0.009, 0.0, (-0.15, -0.08, -0.26)),
    "R": (0.000, 0.012, 0.0, (1.25, 0.80, 0.30)),
    "R'": (0.040, 0.012, 0.0, (0.0, 0.0, 0.0)),
    "S": (0.030, 0.012, 0.0, (-0.30, -0.12, 0.60)),
    "ST": (0.140, 0.050, 0.5, (0.0, 0.0, 0.0)),
    "T1": (0.250, 0.052, 0.5, (0.17, 0.11, -0.11)),
    "T2": (0.295, 0.032, 0.5, (0.19, 0.12, -0.13)),
}
# The left ventricle is reached late and slowly, from the right: no septal Q, a broad notched R to the left and back,
# the T wave against it.
_LBBB = _NORMAL | {
    "Q": (-0.050, 0.014, 0.0, (0.10, 0.05, 0.02)),
    "R": (0.005, 0.021, 0.0, (0.85, 0.45, 0.45)),
    "R'": (0.056, 0.022, 0.0, (0.85, 0.20, 0.85)),
    "S": (0.030, 0.012, 0.0, (0.0, 0.0, 0.0)),
    "ST": (0.160, 0.050, 0.5, (-0.10, -0.03, -0.15)),
    "T1": (0.290, 0.055, 0.5, (-0.20, -0.05, -0.16)),
    "T2": (0.335, 0.035, 0.5, (-0.16, -0.05, -0.14)),
}
_AFIB = _NORMAL | {"P": (-0.160, 0.022, 0.25, (0.0, 0.0, 0.0))}

WAVES = tuple(_NORMAL)
_BY_CLASS = [{LBBB: _LBBB, AFIB: _AFIB}.get(label, _NORMAL) for label in range(len(CLASSES))]
# [class, wave] and [class, wave, axis].
CENTRE, WIDTH, POWER = (np.array([[wave[i] for wave in waves.values()] for waves in _BY_CLASS]) for i in range(3))
DIPOLE = np.array([[wave[3] for wave in waves.values()] for waves in _BY_CLASS])

QRS = np.array([wave in ("Q", "R", "R'", "S") for wave in WAVES])
T_WAVE = np.array([wave in ("T1", "T2") for wave in WAVES])
ST = np.array([wave == "ST" for wave in WAVES])
P_WAVE = np.array([wave == "P" for wave in WAVES])

# Fibrillating atria: many small waves a second, seen best in V1.
F_WAVE = np.array([-0.03, 0.03, -0.04])
# Direction of the R wave, along which an ST segment is raised or depressed.
MAIN_AXIS = np.array([1.0, 0.6, -0.2])
