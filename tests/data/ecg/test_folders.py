"""Problem `ecg`: from two databases to rows, without leaks; and the cache between."""

import numpy as np
import pytest

from tests.data.ecg.writers import signals, write_cpsc, write_ludb, write_ptbxl
from tgdp_jax.data.ecg import cache
from tgdp_jax.data.ecg.databases import open_database
from tgdp_jax.data.ecg.folders import EcgConfig, load
from tgdp_jax.data.ecg.leads import TWELVE, eight
from tgdp_jax.errors import UserError

LENGTH = 2.0


@pytest.fixture
def pair(tmp_path):
    """Settings of a source of 130 records of 100 patients, and a target of 40 of 20, both .npz files."""
    rng = np.random.default_rng(0)
    for name, num, patients in (("source", 130, 100), ("target", 40, 20)):
        x = eight(signals(num, rate=100, seed=num) / 1000, TWELVE, "test")
        np.savez(tmp_path / f"{name}.npz", x=x, y=rng.integers(0, 5, num), patient=np.arange(num) % patients)
    return {"source": tmp_path / "source.npz", "target": tmp_path / "target.npz", "seconds": LENGTH}


def test_rows_are_scaled_by_the_source_s_leads(pair):
    problem = load(EcgConfig(**pair), n_target=20, seed=0)
    assert problem.shape == (200, 8) and problem.ecg_rate == 100 and not problem.conditional
    np.testing.assert_allclose(np.sqrt(np.mean(problem.source.x**2, axis=(0, 1))), 1.0, atol=1e-4)
    with np.load(pair["source"]) as file:
        np.testing.assert_allclose(problem.scaler.to_user(problem.source.x), file["x"], atol=1e-6)


def test_labels_and_patients_stay_with_their_rows(pair):
    problem = load(EcgConfig(**pair, conditional=True), n_target=20, seed=0)
    assert problem.num_classes == 5 and problem.classes == ("MI", "CD", "HYP", "STTC", "NORM")
    with np.load(pair["target"]) as file:
        rows = zip(file["x"].astype(np.float32), file["y"], file["patient"], strict=True)
        found = {row.tobytes(): (y, p) for row, y, p in rows}
    x = open_database(pair["target"], rate=100)
    raw = np.asarray(cache.converted(x, rate=100, seconds=LENGTH).x)
    back = {problem.scaler.to_model(row).tobytes(): found[row.tobytes()] for row in raw}
    sides = [[back[row.tobytes()] for row in data.x] for data in (problem.target, problem.reference)]
    for side, data in zip(sides, (problem.target, problem.reference), strict=True):
        assert [y for y, _ in side] == data.y.tolist()
    assert not {p for _, p in sides[0]} & {p for _, p in sides[1]}


def test_of_ptbxl_the_first_eight_folds_train(tmp_path, pair):
    codes = [{"NORM": 100.0} if i % 6 else {"SR": 0.0} for i in range(155)]
    write_ptbxl(tmp_path / "ptb", codes, seconds=0.5)
    config = EcgConfig(source=tmp_path / "ptb", target=pair["target"], seconds=0.5)
    problem = load(config, n_target=10, seed=0)
    labelled = [i for i in range(155) if i % 6]
    assert len(problem.source) == sum(i % 10 < 8 for i in labelled) and set(problem.source.y.tolist()) == {4}
    assert problem.notes[:2] == (
        f"source: {155 - len(labelled)} of 155 records without a superclass label are left out",
        f"source: {len(labelled) - len(problem.source)} records of folds 9 and 10 are left for test",
    )


def test_signals_are_converted_once_and_stay_on_disk(tmp_path, monkeypatch):
    write_cpsc(tmp_path / "cpsc", [[1], [2]], seconds=[2.0, 2.0])
    first = cache.converted(open_database(tmp_path / "cpsc", rate=100), rate=100, seconds=LENGTH)
    assert isinstance(first.x, np.memmap) and first.x.shape == (2, 200, 8)
    monkeypatch.setattr(cache, "to_row", None)
    again = cache.converted(open_database(tmp_path / "cpsc", rate=100), rate=100, seconds=LENGTH)
    np.testing.assert_array_equal(first.x, again.x)
    with pytest.raises(TypeError):  # another length is another file
        cache.converted(open_database(tmp_path / "cpsc", rate=100), rate=100, seconds=1.0)


def test_an_interrupted_conversion_leaves_nothing_that_counts(tmp_path, monkeypatch):
    write_cpsc(tmp_path / "cpsc", [[1], [2]], seconds=[2.0, 2.0])
    index, whole, calls = open_database(tmp_path / "cpsc", rate=100), cache.to_row, []

    def breaks_off(*args, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*args, **options)

    monkeypatch.setattr(cache, "to_row", breaks_off)
    with pytest.raises(KeyboardInterrupt):
        cache.converted(index, rate=100, seconds=LENGTH)
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    assert np.abs(cache.converted(index, rate=100, seconds=LENGTH).x).min((1, 2)).shape == (2,)


