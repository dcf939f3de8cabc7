"""`--log wandb`: a run of Weights & Biases, which a command that is repeated continues.

The project is `tgdp_jax` unless WANDB_PROJECT says another one; WANDB_MODE=offline keeps everything in the run folder.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import wandb  # type: ignore

from tgdp_jax.app.logs import About


class WeightsAndBiases:
    """See the module."""

    def __init__(self, about: About):
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "tgdp_jax"),
            name=about.folder.name,
            id=about.key(lambda: uuid.uuid4().hex),
            resume="allow",
            dir=str(about.folder),
            config=dict(about.settings),
        )
        self._curves: set[str] = set()

    def curve(self, name: str, row: Mapping[str, float], *, again: bool) -> None:
        if again:  # what was told can not be taken back
            return
        if name not in self._curves:
            self._curves.add(name)
            # Every stage counts its own steps.
            self.run.define_metric(f"{name}/step")
            self.run.define_metric(f"{name}/*", step_metric=f"{name}/step")
        self.run.log({f"{name}/{key}": value for key, value in row.items() if value is not None})

    def finish(self, metrics: Mapping[str, float], pictures: Sequence[Path]) -> None:
        self.run.summary.update(dict(metrics))
        self.run.log({path.stem: wandb.Image(str(path)) for path in pictures})

    def close(self) -> None:
        self.run.finish()
