"""The user's own data: two .npz files with key `x` [N, *D] and, for conditional runs, labels `y` [N]."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tgdp_jax.data.copies import copy_groups, copy_notes, judging_notes
from tgdp_jax.data.labels import LabelFile, Matched, match_labels
from tgdp_jax.data.npz import BROKEN_NPZ as BROKEN_NPZ
from tgdp_jax.data.npz import npz_names, read_npz
from tgdp_jax.data.problem import Data, Problem, check_rows, split_target
from tgdp_jax.data.standardise import Standardised
from tgdp_jax.errors import UserError

# What rows in memory are called in sentences.
NAMES = {"source": "the source", "target": "the target", "reference": "the reference"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArraysConfig:
    """Your own data, from .npz files.

    Attributes:
      source: file with source rows under key `x` [N, *D], labels under `y` [N]: integers, or names.
      target: file with target rows, the same keys and row shape.
      reference: file with further target rows, used only to judge samples. Default: rows of `target` beyond n-target;
        when n-target is not given either, a fifth of `target` is held back.
      conditional: models see the labels.
    """

    source: Path
    target: Path
    reference: Path | None = None
    conditional: bool = False


def read_rows(path: Path) -> Data:
    """Rows of one file, checked but not scaled; labels as they are in the file.

    Raises:
      UserError: the file is missing, not an .npz, holds Python objects, lacks `x`, or holds bad values.
    """
    how = "save rows with numpy.savez(path, x=...)"
    arrays = read_npz(path, ("x", "y"), how)
    if "x" not in arrays:
        raise UserError(f"{path} holds {', '.join(npz_names(path, how)) or 'nothing'} but no array 'x': {how}")
    return Data(check_rows(arrays["x"], str(path)), arrays.get("y"))


def check_pair(source: Data, other: Data, name: str = "target") -> None:
    """Raises:
    UserError: source and target (or reference) rows differ in shape, or one of them is too small."""
    if source.x.shape[1:] != other.x.shape[1:]:
        raise UserError(
            f"source rows have shape {source.x.shape[1:]} but {name} rows {other.x.shape[1:]}: both must agree"
        )
    for data, what, least in ((source, "source", 100), (other, name, 2)):
        if len(data) < least:
            raise UserError(f"the {what} has {len(data)} row{'s' * (len(data) != 1)}: at least {least} are needed")


def load(config: ArraysConfig, *, n_target: int | None, seed: int, source_seed: int | None = None) -> Problem:
    """Reads, checks and standardises; which target rows are learned from depends on (file, n_target, seed) alone.

    Raises:
      UserError: see `read_rows`; also shapes or labels that do not match, too few rows, or rows that can not be
        standardised.
    """
    paths = {"source": config.source, "target": config.target}
    if config.reference is not None:
        paths["reference"] = config.reference
    files = {name: read_rows(path) for name, path in paths.items()}
    names = {name: str(path) for name, path in paths.items()}
    return rows_problem(files, n_target=n_target, seed=seed, conditional=config.conditional, names=names)


def rows_in_memory(rows: Any, what: str) -> Data:
    """Rows [N, *D], or {"x": rows, "y": labels [N]}, checked but not scaled.

    Raises:
      UserError: bad values, or a dict without rows.
    """
    given = rows if isinstance(rows, Mapping) else {"x": rows}
    if "x" not in given:
        raise UserError(f"{what} has no rows under 'x': pass rows, or {{'x': rows, 'y': labels}}")
    y = given.get("y")
    return Data(check_rows(np.asarray(given["x"]), what), None if y is None else np.asarray(y))


def rows_problem(
    files: Mapping[str, Data],
    *,
    n_target: int | None,
    seed: int,
    conditional: bool,
    names: Mapping[str, str] = NAMES,
    all_to_learn: bool = False,
) -> Problem:
    """Checks, matches labels, standardises and splits.

    Args:
      files: "source", "target" and perhaps "reference" to rows.
      n_target: target rows to learn from.
      seed: of the split.
      conditional: models see the labels.
      names: what each is called in sentences.
      all_to_learn: judge nothing: all target rows are learned from where n_target is None.

    Raises:
      UserError: shapes or labels that do not match, too few rows, or rows that can not be standardised.
    """
    for name in [name for name in files if name != "source"]:
        check_pair(files["source"], files[name], name)
    # Labels that nobody asked for are not looked at, whatever they are.
    labels = Matched((), {}, ())
    if conditional:
        given = {name: LabelFile(data.y, len(data), names[name]) for name, data in files.items()}
        labels = match_labels(given, required=True)
    standardised = Standardised(files["source"].x)
    scaled = {name: Data(standardised(data.x, names[name]), labels.y.get(name)) for name, data in files.items()}
    source, pool, reference = scaled["source"], scaled["target"], scaled.get("reference")
    groups = copy_groups(pool.x)
    notes = [
        *labels.notes,
        *standardised.notes,
        *copy_notes(groups, "rows", split=reference is None and not all_to_learn),
    ]
    learned, spare = split_target(groups, n_target, all_to_learn=all_to_learn or reference is not None, seed=seed)
    target, reference = pool.take(learned), reference if spare is None else pool.take(spare)
    if reference is not None:
        notes += judging_notes(reference.x, "rows", source=source.x, target=target.x)
    return Problem(
        "arrays",
        source,
        target,
        reference,
        num_classes=len(labels.classes),
        scaler=standardised.scaler,
        classes=labels.classes,
        notes=tuple(notes),
    )
