"""The user's own files: what is read, what is refused and how it is said, and how rows are scaled and split."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tgdp_jax.data.arrays import ArraysConfig, load, read_rows
from tgdp_jax.errors import UserError

SCALE, SHIFT = np.array([10.0, 0.01]), np.array([500.0, -3.0])


@pytest.fixture
def files(tmp_path):
    """Source and target files, the target shifted by one of the source's standard deviations."""
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(300, 2)), rng.normal(size=(40, 2)) + 1.0
    save(tmp_path / "source.npz", x=SHIFT + SCALE * source, y=np.arange(300) % 3)
    save(tmp_path / "target.npz", x=SHIFT + SCALE * target, y=1 + np.arange(40) % 2)
    return tmp_path


def save(path: Path, **arrays) -> Path:
    np.savez(path, **arrays)
    return path


def read(folder, *, n_target=None, seed=0, **options):
    config = ArraysConfig(source=folder / "source.npz", target=folder / "target.npz", **options)
    return load(config, n_target=n_target, seed=seed)


def rows_of(data) -> set[bytes]:
    return {row.tobytes() for row in data.x}


# Reading


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.uint8, np.int8])
def test_any_numeric_type_becomes_float32(tmp_path, dtype):
    x = np.arange(12).reshape(6, 2).astype(dtype)
    data = read_rows(save(tmp_path / "a.npz", x=x))
    assert data.x.dtype == np.float32 and data.y is None
    np.testing.assert_array_equal(data.x, x.astype(np.float32))


def test_compressed_files_and_rows_of_any_rank_are_read(tmp_path):
    x = np.random.default_rng(0).normal(size=(7, 3, 4, 2)).astype(np.float32)
    np.savez_compressed(tmp_path / "a.npz", x=x)
    np.testing.assert_array_equal(read_rows(tmp_path / "a.npz").x, x)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.npz does not exist"):
        read_rows(tmp_path / "nowhere.npz")


def _no_npz(path: Path) -> None:
    path.write_text("x,y\n1,2\n")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"x": [1, 2, 3]}))


def _objects(path: Path) -> None:
    np.savez(path, x=np.array([[1], [None]], dtype=object))


def _truncated(path: Path) -> None:
    np.savez(path, x=np.ones((100, 2)))
    path.write_bytes(path.read_bytes()[:800])


def _flipped(path: Path) -> None:
    np.savez(path, x=np.ones((1000, 2)))
    content = bytearray(path.read_bytes())
    content[5000] ^= 255
    path.write_bytes(content)


def _flipped_compressed(path: Path) -> None:
    np.savez_compressed(path, x=np.random.default_rng(0).normal(size=(1000, 2)))
    content = bytearray(path.read_bytes())
    content[3000:3100] = b"\xff" * 100
    path.write_bytes(content)


