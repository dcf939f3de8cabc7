"""Reading pictures with captions: folders as Hugging Face's ImageFolder has them or with .txt files, .npz and .parquet.

Only captions are read here, and of pictures where they are: `picture` brings one to the size that a model takes.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from tgdp_jax.data.files import check_regular_file
from tgdp_jax.data.image_files import SYSTEM_FILES, check_values
from tgdp_jax.data.memory import check_unpacked
from tgdp_jax.data.npz import npz_names, read_npz
from tgdp_jax.data.pictures import PICTURES, decode_picture, fitted, read_picture
from tgdp_jax.data.tables.files import check_packages
from tgdp_jax.data.tables.names import check_there
from tgdp_jax.errors import FileError, UserError, absent, first_line

NAME, TEXT, IMAGE = "file_name", "text", "image"
METADATA = ("metadata.jsonl", "metadata.csv")
KINDS = f"a folder of pictures ({', '.join(PICTURES)}), or a .npz or .parquet file"
_REMEDY = "add them, or give one for all pictures with --prompt"
_HOW = "save it with numpy.savez(path, x=..., text=...)"
_MAX_BYTES = 2**26  # of a file of captions: a million of them


class Stored(NamedTuple):
    """One picture where it is: a file, the bytes of one, or pixels [H, W, C]."""

    name: str
    content: Path | bytes | np.ndarray

    @property
    def digest(self) -> bytes:
        """Hash of what is stored, by which copies are known."""
        content = self.content.read_bytes() if isinstance(self.content, Path) else self.content
        held = np.ascontiguousarray(content).tobytes() if isinstance(content, np.ndarray) else content
        return hashlib.sha256(held).digest()


class Captioned(NamedTuple):
    """Pictures with their captions.

    Attributes:
      pictures: where they are.
      captions: what each shows.
      notes: what was left out, for the user.
    """

    pictures: tuple[Stored, ...]
    captions: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_captioned(path: Path, prompt: str | None = None) -> Captioned:
    """Pictures with captions of a file or folder.

    Args:
      path: a folder of pictures, also in sub-folders, with metadata.jsonl or metadata.csv (columns file_name and text)
        or a .txt file beside every picture, or without either one sub-folder a class, whose name is the caption of its
        pictures; a .npz file with x and text; or a .parquet file with image and text.
      prompt: the caption of all pictures, in the place of those that are there; empty: they have none.

    Raises:
      UserError: nothing is there, of a kind that is not known or damaged, or captions are missing.
    """
    if path.is_dir():
        found = _of_folder(path, prompt)
    elif path.suffix.lower() in _READERS:
        found = _READERS[path.suffix.lower()](path, prompt)
    elif path.exists():
        raise UserError(f"{path} is of no kind that is known: give {KINDS}")
    else:
        raise absent(path)
    if not found.pictures:
        raise UserError(f"{path} has no pictures: give {KINDS}")
    missing = [stored.name for stored, text in zip(found.pictures, found.captions, strict=True) if not text.strip()]
    if missing and prompt is None:
        raise UserError(
            f"{path} has no caption for {len(missing)} of {len(found.pictures)} pictures, the first being "
            f"{missing[0]}: {_REMEDY}"
        )
    return found._replace(captions=tuple(" ".join(text.split()) for text in found.captions))


def caption_files(path: Path) -> dict[str, Path]:
    """Every file that `read_captioned` reads, by a name that does not depend on where they lie."""
    if not path.is_dir():
        return {path.name: path}
    pictures = _pictures(path)
    others = [path / name for name in METADATA] + [file.with_suffix(".txt") for file in pictures]
    return {str(file.relative_to(path)): file for file in (*pictures, *others) if file.is_file()}


def picture(stored: Stored, size: tuple[int, int], background: str | None) -> np.ndarray:
    """The middle of a picture at a size of (height, width), float32 [H, W, 3] in [0, 1].

    Args:
      stored: the picture.
      size: (height, width) in pixels.
      background: what transparent pixels are laid over, see `read_picture`.

    Raises:
      UserError: it can not be read.
    """
    content = stored.content
    if isinstance(content, Path):
        return fitted(read_picture(content, background), size)
    if isinstance(content, bytes):
        return fitted(decode_picture(content, stored.name, background), size)
    pixels = np.round(255.0 * content) if content.dtype.kind in "fb" else content
    return fitted(pixels.astype(np.uint8), size)


def _of_folder(folder: Path, prompt: str | None) -> Captioned:
    pictures = _pictures(folder)
    names = [file.relative_to(folder).as_posix() for file in pictures]
    stored = tuple(Stored(str(file), file) for file in pictures)
    tables = [folder / name for name in METADATA if os.path.lexists(folder / name)]
    if prompt is not None:
        left = [table.name for table in tables]
        notes = (f"{folder / left[0]} is not read: --prompt is the caption of all pictures",) if left else ()
        return Captioned(stored, (prompt,) * len(stored), notes)
    if len(tables) > 1:
        raise UserError(f"{folder} has both {METADATA[0]} and {METADATA[1]}: remove one of them")
    if not tables:
        texts = tuple(_sidecar(file) for file in pictures)
        # Underscores stand for blanks in names of folders.
        classes = [name.partition("/")[0].replace("_", " ") if "/" in name else "" for name in names]
        return Captioned(stored, tuple(classes) if all(classes) and not any(texts) else texts)
    table = tables[0]
    known = _jsonl(table) if table.suffix == ".jsonl" else _csv(table)
    if not known:
        raise UserError(f"{table} names no pictures: {_REMEDY}")
    for name in known:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise UserError(f"{table} names {name}, which lies outside of its folder: name files beside it")
    absent = [name for name in known if name not in set(names)]
    if absent:
        raise UserError(
            f"{table} names {len(absent)} pictures that are not there, the first being {absent[0]}: put them back, or "
            "remove their lines"
        )
    return Captioned(stored, tuple(known.get(name, "") for name in names))


def _pictures(folder: Path) -> list[Path]:
    """Pictures in a folder and below, by name.

    Raises:
      FileError: it can not be read.
    """

    def hidden(file: Path) -> bool:
        parts = file.relative_to(folder).parts
        return any(part.startswith(".") or part.lower() in SYSTEM_FILES for part in parts)

    try:
        found = sorted(file for file in folder.rglob("*") if file.suffix.lower() in PICTURES)
        return [file for file in found if not hidden(file) and file.is_file()]
    except OSError as error:
        raise FileError(f"{folder} can not be read ({error.strerror or error}): check its permissions") from error


def _sidecar(file: Path) -> str:
    text = file.with_suffix(".txt")
    return _text(text) if os.path.lexists(text) else ""


def _text(path: Path) -> str:
    """What a text file says.

    Raises:
      FileError: it is too large, can not be read, or is no text in UTF-8.
    """
    if check_regular_file(path) > _MAX_BYTES:
        raise FileError(f"{path} has more than {_MAX_BYTES} bytes: give a text file with captions")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is no text in UTF-8 (byte {error.start} is not): save it as UTF-8") from error
    except OSError as error:
        raise FileError(f"{path} can not be read ({error.strerror or error}): check its permissions") from error


def _jsonl(path: Path) -> dict[str, str]:
    """Captions by the names of pictures."""
    out: dict[str, str] = {}
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"line {number} of {path} is no JSON ({first_line(error)}): write an object in every line, with "
                f'"{NAME}" and "{TEXT}"'
            ) from error
        if not isinstance(row, dict):
            raise UserError(
                f'line {number} of {path} is no object: write one in every line, with "{NAME}" and "{TEXT}"'
            )
        check_there((NAME, TEXT), row, f"line {number} of {path}")
        _add(out, row[NAME], row[TEXT], f"line {number} of {path}")
    return out


def _csv(path: Path) -> dict[str, str]:
    """Captions by the names of pictures."""
    out: dict[str, str] = {}
    try:
        rows = csv.DictReader(io.StringIO(_text(path), newline=""), strict=True)
        check_there((NAME, TEXT), rows.fieldnames or (), str(path))
        for row in rows:
            _add(out, row[NAME], row[TEXT], f"line {rows.line_num} of {path}")
    except csv.Error as error:
        raise UserError(
            f"{path} can not be read as CSV ({first_line(error)}): save it again, as CSV in UTF-8"
        ) from error
    return out


def _add(known: dict[str, str], name: Any, text: Any, where: str) -> None:
    if not isinstance(name, str) or not isinstance(text, (str, type(None))):
        raise UserError(f"{where} has {NAME} {name!r:.60} and {TEXT} {text!r:.60}: both have to be text")
    name = PurePosixPath(name).as_posix()
    if name in known:
        raise UserError(f"{where} names {name} for the second time: give every picture one caption")
    known[name] = text or ""


def _npz(path: Path, prompt: str | None) -> Captioned:
    names = npz_names(path, _HOW)
    check_there(("x",) if prompt is not None else ("x", TEXT), names, str(path))
    arrays = read_npz(path, ("x", TEXT), _HOW)
    x = arrays["x"]
    if x.ndim != 4 or x.shape[-1] not in (1, 3) or x.dtype.kind not in "fiub":
        raise UserError(f"{path} has x of shape {x.shape} and type {x.dtype}: pictures are numbers [N, H, W, 1 or 3]")
    if not x.size:
        raise UserError(f"{path} has no pictures: {_HOW}")
    check_values(x, path)
    texts: Sequence[str] = (prompt or "",) * len(x)
    if prompt is None:
        given = arrays[TEXT]
        if given.dtype.kind != "U" or given.shape != (len(x),):
            raise UserError(f"{path} has {TEXT} of shape {given.shape} and type {given.dtype}: give {len(x)} strings")
        texts = given.tolist()
    return Captioned(tuple(Stored(f"picture {i} of {path}", row) for i, row in enumerate(x)), tuple(texts))


def _parquet(path: Path, prompt: str | None) -> Captioned:
    check_packages(path.suffix, str(path))
    stored = check_regular_file(path)
    wanted = (IMAGE,) if prompt is not None else (IMAGE, TEXT)
    try:
        from pyarrow import parquet

        with parquet.ParquetFile(path, memory_map=False, pre_buffer=False) as file:
            check_there(wanted, file.schema_arrow.names, str(path))
            about = file.metadata
            held = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
            check_unpacked(held, stored, str(path))
            table = file.read(columns=list(wanted), use_threads=False)
            # Arrow believes what a file says of its own places in memory, and a damaged one ends the process.
            table.validate(full=True)
            columns: Mapping[str, list[Any]] = table.to_pydict()
    except (UserError, MemoryError):
        raise
    # Damaged files make Arrow fail in most of Python's ways.
    except Exception as error:
        raise UserError(
            f"{path} can not be read as Parquet ({first_line(error)}): make or download it again"
        ) from error
    found = [row.get("bytes") if isinstance(row, dict) else row for row in columns[IMAGE]]
    contents = [content for content in found if isinstance(content, bytes)]
    if len(contents) < len(found):
        raise UserError(f"{path} has no bytes of pictures in column {IMAGE!r}: embed the files before it is saved")
    texts = [prompt] * len(contents) if prompt is not None else columns[TEXT]
    if not all(isinstance(text, (str, type(None))) for text in texts):
        raise UserError(f"{path} has no text in column {TEXT!r}: convert it to strings")
    pictures = tuple(Stored(f"picture {i} of {path}", content) for i, content in enumerate(contents))
    return Captioned(pictures, tuple(text or "" for text in texts))


_READERS: dict[str, Callable[[Path, str | None], Captioned]] = {".npz": _npz, ".parquet": _parquet}
