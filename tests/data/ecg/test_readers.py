"""Readers of PTB-XL, CPSC 2018, LUDB and .npz, on small databases laid out like those published."""

import math
import os
import sys

import numpy as np
import pytest
from scipy.io import savemat

from tests.data.ecg.writers import SECONDS, signals, write_cpsc, write_ludb, write_ptbxl, write_record
from tgdp_jax.data.ecg.databases import open_database
from tgdp_jax.data.ecg.leads import LEADS, TWELVE, eight
from tgdp_jax.data.ecg.records import BadRecord, Signal, to_row
from tgdp_jax.data.ecg.statements import NOT_STATED, STATEMENTS
from tgdp_jax.data.ecg.wfdb_files import wfdb as the_package
from tgdp_jax.errors import UserError

CODES = [{"NORM": 100.0, "SR": 0.0}, {"IMI": 80.0, "NORM": 15.0}, {"AFIB": 0.0}]


def rows(index, **options) -> np.ndarray:
    settings = {"rate": 100, "seconds": SECONDS} | options
    return np.stack([to_row(index.read(i), what=name, **settings) for i, name in enumerate(index.names)])


def stated(likelihood) -> dict:
    return {name: v for name, v in zip(STATEMENTS, likelihood, strict=True) if v != NOT_STATED}


def test_ptbxl_is_read_to_the_microvolt(tmp_path):
    x = write_ptbxl(tmp_path, CODES, patients=[7, 8, 7], folds=[1, 9, 1])
    index = open_database(tmp_path, rate=100)
    np.testing.assert_allclose(rows(index), eight(x / 1000, TWELVE, "test"), atol=1e-7)
    assert [stated(one) for one in index.likelihood] == CODES
    assert index.patients.tolist() == ["7.0", "8.0", "7.0"] and index.folds.tolist() == [1, 9, 1]


def test_the_500_hz_copy_is_resampled_without_aliasing(tmp_path):
    write_ptbxl(tmp_path, CODES, rate=500, seed=3)
    found = rows(open_database(tmp_path, rate=100))
    slow = eight(signals(3, rate=100, seed=3) / 1000, TWELVE, "test")
    # Sines below 12 Hz pass; the filter's edges are left out.
    np.testing.assert_allclose(found[:, 20:-20], slow[:, 20:-20], atol=0.005)
    t = np.arange(1000) / 500
    steady = to_row(Signal(np.outer(2.0 + t, np.ones(8)), 500, LEADS), rate=100, seconds=2, what="test")
    np.testing.assert_allclose(steady, np.outer(2.0 + t[::5], np.ones(8)), rtol=0.005)  # an offset and a drift
    fast = np.sin(2 * np.pi * 95.0 * t)[:, None] * np.ones(8)
    row = to_row(Signal(fast, 500, LEADS), rate=100, seconds=2, what="test")
    assert np.abs(row[20:-20]).max() < 0.01  # would be 5 Hz


def test_the_faster_copy_serves_a_faster_rate(tmp_path):
    x = write_ptbxl(tmp_path, CODES, rate=500)
    write_ptbxl(tmp_path, CODES, rate=100)
    index = open_database(tmp_path, rate=250)
    assert index.read(0).rate == 500 and rows(index, rate=250).shape == (3, 500, 8)
    np.testing.assert_allclose(index.read(0).x, x[0] / 1000, atol=1e-9)


def test_ludb_counts_microvolts_whatever_its_gains_say(tmp_path):
    sinus, block = (
        ["Rhythm: Sinus rhythm.", "Electric axis of the heart: normal."],
        ["Complete left bundle branch block."],
    )
    x = write_ludb(tmp_path, [sinus, [*sinus, *block]])
    index = open_database(tmp_path, rate=100)
    np.testing.assert_allclose(index.read(1).x, x[1] / 1000, atol=1e-9)
    assert stated(index.likelihood[0]) == {"SR": 100.0, "NORM": 100.0}
    assert stated(index.likelihood[1]) == {"SR": 100.0, "CLBBB": 100.0}
    assert rows(index).shape == (2, 200, 8) and len(set(index.patients)) == 2


def test_cpsc_is_cut_or_padded_and_speaks_ptb_xls_statements(tmp_path):
    x = write_cpsc(tmp_path, [[1], [2, 5], [9]], seconds=[2.0, 1.2, 3.0])
    index = open_database(tmp_path, rate=100)
    assert [set(stated(one)) for one in index.likelihood] == [{"NORM"}, {"AFIB", "CRBBB"}, {"STE_"}]
    np.testing.assert_allclose(index.read(2).x, x[2] / 1000, atol=1e-12)
    found = rows(index)
    assert found.shape == (3, 200, 8)
    assert np.ptp(found[1, :120], axis=0).min() > 0.1 and (found[1, 120:] == 0).all()
    whole = rows(index, seconds=3.0)
    np.testing.assert_array_equal(found[2], whole[2, :200])


