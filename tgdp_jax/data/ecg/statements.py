"""What is said of a record: the 71 statements of PTB-XL, and how they become one label.

PTB-XL (Wagner et al. 2020, "PTB-XL, a large publicly available electrocardiography dataset", Scientific Data 7:154)
gives each record any number of SCP-ECG statements with a likelihood in percent, 0 where none was given. 44 of them are
diagnostic and belong to one of five superclasses; the others are of form or rhythm. Other databases are brought to the
same statements, so that source and target speak one language.

Models see one label a record. A scheme is a list of classes, each with its statements; the label of a record is the
class with the likeliest statement, the first in the scheme's order among equals. A record without any of them has no
label.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tgdp_jax.errors import UserError, choose

# Diagnostic statements by superclass: column diagnostic_class of the published scp_statements.csv.
_SUPERCLASSES = {
    "NORM": "NORM",
    "MI": "IMI ASMI ILMI AMI ALMI INJAS LMI INJAL IPLMI IPMI INJIN INJLA PMI INJIL",
    "STTC": "NDT NST_ DIG LNGQT ISC_ ISCAL ISCIN ISCIL ISCAS ISCLA ANEUR EL ISCAN",
    "CD": "LAFB IRBBB 1AVB IVCD CRBBB CLBBB LPFB WPW ILBBB 3AVB 2AVB",
    "HYP": "LVH LAO/LAE RVH RAO/RAE SEHYP",
}
_FORM = "ABQRS PVC STD_ VCLVH QWAVE LOWT NT_ PAC LPR INVT LVOLT HVOLT TAB_ STE_ PRC(S)"
_RHYTHM = "SR AFIB STACH SARRH SBRAD PACE SVARR BIGU AFLT SVTAC PSVT TRIGU"

STATEMENTS = tuple(" ".join([*_SUPERCLASSES.values(), _FORM, _RHYTHM]).split())
SUPERCLASS = {statement: name for name, group in _SUPERCLASSES.items() for statement in group.split()}

Scheme = Mapping[str, tuple[str, ...]]
# Among equally likely classes the graver wins: a finding beside a normal one, a rare rhythm beside sinus rhythm.
SCHEMES: dict[str, Scheme] = {
    "superclass": {name: tuple(_SUPERCLASSES[name].split()) for name in ("MI", "CD", "HYP", "STTC", "NORM")},
    # The nine of CPSC 2018 (Liu et al. 2018).
    "cpsc": {name: (name,) for name in ("AFIB", "CLBBB", "CRBBB", "1AVB", "PVC", "PAC", "STE_", "STD_", "NORM")},
    "rhythm": {
        "AFIB": ("AFIB", "AFLT"),
        "STACH": ("STACH", "SVTAC", "PSVT"),
        "SBRAD": ("SBRAD",),
        "SARRH": ("SARRH",),
        "SR": ("SR",),
    },
    # All 71, each a class of its own.
    "statement": {name: (name,) for name in sorted(STATEMENTS, key=lambda name: name in ("NORM", "SR"))},
}

NOT_STATED = -1.0
_COLUMN = {statement: i for i, statement in enumerate(STATEMENTS)}


def likelihoods(found: Mapping[str, float], what: str) -> np.ndarray:
    """Likelihood in percent of each of `STATEMENTS`, `NOT_STATED` where it is not made. float32 [71].

    Args:
      found: statement -> likelihood.
      what: whose they are, for the message.

    Raises:
      UserError: a statement that PTB-XL does not know.
    """
    out = np.full(len(STATEMENTS), NOT_STATED, np.float32)
    for name, likelihood in found.items():
        if name not in _COLUMN:
            raise UserError(
                f"{what} has the statement {name!r}, which is none of PTB-XL's 71: correct it, or leave it out"
            )
        out[_COLUMN[name]] = likelihood
    return out


def multi_hot(likelihood: np.ndarray) -> np.ndarray:
    """Which of `STATEMENTS` are made, at whatever likelihood; float32 [N, 71], from likelihoods [N, 71]."""
    return (likelihood != NOT_STATED).astype(np.float32)


def one_label(likelihood: np.ndarray, scheme: str) -> np.ndarray:
    """One class a record, int32 [N], from likelihoods [N, 71]; -1 where the scheme has none for it.

    Raises:
      UserError: unknown scheme.
    """
    choose("label scheme", scheme, SCHEMES)
    classes = [[_COLUMN[statement] for statement in group] for group in SCHEMES[scheme].values()]
    best = np.stack([likelihood[:, columns].max(1) for columns in classes], axis=1)
    return np.where(best.max(1) == NOT_STATED, -1, best.argmax(1)).astype(np.int32)
