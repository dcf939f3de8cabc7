"""What every reader asks of a file before it opens it."""

from __future__ import annotations

import stat
from pathlib import Path

from tgdp_jax.errors import FileError, absent

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_regular_file(path: Path) -> int:
    """Makes sure that a path leads to a regular file, and returns the size of the file in bytes.

    Opening a pipe waits for someone to write into it, and a device may never end.

    Raises:
      FileError: nothing is there, it can not be looked at, or it is of another kind.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        raise absent(path) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileError(f"{path} can not be read ({reason}): check the path and its permissions") from error
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(found.st_mode)), "no regular file")
        raise FileError(f"{path} is {kind}: give a regular file")
    return found.st_size
