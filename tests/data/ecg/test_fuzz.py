"""Damaged and absurd files of every ECG reader: the loader succeeds or says one thing, and asks for little memory."""

from __future__ import annotations

import datetime
import functools
import re
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.ecg.writers import signals, write_cpsc, write_ludb, write_ptbxl, write_record
from tgdp_jax.data.ecg.folders import EcgConfig, load
from tgdp_jax.errors import UserError

NUM, SECONDS = 3, 0.5
# On top of ten times the files: what the packages at work keep for themselves.
ROOM = 8_000_000

NUMBERS = ["0", "-1", "1", "0.5", "255", "65537", "1000000000", "999999999999999999999", "9" * 5000, "1e309", "nan"]
SNIPPETS = [b"\n", b"'", b"(" * 300]
positions = st.integers(0, 2**20)
changes = st.one_of(
    st.tuples(st.just("number"), positions, st.sampled_from([number.encode() for number in NUMBERS])),
    st.tuples(st.just("write"), positions, st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("insert"), positions, st.binary(max_size=8) | st.sampled_from(SNIPPETS)),
    st.tuples(st.just("drop"), positions, st.integers(1, 40)),
    st.tuples(st.just("cut"), positions, st.none()),
    st.tuples(st.just("repeat"), positions, st.integers(1, 40)),
)


def changed(content: bytes, change: tuple) -> bytes:
    kind, at, what = change
    numbers = list(re.finditer(rb"\d+", content[:4096]))
    if kind == "number" and numbers:
        start, end = numbers[at % len(numbers)].span()
        return content[:start] + what + content[end:]
    at %= len(content) + 1
    match kind:
        case "write" | "number":
            return content[:at] + what + content[at + len(what) :]
        case "insert":
            return content[:at] + what + content[at:]
        case "drop":
            return content[:at] + content[at + what :]
        case "repeat":
            return content[: at + what] + content[at:]
    return content[:at]


def write_npz(folder: Path) -> None:
    arrays = {"x": signals(NUM, rate=100, seconds=SECONDS) / 1000, "y": np.array(["MI", "CD", ""]), "rate": 100}
    arrays |= {"leads": np.array("I II III aVR aVL aVF V1 V2 V3 V4 V5 V6".split()), "patient": [1.0, 2.0, np.nan]}
    np.savez(folder / "members.npz", **arrays)
    with zipfile.ZipFile(folder / "members.npz") as archive:
        for name in archive.namelist():
            (folder / name).write_bytes(archive.read(name))
    (folder / "members.npz").unlink()


def write_challenge(folder: Path) -> None:
    for i, x in enumerate(signals(NUM, rate=500, seconds=SECONDS)):
        write_record(folder, f"A000{i}", x, rate=500, comments=["Age: 74", "Dx: 59118001,164889003"])


def write_tables(folder: Path) -> None:
    write_ptbxl(folder, [{"NORM": 100.0, "SR": 0.0}, {"IMI": 80.0}, {"AFIB": 0.0, "LVH": 50.0}], seconds=SECONDS)
    (folder / "scp_statements.csv").write_text("code,diagnostic_class\nNORM,NORM\nIMI,MI\nAFIB,\n")


# How a small database is written, and what of it is damaged.
READERS = {
    "npz members": (write_npz, "*.npy"),
    "npz": (write_npz, ""),
    "PTB-XL tables": (write_tables, "*.csv"),
    "WFDB headers": (write_tables, "*.hea"),
    "WFDB samples": (write_tables, "*.dat"),
    "LUDB": (lambda folder: write_ludb(folder, [["Rhythm: Sinus rhythm."], ["I degree AV block."], ["STEMI"]]), "*"),
    "CPSC": (lambda folder: write_cpsc(folder, [[1], [2, 5], [9]], seconds=[SECONDS] * NUM), "*"),
    "challenge": (write_challenge, "*"),
}


@functools.cache
def good(reader: str) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        READERS[reader][0](Path(folder))
        files = [path for path in sorted(Path(folder).rglob("*")) if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def written(folder: Path, reader: str, which: int, damages: list[tuple]) -> Path:
    """The database with one damaged file, or the whole archive where no files are named."""
    files, pattern = dict(good(reader)), READERS[reader][1]

    def damage(content: bytes) -> bytes:
        return functools.reduce(changed, damages, content)

    if pattern:
        victims = [name for name in files if Path(name).match(pattern)]
        victim = victims[which % len(victims)]
        files[victim] = damage(files[victim])
    if not reader.startswith("npz"):
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder
    path = folder / "target.npz"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    if not pattern:
        path.write_bytes(damage(path.read_bytes()))
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Good records, which are converted once."""
    folder = tmp_path_factory.mktemp("source")
    np.savez(folder / "source.npz", x=signals(120, rate=100, seconds=SECONDS, seed=1) / 1000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield folder / "source.npz"


def loaded(source: Path, target: Path) -> None:
    load(EcgConfig(source=source, target=target, seconds=SECONDS, drop_bad=True), n_target=2, seed=0)


@pytest.mark.parametrize("reader", READERS)
def test_what_is_damaged_is_what_is_read_otherwise(reader, source, tmp_path):
    loaded(source, written(tmp_path, reader, 0, []))


@pytest.mark.parametrize("reader", READERS)
@settings(
    derandomize=True,
    database=None,
    max_examples=60,
    deadline=datetime.timedelta(seconds=10),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(which=st.integers(0, 50), damages=st.lists(changes, min_size=1, max_size=3))
def test_damaged_files_are_read_or_refused(reader, source, which, damages):
    with tempfile.TemporaryDirectory() as folder:
        target = written(Path(folder) / "data", reader, which, damages)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        tracemalloc.start()
        try:
            loaded(source, target)
        except UserError as error:
            assert str(error).strip()
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak < 10 * size + ROOM