def _raw_member(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", "1 2 3")


@pytest.mark.parametrize(
    "damage",
    [_no_npz, _empty, _pickle, _objects, _truncated, _flipped, _flipped_compressed, _raw_member],
)
def test_what_is_not_a_sound_npz_file_is_refused(tmp_path, damage):
    path = tmp_path / "bad.npz"
    damage(path)
    with pytest.raises(UserError, match=r"bad\.npz .*numpy\.savez"):
        read_rows(path)


def test_pickled_arrays_are_never_opened(tmp_path):
    # A pickle runs code when loaded: this one would leave a file.
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    path = tmp_path / "trap.npz"
    np.savez(path, x=np.array([[Trap()]], dtype=object))
    with pytest.raises(UserError):
        read_rows(path)
    assert not (tmp_path / "sprung").exists()


def test_a_single_array_is_read_from_npy_and_refused_under_another_name(tmp_path):
    x = np.random.default_rng(0).normal(size=(5, 2))
    np.save(tmp_path / "a.npy", x)
    data = read_rows(tmp_path / "a.npy")
    np.testing.assert_array_equal(data.x, x.astype(np.float32))
    assert data.y is None
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(UserError, match=r"a single array: save rows with numpy\.savez"):
        read_rows(tmp_path / "a.npz")


def test_a_file_without_x_says_what_it_holds(tmp_path):
    with pytest.raises(UserError, match="holds data, labels but no array 'x'"):
        read_rows(save(tmp_path / "a.npz", data=np.ones((5, 2)), labels=np.ones(5)))
    with pytest.raises(UserError, match="holds nothing but"):
        read_rows(save(tmp_path / "b.npz"))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones(5), r"shape \(5,\): x must be \[N, \*D\].*\[N, 1\]"),
        (np.float64(3.0), r"shape \(\)"),
        (np.ones((0, 2)), "no rows"),
        (np.ones((5, 0)), r"shape \(5, 0\)"),
        (np.array([["a", "b"]]), "must be numeric"),
        (np.array([[1 + 1j, 2]]), "must be numeric"),
        (np.array([["2020-01-01"]], dtype="datetime64[D]"), "must be numeric"),
        (np.array([[1.0, 2.0], [np.nan, 0.0], [np.inf, 1.0]]), r"in 2 of 3 rows \(first: row 1\)"),
        # Finite in the file, infinite in the numbers that networks use.
        (np.array([[1.0, 2.0], [1e300, 0.0]]), r"in 1 of 2 rows \(first: row 1\)"),
    ],
)
def test_bad_rows_are_refused(tmp_path, x, message):
    with pytest.raises(UserError, match=rf"a\.npz .*{message}"):
        read_rows(save(tmp_path / "a.npz", x=x))


# Pairs


def test_rows_of_unlike_shape_are_refused(files):
    save(files / "target.npz", x=np.ones((40, 3)))
    with pytest.raises(UserError, match=r"shape \(2,\) but target rows \(3,\)"):
        read(files)


def test_too_few_rows_are_refused(files):
    save(files / "target.npz", x=np.ones((1, 2)))
    with pytest.raises(UserError, match="the target has 1 row: at least 2"):
        read(files)
    save(files / "target.npz", x=np.ones((0, 2)))
    with pytest.raises(UserError, match=r"target\.npz has no rows"):
        read(files)
    save(files / "target.npz", x=np.ones((40, 2)))
    save(files / "source.npz", x=np.ones((99, 2)))
    with pytest.raises(UserError, match="the source has 99 rows: at least 100"):
        read(files)


@pytest.mark.parametrize(
    ("n", "message"), [(1, "n-target is 1: at least 2"), (0, "at least 2"), (41, "n-target is 41 but only 40")]
)
def test_impossible_numbers_of_target_rows_are_refused(files, n, message):
    with pytest.raises(UserError, match=message):
        read(files, n_target=n)


# Scaling


def test_rows_are_standardised_by_the_source_and_mapped_back(files):
    p = read(files)
    np.testing.assert_allclose(p.source.x.mean(0), 0.0, atol=1e-4)
    np.testing.assert_allclose(p.source.x.std(0), 1.0, rtol=1e-4)
    # By the source's numbers, not its own: the shift between the two is what is to be learned.
    assert np.all(np.abs(p.target.x.mean(0) - 1.0) < 0.6)
    original = np.load(files / "source.npz")["x"]
    np.testing.assert_allclose(p.scaler.to_user(p.source.x), original, rtol=1e-5)


def test_a_constant_coordinate_stays_as_it_is(files):
    rng = np.random.default_rng(1)
    save(files / "source.npz", x=np.stack([rng.normal(size=300), np.full(300, 0.1)], 1))
    save(files / "target.npz", x=np.stack([rng.normal(size=40), np.full(40, 0.1)], 1))
    p = read(files)
    np.testing.assert_allclose(p.source.x[:, 1], 0.0, atol=1e-6)
    np.testing.assert_allclose(p.target.x[:, 1], 0.0, atol=1e-6)
    np.testing.assert_allclose(p.scaler.to_user(p.source.x)[:, 1], 0.1, rtol=1e-6)
    assert p.scaler.scale[1] == 1.0


