"""The readers that are walked through every kind of fault. Another one is one more entry of `READERS`."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from tests.data.image_writers import as_folder, as_h5, as_idx, pixels, save
from tgdp_jax.data.arrays import read_rows
from tgdp_jax.data.captions import read_captioned
from tgdp_jax.data.image_files import read_images
from tgdp_jax.data.pictures import read_picture
from tgdp_jax.data.tables.encode import Table, encode_tables
from tgdp_jax.data.tables.files import read_table

# A reader that takes longer hangs.
HANG = 10


class Reader(NamedTuple):
    """One kind of file.

    Attributes:
      write: puts a good file into a folder and returns its path; of several files, the one that is damaged.
      read: reads what `write` left, given that path; raises nothing but `UserError`.
      store: puts rows x [N, *D] into a file, where files of this kind hold any array; else None.
    """

    write: Callable[[Path], Path]
    read: Callable[[Path], Any]
    store: Callable[[Path, np.ndarray], Path] | None = None


def _picture(ending: str, channels: int | None = None) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / f"picture{ending}"
        Image.fromarray(pixels(1, 24, channels=channels)[0]).save(path)
        return path

    return write


def _captions(folder: Path, name: str, text: str) -> Path:
    _picture(".png", 3)(folder)
    (folder / name).write_text(text)
    return folder / name


def _labels(ending: str) -> Callable[[Path], Path]:
    return lambda folder: as_idx(folder, ending=ending).with_name(f"train-labels-idx1-ubyte{ending}")


def _packed(folder: Path) -> Path:
    np.savez_compressed(folder / "rows.npz", x=np.arange(600.0).reshape(200, 3), y=np.arange(200) % 3)
    return folder / "rows.npz"


def _table(path: Path) -> Path:
    frame = _frame()
    if path.suffix == ".csv":
        # Of equal length, so that a cut in the middle goes through a row.
        frame.to_csv(path, index=False, float_format="%+.4f")
    elif path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    return path


def _frame() -> Any:
    import pandas

    a, b, d = _ROWS[:49].T
    return pandas.DataFrame({"a": a, "b": b, "c": (["red", "odd"] * 25)[:49], "d": d})


def _dataset(folder: Path) -> Path:
    """The rows of a folder that `save_to_disk` of `datasets` leaves."""
    import pyarrow

    rows, path = pyarrow.Table.from_pandas(_frame()), folder / "set/data-00000-of-00001.arrow"
    path.parent.mkdir()
    with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, rows.schema) as stream:
        stream.write_table(rows)
    (path.parent / "state.json").write_text(f'{{"_data_files": [{{"filename": "{path.name}"}}]}}')
    return path


def _beside_a_good_source(path: Path) -> Any:
    """A table as a target: the source says which columns it needs, and what they hold."""
    tables = {"source": Table(_frame(), "the source"), "target": read_table(path)}
    return encode_tables(tables, columns=(), label=None, conditional=False)


def _npy(path: Path, x: np.ndarray) -> Path:
    np.save(path, x)
    return path


_ROWS = np.random.default_rng(0).normal(size=(50, 3))

READERS: dict[str, Reader] = {
    "rows.npz": Reader(
        lambda folder: save(folder / "rows.npz", x=_ROWS, y=np.arange(50) % 3),
        read_rows,
        lambda folder, x: save(folder / "rows.npz", x=x),
    ),
    "rows.npz, packed": Reader(_packed, read_rows),
    "rows.npy": Reader(
        lambda folder: _npy(folder / "rows.npy", _ROWS), read_rows, lambda folder, x: _npy(folder / "rows.npy", x)
    ),
    "csv": Reader(lambda folder: _table(folder / "rows.csv"), _beside_a_good_source),
    "images.npz": Reader(
        lambda folder: save(folder / "images.npz", x=pixels(12), y=np.array(["cat", "dog"] * 6)),
        read_images,
        lambda folder, x: save(folder / "images.npz", x=x),
    ),
    "images.h5": Reader(
        lambda folder: as_h5(folder / "images.h5", x=pixels(12), y=np.arange(12)),
        read_images,
        lambda folder, x: as_h5(folder / "images.h5", x=x),
    ),
    "idx": Reader(as_idx, read_images),
    "idx.gz": Reader(lambda folder: as_idx(folder, ending=".gz"), read_images),
    "labels of idx": Reader(
        _labels(""), lambda path: read_images(path.with_name(path.name.replace("labels-idx1", "images-idx3")))
    ),
    "folder": Reader(
        lambda folder: as_folder(folder / "pictures", pixels(3, 24), y=None) / "00001.png",
        lambda path: read_images(path.parent),
    ),
    "captions.jsonl": Reader(
        lambda folder: _captions(folder, "metadata.jsonl", '{"file_name": "picture.png", "text": "a cat"}\n'),
        lambda path: read_captioned(path.parent),
    ),
    "captions.csv": Reader(
        lambda folder: _captions(folder, "metadata.csv", "file_name,text\npicture.png,a cat\n"),
        lambda path: read_captioned(path.parent),
    ),
    "captions.npz": Reader(
        lambda folder: save(folder / "rows.npz", x=pixels(2, channels=3), text=np.array(["a cat", "a dog"])),
        read_captioned,
    ),
    "png": Reader(_picture(".png"), read_picture),
    "png in colour": Reader(_picture(".png", 3), read_picture),
    "png, transparent": Reader(_picture(".png", 4), lambda path: read_picture(path, "white")),
    "jpeg": Reader(_picture(".jpg", 3), read_picture),
    "bmp": Reader(_picture(".bmp", 3), read_picture),
    "tiff": Reader(_picture(".tif", 3), read_picture),
    "webp": Reader(_picture(".webp", 3), read_picture),
}
if find_spec("pyarrow"):
    READERS |= {
        "parquet": Reader(lambda folder: _table(folder / "rows.parquet"), _beside_a_good_source),
        "datasets": Reader(_dataset, lambda path: _beside_a_good_source(path.parent)),
    }
walked = pytest.mark.parametrize("reader", READERS.values(), ids=READERS)


@contextlib.contextmanager
def no_hang() -> Iterator[None]:
    """Ends what takes longer than `HANG` seconds, as a failure."""

    def stop(*_: Any) -> None:
        raise AssertionError(f"not done within {HANG} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(HANG)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
