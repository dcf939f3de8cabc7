"""The user's own data: two .npz files with key `x` [N, *D] and, for conditional runs, integer labels `y` [N]."""

from __future__ import annotations

import dataclasses
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from tgdp_jax.data.problem import Data, Problem, Scaler, check_labels, check_rows, count_classes, split_target
from tgdp_jax.errors import UserError

# What numpy lets through when an archive or the header of a member is damaged.
BROKEN_NPZ = (
    *(OSError, ValueError, EOFError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArraysConfig:
    """Your own data, from .npz files.

    Attributes:
      source: file with source rows under key `x` [N, *D], labels under `y` [N].
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
    """Rows of one file, checked but not scaled.

    Raises:
      UserError: the file is missing, not an .npz, pickled, lacks `x`, or holds bad values.
    """
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise UserError(f"{path} is a single array: save it with numpy.savez(path, x=...)")
        with archive:
            # A member that is no array comes back as bytes.
            arrays = {name: archive[name] for name in ("x", "y") if name in archive}
            if not isinstance(arrays.get("x"), np.ndarray):
                names = ", ".join(archive.files) or "nothing"
                raise UserError(f"{path} holds {names} but no array 'x': save rows with numpy.savez(path, x=...)")
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: check the path") from None
    except BROKEN_NPZ as error:
        raise UserError(f"{path} can not be read as .npz ({error}): save it with numpy.savez(path, x=...)") from error
    y = arrays.get("y")
    return Data(check_rows(arrays["x"], str(path)), y if isinstance(y, np.ndarray) else None)


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
      UserError: see `read_rows`; also shapes or labels that do not match, or too few rows.
    """
    source, pool = read_rows(config.source), read_rows(config.target)
    check_pair(source, pool)
    num_classes = 0 if not config.conditional else count_classes(source.y, len(source), str(config.source))

    def labelled(data: Data, path: Path) -> Data:
        # Labels that nobody asked for are not looked at, whatever they are.
        return Data(data.x, check_labels(data.y, len(data), num_classes, str(path)) if config.conditional else None)

    source, pool = labelled(source, config.source), labelled(pool, config.target)
    learned, spare = split_target(len(pool), n_target, all_to_learn=config.reference is not None, seed=seed)
    target, reference = pool.take(learned), None if spare is None else pool.take(spare)
    if config.reference:
        reference = read_rows(config.reference)
        check_pair(source, reference, "reference")
        reference = labelled(reference, config.reference)
    scaler = Scaler.of(source.x)

    def scaled(data: Data) -> Data:
        return Data(scaler.to_model(data.x), data.y)

    return Problem(
        "arrays",
        scaled(source),
        scaled(target),
        None if reference is None else scaled(reference),
        num_classes=num_classes,
        scaler=scaler,
    )