def test_cpsc_in_the_challenge_s_form(tmp_path):
    x = signals(1, rate=500)[0]
    write_record(tmp_path / "g1", "A0001", x, rate=500, comments=["Age: 74", "Dx: 59118001,164889003"])
    index = open_database(tmp_path, rate=100)
    assert set(stated(index.likelihood[0])) == {"CRBBB", "AFIB"}
    np.testing.assert_allclose(index.read(0).x, x / 1000, atol=1e-9)
    write_record(tmp_path / "g1", "A0002", x, rate=500, comments=["Dx: 12345"])
    write_record(tmp_path / "g1", "A0003", x, rate=500, comments=["Age: 60"])
    foreign = open_database(tmp_path, rate=100).foreign
    assert list(foreign) == [1, 2]
    assert "A0002.hea has the unknown class '12345'" in foreign[1] and "A0003.hea has no class" in foreign[2]


def test_what_is_no_database_is_refused_with_where_to_get_one(tmp_path):
    with pytest.raises(
        UserError, match=r"does not exist: download and unpack one of PTB-XL .*physionet.*ptbxl_database"
    ):
        open_database(tmp_path / "nowhere", rate=100)
    with pytest.raises(UserError, match=r"is no ECG database: give the folder of .*LUDB.*RECORDS"):
        open_database(tmp_path, rate=100)
    np.savez(tmp_path / "flat.npz", x=np.zeros((5, 100)))
    with pytest.raises(UserError, match=r"shape \(5, 100\) under 'x': give mV as \[N, T, 8\]"):
        open_database(tmp_path / "flat.npz", rate=100)


def test_missing_files_are_named(tmp_path):
    write_ptbxl(tmp_path, CODES)
    (tmp_path / "records100/00000/00002_lr.hea").unlink()
    with pytest.raises(UserError, match=r"lacks 1 of its 3 records \(first: records100/00000/00002_lr.hea\)"):
        open_database(tmp_path, rate=100)


def test_a_missing_signal_is_named(tmp_path):
    write_ptbxl(tmp_path, CODES)
    index = open_database(tmp_path, rate=100)
    (tmp_path / "records100/00000/00002_lr.dat").unlink()
    with pytest.raises(UserError, match=r"00002_lr is incomplete, 00002_lr.dat is missing"):
        index.read(1)


def test_an_unknown_diagnosis_costs_its_record(tmp_path):
    write_ptbxl(tmp_path / "ptb", [*CODES, {"NORMAL": 100.0}])
    write_ludb(tmp_path / "ludb", [["Rhythm: Sinus rhythm."], ["Rhythm: Tango."]])
    write_cpsc(tmp_path / "cpsc", [[1], [10], []], seconds=[2.0, 2.0, 2.0])
    said = {
        "ptb": {3: "ptbxl_database.csv, 4 has the statement 'NORMAL', which is none of PTB-XL's 71"},
        "ludb": {1: "data/2.hea has the unknown finding 'rhythm: tango.'"},
        "cpsc": {1: "REFERENCE.csv, A0002 has the unknown class '10'", 2: "REFERENCE.csv, A0003 has no class"},
    }
    for name, foreign in said.items():
        index = open_database(tmp_path / name, rate=100)
        assert index.foreign == foreign
        np.testing.assert_array_equal(np.flatnonzero((index.likelihood == NOT_STATED).all(1)), list(foreign))


def test_a_database_of_unknown_diagnoses_is_refused(tmp_path):
    write_ptbxl(tmp_path, [{"NORMAL": 100.0}, {"HEALTHY": 100.0}])
    with pytest.raises(UserError, match=r"has no record whose diagnoses are all known \(first: .*, 1 has .* 'NORMAL'"):
        open_database(tmp_path, rate=100)


