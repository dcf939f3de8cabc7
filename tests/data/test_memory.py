"""What fits into memory: the process's own limit counts, and packed contents have to be worth their size."""

import resource

import pytest

from tgdp_jax.data.memory import UNCHECKED, available_memory, check_fits, check_unpacked, readable
from tgdp_jax.errors import UserError


def test_the_processes_own_limit_counts(monkeypatch):
    before = available_memory()
    assert 2**20 < before < 2**50
    check_fits(12, "the picture", "shrink it")
    # No more than what it holds already.
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (2**20, 2**20))
    assert available_memory() == 0
    with pytest.raises(UserError, match=r"the picture would take 12 bytes of memory, of which 0 bytes .*: shrink it"):
        check_fits(12, "the picture", "shrink it")


def test_packed_contents_are_worth_their_size():
    check_unpacked(UNCHECKED, 1, "a.npz")
    check_unpacked(2 * UNCHECKED, UNCHECKED // 40, "a.npz")
    with pytest.raises(UserError, match=r"a\.npz promises 134 MB in 671 kB of stored data"):
        check_unpacked(2 * UNCHECKED, UNCHECKED // 100, "a.npz")


@pytest.mark.parametrize(
    ("size", "said"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (3 * 10**9, "3 GB"), (10**18, "1e+06 TB")]
)
def test_sizes_are_readable(size, said):
    assert readable(size) == said
