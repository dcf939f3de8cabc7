"""Every reader against every kind of fault: one sentence that names the file, and nothing else.

Rows of the tables are kinds of faults; `readers.READERS` has the readers that are walked through them.
"""

from __future__ import annotations

import gzip
import io
import os
import pickle
import socket
import struct
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.data.image_writers import IDX, as_folder
from tests.faults.readers import READERS, Reader, no_hang, walked
from tgdp_jax.data import memory
from tgdp_jax.data.arrays import read_rows
from tgdp_jax.data.image_files import read_images
from tgdp_jax.data.pictures import read_picture
from tgdp_jax.data.tables.files import read_table
from tgdp_jax.errors import UserError


def refusal(read: Callable, path: Path) -> str:
    """What a reader says of a file that it has to refuse: one sentence that suggests nothing dangerous."""
    with no_hang(), warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError) as caught:
            read(path)
    message = str(caught.value)
    assert "\n" not in message and "allow_pickle" not in message and len(message) < 700, message
    return message


# Whatever the format: the good file is there and is replaced by what the kind says.


def _missing(path: Path) -> None:
    path.unlink()


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _socket(path: Path) -> None:
    # Names of sockets are short: one elsewhere is linked to.
    path.unlink()
    place = Path(tempfile.mkdtemp()) / "s"
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(place))
    path.symlink_to(place)


def _device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _broken_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


def _ring_of_links(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _wrong_magic(path: Path) -> None:
    path.write_bytes(bytes(16) + path.read_bytes()[16:])


def _zeros(path: Path) -> None:
    path.write_bytes(bytes(len(path.read_bytes())))


def _text(path: Path) -> None:
    path.write_text("x,y\n1,2\n")


def _page(path: Path) -> None:
    # What a download leaves where one has to log in first.
    path.write_text("<!DOCTYPE html><html><body>Sign in</body></html>")


def _pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"x": [1, 2, 3]}))


def _pickled_array(path: Path) -> None:
    np.save(path.with_name("array.npy"), np.array([[None]]), allow_pickle=True)
    path.with_name("array.npy").replace(path)


def _pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n")


KINDS: dict[str, Callable[[Path], None]] = {
    "folder": _folder,
    "named pipe": _fifo,
    "socket": _socket,
    "device": _device,
    "ring of links": _ring_of_links,
    "empty": _empty,
    "half of it": _half,
    "wrong magic": _wrong_magic,
    "zeros": _zeros,
    "text": _text,
    "web page": _page,
    "pickle": _pickled,
    "pickled array": _pickled_array,
    "pointer to large file": _pointer,
}
# Of several files, one that is missing may be one that is optional.
GONE = {"missing": _missing, "broken link": _broken_link}


@walked
def test_a_good_file_is_read(tmp_path, reader: Reader):
    with no_hang():
        assert reader.read(reader.write(tmp_path)) is not None


@walked
@pytest.mark.parametrize("damage", KINDS.values(), ids=KINDS)
def test_what_is_no_such_file_is_refused_by_name(tmp_path, reader: Reader, damage):
    path = reader.write(tmp_path)
    damage(path)
    if damage is _folder and reader is READERS["folder"]:
        return  # A folder among pictures is no picture, see below.
    assert path.name in refusal(reader.read, path)


@walked
@pytest.mark.parametrize("damage", GONE.values(), ids=GONE)
def test_what_is_not_there_is_refused_by_name(tmp_path, reader: Reader, damage):
    path = reader.write(tmp_path)
    damage(path)
    if damage is _missing and path.stem == "metadata":  # captions may come from elsewhere, and none do
        assert "has no caption for 1 of 1 pictures" in refusal(reader.read, path)
        return
    try:
        reader.read(path)
    except UserError as error:
        assert path.name in str(error) and "does not exist" in str(error)
    else:
        assert damage is _missing and reader in (READERS["labels of idx"], READERS["folder"])


@walked
def test_files_of_another_kind_are_refused_by_name(tmp_path, reader: Reader):
    path = reader.write(tmp_path)
    own = path.read_bytes()
    for name, other in READERS.items():
        (tmp_path / f"other {name}").mkdir()
        content = other.write(tmp_path / f"other {name}").read_bytes()
        if content[:2] == own[:2] or {reader.read, other.read} <= {read_picture, *_PICTURES}:
            continue  # Of the same kind, or pictures, which are what they are whatever their name says.
        path.write_bytes(content)
        assert path.name in refusal(reader.read, path)


_PICTURES = [READERS[name].read for name in ("folder", "png, transparent")]


# Arrays that hold no data.

_NORMAL = np.random.default_rng(0).normal(size=(20, 8, 8))
ARRAYS = {
    "not a number": np.where(np.arange(20)[:, None, None] == 3, np.nan, np.clip(_NORMAL, 0, 1)),
    "infinite": np.where(np.arange(20)[:, None, None] == 3, np.inf, np.clip(_NORMAL, 0, 1)),
    "complex": _NORMAL.astype(complex),
    "bytes": np.array([[b"a", b"b"]]),
    "records": np.zeros(5, [("a", "f4"), ("b", "i4")]),
    "a number": np.array(3.0),
    "no rows": np.ones((0, 8, 8)),
    "rows of nothing": np.ones((5, 0)),
    "row of numbers": np.ones(5),
}


