"""The twelve leads: eight of them are independent, the other four follow exactly.

The limb leads are differences of three electrodes, I = L - R, II = F - R and III = F - L, so that (Einthoven 1913)

    III = II - I,

and Goldberger's augmented leads (1942) are each limb electrode against the mean of the two others:

    aVR = -(I + II) / 2,    aVL = I - II / 2,    aVF = II - I / 2.

Models see I, II, V1..V6 in this order; the twelve are restored for eyes and files.

The relations are also a check. Twelve leads in another order, or in unlike units, break them by a few tenths of a mV;
700 records of PTB-XL and LUDB keep them to 0.0006 mV.
"""

from __future__ import annotations

import itertools

import numpy as np

from tgdp_jax.errors import UserError

LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
TWELVE = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

MAX_BREACH = 0.02  # mV: what breaks the relations by more are not the twelve leads

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
      UserError: one of the eight is missing, or there twice.
    """
    return x[..., _places(names, LEADS, what)]


def all_twelve(x: np.ndarray, names: tuple[str, ...] | list[str]) -> np.ndarray | None:
    """The twelve leads [..., 12] among those named, in the order of `TWELVE`; None where they are not all there."""
    try:
        return x[..., _places(names, TWELVE, "record")]
    except UserError:
        return None


def _places(names: tuple[str, ...] | list[str], wanted: tuple[str, ...], what: str) -> list[int]:
    known = [name.strip().lower() for name in names]
    for count, fault in ((0, "lacks lead"), (2, "has several leads named")):
        found = [lead for lead in wanted if min(known.count(lead.lower()), 2) == count]
        if found:
            raise UserError(
                f"{what} {fault} {', '.join(found)} (it has {', '.join(names) or 'none'}): take records with leads "
                "I, II and V1 to V6"
            )
    return [known.index(lead.lower()) for lead in wanted]


def residual(x: np.ndarray) -> float:
    """Root mean square of what twelve recorded leads [..., 12] break Einthoven's and Goldberger's relations by."""
    wanted = eight(x, TWELVE, "record").astype(np.float64) @ RESTORE[2:6].T
    return float(np.sqrt(np.mean((x[..., 2:6] - wanted) ** 2)))


def breach(x: np.ndarray) -> np.ndarray:
    """By how much each record [..., T, 12] breaks the relations, root mean square in the unit of x [...].

    The mean of each lead is put aside: electrodes and filters shift leads against one another, which does no harm.
    """
    off = x[..., 2:6] - eight(x, TWELVE, "record").astype(np.float64) @ RESTORE[2:6].T
    return np.sqrt(off.var(axis=-2).mean(-1))


def likely_order(x: np.ndarray) -> tuple[str, ...] | None:
    """The names of twelve leads in an unknown order that keep the relations; None where no order does.

    No two orders of the limb leads keep them. The chest leads are bound by nothing: theirs is assumed to be V1 to V6.

    Args:
      x: records [N, T, 12] in mV.
    """
    x = x - x.mean(1, keepdims=True)
    both = np.einsum("ntl,ntk->nlk", x, x) / x.shape[1]
    own = np.einsum("nll->nl", both)[:, None]
    weights = RESTORE[2:6, :2]
    best, places = np.inf, None
    for pair in itertools.permutations(range(12), 2):
        pair = list(pair)
        # Variance of what the relation makes of the pair, less the lead: [N, 4 relations, 12 leads].
        made = np.einsum("ri,nij,rj->nr", weights, both[:, pair][:, :, pair], weights)[..., None]
        off = np.median(made - 2 * weights @ both[:, pair] + own, axis=0)
        limbs = [*pair, *off.argmin(1).tolist()]
        if len(set(limbs)) == 6 and off.min(1).mean() < best:
            best, places = off.min(1).mean(), limbs
    if places is None or not best <= MAX_BREACH**2:
        return None
    chest = [i for i in range(12) if i not in places]
    names = dict(zip([*places, *chest], TWELVE, strict=True))
    return tuple(names[i] for i in range(12))
