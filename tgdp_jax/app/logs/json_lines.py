"""`--log jsonl`: `log.jsonl` in the run folder, a line of JSON for whatever happens.

    {"event": "settings", "settings": {...}}
    {"event": "curve", "name": "source/fit", "step": 200, "loss": ..., "validation": ..., "steps_per_second": ...}
    {"event": "metrics", "metrics": {...}}
    {"event": "pictures", "pictures": ["pictures/....png", ...]}

Every step stands there once, however often the run was killed and continued.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tgdp_jax.app.logs import About
from tgdp_jax.app.logs.lines import LineFile

NAME = "log.jsonl"


class JsonLines:
    """See the module."""

    def __init__(self, about: About):
        self.folder = about.folder
        self.lines = LineFile(about.folder / NAME)
        self._seen: set[str] = set()
        self._once({"event": "settings", "settings": about.settings})

    def curve(self, name: str, row: Mapping[str, float], *, again: bool) -> None:
        if name not in self._seen:
            self._seen.add(name)
            self.lines.take_back(lambda line: line.get("name") == name and line["step"] >= row["step"])
        self.lines.append({"event": "curve", "name": name, **_plain(row)})

    def finish(self, metrics: Mapping[str, float], pictures: Sequence[Path]) -> None:
        self._once({"event": "metrics", "metrics": _plain(metrics)})
        self._once({"event": "pictures", "pictures": [str(path.relative_to(self.folder)) for path in pictures]})

    def close(self) -> None:
        pass

    def _once(self, line: Mapping[str, Any]) -> None:
        self.lines.take_back(lambda other: other.get("event") == line["event"])
        self.lines.append(line)


def _plain(row: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no NaN."""
    return {name: v if v is None or math.isfinite(v) else None for name, v in row.items()}