@pytest.mark.parametrize("damage", [("npy", lambda b: b[:-8]), ("npy", lambda b: b""), ("json", lambda b: b[:-3])])
def test_a_damaged_cache_is_converted_anew(tmp_path, pair, damage):
    index = open_database(pair["target"], rate=100)
    first = np.array(cache.converted(index, rate=100, seconds=LENGTH).x)
    kind, cut = damage
    (file,) = (tmp_path / "cache").rglob(f"*.{kind}")
    file.write_bytes(cut(file.read_bytes()))
    np.testing.assert_array_equal(cache.converted(index, rate=100, seconds=LENGTH).x, first)


def test_changed_data_are_converted_anew(tmp_path):
    for seconds in (2.0, 1.0):
        folder = tmp_path / "cpsc"
        if folder.exists():
            (folder / "TrainingSet1/A0001.mat").unlink()
            (folder / "TrainingSet1").rmdir()
        write_cpsc(folder, [[1]], seconds=[seconds])
        x = cache.converted(open_database(folder, rate=100), rate=100, seconds=LENGTH).x
        assert (x[0, 150:] == 0).all() == (seconds == 1.0)


def test_a_changed_signal_never_gives_the_old_rows(tmp_path):
    write_ptbxl(tmp_path, [{"NORM": 100.0}] * 2)
    first = np.array(cache.converted(open_database(tmp_path, rate=100), rate=100, seconds=LENGTH).x)
    file = tmp_path / "records100/00000/00002_lr.dat"
    samples = np.frombuffer(file.read_bytes(), "<i2").reshape(-1, 12)
    file.write_bytes(samples[::-1].tobytes())  # of the same checksum
    again = cache.converted(open_database(tmp_path, rate=100), rate=100, seconds=LENGTH)
    np.testing.assert_array_equal(again.x[0], first[0])
    np.testing.assert_array_equal(again.x[1], first[1][::-1])
    file.write_bytes((samples + np.int16(2)).tobytes())
    bad = cache.converted(open_database(tmp_path, rate=100), rate=100, seconds=LENGTH).bad
    assert list(bad) == [1] and "00002_lr has other samples than the checksum in its header says" in bad[1]


def test_unknown_diagnoses_are_left_out_and_counted(tmp_path, pair):
    write_ptbxl(tmp_path / "ptb", [{"NORM": 100.0}] * 20 + [{"NORMAL": 100.0}] * 2 + [{"SR": 0.0}])
    problem = load(EcgConfig(**pair | {"target": tmp_path / "ptb"}), n_target=10, seed=0)
    assert problem.notes[:2] == (
        "target: 2 of 23 records with unknown diagnoses (first: ptbxl_database.csv, 21 has the statement 'NORMAL', "
        "which is none of PTB-XL's 71) are left out",
        "target: 1 of 23 records without a superclass label are left out",
    )


def test_judged_records_that_the_source_has_are_left_out(tmp_path, pair):
    whole = load(EcgConfig(**pair), n_target=20, seed=0)
    with np.load(pair["source"]) as file:
        x = file["x"].copy()
    with np.load(pair["target"]) as file:
        rows = {whole.scaler.to_model(row.astype(np.float32)).tobytes(): row for row in file["x"]}
    judged, learned = ([rows[row.tobytes()] for row in data.x] for data in (whole.reference, whole.target))
    x[:3] = judged[:3]
    x[3:5] = learned[:2]  # learned from on both sides: nothing leaks
    np.savez(tmp_path / "source.npz", x=x)
    problem = load(EcgConfig(**pair), n_target=20, seed=0)
    assert "target: 3 records to judge by that copy a source record are left out" in problem.notes
    assert len(problem.target) == 20 and len(problem.reference) == len(whole.reference) - 3
    np.testing.assert_allclose(problem.scaler.to_user(problem.reference.x), judged[3:], atol=1e-6)
    same = load(EcgConfig(**pair | {"target": pair["source"]}), n_target=100, seed=0)
    assert same.reference is None


def test_copies_under_different_patients_are_one_record(tmp_path, pair):
    with np.load(pair["target"]) as file:
        x = file["x"].copy()
    x[20:] = x[:20]
    np.savez(tmp_path / "target.npz", x=x, patient=np.arange(40))
    problem = load(EcgConfig(**pair), n_target=8, seed=0)
    assert "target: 20 of 40 records that copy another record are left out" in problem.notes
    rows = [row.tobytes() for row in np.concatenate([problem.target.x, problem.reference.x])]
    assert len(rows) == len(set(rows)) == 20


