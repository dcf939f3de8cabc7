"""Problem `ecg`: from two databases to rows, without leaks; and the cache between."""

import numpy as np
import pytest

from tests.data.ecg.writers import signals, write_cpsc, write_ptbxl
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
