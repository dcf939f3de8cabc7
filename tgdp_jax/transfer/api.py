"""A transfer method run from Python on rows in memory: the same stages as on the command line."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from tgdp_jax.data.arrays import given_rows, rows_problem
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.train.checkpoint import Store
from tgdp_jax.transfer.model import TrainedModel
from tgdp_jax.transfer.registry import method_name
from tgdp_jax.transfer.stages import Watch, silent, train_method

Array = jax.Array


def run(
    method: str,
    source: Any,
    target: Any,
    *,
    key: Array | None = None,
    seed: int = 0,
    settings: TrainingConfig = TrainingConfig(),
    conditional: bool = False,
    columns: Sequence[str] = (),
    label: str | None = None,
    store: str | Path | None = None,
    watch: Watch = silent,
) -> TrainedModel:
    """Trains a method on source and target rows and returns it as a model.

    Rows are standardised by the source, as `tgdp run arrays` does; all target rows are learned from.

    Args:
      method: name or alias in `METHODS`.
      source: rows [M, *D], {"x": rows, "y": labels [M]}, or a pandas DataFrame; at least 100 rows.
      target: rows [N, *D], {"x", "y"}, or a DataFrame with the same columns; at least 2 rows.
      key: typed PRNG key in the place of `seed`.
      seed: fixes training and samples.
      settings: of models, training and sampler; `settings.presets` has those for images and ECGs.
      conditional: models see the labels.
      columns: of DataFrames: names of those to model. Default: all but the label's.
      label: of DataFrames: name of the column of class labels.
      store: folder in which finished stages are kept: methods on the same source share its model, and a call that was
        interrupted goes on. Default: nothing is kept.
      watch: opens progress displays.

    Raises:
      UserError: unknown method, rows or labels that do not fit, or training that diverged.
    """
    if key is not None:
        seed = int(jax.random.bits(key))
    given = {"source": source, "target": target}
    files, held = given_rows(given, columns=columns, label=label, conditional=conditional)
    problem = rows_problem(files, n_target=None, seed=seed, conditional=conditional, all_to_learn=True, columns=held)
    identity = {"kind": "rows", "target_rows": problem.target.digest, "conditional": conditional}
    name = method_name(method)

    def train(root: Path) -> TrainedModel:
        trained = train_method(settings, problem, identity, name, seed, Store(root), watch)
        return TrainedModel(name, settings, problem, trained.trees, seed)

    if store is not None:
        return train(Path(store))
    with tempfile.TemporaryDirectory(prefix="tgdp_jax_") as folder:
        return train(Path(folder))
