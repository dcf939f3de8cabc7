"""Whether what is asked for fits into memory, known before it is allocated."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from tgdp_jax.errors import UserError
from tgdp_jax.runtime.limits import address_space

# Packed contents may be this much larger than what is stored, and as much as UNCHECKED in any case. Pictures, counts
# and one-hot codes pack to a tenth or a thirtieth; what packs beyond a hundredth is a trap, or constant.
MAX_PACKING = 100
UNCHECKED = 64 * 2**20

_CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Bytes that this process can still get: of the machine, its container and its own limit, whichever is least."""
    return max(0, min(_limits()))


def check_fits(needed: int, what: str, remedy: str) -> None:
    """Refuses what does not fit into memory.

    Args:
      needed: bytes.
      what: what needs them; begins the sentence.
      remedy: what the user can do; ends it.

    Raises:
      UserError: less memory is available.
    """
    available = available_memory()
    if needed > available:
        raise UserError(
            f"{what} would take {readable(needed)} of memory, of which {readable(available)} are available: {remedy}"
        )


def check_unpacked(needed: int, stored: int, what: str) -> None:
    """Refuses contents that do not fit into memory, or that are far larger than the bytes they are stored in.

    Args:
      needed: bytes that the contents take by their own header.
      stored: bytes that hold them in the file.
      what: the file; begins the sentence.

    Raises:
      UserError: too large.
    """
    check_fits(needed, what, "give a smaller file, or a part of it")
    if needed > max(UNCHECKED, MAX_PACKING * stored):
        raise UserError(
            f"{what} promises {readable(needed)} in {readable(stored)} of stored data, which no real data pack into: "
            "check where it comes from, or save it again without compression"
        )


def readable(size: int) -> str:
    """A number of bytes in a unit that suits it."""
    number = float(min(size, 10**30))  # no larger ones are told apart
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def _limits() -> Iterator[int]:
    machine = _number(Path("/proc/meminfo"), r"MemAvailable:\s+(\d+)")
    yield 1024 * machine if machine is not None else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    container, held = _number(_CGROUP / "memory.max", r"^(\d+)"), _number(_CGROUP / "memory.stat", r"^anon (\d+)")
    if container is not None:
        yield container - (held or 0)
    own = address_space()
    if own is not None:
        yield own - 1024 * (_number(Path("/proc/self/status"), r"VmSize:\s+(\d+)") or 0)


def _number(path: Path, pattern: str) -> int | None:
    try:
        found = re.search(pattern, path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else int(found[1])
