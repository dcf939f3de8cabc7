"""A run folder as a model: it samples, scores and shows itself, from any directory and without the training data."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tgdp_jax.app.commands.run import Metrics, check_paths, load_run, read_run
from tgdp_jax.app.folder import Record
from tgdp_jax.app.model_file import read_model, stored_trees
from tgdp_jax.app.report import plots
from tgdp_jax.errors import FileError, UserError
from tgdp_jax.runtime.files import read_json
from tgdp_jax.settings.run import RunConfig
from tgdp_jax.transfer.latents import in_pictures
from tgdp_jax.transfer.model import TrainedModel
from tgdp_jax.transfer.own_pipeline import located
from tgdp_jax.transfer.pretrained import model_digest
from tgdp_jax.transfer.registry import METHODS
from tgdp_jax.transfer.stages import silent

SHOWN = 2000


@dataclasses.dataclass(frozen=True)
class Plot:
    """A picture: notebooks show it, `save` writes it."""

    png: bytes = dataclasses.field(repr=False)

    def _repr_png_(self) -> bytes:
        return self.png

    def save(self, path: str | Path) -> None:
        """Writes the picture as a PNG file."""
        Path(path).write_bytes(self.png)


@dataclasses.dataclass(frozen=True)
class RunModel(TrainedModel):
    """The model of a run folder.

    Attributes:
      folder: the run folder.
    """

    folder: Path

    @property
    def metrics(self) -> dict[str, dict[str, list[Any]]]:
        """Row of the run's table -> metric -> [value, standard error], as in metrics.json."""
        path = self.folder / "metrics.json"
        rows = read_json(path, Metrics, remedy="repeat the run's command to measure anew")["metrics"]
        return {name: {metric: list(value) for metric, value in row.items()} for name, row in rows.items()}

    def plot(self, num: int = SHOWN, **sampling: Any) -> Plot:
        """A picture of the first samples.

        Args:
          num: how many samples.
          **sampling: options of `sample`.
        """
        drawn = self.sample(num, **sampling)
        if self.problem.ecg_rate is not None:
            return Plot(plots.ecg_sheets({"samples": drawn.x[:1]}, rate=self.problem.ecg_rate).png())
        pixels = self.problem.kind == "images" and self.problem.captions is None
        x = {"samples": self.problem.scaler.to_model(drawn.x) if pixels else drawn.x}
        return Plot(plots.samples(x, labels=None if drawn.y is None else {"samples": drawn.y}).png())


def load(folder: str | Path) -> RunModel:
    """The model of a finished run folder.

    The folder is enough: neither the training data nor the directory that the run was started in are needed. Folders
    without `model.npz`, which an earlier version left, and methods whose samples are rows of the data (`kde`, `sir`)
    read the data again. A run on a pretrained model needs that model's files, which say what its network is.

    Raises:
      UserError: not a finished run folder, a damaged one, or one that needs a file that is gone.
    """
    folder = Path(folder)
    stored = read_run(folder)
    config = located(stored, folder)
    found = None if METHODS[config.method].draws_rows else read_model(folder)
    if found is None:
        config, problem, trained = load_run(folder, silent)
        return RunModel(config.method, config, problem, trained.trees, config.seed, folder)
    if found.method not in ("", config.method):
        raise FileError(
            f"{folder / 'config.json'} is of {config.method} but the run was of {found.method}: put back what it was"
        )
    _check_pretrained(folder, config, trained_here=config != stored)
    problem = in_pictures(config, found.problem)
    return RunModel(config.method, config, problem, stored_trees(folder, found.fingerprints), config.seed, folder)


def _check_pretrained(folder: Path, config: RunConfig, *, trained_here: bool) -> None:
    """Refuses another pretrained model in the place of the run's, or none: its files say what the weights are of."""
    check_paths(folder, [config.pretrained], "the folder holds its weights, but not what network they are of")
    known = read_json(folder / "config.json", Record, remedy="run again to a new --out").get("digests", {})
    if (
        config.pretrained is not None
        and not trained_here
        and known.get("pretrained") != model_digest(config)["pretrained"]
    ):
        raise UserError(f"{config.pretrained} has changed since {folder} was made from it: put back what it was")
