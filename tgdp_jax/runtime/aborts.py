"""What libraries in C++ say as they end the process, said in one sentence."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from typing import Any

_kept: list[Any] = []  # what the C library calls must not be collected
_sentences: list[Callable[[str], str | None]] = []


def speak_for_aborts(sentence: Callable[[str], str | None]) -> None:
    """From here on an abort for a known cause is a sentence and exit code 2; any other stays what it is.

    What libraries in C++ print is held back, and shown where they abort the process for another reason.

    Args:
      sentence: what they printed -> what is said in its place: None where the cause is another, "" where all is said.
    """
    if os.name != "posix":
        return
    _sentences.append(sentence)
    if _kept:
        return
    sys.stderr.flush()
    real, held = os.dup(2), tempfile.TemporaryFile()
    os.dup2(held.fileno(), 2)
    sys.stderr = os.fdopen(real, "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")

    def on_abort(number: int) -> None:
        printed = os.pread(held.fileno(), 2**20, 0)
        for each in _sentences:
            said = each(printed.decode(errors="replace"))
            if said is not None:
                os.write(real, f"tgdp: {said}\n".encode() if said else b"")
                os._exit(2)
        os.write(real, printed)

    # Python's own handlers run when the interpreter is back, which after an abort it never is.
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(on_abort)
    _kept.extend([handler, held])
    install = ctypes.CDLL(None).signal
    install.argtypes, install.restype = (ctypes.c_int, type(handler)), ctypes.c_void_p
    install(signal.SIGABRT, handler)
