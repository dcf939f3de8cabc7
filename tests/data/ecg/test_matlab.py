"""The reader of MATLAB structs against SciPy's writer."""

import io
import struct
import zlib

import numpy as np
import pytest
from scipy.io import savemat

from tgdp_jax.data.ecg.matlab import read_field

RNG = np.random.default_rng(0)
DATA = RNG.normal(size=(12, 50))


def file(ecg, compressed=False) -> bytes:
    out = io.BytesIO()
    savemat(out, {"other": np.arange(5), "ECG": ecg}, do_compression=compressed)
    return out.getvalue()


def read(content: bytes, most: int = 10**6) -> np.ndarray:
    return read_field(content, "ECG", "data", most=most)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["f8", "f4", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1"])
@pytest.mark.parametrize("shape", [(12, 50), (12, 7), (1, 3), (1, 1), (2, 3, 4)])
def test_what_scipy_writes_is_read(compressed, kind, shape):
    data = (50 * RNG.random(shape)).astype(kind)
    found = read(file({"sex": "Male", "age": 60, "data": data, "more": "text"}, compressed))
    np.testing.assert_array_equal(found, data)


def test_numbers_may_be_stored_narrower_and_the_other_way_round():
    # As MATLAB stores whole numbers of class double, here with the most significant byte first.
    def element(kind, data):
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    def matrix(of, shape, name, *parts):
        head = element(6, struct.pack(">II", of, 0)) + element(5, struct.pack(f">{len(shape)}i", *shape))
        return element(14, head + element(1, name) + b"".join(parts))

    values = np.arange(-12, 12, dtype=">i2").reshape(12, 2)
    data = matrix(6, values.shape, b"", element(3, values.tobytes(order="F")))
    ecg = matrix(2, (1, 1), b"ECG", element(5, struct.pack(">i", 8)), element(1, b"data".ljust(8, b"\0")), data)
    np.testing.assert_array_equal(read(b"MATLAB 5.0".ljust(126) + b"MI" + ecg), values)


@pytest.mark.parametrize(
    ("ecg", "message"),
    [
        ({"dat": DATA}, "not in list"),
        ({"data": DATA + 1j}, "no real numbers"),
        ({"data": "text"}, "no real numbers"),
        ({"data": {"x": DATA}}, "no real numbers"),
        (DATA, "ECG is no struct"),
        (np.zeros((2, 1), [("data", "f8")]), "ECG is no struct"),
    ],
)
def test_what_is_no_field_of_numbers_is_refused(ecg, message):
    with pytest.raises(ValueError, match=message):
        read(file(ecg))


def test_a_file_that_ends_early_is_refused():
    content = file({"data": DATA})
    for end in range(129, len(content), 97):
        with pytest.raises((ValueError, struct.error)):
            read(content[:end])


def test_what_unpacks_to_too_much_or_is_cut_off_is_refused():
    content = file({"data": DATA}, compressed=True)
    whole = len(file({"data": DATA}))
    assert read(content, most=whole).shape == DATA.shape
    for less, most in ((content, whole // 2), (content[:-30], whole)):
        with pytest.raises((ValueError, struct.error)):
            read(less, most=most)
    with pytest.raises(zlib.error):
        read(content[:-4] + bytes(4))  # the checksum
