"""A file of lines of JSON that a process which is killed leaves whole, and another one takes up."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tgdp_jax.errors import FileError, first_line, write_remedy
from tgdp_jax.runtime.files import write_atomic


class LineFile:
    """Lines of JSON, each an object, appended at once."""

    def __init__(self, path: Path):
        self.path = path

    def append(self, line: Mapping[str, Any]) -> None:
        """Adds a line.

        Raises:
          FileError: the file can not be written.
        """
        try:
            with self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise FileError(f"{self.path} can not be written ({first_line(error)}): {write_remedy(error)}") from error

    def take_back(self, unwanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """Removes the lines that are unwanted, and those that were cut off or are damaged; returns the former."""
        if not self.path.exists():
            return []
        kept, taken = [], []
        for text in self.path.read_text(errors="replace").splitlines():
            try:
                line = json.loads(text)
                if unwanted(line):
                    taken.append(line)
                else:
                    kept.append(text + "\n")
            except (ValueError, TypeError, KeyError, AttributeError):  # cut off in the middle, or damaged
                continue

        def save(path: Path) -> None:
            path.write_text("".join(kept))

        write_atomic(self.path, save)
        return taken
