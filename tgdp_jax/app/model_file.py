"""`model.npz` of a run folder: what makes it a model without its data. The weights are in the folder's checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from tgdp_jax import __version__
from tgdp_jax.data.facts import FACTS, problem_facts, problem_of_facts
from tgdp_jax.data.npz import read_npz
from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import FileError, UserError
from tgdp_jax.runtime.files import write_npz
from tgdp_jax.train.checkpoint import Store
from tgdp_jax.transfer.stages import Trained

NAME = "model.npz"


class ModelFile(NamedTuple):
    """What the file says.

    Attributes:
      problem: the problem without its rows.
      fingerprints: of the stages, by name; the folder's checkpoints have them.
      versions: of the packages that trained it.
      method: whose stages they are; empty where an earlier version wrote the file.
    """

    problem: Problem
    fingerprints: dict[str, str]
    versions: dict[str, str]
    method: str


def write_model(folder: Path, method: str, problem: Problem, trained: Trained) -> None:
    """Writes the file, atomically.

    Raises:
      FileError: the place can not be written.
    """
    versions = {"tgdp_jax": __version__, "jax": jax.__version__}
    about = {"method": method, "stages": trained.fingerprints, "versions": versions}
    content: dict[str, Any] = {**problem_facts(problem), "about": np.array(json.dumps(about))}
    write_npz(folder / NAME, content)


def read_model(folder: Path) -> ModelFile | None:
    """The file of a run folder; None where an earlier version left none.

    Raises:
      FileError: it is damaged.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        arrays = read_npz(path, ("about", *FACTS), "it holds a model")
        about = json.loads(str(arrays["about"]))
        stages, versions = (
            {str(name): str(value) for name, value in about[part].items()} for part in ("stages", "versions")
        )
        return ModelFile(problem_of_facts(arrays), stages, versions, str(about.get("method", "")))
    except (UserError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileError(
            f"{path} is damaged ({error}): delete it and repeat the run's command to write it anew"
        ) from error


def stored_trees(folder: Path, fingerprints: dict[str, str]) -> dict[str, Any]:
    """What the stages left, by name.

    Raises:
      FileError: a checkpoint is missing or damaged.
    """
    store, trees = Store(folder / "checkpoints"), {}
    for name, fingerprint in fingerprints.items():
        found = store.load(name, fingerprint)
        if found is None:
            raise FileError(
                f"{folder} has no checkpoint of its stage {name!r}: repeat the run's command to train it anew"
            )
        trees[name] = jax.device_put(found[0])
    return trees
