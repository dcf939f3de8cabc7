"""The end of another process of the run, said in one sentence.

JAX notices it in one of two ways: a sum over processes fails, which is an exception, or its coordination service, in
C++, prints a stack and aborts the process from a thread of its own.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import tempfile
from typing import Any

GONE = (
    "another process of the run ended or can not be reached: see what it said itself, then run the same command on all "
    "of them again to go on"
)
# In what the libraries for sums over processes and the coordination service say.
_OF_SUMS = ("Gloo", "NCCL", "coordination", "heartbeat", "UNAVAILABLE", "DEADLINE_EXCEEDED")
_OF_ABORTS = b"distributed service detected fatal errors"


class _State:
    said = False
    kept: Any = None  # what the C library calls must not be collected


def is_gone(error: BaseException) -> bool:
    """Whether this error is how a process notices the end of another; then that counts as said."""
    _State.said = type(error).__name__ == "JaxRuntimeError" and any(words in str(error) for words in _OF_SUMS)
    return _State.said


def speak_for_aborts() -> None:
    """From here on an abort for the end of another process is a sentence and exit code 2; any other stays what it is.

    What libraries in C++ print is held back, and shown where they abort the process for another reason.
    """
    if _State.kept is not None or os.name != "posix":
        return
    sys.stderr.flush()
    real, held = os.dup(2), tempfile.TemporaryFile()
    os.dup2(held.fileno(), 2)
    sys.stderr = os.fdopen(real, "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")

    def on_abort(number: int) -> None:
        said = os.pread(held.fileno(), 2**20, 0)
        if _OF_ABORTS in said:
            if not _State.said:
                os.write(real, f"tgdp: {GONE}\n".encode())
            os._exit(2)
        os.write(real, said)

    # Python's own handlers run when the interpreter is back, which after an abort it never is.
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(on_abort)
    _State.kept = handler, held
    install = ctypes.CDLL(None).signal
    install.argtypes, install.restype = (ctypes.c_int, type(handler)), ctypes.c_void_p
    install(signal.SIGABRT, handler)
