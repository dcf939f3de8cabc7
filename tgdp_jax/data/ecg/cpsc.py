"""CPSC 2018 (also ICBEB 2018): records of 6 to 60 s at 500 Hz in nine classes, one to three a record.

Liu, Liu, Zhao, Zhang, Wu, Xu, Liu, Ma, Wei, He, Li and Ng (2018), "An open access database for evaluating the
algorithms of electrocardiogram rhythm and morphology abnormality detection", Journal of Medical Imaging and Health
Informatics 8:1368.

It comes in two forms: as published (http://2018.icbeb.org/Challenge.html: A0001.mat and so on, with REFERENCE.csv) and
as WFDB records with SNOMED codes in the PhysioNet/CinC Challenge 2020 (https://physionet.org/content/challenge-2020/).
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from tgdp_jax.data.ecg.leads import TWELVE
from tgdp_jax.data.ecg.records import BadRecord, Index, Signal
from tgdp_jax.data.ecg.statements import UnknownStatement, all_likelihoods, likelihoods
from tgdp_jax.data.ecg.tables import read_table
from tgdp_jax.data.ecg.wfdb_files import header_file, read_header, read_wfdb, signal_files
from tgdp_jax.data.files import check_regular_file
from tgdp_jax.errors import UserError

RATE = 500
_MAX_BYTES = 100_000_000
REFERENCE = "REFERENCE.csv"
# Number in REFERENCE.csv, SNOMED code, and PTB-XL's statement: normal, atrial fibrillation, first degree AV block, left
# and right bundle branch block, premature atrial and ventricular contraction, ST depression and elevation.
_CLASSES = (
    ("1", "426783006", "NORM"),
    ("2", "164889003", "AFIB"),
    ("3", "270492004", "1AVB"),
    ("4", "164909002", "CLBBB"),
    ("5", "59118001", "CRBBB"),
    ("6", "284470004", "PAC"),
    ("7", "164884008", "PVC"),
    ("8", "429622005", "STD_"),
    ("9", "164931005", "STE_"),
)
NUMBERED = {number: statement for number, _, statement in _CLASSES}
SNOMED = {code: statement for _, code, statement in _CLASSES}


def index(folder: Path) -> Index:
    """Records of the folder in either form, each of a patient of its own.

    Raises:
      UserError: a record is missing or damaged, or none has a known class.
    """
    headers = sorted(folder.rglob("*.hea"))
    return _challenge(folder, headers) if headers else _published(folder)


def _statements(codes: list[str], known: dict[str, str], what: str) -> np.ndarray:
    new = [code for code in codes if code not in known]
    if new or not codes:
        raise UnknownStatement(f"{what} has {f'the unknown class {new[0]!r}' if new else 'no class'}")
    return likelihoods({known[code]: 100.0 for code in codes}, what)


def _published(folder: Path) -> Index:
    table = next(iter(sorted(folder.rglob(REFERENCE))))
    rows = [row for row in read_table(table)[1:] if row]
    paths = {path.stem: path for path in sorted(folder.rglob("*.mat"))}
    missing = [row[0] for row in rows if row[0] not in paths]
    if missing or not rows:
        raise UserError(f"{folder} lacks {missing[0] if missing else 'any record'}.mat, which {table} names: copy it")
    names = tuple(row[0] for row in rows)
    likelihood, foreign = all_likelihoods(
        lambda row: _statements([c.strip() for c in row[1:] if c.strip()], NUMBERED, f"{REFERENCE}, {row[0]}"),
        rows,
        str(table),
    )

    def read(number: int) -> Signal:
        return Signal(_matlab(paths[names[number]]), RATE, TWELVE)

    files = {REFERENCE: table} | {f"{name}.mat": paths[name] for name in names}
    return Index(names, likelihood, np.array(names), np.zeros(len(names), int), read, files, foreign=foreign)


def _matlab(path: Path) -> np.ndarray:
    """Leads [T, 12] in mV of a file that holds the struct ECG.

    Raises:
      UserError: it is no regular file.
      BadRecord: it does not.
    """
    from scipy.io import loadmat  # late: few runs read such files

    if check_regular_file(path) > _MAX_BYTES:
        raise BadRecord(f"{path} is too large for a record of a minute: copy it anew")
    try:
        # From memory, which has no more to give than it holds: of a file SciPy reserves what a damaged header asks for.
        content = io.BytesIO(path.read_bytes())
        data = np.asarray(loadmat(content, variable_names=["ECG"])["ECG"][0, 0]["data"])
    except Exception as error:  # of a damaged file, whatever its numbers lead to
        reason = str(error) or type(error).__name__
        raise BadRecord(f"{path} can not be read as a record of CPSC 2018 ({reason}): copy it anew") from error
    if data.ndim != 2 or data.shape[0] != len(TWELVE) or data.dtype.kind not in "fiu":
        raise BadRecord(f"{path} has {data.dtype} of shape {data.shape} and not numbers of 12 leads: copy it anew")
    return data.T.astype(np.float64)


def _challenge(folder: Path, headers: list[Path]) -> Index:
    names = tuple(str(path.relative_to(folder).with_suffix("")) for path in headers)

    def stated(path: Path) -> np.ndarray:
        comments = read_header(path.with_suffix("")).comments
        codes = ",".join(line.split(":", 1)[1] for line in comments if line.lower().startswith("dx:"))
        return _statements([code.strip() for code in codes.split(",") if code.strip()], SNOMED, str(path))

    likelihood, foreign = all_likelihoods(stated, headers, str(folder))

    def read(number: int) -> Signal:
        return read_wfdb(folder / names[number], database="CPSC 2018", rate=RATE)

    return Index(
        names,
        likelihood,
        np.array(names),
        np.zeros(len(names), int),
        read,
        {f"{name}.hea": header_file(folder / name) for name in names},
        signal_files(folder, names),
        foreign=foreign,
    )
