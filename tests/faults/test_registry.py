"""No reader is left out: whatever opens files in `data` and `interop` is walked through the faults by a table."""

import re
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from PIL import Image

import tgdp_jax
from tests.faults.readers import READERS
from tgdp_jax.data.pictures import FORMATS

PACKAGE = Path(tgdp_jax.__file__).parent
OPENS = re.compile(
    r"\b(open|File|ZipFile|safe_open|read_bytes|read_text|read_csv|read_table|read_parquet|memmap|fromfile|loadmat|"
    r"rdrecord|rdheader|rdsamp|np\.load|csv\.reader|DictReader)\("
)
# Folders whose readers have tables of their own.
ELSEWHERE = {"data/ecg": "tests/data/ecg/test_fuzz.py", "interop": "tests/interop/test_hostile.py"}


def test_every_module_that_opens_files_is_walked(tmp_path):
    paths = [path for folder in ("data", "interop") for path in (PACKAGE / folder).rglob("*.py")]
    opening = {path for path in paths if OPENS.search(path.read_text())}
    assert {PACKAGE / "data/npz.py", PACKAGE / "data/hdf5.py", PACKAGE / "data/pictures.py"} <= opening
    for folder, table in ELSEWHERE.items():
        assert (PACKAGE.parent / table).exists()
        opening = {path for path in opening if not path.is_relative_to(PACKAGE / folder)}
    called: set[str] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        called.add(frame.f_code.co_filename)

    for name, reader in READERS.items():
        (tmp_path / name).mkdir()
        path = reader.write(tmp_path / name)
        sys.setprofile(note)
        try:
            reader.read(path)
        finally:
            sys.setprofile(None)
    missed = sorted(str(path) for path in opening if str(path) not in called)
    assert not missed, f"no entry of tests/faults/readers.py reads through {missed}: add one"


def test_every_format_of_pictures_is_walked(tmp_path):
    found = set()
    for name, reader in READERS.items():
        (tmp_path / name).mkdir()
        path = reader.write(tmp_path / name)
        try:
            with Image.open(path, formats=FORMATS) as picture:
                found.add(picture.format)
        except OSError:
            continue  # no picture
    assert found == set(FORMATS)
