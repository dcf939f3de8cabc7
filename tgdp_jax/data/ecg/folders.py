"""Problem `ecg`: the user's databases, or files, of twelve-lead records."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tgdp_jax.data.ecg.cache import converted
from tgdp_jax.data.ecg.databases import open_database
from tgdp_jax.data.ecg.problem import ecg_problem
from tgdp_jax.data.ecg.records import Index, check_length
from tgdp_jax.data.ecg.split import MIN_REST, in_training_folds, split_patients
from tgdp_jax.data.ecg.statements import NOT_STATED, SCHEMES, class_numbers, one_label
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
        statement (PTB-XL's 71). The likeliest statement decides; records that have none, or unknown ones, are left out,
        and counted. Text under `y` of a .npz file is matched with the names of these classes, numbers with their order.
      conditional: models see the label.
      seconds: length that records are cut or padded to.
      rate: samples a second that records are brought to.
      drop_bad: leave out records that are damaged, or have leads that are flat, missing, not finite or too large, or
        that break the relations between the twelve, instead of refusing them.
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

    def digests(self, which: np.ndarray) -> list[bytes]:
        return [hashlib.sha256(self.x[row].tobytes()).digest() for row in self.rows[which]]


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
    if spare is not None:
        seen = set(source.digests(trains))
        new = np.array([digest not in seen for digest in target.digests(spare)])
        if not new.all():
            notes.append(f"target: {int((~new).sum())} records to judge by that copy a source record are left out")
        spare = spare[new] if new.sum() >= MIN_REST else None
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
    y, notes = _labels(index, config, path)
    rows = converted(index, rate=config.rate, seconds=config.seconds)
    if rows.bad and not config.drop_bad:
        first = next(iter(rows.bad.values()))
        raise UserError(
            f"{len(rows.bad)} of {len(index)} records of {path} can not be used; the first: "
            f"{first.rpartition(': ')[0]}; give --drop-bad to leave them out"
        )
    usable = np.ones(len(index), bool)
    unknown = f"with unknown diagnoses (first: {next(iter(index.foreign.values()), '')})"
    left_out = (rows.bad, "with bad leads"), (rows.copies, "that copy another record"), (index.foreign, unknown)
    for numbers, why in left_out:
        if numbers:
            usable[list(numbers)] = False
            notes.append(f"{len(numbers)} of {len(index)} records {why} are left out")
    blank = [] if y is None else [number for number in np.flatnonzero(y < 0) if number not in index.foreign]
    if blank:
        usable[blank] = False
        notes.append(f"{len(blank)} of {len(index)} records without a {config.labels} label are left out")
    kept = np.flatnonzero(usable)
    return _Records(rows.x, kept, None if y is None else y[kept], index.patients[kept], index.folds[kept], tuple(notes))


def _labels(index: Index, config: EcgConfig, path: Path) -> tuple[np.ndarray | None, list[str]]:
    """Labels of one database, and what is to be said of them.

    Returns:
      (labels [N], -1 for none; None for a file without labels, or with unknown ones that nobody asked for. Notes)

    Raises:
      UserError: conditional, and no labels, or unknown ones.
    """
    if index.labels is None and not (index.likelihood == NOT_STATED).all():
        return one_label(index.likelihood, config.labels), []
    classes = list(SCHEMES[config.labels])
    if index.labels is not None and index.labels.dtype.kind == "U" and index.labels.shape == (len(index),):
        y, unknown = class_numbers(index.labels.tolist(), config.labels)
        said = f"{len(unknown)} of {len(index)} records have labels that --labels {config.labels} does not have"
        if not unknown:
            known = [classes[i] for i in np.unique(y[y >= 0])]
            return y, [f"labels are matched by name with {', '.join(known) or 'no class'}"]
        if config.conditional:
            raise UserError(
                f"{said}, {_some(unknown)}, in {path}: it has {_some(classes)}; rename them, leave them blank or "
                "choose other --labels"
            )
        return None, [f"{said} ({_some(unknown)}): labels are not read"]
    try:
        names = f"the classes of --labels {config.labels}"
        y = check_labels(index.labels, len(index), len(classes), str(path), names)
    except UserError:
        if config.conditional:
            raise
        return None, []
    return y, [f"labels 0, 1, ... are read as {_some(classes)}"] if config.conditional else []


def _some(names: list[str]) -> str:
    """The different names among many, for a message."""
    names = list(dict.fromkeys(names))
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
