"""Records in a .npz file: what they must be for mV of the leads that they are read as."""

import io
import math
import os
import zipfile

import numpy as np
import pytest

from tests.data.ecg.writers import SECONDS, signals
from tgdp_jax.data.ecg.databases import open_database
from tgdp_jax.data.ecg.leads import LEADS, TWELVE, eight
from tgdp_jax.data.ecg.records import to_row
from tgdp_jax.errors import UserError

X = signals(3, rate=100) / 1000


@pytest.fixture
def opened(tmp_path):
    """Opens a file of the given arrays."""

    def call(**arrays):
        np.savez(tmp_path / "mine.npz", **arrays)
        return open_database(tmp_path / "mine.npz", rate=100)

    return call


def row(index, number: int = 0) -> np.ndarray:
    return to_row(index.read(number), rate=100, seconds=SECONDS, what="test")


@pytest.mark.parametrize("leads", [8, 12])
def test_npz_of_eight_or_twelve_leads(opened, leads):
    x = X if leads == 12 else eight(X, TWELVE, "test")
    index = opened(x=x, patient=[4, 4, 5], y=[0, 1, 1])
    np.testing.assert_allclose(row(index), eight(X[0], TWELVE, "test"), atol=1e-7)
    assert index.patients.tolist() == ["4", "4", "5"] and index.labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize("rate", [[100, 100], "fast", math.nan, math.inf, -100, 0, True])
def test_a_rate_that_is_none_is_refused(opened, rate):
    with pytest.raises(UserError, match=r"mine\.npz has .* under 'rate': give one positive number"):
        opened(x=X, rate=rate)
    assert opened(x=X, rate=np.array([200])).read(0).rate == 200


def test_another_order_of_leads_is_refused_with_the_likely_one(opened):
    names = [*LEADS, "III", "aVR", "aVL", "aVF"]
    x = X[..., [TWELVE.index(name) for name in names]]
    with pytest.raises(UserError, match=f"breaks the relations .* they fit {', '.join(names)}, give these names"):
        opened(x=x)
    np.testing.assert_array_equal(row(opened(x=x, leads=[name.upper() for name in names])), row(opened(x=X)))
    with pytest.raises(UserError, match=r"in the order V6, .*: they fit I, II, V1"):
        opened(x=x, leads=TWELVE[::-1])


def test_quiet_records_do_not_save_a_wrong_order(opened):
    x = signals(9, rate=100) / 1000
    x[:4] /= 100
    assert len(opened(x=x)) == 9
    with pytest.raises(UserError, match="they fit V1, V2, V3, V4, V5, V6, I, II"):
        opened(x=np.roll(x, 6, axis=2))


def test_leads_that_are_scaled_by_themselves_are_refused(opened):
    with pytest.raises(UserError, match="mV as recorded, or I, II, V1 to V6 alone"):
        opened(x=X / X.std(1, keepdims=True))


def test_names_of_eight_leads_are_kept_to(opened):
    x = eight(X, TWELVE, "test")
    found = row(opened(x=x[..., ::-1], leads=[f" {name.lower()}" for name in LEADS[::-1]]))
    np.testing.assert_array_equal(found, row(opened(x=x)))


@pytest.mark.parametrize(
    "leads", [LEADS, [*TWELVE[:11], "V7"], [*TWELVE[:11], "I"], np.arange(12), "I", [list(TWELVE)]], ids=str
)
def test_names_that_do_not_name_the_leads_are_refused(opened, leads):
    with pytest.raises(UserError, match=r"under 'leads': name each of I, II, III, aVR, .*V6 once"):
        opened(x=X, leads=leads)


@pytest.mark.parametrize(("scale", "remedy"), [(1000, "divide microvolts by 1000"), (0.001, "multiply volts by 1000")])
def test_other_units_are_refused(opened, scale, remedy):
    with pytest.raises(UserError, match=rf"reach .*, and ECGs a few mV: give x in mV, {remedy}"):
        opened(x=np.round(X * scale, 6))


@pytest.mark.parametrize(
    ("patient", "found"),
    [
        ([4.0, math.nan, math.nan], ["4.0", "record 1", "record 2"]),
        (["a", "", "nan"], ["a", "record 1", "record 2"]),
    ],
)
def test_records_of_unknown_patients_are_each_their_own(opened, patient, found):
    assert opened(x=X, patient=patient).patients.tolist() == found


def test_damaged_records_do_not_hide_the_others(opened):
    x = np.concatenate([X, np.full((40, *X.shape[1:]), np.nan), np.zeros((40, *X.shape[1:]))])
    assert len(opened(x=x)) == 83
    with pytest.raises(UserError, match="divide microvolts"):
        opened(x=x * 1000)


def archive(path, **members: bytes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, allow_pickle=True)
    return out.getvalue()


def test_sizes_that_an_archive_does_not_hold_are_refused_unread(tmp_path):
    honest = npy(X)
    for shape in (b"(9999999999, 200, 12)", b"(3, 200, 11)", b"(-3, 200, 12)", b"(3, 200, 12, 1)"):
        stated = b"(3, 200, 12), }".ljust(len(shape) + 3)
        changed = honest.replace(stated, shape + b", }")
        assert changed != honest and len(changed) == len(honest)
        archive(tmp_path / "mine.npz", x=changed)
        with pytest.raises(UserError, match=r"mine\.npz (can not be read as \.npz|has .* under 'x')"):
            open_database(tmp_path / "mine.npz", rate=100)


def test_what_does_not_fit_into_memory_is_refused_unread(tmp_path, monkeypatch):
    np.savez(tmp_path / "mine.npz", x=X)
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PHYS_PAGES": 10, "SC_PAGE_SIZE": 4096}[name])
    monkeypatch.setattr(np, "load", None)
    with pytest.raises(UserError, match=r"holds 0 GB, and memory 0 GB: give fewer records"):
        open_database(tmp_path / "mine.npz", rate=100)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "can not be read as .npz"),
        (b"x = 1, 2, 3", "can not be read as .npz"),
        ({"x": b"no array"}, "can not be read as .npz"),
        ({"y": npy(np.zeros(3))}, "has nothing under 'x'"),
        ({"x": npy(X), "y": npy(np.array(["MI"] * 3)).replace(b"M\0\0\0", b"\0\0\x11\0")}, "letters that are none"),
        ({"x": npy(X), "y": npy(np.array(["\ud8ff"] * 3))}, "letters that are none"),
        ({"x": npy(X), "y": npy(np.array([b"\xff"] * 3))}, "can not be read as .npz"),
        ({"x": npy(X), "patient": npy(np.array([1j] * 3))}, "has 3 records but complex128 of shape"),
        ({"x": npy(X), "patient": npy(np.array([1, 2]))}, r"has 3 records but int64 of shape \(2,\) under 'patient'"),
        ({"x": npy(np.array([{}], object))}, "holds Python objects under 'x': save numbers or text"),
    ],
)
def test_what_is_no_archive_of_records_is_one_sentence(tmp_path, content, message):
    path = tmp_path / "mine.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        archive(path, **content)
    with pytest.raises(UserError, match=message) as caught:
        open_database(path, rate=100)
    assert "allow_pickle" not in str(caught.value)


def test_a_pipe_is_refused_before_it_is_opened(tmp_path):
    os.mkfifo(tmp_path / "mine.npz")
    with pytest.raises(UserError, match="is a named pipe"):
        open_database(tmp_path / "mine.npz", rate=100)
