"""LUDB as published: 200 records of 10 s at 500 Hz, with the cardiologist's findings in the headers' comments.

Kalyakulina, Yusipov, Moskalenko, Nikolskiy, Kosonogov, Osipov, Zolotykh and Ivanchenko (2020), "LUDB: a new open-access
validation tool for electrocardiogram delineation algorithms", IEEE Access 8:186181; https://physionet.org/content/ludb/.

The gains in the headers are not what the numbers were recorded with: they scale every lead of every record to the range
of 16 bits when written, so that values divided by them break Einthoven's law grossly. The stored integers keep it to
the bit and are microvolts; they are what is read here.

Findings are matched to PTB-XL's statements where it has them. A record of which nothing is found but a sinus rhythm and
the electrical axis is NORM. "Undefined ischemia/scar/supp. NSTEMI" leaves open what it is and counts as ischemic ST-T
changes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tgdp_jax.data.ecg.records import Index, Signal
from tgdp_jax.data.ecg.statements import UnknownStatement, all_likelihoods, likelihoods
from tgdp_jax.data.ecg.tables import read_text
from tgdp_jax.data.ecg.wfdb_files import header_file, read_header, read_wfdb, signal_files
from tgdp_jax.errors import UserError

RATE = 500
RECORDS = "RECORDS"
_MICROVOLTS = 1000.0  # stored numbers a mV

SINUS = {
    "rhythm: sinus rhythm": "SR",
    "rhythm: sinus bradycardia": "SBRAD",
    "rhythm: sinus tachycardia": "STACH",
    "rhythm: sinus arrhythmia": "SARRH",
    "rhythm: irregular sinus rhythm": "SARRH",
}
# Beginning of a finding, in lower case, to a statement, or to none where PTB-XL has no counterpart. The first that
# fits.
FINDINGS = SINUS | {
    "rhythm: atrial fibrillation": "AFIB",
    "rhythm: atrial flutter": "AFLT",
    "wandering atrial pacemaker": None,
    "aberrant conduction": None,
    "electric axis of the heart": None,
    "sinoatrial blockade": None,
    "i degree av": "1AVB",
    "iii degree av": "3AVB",
    "incomplete right bundle": "IRBBB",
    "complete right bundle": "CRBBB",
    "incomplete left bundle": "ILBBB",
    "complete left bundle": "CLBBB",
    "left anterior hemiblock": "LAFB",
    "non-specific intravintricular": "IVCD",
    "atrial extrasystole": "PAC",
    "ventricular extrasystole": "PVC",
    "left ventricular hypertrophy": "LVH",
    "right ventricular hypertrophy": "RVH",
    "left ventricular overload": None,
    "left atrial": "LAO/LAE",
    "right atrial": "RAO/RAE",
    "unipolar": "PACE",
    "bipolar": "PACE",
    "biventricular": "PACE",
    "p-synchrony": "PACE",
    "pacemaker presence": "PACE",
    "stemi: lateral": "LMI",
    "stemi: septal": "ASMI",
    "stemi: inferior": "IMI",
    "stemi": "AMI",
    "scar formation: lateral": "LMI",
    "scar formation: septal": "ASMI",
    "scar formation: inferior": "IMI",
    "scar formation: posterior": "PMI",
    "scar formation": "AMI",
    "ischemia: anterior": "ISCAN",
    "ischemia: lateral": "ISCLA",
    "ischemia: septal": "ISCAS",
    "ischemia: inferior": "ISCIN",
    "ischemia": "ISC_",
    "undefined ischemia": "ISC_",
    "non-specific repolarization": "NST_",
    "early repolarization": None,
}
_NO_FINDING = ("rhythm:", "electric axis")


def statements(comments: list[str], what: str) -> np.ndarray:
    """Likelihoods [71] of the findings in a header's comments, 100 where found.

    Raises:
      UnknownStatement: a finding that LUDB 1.0.1 does not have.
    """
    lines = [line.strip().lower() for line in comments if line.strip() and not line.strip().startswith("<")]
    found = {}
    for line in lines:
        key = next((key for key in FINDINGS if line.startswith(key)), None)
        if key is None:
            raise UnknownStatement(f"{what} has the unknown finding {line!r}")
        if FINDINGS[key] is not None:
            found[FINDINGS[key]] = 100.0
    plain = all(line.startswith(_NO_FINDING) for line in lines)
    if plain and any(line.rstrip(". ") in SINUS for line in lines):
        found["NORM"] = 100.0
    return likelihoods(found, what)


def index(folder: Path) -> Index:
    """Records of the published folder, each of a patient of its own.

    Raises:
      UserError: a record is missing or damaged, or none has known findings.
    """
    names = tuple(read_text(folder / RECORDS).split())
    if not names:
        raise UserError(f"{folder / RECORDS} is empty: copy LUDB anew")

    def read(number: int) -> Signal:
        return read_wfdb(folder / names[number], database="LUDB", rate=RATE, per_mv=_MICROVOLTS)

    likelihood, foreign = all_likelihoods(
        lambda name: statements(read_header(folder / name).comments, f"{name}.hea"), names, str(folder)
    )
    return Index(
        names,
        likelihood,
        np.array(names),
        np.zeros(len(names), int),
        read,
        {RECORDS: folder / RECORDS} | {f"{name}.hea": header_file(folder / name) for name in names},
        signal_files(folder, names),
        foreign=foreign,
    )
