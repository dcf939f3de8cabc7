"""Readers of PTB-XL, CPSC 2018, LUDB and .npz, on small databases laid out like those published."""

import math
import sys

import numpy as np
import pytest

from tests.data.ecg.writers import SECONDS, signals, write_cpsc, write_ludb, write_ptbxl, write_record
from tgdp_jax.data.ecg.databases import open_database
from tgdp_jax.data.ecg.leads import LEADS, TWELVE, eight
from tgdp_jax.data.ecg.records import Signal, to_row
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
    steady = to_row(Signal(np.outer(2.0 + t, np.ones(12)), 500, TWELVE), rate=100, seconds=2, what="test")
    np.testing.assert_allclose(steady, np.outer(2.0 + t[::5], np.ones(8)), rtol=0.005)  # an offset and a drift
    fast = np.sin(2 * np.pi * 95.0 * t)[:, None] * np.ones(12)
    row = to_row(Signal(fast, 500, TWELVE), rate=100, seconds=2, what="test")
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
    with pytest.raises(UserError, match="unknown class '12345'"):
        open_database(tmp_path, rate=100)


@pytest.mark.parametrize("leads", [8, 12])
def test_npz_of_eight_or_twelve_leads(tmp_path, leads):
    x = signals(3, rate=100) / 1000
    x = x if leads == 12 else eight(x, TWELVE, "test")
    np.savez(tmp_path / "mine.npz", x=x, patient=[4, 4, 5], y=[0, 1, 1])
    index = open_database(tmp_path / "mine.npz", rate=100)
    np.testing.assert_allclose(rows(index)[0], x[0] if leads == 8 else eight(x[0], TWELVE, "test"), atol=1e-7)
    assert index.patients.tolist() == ["4", "4", "5"] and index.labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize("rate", [[100, 100], "fast", math.nan, math.inf, -100, 0, True])
def test_a_rate_that_is_none_is_refused(tmp_path, rate):
    x = signals(3, rate=100) / 1000
    np.savez(tmp_path / "mine.npz", x=x, rate=rate)
    with pytest.raises(UserError, match=r"mine\.npz has .* under 'rate': give one positive number"):
        open_database(tmp_path / "mine.npz", rate=100)
    np.savez(tmp_path / "mine.npz", x=x, rate=np.array([200]))
    assert open_database(tmp_path / "mine.npz", rate=100).read(0).rate == 200


@pytest.mark.parametrize("rate", [math.nan, math.inf, 99.5, 150.5])
def test_signals_of_no_usable_rate_are_refused(rate):
    signal = Signal(np.ones((50, 8)), rate, LEADS)
    with pytest.raises(UserError, match="give records of a whole number of Hz"):
        to_row(signal, rate=100, seconds=1, what="one")


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


def test_unknown_statements_are_refused(tmp_path):
    write_ptbxl(tmp_path, [*CODES, {"NORMAL": 100.0}])
    with pytest.raises(UserError, match=r"ptbxl_database.csv, 4 has the statement 'NORMAL'"):
        open_database(tmp_path, rate=100)


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
        (lambda x: x.__setitem__((3, 1), np.nan), "not finite .* in lead II"),
    ],
)
def test_unusable_leads_are_named(damage, message):
    x = signals(1, rate=100)[0] / 1000
    damage(x)
    with pytest.raises(UserError, match=f"record 9 is {message}"):
        to_row(Signal(x, 100, TWELVE), rate=100, seconds=2, what="record 9")


def test_without_wfdb_the_remedy_is_said(monkeypatch):
    the_package.cache_clear()
    monkeypatch.setitem(sys.modules, "wfdb", None)
    with pytest.raises(UserError, match=r"need the wfdb package: pip install 'tgdp_jax\[ecg\]'"):
        the_package()
