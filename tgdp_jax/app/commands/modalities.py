"""`tgdp sample --given --modality`: some modalities of a run given others, or alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tgdp_jax.data.arrays import read_rows
from tgdp_jax.data.modalities import Modalities, Modality
from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import UserError
from tgdp_jax.prediction import NetworkScore
from tgdp_jax.sampling import sample_modalities
from tgdp_jax.transfer.model import TrainedModel
from tgdp_jax.transfer.stages import Watch, named_key, rows_done


def modal_score(model: TrainedModel) -> tuple[NetworkScore, Modalities]:
    """The run's score, that takes a time for each modality, and what these are.

    Raises:
      UserError: it takes one time alone.
    """
    score = model.generator.score
    if not isinstance(score, NetworkScore) or not hasattr(score.net, "modalities"):
        raise UserError(
            "this run has no network with a time for each modality: run --method multimodal (or --network.kind "
            "multimodal with a method that trains a network) to draw some modalities alone or given others"
        )
    return score, score.net.modalities


def draw_modalities(
    model: TrainedModel,
    num: int,
    *,
    drawn: Sequence[str],
    given: Sequence[str],
    scale: float,
    cond: np.ndarray | None,
    watch: Watch,
) -> dict[str, np.ndarray]:
    """Name to values [num, *shape] in the user's units (texts [num]) of what is drawn and what is given.

    Args:
      model: the run's.
      num: samples.
      drawn: names; empty: all that are not given.
      given: NAME=TEXT of text and NAME=FILE.npz (rows under x) of anything else; values are repeated as needed.
      scale: of classifier-free guidance.
      cond: labels [num], see `TrainedModel.labels`.
      watch: opens progress displays.

    Raises:
      UserError: see `modal_score` and `sample_modalities`; also values that can not be read.
    """
    score, modalities = modal_score(model)
    problem, s = model.problem, model.config.sampling
    units = _Units(problem, modalities)
    values = dict(_parsed(text, modalities, units) for text in given)
    conditions = {name: value[np.arange(num) % len(value)] for name, value in values.items()}
    found = sample_modalities(
        named_key(model.seed, "sample"),
        score,
        model.sde,
        np.arange(num),
        modalities,
        problem.shape,
        drawn=drawn or None,
        given=conditions,
        scale=scale,
        labels=model.labels(num, cond),
        progress=rows_done(watch, "sampling", num),
        solver=s.solver,
        grid=s.grid,
        num_steps=s.steps,
        clip=s.clip,
        chunk=s.chunk,
    )
    return {name: units.to_user(name, value) for name, value in (found | conditions).items()}


class _Units:
    """Modalities in the models' units and in the user's, in which text is text."""

    def __init__(self, problem: Problem, modalities: Modalities):
        self._modalities = modalities
        self._shift, self._scale = (
            modalities.split(np.broadcast_to(a, problem.shape)[None])
            for a in (problem.scaler.shift, problem.scaler.scale)
        )

    def to_user(self, name: str, x: np.ndarray) -> np.ndarray:
        modality = self._modalities.named(name)
        if modality.alphabet:
            return np.array(modality.decode(x))
        return (x * self._scale[name] + self._shift[name]).astype(np.float32)

    def to_model(self, name: str, x: np.ndarray) -> np.ndarray:
        return ((x - self._shift[name]) / self._scale[name]).astype(np.float32)


def _parsed(text: str, modalities: Modalities, units: _Units) -> tuple[str, np.ndarray]:
    """(name, values [N, *shape] in the models' units) of NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not equals or not value:
        raise UserError(f"given is {text!r}: write NAME=TEXT, or NAME=FILE.npz with rows under key x")
    modality: Modality = modalities.named(name)
    if modality.alphabet:
        return name, modality.encode(value.split(","))
    x = read_rows(Path(value)).x
    if x.shape[1:] != modality.shape:
        raise UserError(f"{value} has rows of shape {x.shape[1:]} but {name} has {modality.shape}: give rows of that")
    return name, units.to_model(name, x)