def test_labels_by_name_are_those_of_the_scheme(tmp_path, pair):
    names = np.array(["MI", "CD", "HYP", "STTC", "NORM"])
    with np.load(pair["target"]) as file:
        x, y = file["x"], file["y"]
    numbered = load(EcgConfig(**pair, conditional=True), n_target=20, seed=0)
    assert "target: labels 0, 1, ... are read as MI, CD, HYP, STTC, NORM" in numbered.notes
    patient = np.arange(40) % 20
    np.savez(tmp_path / "target.npz", x=x, y=np.char.add(np.char.lower(names[y]), " "), patient=patient)
    named = load(EcgConfig(**pair, conditional=True), n_target=20, seed=0)
    np.testing.assert_array_equal(named.target.y, numbered.target.y)
    assert "target: labels are matched by name with MI, CD, HYP, STTC, NORM" in named.notes
    assert "source: labels 0, 1, ... are read as MI, CD, HYP, STTC, NORM" in named.notes
    np.savez(tmp_path / "target.npz", x=x, y=np.where(np.arange(40) < 4, "", "NORM"))
    few = load(EcgConfig(**pair, conditional=True), n_target=20, seed=0)
    assert set(few.target.y.tolist()) == {4} and len(few.target) + len(few.reference) == 36
    assert "target: labels are matched by name with NORM" in few.notes
    assert "target: 4 of 40 records without a superclass label are left out" in few.notes


def test_names_that_the_scheme_lacks_are_refused_or_counted(tmp_path, pair):
    with np.load(pair["target"]) as file:
        x = file["x"]
    y = np.array(["NORM", "Infarction", "AFIB", "NORM"] * 10)
    np.savez(tmp_path / "target.npz", x=x, y=y)
    said = "20 of 40 records have labels that --labels superclass does not have"
    message = f"{said}, Infarction, AFIB, in .*target.npz: it has MI, CD, HYP, STTC, NORM; rename them"
    with pytest.raises(UserError, match=message):
        load(EcgConfig(**pair, conditional=True), n_target=20, seed=0)
    problem = load(EcgConfig(**pair), n_target=20, seed=0)
    assert problem.target.y is None and len(problem.target) + len(problem.reference) == 40
    assert f"target: {said} (Infarction, AFIB): labels are not read" in problem.notes
    with pytest.raises(UserError, match="y must be integers"):
        np.savez(tmp_path / "target.npz", x=x, y=np.full((40, 2), "NORM"))
        load(EcgConfig(**pair, conditional=True), n_target=20, seed=0)


def test_statements_of_source_and_target_are_one_by_name(tmp_path):
    # The same diagnosis in PTB-XL's words, in CPSC's numbers and in LUDB's sentences.
    write_ptbxl(tmp_path / "ptb", [{"CLBBB": 100.0}] * 130, seconds=0.5)
    write_cpsc(tmp_path / "cpsc", [[4]] * 12, seconds=[0.5] * 12)
    write_ludb(tmp_path / "ludb", [["Complete left bundle branch block."]] * 12)
    for target in ("cpsc", "ludb"):
        config = EcgConfig(source=tmp_path / "ptb", target=tmp_path / target, seconds=0.5, labels="cpsc")
        problem = load(config, n_target=2, seed=0)
        (name,) = {problem.classes[label] for label in [*problem.source.y, *problem.target.y]}
        assert name == "CLBBB"


def test_bad_records_are_refused_or_left_out_and_copies_always(pair, tmp_path):
    with np.load(pair["target"]) as file:
        x, y = file["x"].copy(), file["y"]
    x[3, :, 2], x[5, 0, 0], x[7] = 0.0, np.nan, x[6]
    np.savez(tmp_path / "bad.npz", x=x, y=y)
    bad = pair | {"target": tmp_path / "bad.npz"}
    message = (
        "2 of 40 records of .*bad.npz can not be used; the first: bad.npz, record 3 is flat in lead V1; give --drop-bad"
    )
    with pytest.raises(UserError, match=message):
        load(EcgConfig(**bad), n_target=20, seed=0)
    problem = load(EcgConfig(**bad, drop_bad=True), n_target=20, seed=0)
    assert len(problem.target) + len(problem.reference) == 37
    assert problem.notes == (
        "target: 2 of 40 records with bad leads are left out",
        "target: 1 of 40 records that copy another record are left out",
    )


def test_labels_that_do_not_fit_are_refused(pair, tmp_path):
    with np.load(pair["target"]) as file:
        x = file["x"]
    np.savez(tmp_path / "plain.npz", x=x)
    assert load(EcgConfig(**pair | {"target": tmp_path / "plain.npz"}), n_target=9, seed=0).target.y is None
    with pytest.raises(UserError, match=r"plain\.npz has no labels"):
        load(EcgConfig(**pair | {"target": tmp_path / "plain.npz"}, conditional=True), n_target=9, seed=0)
    np.savez(tmp_path / "many.npz", x=x, y=np.full(len(x), 5))
    with pytest.raises(UserError, match=r"they must lie in 0\.\.4, the classes of --labels superclass"):
        load(EcgConfig(**pair | {"target": tmp_path / "many.npz"}, conditional=True), n_target=9, seed=0)
    # Nobody asked for them.
    assert load(EcgConfig(**pair | {"target": tmp_path / "many.npz"}), n_target=9, seed=0).target.y is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"labels": "icd"}, "unknown label scheme 'icd'"),
        ({"seconds": 0.1}, "seconds is 0.1"),
        ({"rate": 10}, "rate is 10"),
    ],
)
def test_impossible_settings_are_refused(pair, settings, message):
    with pytest.raises(UserError, match=message):
        EcgConfig(**pair | settings)