def test_a_byte_order_mark_is_no_part_of_a_table(tmp_path):
    write_ptbxl(tmp_path / "ptb", CODES)
    write_ludb(tmp_path / "ludb", [["Rhythm: Sinus rhythm."]])
    (tmp_path / "ptb/scp_statements.csv").write_text("code,diagnostic_class\nNORM,NORM\n")
    for table in ("ptb/ptbxl_database.csv", "ptb/scp_statements.csv", "ludb/RECORDS"):
        (tmp_path / table).write_bytes(b"\xef\xbb\xbf" + (tmp_path / table).read_bytes())
    assert len(open_database(tmp_path / "ptb", rate=100)) == 3
    assert len(open_database(tmp_path / "ludb", rate=100)) == 1


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (",1,records", ",11,records", "damaged .*'11' is not in list"),
        ("'NORM': 15.0", "'NORM': 150", "damaged .*states NORM at 150 %"),
        ("'NORM': 15.0", "'NORM': " + "(" * 5000, "damaged"),
        ("{'NORM': 15.0", "{'NORM'", "damaged"),
        (",records500/00000/00002_hr", "", "damaged .*a row ends after 'records100/00000/00002_lr'"),
        ("patient_id", "patient", "lacks the column patient_id"),
        ("NORM", "N\xff", "can not be read as text"),
    ],
)
def test_a_damaged_table_is_one_sentence(tmp_path, before, after, message):
    write_ptbxl(tmp_path, [{"SR": 0.0}, {"NORM": 15.0}], folds=[1, 1])
    table = tmp_path / "ptbxl_database.csv"
    assert before in table.read_text()
    table.write_bytes(table.read_bytes().replace(before.encode(), after.encode("latin-1"), 1))
    with pytest.raises(UserError, match=f"ptbxl_database.csv .*{message}"):
        open_database(tmp_path, rate=100)


def test_records_of_unknown_patients_are_each_their_own(tmp_path):
    write_ptbxl(tmp_path, [{"NORM": 100.0}] * 3, patients=[7, 7, 8])
    table = tmp_path / "ptbxl_database.csv"
    table.write_text(table.read_text().replace(",7.0,", ",,").replace(",8.0,", ",nan,"))
    assert open_database(tmp_path, rate=100).patients.tolist() == ["record 1", "record 2", "record 3"]


@pytest.mark.parametrize("rate", [math.nan, math.inf, 99.5, 150.5])
def test_signals_of_no_usable_rate_are_refused(rate):
    signal = Signal(np.ones((50, 8)), rate, LEADS)
    with pytest.raises(UserError, match="give records of a whole number of Hz"):
        to_row(signal, rate=100, seconds=1, what="one")


def test_a_rate_beyond_reason_is_refused_before_a_filter_is_made_for_it():
    with pytest.raises(UserError, match=r"sampled at 1e\+09 Hz: give records of at most 10000 Hz"):
        to_row(Signal(np.ones((50, 8)), 1e9, LEADS), rate=100, seconds=1, what="one")


@pytest.mark.parametrize("name", ["A0001.mat", "REFERENCE.csv"])
def test_pipes_are_refused_before_they_are_opened(tmp_path, name):
    write_cpsc(tmp_path, [[1]], seconds=[2.0])
    (file,) = tmp_path.rglob(name)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(UserError, match=rf"{name} is a named pipe: give a regular file"):
        open_database(tmp_path, rate=100).read(0)


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[: len(b) // 2],
        lambda b: b"",
        lambda b: b"not a file of Matlab" * 100,
        lambda b: b[:128] + b"\xff" * 40 + b[168:],
        lambda b: b.replace(b"data", b"Data"),
        lambda b: b.replace(b"ECG", b"EEG"),
        lambda b: b"\0" + b[1:],  # as version 4, of matrices without end
    ],
)
def test_a_damaged_matlab_file_is_one_sentence(tmp_path, damage):
    write_cpsc(tmp_path, [[1]], seconds=[2.0])
    (file,) = tmp_path.rglob("A0001.mat")
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(BadRecord, match=r"A0001.mat can not be read as a record of CPSC 2018 \(.+\): copy it anew"):
        open_database(tmp_path, rate=100).read(0)


@pytest.mark.parametrize("data", [np.zeros((11, 100)), np.zeros(12), np.zeros((12, 9), complex), "text"])
def test_a_matlab_file_of_other_things_is_one_sentence(tmp_path, data):
    write_cpsc(tmp_path, [[1]], seconds=[2.0])
    (file,) = tmp_path.rglob("A0001.mat")
    savemat(file, {"ECG": {"data": data}})
    with pytest.raises(BadRecord, match=r"A0001.mat has .* and not numbers of 12 leads: copy it anew"):
        open_database(tmp_path, rate=100).read(0)


def test_a_table_of_other_meanings_is_refused(tmp_path):
    write_ptbxl(tmp_path, CODES)
    table = tmp_path / "scp_statements.csv"
    table.write_text(",description,diagnostic_class\nNORM,normal ECG,NORM\nAFIB,atrial fibrillation,\n")
    assert len(open_database(tmp_path, rate=100)) == 3
    table.write_text(",description,diagnostic_class\nAFIB,atrial fibrillation,CD\n")
    with pytest.raises(UserError, match="statement 'AFIB' of class 'CD', unlike PTB-XL"):
        open_database(tmp_path, rate=100)


