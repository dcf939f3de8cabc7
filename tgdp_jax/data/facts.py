"""What a trained model has to know of its problem, without the rows: enough to draw samples anywhere, years later."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np

from tgdp_jax.data.modalities import Modalities, Modality
from tgdp_jax.data.problem import Captions, Data, Problem, Scaler
from tgdp_jax.data.tables.columns import columns_of_json

# Names of the arrays that hold them.
FACTS = ("facts", "shift", "scale", "target_labels", "asked")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProblemWithoutRows(Problem):
    """A problem whose rows are gone. Its target has labels alone, as samples draw theirs from them.

    Attributes:
      row_shape: shape *D of a row.
      std: scale of the source data.
      labels: number of the source's labels, whether models see them or not; 0: it has none.
    """

    row_shape: tuple[int, ...]
    std: float
    labels: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.row_shape

    @property
    def data_std(self) -> float:
        return self.std

    @property
    def num_labels(self) -> int:
        return self.labels


def problem_facts(problem: Problem) -> dict[str, np.ndarray]:
    """A problem without its rows, as arrays for an .npz file."""
    facts = {
        "name": problem.name,
        "shape": problem.shape,
        "data_std": problem.data_std,
        "num_classes": problem.num_classes,
        "num_labels": problem.num_labels,
        "num_target": len(problem.target),
        "ecg_rate": problem.ecg_rate,
        "classes": problem.classes,
        "columns": None if problem.columns is None else problem.columns.to_json(),
        "modalities": [] if problem.modalities is None else [dataclasses.asdict(m) for m in problem.modalities.parts],
    }
    if problem.captions is not None:
        facts["captions"] = dataclasses.asdict(problem.captions)
    arrays = {"facts": np.array(json.dumps(facts)), "shift": problem.scaler.shift, "scale": problem.scaler.scale}
    labels = {"target_labels": problem.target.y, "asked": problem.asked}
    return arrays | {name: value for name, value in labels.items() if value is not None}


def problem_of_facts(arrays: dict[str, np.ndarray]) -> ProblemWithoutRows:
    """Inverse of `problem_facts`.

    Raises:
      ValueError, KeyError, TypeError: they are not what it made.
    """
    facts: dict[str, Any] = json.loads(str(arrays["facts"]))
    shape, num_target = tuple(int(n) for n in facts["shape"]), int(facts["num_target"])
    y = arrays.get("target_labels")
    none = np.empty((0, *shape), np.float32)
    columns, captions = facts.get("columns"), facts.get("captions")  # earlier versions knew none
    parts = tuple(Modality(m["name"], tuple(m["shape"]), m["alphabet"]) for m in facts["modalities"])
    return ProblemWithoutRows(
        str(facts["name"]),
        Data(none),
        Data(np.broadcast_to(np.float32(np.nan), (num_target, *shape)), y),
        None,
        num_classes=int(facts["num_classes"]),
        scaler=Scaler(np.asarray(arrays["shift"]), np.asarray(arrays["scale"])),
        modalities=Modalities(parts) if parts else None,
        ecg_rate=facts["ecg_rate"],
        classes=tuple(facts["classes"]),
        columns=None if columns is None else columns_of_json(columns),
        captions=None if captions is None else Captions(**captions),
        asked=arrays.get("asked"),
        row_shape=shape,
        std=float(facts["data_std"]),
        labels=int(facts["num_labels"]),
    )
