"""Damaged and absurd bytes give a sentence or a result: no traceback, no hang, and no more memory than a file is worth.

Bytes of a good file are flipped, cut, inserted and overwritten by extreme numbers, most of them near the start and the
end, where formats keep what they promise. The same bytes in every run.
"""

from __future__ import annotations

import resource
import struct
import tracemalloc
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.readers import READERS, no_hang
from tgdp_jax.data.memory import UNCHECKED
from tgdp_jax.errors import UserError

# Bytes beside ten times the file: what is not worth a check, and the copies that are made of it where transparent
# pixels are laid over a background.
CONSTANT = 5 * UNCHECKED
EXTREMES = [
    struct.pack(order + kind, value)
    for order in "<>"
    for kind, values in {
        "I": (0, 1, 2**31 - 1, 2**31, 2**32 - 1),
        "Q": (2**40, 2**63 - 1, 2**64 - 1),
        "H": (0, 2**15, 2**16 - 1),
    }.items()
    for value in values
]
# A share of the file: formats keep their promises near the start and the end.
PLACES = st.one_of(
    st.floats(0, 1),
    st.integers(0, 200).map(lambda at: at / 10_000),
    st.integers(0, 200).map(lambda at: 1 - at / 10_000),
)
EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), PLACES, st.integers(1, 255)),
        st.tuples(st.just("cut"), PLACES, PLACES),
        st.tuples(st.just("insert"), PLACES, st.binary(min_size=1, max_size=20)),
        st.tuples(st.just("write"), PLACES, st.sampled_from(EXTREMES)),
        st.tuples(st.just("write"), PLACES, st.binary(min_size=1, max_size=8)),
    ),
    min_size=1,
    max_size=4,
)


def edited(content: bytes, edits: list) -> bytes:
    """The bytes after some edits: (kind, place as a share of them, what is done there)."""
    for kind, place, what in edits:
        at = min(int(place * len(content)), max(len(content) - 1, 0))
        match kind:
            case "flip" if content:
                content = content[:at] + bytes([content[at] ^ what]) + content[at + 1 :]
            case "cut":
                content = content[:at] + content[at + int(what * (len(content) - at)) :]
            case "insert":
                content = content[:at] + what + content[at:]
            case "write":
                content = content[:at] + what + content[at + len(what) :]
    return content


def test_edits_change_what_they_say():
    assert edited(b"abcd", [("flip", 0.5, 1), ("insert", 0.0, b"x")]) == b"xab" + bytes([ord("c") ^ 1]) + b"d"
    assert edited(b"abcd", [("cut", 0.5, 1.0)]) == b"ab" and edited(b"abcd", [("write", 0.25, b"xy")]) == b"axyd"
    assert edited(b"", [("flip", 0.5, 1), ("cut", 1.0, 0.5), ("write", 0.0, b"z")]) == b"z"


def _peak() -> int:
    """Bytes that this process has held at most."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("name", READERS)
def test_damaged_bytes_give_a_sentence_or_a_result(tmp_path, name):
    reader = READERS[name]
    path = reader.write(tmp_path)
    good = path.read_bytes()
    reader.read(path)  # what libraries load once is not the file's
    before, refused = _peak(), 0

    @settings(max_examples=150, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(edits=EDITS)
    def damaged(edits):
        nonlocal refused
        content = edited(good, edits)
        path.write_bytes(content)
        tracemalloc.start()
        try:
            with no_hang(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                reader.read(path)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error) and "allow_pickle" not in str(error), error
        finally:
            used = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert used <= 10 * len(content) + CONSTANT
        assert _peak() - before <= 10 * len(content) + CONSTANT

    damaged()
    # Else nothing was damaged.
    assert refused > 10