def test_a_wrong_sampling_rate_is_refused(tmp_path):
    write_ptbxl(tmp_path, CODES)
    record = tmp_path / "records100/00000/00001_lr.hea"
    record.write_text(record.read_text().replace(" 100 200", " 250 200", 1))
    with pytest.raises(UserError, match="sampled at 250 Hz where PTB-XL has 100"):
        open_database(tmp_path, rate=100).read(0)
    with pytest.raises(UserError, match=r"sampled at 50 Hz: give records .* of at least 100, or a lower --rate"):
        to_row(Signal(np.ones((100, 12)), 50, TWELVE), rate=100, seconds=1, what="test")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda x: x.__setitem__((slice(None), 7), 0.0), "flat in lead V2"),
        (lambda x: x.__setitem__((3, 1), np.nan), "not finite in lead II"),
    ],
)
def test_unusable_leads_are_named(damage, message):
    x = signals(1, rate=100)[0] / 1000
    damage(x)
    with pytest.raises(UserError, match=f"record 9 is {message}"):
        to_row(Signal(x, 100, TWELVE), rate=100, seconds=2, what="record 9")


def flat_for(seconds: float, x: np.ndarray, rate: int = 500) -> np.ndarray:
    """Leads off at the beginning, with the last bit of a converter still at work."""
    x = x.copy()
    x[: round(seconds * rate)] = 0.001 * (np.arange(round(seconds * rate)) % 7 == 0)[:, None]
    return x


@pytest.mark.parametrize("wild", [np.nan, np.inf, 1e30, 0.0])
def test_only_samples_that_are_used_are_judged(wild):
    x = signals(1, rate=500, seconds=20.0)[0] / 1000
    good = to_row(Signal(x, 500, TWELVE), rate=100, seconds=10, what="test")
    x[5050:] = wild
    row = to_row(Signal(x, 500, TWELVE), rate=100, seconds=10, what="test")
    assert np.isfinite(row).all()
    np.testing.assert_allclose(row[:-20], good[:-20], atol=1e-3)


def test_leads_that_come_on_after_what_is_used_are_flat():
    x = flat_for(10.0, signals(1, rate=500, seconds=20.0)[0] / 1000)
    with pytest.raises(BadRecord, match="test is flat in lead I: leave the record out"):
        to_row(Signal(x, 500, TWELVE), rate=100, seconds=10, what="test")
    assert np.ptp(to_row(Signal(x, 500, TWELVE), rate=100, seconds=20, what="test")) > 0.5


@pytest.mark.parametrize(("off", "bad"), [(4.0, False), (5.5, True), (9.9, True)])
def test_a_lead_that_is_off_for_half_of_what_is_used_is_flat(off, bad):
    x = signals(1, rate=500, seconds=10.0)[0] / 1000
    x[: round(off * 500), TWELVE.index("V3")] = -0.7
    signal = Signal(x, 500, TWELVE)
    if bad:
        with pytest.raises(BadRecord, match="test is flat in lead V3"):
            to_row(signal, rate=100, seconds=10, what="test")
    else:
        assert to_row(signal, rate=100, seconds=10, what="test")[-1].any()


def test_padding_is_no_flat_lead():
    x = signals(1, rate=500, seconds=2.0)[0] / 1000
    assert not to_row(Signal(x, 500, TWELVE), rate=100, seconds=10, what="test")[210:].any()
    with pytest.raises(BadRecord, match=r"test lasts 0\.4 s, too short for a heart beat"):
        to_row(Signal(x[:200], 500, TWELVE), rate=100, seconds=10, what="test")


def test_what_no_heart_reaches_is_refused():
    x = eight(signals(1, rate=100)[0], TWELVE, "test") / 1000
    x[:, 4] *= 1000
    reached = np.abs(x[:, 4]).max()
    with pytest.raises(BadRecord, match=rf"test reaches {reached:g} mV in lead V3 \(are these microvolts\?\)"):
        to_row(Signal(x, 100, LEADS), rate=100, seconds=2, what="test")


def test_a_record_that_breaks_the_relations_is_bad():
    x = signals(1, rate=100)[0] / 1000
    x[:, 6:] += 0.4 * np.arange(6)  # chest leads are bound by nothing
    to_row(Signal(x + 0.05 * np.arange(12), 100, TWELVE), rate=100, seconds=2, what="test")  # nor are offsets
    swapped = Signal(x, 100, (*TWELVE[:3], "aVL", "aVR", *TWELVE[5:]))
    with pytest.raises(BadRecord, match=r"test breaks the relations between the twelve leads by 0\.\d+ mV"):
        to_row(swapped, rate=100, seconds=2, what="test")


def test_without_wfdb_the_remedy_is_said(monkeypatch):
    the_package.cache_clear()
    monkeypatch.setitem(sys.modules, "wfdb", None)
    with pytest.raises(UserError, match=r"need the wfdb package: pip install 'tgdp_jax\[ecg\]'"):
        the_package()
