"""The twelve leads: eight of them are independent, the other four follow exactly.

The limb leads are differences of three electrodes, I = L - R, II = F - R and III = F - L, so that (Einthoven 1913)

    III = II - I,

and Goldberger's augmented leads (1942) are each limb electrode against the mean of the two others:

    aVR = -(I + II) / 2,    aVL = I - II / 2,    aVF = II - I / 2.

Models see I, II, V1..V6 in this order; the twelve are restored for eyes and files.
"""

from __future__ import annotations

import numpy as np

from tgdp_jax.errors import UserError

LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
TWELVE = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

# Rows: what each of the twelve leads takes of I, II, V1..V6.
_LIMB = [[1, 0], [0, 1], [-1, 1], [-0.5, -0.5], [1, -0.5], [-0.5, 1]]
RESTORE = np.zeros((12, 8))
RESTORE[:6, :2] = _LIMB
RESTORE[6:, 2:] = np.eye(6)

# Leads of a cardiac dipole in Frank's axes (x to the left, y to the feet, z to the back): rows I, II, V1..V6 of Dower's
# matrix (Dower, Machado and Osborne 1980, "On deriving the electrocardiogram from vectorcardiographic leads", Clinical
# Cardiology 3:87; its inverse is that of Edenbrandt and Pahlm 1988, Journal of Electrocardiology 21:361).
DOWER = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)


def twelve(x: np.ndarray) -> np.ndarray:
    """Leads [..., 8] as all twelve [..., 12], in the order of `TWELVE` and in the same unit."""
    return x @ RESTORE.T.astype(x.dtype)


def eight(x: np.ndarray, names: tuple[str, ...] | list[str], what: str) -> np.ndarray:
    """The modelled leads [..., 8] among those named.

    Args:
      x: signals [..., L].
      names: of the L leads, upper or lower case.
      what: whose they are, for the message.

    Raises:
      UserError: one of the eight is missing.
    """
    place = {name.strip().lower(): i for i, name in enumerate(names)}
    missing = [lead for lead in LEADS if lead.lower() not in place]
    if missing:
        raise UserError(
            f"{what} lacks lead {', '.join(missing)} (it has {', '.join(names) or 'none'}): take records with leads "
            "I, II and V1 to V6"
        )
    return x[..., [place[lead.lower()] for lead in LEADS]]


def residual(x: np.ndarray) -> float:
    """Root mean square of what twelve recorded leads [..., 12] break Einthoven's and Goldberger's relations by."""
    wanted = eight(x, TWELVE, "record").astype(np.float64) @ RESTORE[2:6].T
    return float(np.sqrt(np.mean((x[..., 2:6] - wanted) ** 2)))
