"""WFDB files: units, checksums, and headers that are not believed."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.data.ecg.writers import signals, write_record
from tgdp_jax.data.ecg.leads import TWELVE
from tgdp_jax.data.ecg.records import BadRecord
from tgdp_jax.data.ecg.wfdb_files import read_header, read_wfdb
from tgdp_jax.errors import UserError

X = signals(1, rate=500)[0]
CHEST = np.arange(12) >= 6


def read(path: Path):
    return read_wfdb(path / "one", database="a test", rate=500)


def change(path: Path, before: str, after: str, count: int = -1) -> None:
    header = path / "one.hea"
    text = header.read_text()
    assert before in text
    header.write_text(text.replace(before, after, count), encoding="utf-8")


@pytest.mark.parametrize(
    ("unit", "gain"), [("uV", 1.0), ("mV", 1000.0), ("V", 1e6), ("nV", 0.001), ("UV", 1.0), ("mv", 1000.0)]
)
def test_units_that_a_header_states_are_converted(tmp_path, unit, gain):
    write_record(tmp_path, "one", X, rate=500, unit=unit, gain=gain)
    np.testing.assert_allclose(read(tmp_path).x, X / 1000, atol=1e-12)


def test_each_lead_has_its_unit(tmp_path):
    write_record(tmp_path, "one", X, rate=500, unit=np.where(CHEST, "uV", "mV"), gain=np.where(CHEST, 1.0, 1000.0))
    np.testing.assert_allclose(read(tmp_path).x, X / 1000, atol=1e-12)


def test_a_header_without_a_unit_means_millivolts(tmp_path):
    write_record(tmp_path, "one", X, rate=500)
    change(tmp_path, "/mV", "")
    np.testing.assert_allclose(read(tmp_path).x, X / 1000, atol=1e-12)


@pytest.mark.parametrize("unit", ["mmHg", "kV", "mV/mm", "NU"])
def test_unknown_units_are_refused(tmp_path, unit):
    write_record(tmp_path, "one", X, rate=500)
    change(tmp_path, "1000.0(0)/mV 16 0 " + str(int(X[0, 8])), f"1000.0(0)/{unit} 16 0 " + str(int(X[0, 8])), 1)
    with pytest.raises(BadRecord, match=f"one has lead V3 in '{unit}': give V, mV, uV or nV"):
        read(tmp_path)


def test_the_unit_of_what_is_no_lead_is_nobody_s_business(tmp_path):
    leads = [*TWELVE[:11], "RESP"]
    write_record(tmp_path, "one", X, rate=500, leads=leads, unit=["mV"] * 11 + ["pm"])
    assert read(tmp_path).leads == tuple(leads)


@pytest.mark.parametrize("letter", ["\N{MICRO SIGN}", "\N{GREEK SMALL LETTER MU}"])
def test_a_greek_microvolt_is_no_volt(tmp_path, letter):
    write_record(tmp_path, "one", X, rate=500)
    change(tmp_path, "/mV", f"/{letter}V")
    with pytest.raises(BadRecord, match="letters beyond ASCII, such as the Greek one of microvolts: write uV"):
        read(tmp_path)


def test_comments_may_have_any_letters(tmp_path):
    write_record(tmp_path, "one", X, rate=500, comments=["Name"])
    change(tmp_path, "Name", "Žofie \N{MICRO SIGN}")
    assert read(tmp_path).x.shape == X.shape


def test_samples_are_held_against_the_checksums(tmp_path):
    write_record(tmp_path, "one", X, rate=500)
    data = tmp_path / "one.dat"
    content = bytearray(data.read_bytes())
    content[5000] ^= 1
    data.write_bytes(content)
    with pytest.raises(BadRecord, match="one has other samples than the checksum in its header says: copy it anew"):
        read(tmp_path)


def test_checksums_may_be_negative_or_left_out(tmp_path):
    write_record(tmp_path, "one", X, rate=500)
    lines = (tmp_path / "one.hea").read_text().splitlines()
    rows = [line.split() for line in lines[1:]]
    # Signed, as the PhysioNet challenges write them; then none, and with them no names.
    signed = [" ".join([*row[:6], str(int(row[6]) - 65536), *row[7:]]) for row in rows]
    (tmp_path / "one.hea").write_text("\n".join([lines[0], *signed]))
    np.testing.assert_allclose(read(tmp_path).x, X / 1000, atol=1e-12)
    (tmp_path / "one.hea").write_text("\n".join([lines[0], *(" ".join(row[:5]) for row in rows)]))
    nameless = read(tmp_path)
    assert nameless.leads == ("",) * 12
    np.testing.assert_allclose(nameless.x, X / 1000, atol=1e-12)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("one 12 500 1000", "one 12 500 1000000000000", "one.dat is shorter than its header says"),
        ("one 12 500 1000", "one 12 500 1001", "one.dat is shorter than its header says"),
        ("one 12 500 1000", "one 12 500 " + "9" * 5000, "no header of a record in one piece"),
        ("one 12 500 1000", "one 999999999 500 1000", "no header of a record in one piece"),
        ("one 12 500 1000", "one 13 500 1000", "no header of a record in one piece"),
        ("one 12 500 1000", "one/2 12 500 1000", "no header of a record in one piece"),
        ("one 12 500 1000", "one 12 500/50(7)9999999 1000", "no header of a record in one piece"),
        ("one 12 500 1000", "one 12", "no header of a record in one piece"),
        ("one 12 500 1000", "", "no header of a record in one piece"),
        ("dat 16 ", "dat 16x1000000000 ", "samples in an unknown format"),
        ("dat 16 ", "dat 16:1000000000 ", "samples in an unknown format"),
        ("dat 16 ", "dat 516 ", "samples in an unknown format"),
        ("dat 16 ", "dat 16+99999999999999999999999 ", "can not be read as a WFDB record"),
        ("one.dat", "../two.dat", "names other signal files than its own"),
        ("one.dat", "/dev/zero", "names other signal files than its own"),
        ("one 12 500 1000", "one 12 1000000000 1000", "sampled at 1e\\+09 Hz where a test has 500"),
    ],
)
def test_headers_are_not_believed(tmp_path, before, after, message):
    write_record(tmp_path, "one", X, rate=500)
    change(tmp_path, before, after)
    with pytest.raises(UserError, match=message):
        read(tmp_path)


def test_a_header_as_the_challenge_writes_it_is_read(tmp_path):
    write_record(tmp_path, "one", X, rate=500, comments=["Dx: 59118001"])
    (tmp_path / "one.mat").write_bytes(b"\0" * 24 + (tmp_path / "one.dat").read_bytes())
    change(tmp_path, "one.dat 16 ", "one.mat 16+24 ")
    change(tmp_path, "one 12 500 1000", "one 12 500 1000 12-May-2020 12:33:59")
    np.testing.assert_allclose(read(tmp_path).x, X / 1000, atol=1e-12)
    assert read_header(tmp_path / "one").comments == ["Dx: 59118001"]


@pytest.mark.parametrize("suffix", ["hea", "dat"])
def test_pipes_and_devices_are_refused_before_they_are_opened(tmp_path, suffix):
    write_record(tmp_path, "one", X, rate=500)
    file = tmp_path / f"one.{suffix}"
    file.unlink()
    with pytest.raises(UserError, match=rf"one is incomplete, one.{suffix} is missing: copy the database whole"):
        read(tmp_path)
    os.mkfifo(file)
    with pytest.raises(UserError, match=rf"one.{suffix} is a named pipe"):
        read(tmp_path)
    file.unlink()
    file.symlink_to("/dev/zero")
    with pytest.raises(UserError, match=rf"one.{suffix} is a device"):
        read(tmp_path)


def test_a_header_too_large_for_one_is_not_read(tmp_path):
    write_record(tmp_path, "one", X, rate=500)
    with (tmp_path / "one.hea").open("r+b") as file:
        file.truncate(10**9)
    with pytest.raises(BadRecord, match="too large for a header"):
        read(tmp_path)