@pytest.mark.parametrize("size", [1e-30, 1e-12, 1e12, 1e30])
def test_units_do_not_matter(files, size):
    # Squares of such numbers leave the range of float32.
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(300, 2)), rng.normal(size=(40, 2))
    save(files / "source.npz", x=size * x)
    save(files / "target.npz", x=size * y)
    p = read(files)
    np.testing.assert_allclose(p.source.x, (x - x.mean(0)) / x.std(0), atol=1e-4)
    np.testing.assert_allclose(p.scaler.to_user(p.source.x), size * x, rtol=1e-3, atol=1e-5 * size)


# Splitting


def test_rows_to_judge_by_are_never_learned_from(files):
    p = read(files, n_target=25)
    assert (len(p.target), len(p.reference)) == (25, 15)
    assert not rows_of(p.target) & rows_of(p.reference)
    assert len(rows_of(p.target) | rows_of(p.reference)) == 40


def test_a_fifth_is_held_back_when_no_number_is_given(files):
    save(files / "target.npz", x=np.random.default_rng(0).normal(size=(60, 2)))
    p = read(files)
    assert (len(p.target), len(p.reference)) == (48, 12)


def test_a_handful_of_left_over_rows_judges_nothing(files):
    assert read(files, n_target=31).reference is None
    assert len(read(files, n_target=30).reference) == 10
    assert read(files, n_target=40).reference is None


def test_the_split_depends_on_the_seed_and_is_nested_in_n(files):
    a, b = read(files, n_target=20), read(files, n_target=20)
    np.testing.assert_array_equal(a.target.x, b.target.x)
    np.testing.assert_array_equal(read(files, n_target=8).target.x, a.target.x[:8])
    other = read(files, n_target=20, seed=1)
    assert rows_of(other.target) != rows_of(a.target)


def test_copies_are_on_one_side_and_counted(files):
    x = SHIFT + SCALE * np.random.default_rng(4).normal(size=(50, 2))
    save(files / "target.npz", x=np.concatenate([x, x]))
    p = read(files, n_target=61)
    assert not rows_of(p.target) & rows_of(p.reference) and len(p.target) == 61 and len(p.reference) == 38
    assert p.notes == ("target: 50 of 100 rows are copies of others; all copies of one are learned from, or all judge",)
    save(files / "reference.npz", x=np.concatenate([x[:3], np.load(files / "source.npz")["x"][:30]]))
    p = read(files, reference=files / "reference.npz")
    assert p.notes == (
        "target: 50 of 100 rows are copies of others",
        "30 of 33 rows to judge by are copies of source rows",
        "3 of 33 rows to judge by are copies of target rows",
    )


def test_reference_rows_may_come_from_a_file_of_their_own(files):
    rng = np.random.default_rng(5)
    x = SHIFT + SCALE * rng.normal(size=(12, 2))
    save(files / "reference.npz", x=x)
    p = read(files, reference=files / "reference.npz")
    # All of the target is then free to learn from.
    assert (len(p.target), len(p.reference)) == (40, 12)
    np.testing.assert_allclose(p.scaler.to_user(p.reference.x), x, rtol=1e-5)
    assert len(read(files, reference=files / "reference.npz", n_target=7).target) == 7


def test_a_bad_reference_file_is_refused_by_name(files):
    save(files / "reference.npz", x=np.ones((12, 5)))
    with pytest.raises(UserError, match=r"reference rows \(5,\)"):
        read(files, reference=files / "reference.npz")
    save(files / "reference.npz", x=np.ones((1, 2)))
    with pytest.raises(UserError, match="the reference has 1 row"):
        read(files, reference=files / "reference.npz")
    save(files / "reference.npz", x=np.ones((12, 2)))
    with pytest.raises(UserError, match=r"reference\.npz has no labels"):
        read(files, reference=files / "reference.npz", conditional=True)