@pytest.mark.parametrize("name", [name for name, reader in READERS.items() if reader.store is not None])
@pytest.mark.parametrize("x", ARRAYS.values(), ids=ARRAYS)
def test_arrays_that_are_no_data_are_refused_by_name(tmp_path, name, x):
    reader = READERS[name]
    assert reader.store is not None
    path = reader.store(tmp_path, x)
    assert path.name in refusal(reader.read, path)


# Files that promise more than they hold, or than there is room for.


def _npz(folder: Path, header: bytes, *, directory: int | None = None) -> Path:
    """An archive whose member x.npy begins with a header and says in the directory that it is of this size."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("x.npy", header + bytes(64))
    content = bytearray(out.getvalue())
    if directory is not None:
        at = content.index(b"PK\x01\x02") + 24
        content[at : at + 4] = struct.pack("<I", directory)
    (folder / "a.npz").write_bytes(content)
    return folder / "a.npz"


def _npy_header(shape: str) -> bytes:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def _zeros_npz(folder: Path, unpacked: int) -> Path:
    with zipfile.ZipFile(folder / "zeros.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("x.npy", "w") as member:
            member.write(_npy_header(f"({unpacked // 64}, 8)"))
            for _ in range(unpacked // 2**20):
                member.write(bytes(2**20))
    return folder / "zeros.npz"


def _idx_gz(folder: Path, *shape: int, held: int) -> Path:
    with gzip.open(folder / f"{IDX}.gz", "wb") as file:
        file.write(struct.pack(">4B3I", 0, 0, 8, 3, *shape))
        for _ in range(held // 2**20):
            file.write(bytes(2**20))
    return folder / f"{IDX}.gz"


def _h5(folder: Path, **options) -> Path:
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("x", dtype="u1", **options)
    return folder / "a.h5"


def _parquet(folder: Path, rows: int) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"a": np.zeros(rows, np.int8)}), folder / "a.parquet")
    return folder / "a.parquet"


def _png(folder: Path, width: int, height: int) -> Path:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(bytes(1000)))
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b""))
    return folder / "a.png"


ABSURD = {
    "npz header": (lambda f: _npz(f, _npy_header(f"({10**15}, 8)")), None),
    "npz header of no size": (lambda f: _npz(f, _npy_header("(-1, 8)")), None),
    "npz header that nests": (lambda f: _npz(f, _npy_header("(" * 60)), None),
    "npz directory": (lambda f: _npz(f, _npy_header("(1, 8)"), directory=2**31), None),
    "zeros in npz": (lambda f: _zeros_npz(f, 2**28), None),
    "idx.gz header": (lambda f: _idx_gz(f, 2**32 - 1, 2**32 - 1, 2**32 - 1, held=0), read_images),
    "zeros in idx.gz": (lambda f: _idx_gz(f, 2**12, 2**8, 2**8, held=2**28), read_images),
    "empty h5": (lambda f: _h5(f, shape=(10**12, 8, 8), chunks=(100, 8, 8)), read_images),
    "chunk of h5": (lambda f: _h5(f, shape=(10, 8, 8), maxshape=(None, 8, 8), chunks=(2**24, 8, 8)), read_images),
    "rows of parquet": (lambda f: _parquet(f, 10**7), read_table),
    "png header": (lambda f: _png(f, 2**31 - 1, 2**31 - 1), read_picture),
    "png of zeros": (lambda f: _png(f, 12_000, 12_000), read_picture),
}


@pytest.mark.parametrize(("write", "read"), ABSURD.values(), ids=ABSURD)
def test_absurd_sizes_are_refused_before_anything_is_unpacked(tmp_path, write, read):
    path = write(tmp_path)
    for each in (read_rows, read_images) if read is None else (read,):
        assert path.name in refusal(each, path)


def test_what_is_larger_than_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 500)
    for name in (
        "rows.npz",
        "csv",
        *sorted({"parquet"} & set(READERS)),
        "images.npz",
        "images.h5",
        "idx",
        "idx.gz",
        "folder",
    ):
        (tmp_path / name).mkdir()
        reader = READERS[name]
        path = reader.write(tmp_path / name)
        message = refusal(reader.read, path)
        assert str(path.parent if name == "folder" else path) in message and "of which 500 bytes are" in message


# What lies beside data.


def test_hidden_files_and_those_of_systems_are_not_looked_at(tmp_path):
    folder = as_folder(tmp_path / "a")
    for name in (".ipynb_checkpoints", "__MACOSX"):
        as_folder(folder / name, y=None)
    for name in (".DS_Store", "._00000.png", "Thumbs.db", "desktop.ini", "0/Thumbs.db", "1/.hidden.png"):
        (folder / name).write_bytes(b"\x00")
    found = read_images(folder)
    assert len(found.x) == 12 and set(found.y) == {"0", "1", "2"} and not found.notes


def test_a_folder_among_pictures_is_no_picture(tmp_path):
    path = READERS["folder"].write(tmp_path)
    _folder(path)
    found = READERS["folder"].read(path)
    assert len(found.x) == 2 and found.notes == ("not read, being no pictures: 00001.png/",)
