"""Problem `ecg`: the user's databases, or files, of twelve-lead records."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tgdp_jax.data.ecg.cache import converted
from tgdp_jax.data.ecg.databases import open_database
from tgdp_jax.data.ecg.problem import ecg_problem
from tgdp_jax.data.ecg.records import Index, check_length
from tgdp_jax.data.ecg.split import in_training_folds, split_patients
from tgdp_jax.data.ecg.statements import NOT_STATED, SCHEMES, one_label
from tgdp_jax.data.problem import Data, Problem, check_labels
from tgdp_jax.errors import UserError, choose

# Rows to judge by: metrics compare every pair.
MAX_REFERENCE = 2000


@dataclasses.dataclass(frozen=True, kw_only=True)
class EcgConfig:
    """Your own ECGs: PTB-XL, CPSC 2018 or LUDB as published, or .npz files (x [N, T, 8 or 12] in mV).

    Attributes:
      source: folder or file of source records; of PTB-XL, folds 1 to 8 are used.
      target: the same of the target. No patient is both learned from and judged by; of PTB-XL, folds 9 and 10 judge.
      labels: what one label a record says: superclass (PTB-XL's five), cpsc (the nine of CPSC 2018), rhythm, or
        statement (PTB-XL's 71). The likeliest statement decides; records that have none are left out, and counted.
      conditional: models see the label.
      seconds: length that records are cut or padded to.
      rate: samples a second that records are brought to.
      drop_bad: leave out records with flat, missing or not finite leads instead of refusing them.
    """

    source: Path
    target: Path
    labels: str = "superclass"
    conditional: bool = False
    seconds: float = 10.0
    rate: int = 100
    drop_bad: bool = False

    def __post_init__(self):
        choose("label scheme", self.labels, SCHEMES)
        check_length(self.seconds, self.rate)


def data_files(config: EcgConfig) -> dict[str, Mapping[str, Path]]:
    """The files that fix the data, by option and by a name that does not depend on where they lie."""
    paths = {"source": config.source, "target": config.target}
    return {name: open_database(path, rate=config.rate).files for name, path in paths.items()}


@dataclasses.dataclass(frozen=True)
class _Records:
    """The records of one database that can be used: rows on disk, and which of them."""

    x: np.ndarray
    rows: np.ndarray
    y: np.ndarray | None
    patients: np.ndarray
    folds: np.ndarray
    notes: tuple[str, ...]

    def take(self, which: np.ndarray) -> Data:
        return Data(np.asarray(self.x)[self.rows[which]], None if self.y is None else self.y[which])


def load(config: EcgConfig, *, n_target: int | None, seed: int, source_seed: int | None = None) -> Problem:
    """Reads (once, see `cache`), labels, splits by patient and scales; only rows that are used are in memory.

    Labels stay with the rows for judging where models do not see them.

    Raises:
      UserError: see `open_database` and `to_row`; also too few records.
    """
    source, target = (_records(path, config) for path in (config.source, config.target))
    trains = np.flatnonzero(in_training_folds(source.folds))
    for found, name, least in ((len(trains), "source", 100), (len(target.rows), "target", 2)):
        if found < least:
            raise UserError(f"the {name} has {found} usable records: at least {least} are needed")
    kept_back = len(source.rows) - len(trains)
    learned, spare = split_patients(target.patients, target.folds, n_target, seed=seed)
    notes = [f"source: {note}" for note in source.notes] + [f"target: {note}" for note in target.notes]
    if kept_back:
        notes.append(f"source: {kept_back} records of folds 9 and 10 are left for test")
    return ecg_problem(
        "ecg",
        source.take(trains),
        target.take(learned),
        None if spare is None else target.take(spare[:MAX_REFERENCE]),
        classes=tuple(SCHEMES[config.labels]),
        conditional=config.conditional,
        rate=config.rate,
        notes=tuple(notes),
    )


def _records(path: Path, config: EcgConfig) -> _Records:
    index = open_database(path, rate=config.rate)
    y = _labels(index, config, path)
    rows = converted(index, rate=config.rate, seconds=config.seconds)
    if rows.bad and not config.drop_bad:
        first = next(iter(rows.bad.values()))
        raise UserError(
            f"{len(rows.bad)} of {len(index)} records of {path} can not be used; the first: {first.split(':')[0]}; "
            "give --drop-bad to leave them out"
        )
    usable, notes = np.ones(len(index), bool), []
    for numbers, why in ((rows.bad, "with bad leads"), (rows.copies, "that copy another record")):
        if numbers:
            usable[list(numbers)] = False
            notes.append(f"{len(numbers)} of {len(index)} records {why} are left out")
    if y is not None and (y < 0).any():
        usable &= y >= 0
        notes.append(f"{int((y < 0).sum())} of {len(index)} records without a {config.labels} label are left out")
    kept = np.flatnonzero(usable)
    return _Records(rows.x, kept, None if y is None else y[kept], index.patients[kept], index.folds[kept], tuple(notes))


def _labels(index: Index, config: EcgConfig, path: Path) -> np.ndarray | None:
    """Labels [N], -1 for none; None for a file without labels, or with others than are known that nobody asked for."""
    if index.labels is None and not (index.likelihood == NOT_STATED).all():
        return one_label(index.likelihood, config.labels)
    names = f"the classes of --labels {config.labels}"
    try:
        return check_labels(index.labels, len(index), len(SCHEMES[config.labels]), str(path), names)
    except UserError:
        if config.conditional:
            raise
        return None