# Labels


def test_classes_are_the_sources(files):
    p = read(files, conditional=True, n_target=20)
    assert p.num_classes == 3
    assert set(p.source.y.tolist()) == {0, 1, 2} and set(p.target.y.tolist()) == {1, 2}
    assert p.source.y.dtype == p.target.y.dtype == p.reference.y.dtype == np.int32


def test_labels_stay_with_their_rows(files):
    x = np.load(files / "target.npz")["x"].astype(np.float32)
    label = dict(zip((row.tobytes() for row in x), np.load(files / "target.npz")["y"], strict=True))
    p = read(files, conditional=True, n_target=20)
    # Scaling rounds: rows are found again by their rank in a coordinate.
    scaled = {row.tobytes(): value for row, value in zip(p.scaler.to_model(x), label.values(), strict=True)}
    for part in (p.target, p.reference):
        assert [scaled[row.tobytes()] for row in part.x] == part.y.tolist()


@pytest.mark.parametrize("which", ["source", "target"])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "has no labels"),
        (lambda n: np.arange(n) % 3 + 0.5, "dtype float64"),
        (lambda n: np.array([b"cat"] * n), "dtype \\|S3"),
        (lambda n: np.arange(n) % 2 == 0, "dtype bool"),
        (lambda n: np.zeros(n - 1, int), r"must be integers \["),
        (lambda n: np.zeros((n, 1), int), r"must be integers \["),
        (lambda n: np.zeros(0, int), r"must be integers \["),
        (lambda n: np.arange(n) % 3 - 1, "reach from -1"),
        (lambda n: np.full(n, -1), "reach from -1"),
    ],
)
def test_bad_labels_are_refused_with_the_files_name(files, which, labels, message):
    n = 300 if which == "source" else 40
    x = np.random.default_rng(0).normal(size=(n, 2))
    save(files / f"{which}.npz", x=x, **({} if labels is None else {"y": labels(n)}))
    with pytest.raises(UserError, match=rf"{which}\.npz .*{message}"):
        read(files, conditional=True)


def test_a_target_class_that_the_source_lacks_is_refused(files):
    save(files / "target.npz", x=np.ones((40, 2)), y=np.arange(40) % 4)
    with pytest.raises(UserError, match=r"from 0 to 3: they must lie in 0\.\.2, the source's classes"):
        read(files, conditional=True)


def test_names_are_matched_and_told(files):
    x = np.random.default_rng(0).normal(size=(300, 2))
    save(files / "source.npz", x=x, y=np.array(["low", "mid", "top"] * 100))
    save(files / "target.npz", x=x[:40] + 1, y=np.array(["top", "mid"] * 20))
    p = read(files, conditional=True, n_target=20)
    assert p.num_classes == 3 and p.classes == ("low", "mid", "top")
    assert set(p.target.y.tolist()) == {1, 2} and p.notes == ("labels: 0 = low (source only), 1 = mid, 2 = top",)
    save(files / "target.npz", x=x[:40] + 1, y=np.array(["top", "high"] * 20))
    with pytest.raises(UserError, match=r"target\.npz has a class .* by this name: high; .*\(low, mid, top\)"):
        read(files, conditional=True)


def test_labels_that_number_something_else_are_refused(files):
    # Identifiers instead of classes would make a network with millions of inputs.
    save(files / "source.npz", x=np.ones((300, 2)), y=np.arange(300) + 5_000_000)
    with pytest.raises(UserError, match="5000299"):
        read(files, conditional=True)


def test_an_unconditional_run_does_not_care_about_labels(files):
    save(files / "source.npz", x=np.random.default_rng(1).normal(size=(300, 2)), y=np.array(["a", "b"]))
    save(files / "target.npz", x=np.random.default_rng(0).normal(size=(40, 2)), y=np.arange(3))
    p = read(files)
    assert not p.conditional and len(p.target) == 32 and p.target_labels(None, np.arange(5)) is None
