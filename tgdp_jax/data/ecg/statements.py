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

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tgdp_jax.data.ecg.records import BadRecord
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


class UnknownStatement(UserError):
    """A record of which something is said that is none of the known statements; others can be used."""


def likelihoods(found: Mapping[str, float], what: str) -> np.ndarray:
    """Likelihood in percent of each of `STATEMENTS`, `NOT_STATED` where it is not made. float32 [71].

    Args:
      found: statement -> likelihood.
      what: whose they are, for the message.

    Raises:
      UnknownStatement: a statement that PTB-XL does not know.
      ValueError: a likelihood that is no percentage.
    """
    out = np.full(len(STATEMENTS), NOT_STATED, np.float32)
    for name, likelihood in found.items():
        if name not in _COLUMN:
            raise UnknownStatement(f"{what} has the statement {name!r}, which is none of PTB-XL's 71")
        if not 0 <= likelihood <= 100:
            raise ValueError(f"{what} states {name} at {likelihood} %")
        out[_COLUMN[name]] = likelihood
    return out


def all_likelihoods(
    read: Callable[[Any], np.ndarray], records: Sequence[Any], where: str
) -> tuple[np.ndarray, dict[int, str]]:
    """Likelihoods [N, 71] of all records, and by record number why some have none: something unknown is said of them.

    Damaged records have none either; who reads their samples says so.

    Args:
      read: a record to its likelihoods.
      records: N of them.
      where: they are, for the message.

    Raises:
      UserError: something unknown is said of every record.
    """
    out = np.full((len(records), len(STATEMENTS)), NOT_STATED, np.float32)
    foreign: dict[int, str] = {}
    for number, record in enumerate(records):
        try:
            out[number] = read(record)
        except UnknownStatement as error:
            foreign[number] = str(error)
        except BadRecord:
            continue
    if records and len(foreign) == len(records):
        raise UserError(
            f"{where} has no record whose diagnoses are all known (first: {foreign[0]}): take the database as published"
        )
    return out, foreign


def class_numbers(names: Sequence[str], scheme: str) -> tuple[np.ndarray, list[str]]:
    """Labels int32 [N] of class names in upper or lower case, -1 where blank or unknown; and the unknown names."""
    place = {name.lower(): i for i, name in enumerate(SCHEMES[scheme])}
    clean = [name.strip() for name in names]
    labels = np.array([place.get(name.lower(), -1) for name in clean], np.int32)
    return labels, [name for name in clean if name and name.lower() not in place]


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
