"""The end of another process of the run, said in one sentence.

JAX notices it in one of two ways: a sum over processes fails, which is an exception, or its coordination service, in
C++, prints a stack and aborts the process from a thread of its own.
"""

from __future__ import annotations

GONE = (
    "another process of the run ended or can not be reached: see what it said itself, then run the same command on all "
    "of them again to go on"
)
# In what the libraries for sums over processes and the coordination service say.
_OF_SUMS = ("Gloo", "NCCL", "coordination", "heartbeat", "UNAVAILABLE", "DEADLINE_EXCEEDED")
_OF_ABORTS = "distributed service detected fatal errors"


class _State:
    said = False


def is_gone(error: BaseException) -> bool:
    """Whether this error is how a process notices the end of another; then that counts as said."""
    _State.said = type(error).__name__ == "JaxRuntimeError" and any(words in str(error) for words in _OF_SUMS)
    return _State.said


def of_abort(printed: str) -> str | None:
    """What is said where the coordination service aborts the process, for `aborts.speak_for_aborts`."""
    if _OF_ABORTS not in printed:
        return None
    return "" if _State.said else GONE
