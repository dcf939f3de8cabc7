"""What the system allows this process."""

from __future__ import annotations

from tgdp_jax.errors import MORE_MEMORY, UserError, says_no_memory
from tgdp_jax.runtime.aborts import speak_for_aborts

# Bytes that the libraries reserve, most of them never used. With less some fail to load, one waits for ever, and the
# compiler ends the process in the middle of its work.
LIBRARIES = 2_500_000_000


def address_space() -> int | None:
    """Bytes of address space that this process may take (`ulimit -v`); None: no limit."""
    try:
        import resource
    except ImportError:  # there is no such limit on Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def check_address_space() -> None:
    """Refuses a limit that leaves no room for the libraries; under any other, aborts for want of memory are a sentence.

    Raises:
      UserError: the limit is too low.
    """
    limit = address_space()
    if limit is None:
        return
    if limit < LIBRARIES:
        raise UserError(
            f"this process may take {limit / 1e6:.0f} MB of address space, but its libraries alone "
            f"reserve {LIBRARIES / 1e9:g} GB: raise the limit (ulimit -v)"
        )
    speak_for_aborts(of_abort)


def of_abort(printed: str) -> str | None:
    """What is said where a library aborts the process for want of memory, for `speak_for_aborts`."""
    return f"out of memory: {MORE_MEMORY}" if says_no_memory(printed) else None
