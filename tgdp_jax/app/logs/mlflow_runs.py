"""`--log mlflow`: a run of MLflow, which a command that is repeated continues.

It belongs to the experiment `tgdp_jax`, or that of MLFLOW_EXPERIMENT_NAME, of the store that MLFLOW_TRACKING_URI names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow import MlflowClient  # type: ignore

from tgdp_jax.app.logs import About, flat

# Of a parameter's value.
LONGEST = 500


class MLflow:
    """See the module."""

    def __init__(self, about: About):
        self.client = MlflowClient()
        self.id = about.key(lambda: self._create(about))
        self.client.update_run(self.id, status="RUNNING")

    def _create(self, about: About) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "tgdp_jax")
        found = self.client.get_experiment_by_name(name)
        experiment = self.client.create_experiment(name) if found is None else found.experiment_id
        run = self.client.create_run(experiment, run_name=about.folder.name).info.run_id
        for option, value in flat(about.settings).items():
            self.client.log_param(run, option, str(value)[:LONGEST])
        return run

    def curve(self, name: str, row: Mapping[str, float], *, again: bool) -> None:
        if again:  # what was told can not be taken back
            return
        for key, value in row.items():
            if key != "step" and value is not None:
                self.client.log_metric(self.id, f"{name}/{key}", value, step=int(row["step"]))

    def finish(self, metrics: Mapping[str, float], pictures: Sequence[Path]) -> None:
        for name, value in metrics.items():
            self.client.log_metric(self.id, re.sub(r"[^\w\-./ ]", "_", name), value)
        for path in pictures:
            self.client.log_artifact(self.id, str(path), "pictures")

    def close(self) -> None:
        self.client.set_terminated(self.id)
