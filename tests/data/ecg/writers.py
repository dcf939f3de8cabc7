"""Small databases written as those published are laid out."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from tgdp_jax.data.ecg.leads import RESTORE, TWELVE

SECONDS = 2


def signals(num: int, *, rate: int, seconds: float = SECONDS, seed: int = 0) -> np.ndarray:
    """Whole microvolts [num, T, 12] that keep to the laws, below 20 Hz: slow sines of a few tenths of a mV."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    hertz, phase = rng.uniform(1, 12, (num, 1, 8)), rng.uniform(0, 6, (num, 1, 8))
    x = 0.3 * np.sin(2 * np.pi * hertz * t[:, None] + phase)
    # Even numbers, so that halves of them are whole.
    return np.round(2 * np.round(500 * x) @ RESTORE.T)


def write_record(
    folder: Path, name: str, microvolts: np.ndarray, *, rate: int, leads=TWELVE, gain=1000.0, unit="mV", comments=()
):
    """One WFDB record of 16 bits; `gain` is what its header says that one of its unit is."""
    wfdb = pytest.importorskip("wfdb", reason="the extra `ecg` is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    wfdb.wrsamp(
        name,
        fs=rate,
        units=[unit] * len(leads) if isinstance(unit, str) else list(unit),
        sig_name=list(leads),
        d_signal=microvolts.astype(int),
        fmt=["16"] * len(leads),
        adc_gain=[gain] * len(leads) if np.isscalar(gain) else list(gain),
        baseline=[0] * len(leads),
        comments=list(comments),
        write_dir=str(folder),
    )


def write_ptbxl(
    folder: Path, codes: list[dict], *, rate: int = 100, patients=None, folds=None, **options
) -> np.ndarray:
    """A PTB-XL of the given statements, one record each; returns its microvolts [N, T, 12]."""
    x = signals(len(codes), rate=rate, **options)
    short, column = {100: ("lr", "filename_lr"), 500: ("hr", "filename_hr")}[rate]
    rows = []
    for i, found in enumerate(codes):
        name = f"{i + 1:05d}"
        write_record(folder / f"records{rate}" / "00000", f"{name}_{short}", x[i], rate=rate, leads=_upper(TWELVE))
        row = {
            "ecg_id": i + 1,
            "patient_id": f"{100 + i if patients is None else patients[i]}.0",
            "scp_codes": str(found),
            "strat_fold": i % 10 + 1 if folds is None else folds[i],
            "filename_lr": f"records100/00000/{name}_lr",
            "filename_hr": f"records500/00000/{name}_hr",
        }
        assert column in row
        rows.append(row)
    with (folder / "ptbxl_database.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return x


def _upper(leads) -> list[str]:
    return [lead.upper() for lead in leads]


def write_ludb(folder: Path, findings: list[list[str]], *, rate: int = 500) -> np.ndarray:
    """A LUDB of the given findings with gains that belie it; returns its microvolts [N, T, 12]."""
    x = signals(len(findings), rate=rate)
    leads = [lead.lower() for lead in TWELVE]
    for i, found in enumerate(findings):
        gain = 700.0 + 100.0 * np.arange(12) + i
        comments = ["<age>: 51", "<sex>: F", "<diagnoses>:", *found]
        write_record(folder / "data", str(i + 1), x[i], rate=rate, leads=leads, gain=gain, comments=comments)
    (folder / "RECORDS").write_text("".join(f"data/{i + 1}\n" for i in range(len(findings))))
    return x


def write_cpsc(folder: Path, classes: list[list[int]], *, seconds: list[float]) -> list[np.ndarray]:
    """A CPSC 2018 as published, of the given classes and lengths; returns its microvolts [T, 12]."""
    (folder / "TrainingSet1").mkdir(parents=True)
    out, lines = [], ["Recording,First_label,Second_label,Third_label"]
    for i, (labels, length) in enumerate(zip(classes, seconds, strict=True)):
        x = signals(1, rate=500, seconds=length, seed=i)[0]
        name = f"A{i + 1:04d}"
        savemat(folder / "TrainingSet1" / f"{name}.mat", {"ECG": {"sex": "Male", "age": 60, "data": x.T / 1000}})
        lines.append(",".join([name, *map(str, labels), *[""] * (3 - len(labels))]))
        out.append(x)
    (folder / "REFERENCE.csv").write_text("\n".join(lines) + "\n")
    return out
