"""`--log tensorboard`: event files in the run folder, below `tensorboard`, a folder for every stage and part."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tensorboardX import SummaryWriter

from tgdp_jax.app.logs import About

NAME = "tensorboard"
RESULTS = "results"


class TensorBoard:
    """See the module. Steps that are trained again replace those that a killed process left."""

    def __init__(self, about: About):
        self.folder = about.folder / NAME
        self.settings = json.dumps(about.settings, indent=1)
        self._writers: dict[str, Any] = {}

    def curve(self, name: str, row: Mapping[str, float], *, again: bool) -> None:
        step = int(row["step"])
        for key, value in row.items():
            if key != "step" and value is not None:
                self._writer(name, step).add_scalar(key, value, step)

    def finish(self, metrics: Mapping[str, float], pictures: Sequence[Path]) -> None:
        writer = self._writer(RESULTS, 0)
        writer.add_text("settings", f"```\n{self.settings}\n```", 0)
        for name, value in metrics.items():
            writer.add_scalar(name, value, 0)
        for path in pictures:
            writer.add_image(path.stem, np.asarray(Image.open(path).convert("RGB")), 0, dataformats="HWC")

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()

    def _writer(self, name: str, step: int) -> Any:
        if name not in self._writers:
            self._writers[name] = SummaryWriter(str(self.folder / name), purge_step=step)
        return self._writers[name]
