"""A trained method as a model: it samples and scores in the user's units, however it was trained or loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.data.problem import Problem
from tgdp_jax.data.registry import has_captions
from tgdp_jax.data.tables.columns import plain_columns
from tgdp_jax.data.tables.files import check_packages
from tgdp_jax.errors import UserError, choose
from tgdp_jax.prediction import ScoreFn
from tgdp_jax.sampling import log_likelihood
from tgdp_jax.sampling.likelihood import NUM_STEPS
from tgdp_jax.sde import SDE
from tgdp_jax.settings.checks import check_sample_number
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.settings.sampling import SamplingChange
from tgdp_jax.transfer.base import Generator
from tgdp_jax.transfer.pretrained import forward_process
from tgdp_jax.transfer.registry import METHODS
from tgdp_jax.transfer.stages import named_key

Array = jax.Array
Config = TypeVar("Config", bound=TrainingConfig)


class Samples(NamedTuple):
    """Samples x [N, *D] in the user's units, and their labels y [N]; None for an unconditional model."""

    x: np.ndarray
    y: np.ndarray | None


def resampled(config: Config, method: str, change: SamplingChange) -> Config:
    """The settings of a method that is sampled in another way.

    Raises:
      UserError: a weight of guidance for a method without any.
    """
    config = dataclasses.replace(config, sampling=change.of_sampler(config.sampling))
    if change.scale is None:
        return config
    section = _guidance_section(config, method)
    if section is None:
        raise UserError(f"{method} has no guidance to weigh: leave out scale")
    return dataclasses.replace(config, **{section: dataclasses.replace(getattr(config, section), scale=change.scale)})


def _guidance_section(config: TrainingConfig, method: str) -> str | None:
    """The section of the settings that holds the weight of a method's guidance, if it has any."""
    sections = [name for name in ("guidance", "domain_guidance") if name in METHODS[method].settings]
    # Of captions that is classifier-free guidance, by whatever method.
    sections += ["text"] if has_captions(getattr(config, "problem", None)) else []
    return next(iter(sections), None)


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A method with what its stages left.

    Attributes:
      method: name in `METHODS`.
      config: settings that it was trained with.
      problem: the problem, with or without its rows.
      trees: what the stages left, by name.
      seed: of the run, whose samples `sample` repeats by default.
    """

    method: str
    config: TrainingConfig
    problem: Problem
    trees: dict[str, Any] = dataclasses.field(repr=False)
    seed: int

    @property
    def generator(self) -> Generator:
        """What draws samples in the models' units."""
        return METHODS[self.method].generator(self.config, self.problem, self.trees)

    @property
    def sde(self) -> SDE:
        """The forward process."""
        return forward_process(self.config)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape *D of a sample."""
        return self.problem.shape

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels, where they have any."""
        return self.problem.classes

    @property
    def score(self) -> ScoreFn:
        """The score (x [B, *D], t [B], cond) -> [B, *D] that it integrates, in the models' units.

        Raises:
          UserError: the method has none.
        """
        score = self.generator.score
        if score is None:
            raise UserError(f"{self.method} samples without a score: take another method")
        return score

    def with_sampling(
        self,
        *,
        solver: str | None = None,
        steps: int | None = None,
        grid: str | None = None,
        scale: float | None = None,
        clip: float | None = None,
        seed: int | None = None,
    ) -> Self:
        """The same model, sampled in another way; None leaves a setting as it is.

        Args:
          solver: name in `sampling.SOLVERS`. Another one than the run's takes the steps and the grid that suit it,
            where none are given.
          steps: steps of the solver.
          grid: name in `sampling.GRIDS`.
          scale: weight of the guidance: of the learned log-ratio, or of domain guidance.
          clip: bound on the predicted clean data.
          seed: of the samples.

        Raises:
          UserError: a setting that there is not, a weight of guidance for a method without any, or a setting of the
            solver for a method that has none.
        """
        change = SamplingChange(solver=solver, steps=steps, grid=grid, scale=scale, clip=clip, seed=seed)
        config = resampled(self.config, self.method, change)
        if config.sampling != self.config.sampling and self.generator.score is None:
            raise UserError(f"{self.method} samples without a solver: leave out solver, steps, grid and clip")
        return dataclasses.replace(self, config=config, seed=self.seed if seed is None else seed)

    @property
    def sampling(self) -> dict[str, Any]:
        """How it is sampled: the values of what `with_sampling` changes, by name."""
        own, section = self.config.sampling.suited, _guidance_section(self.config, self.method)
        values = {name: getattr(own, name) for name in ("solver", "steps", "grid", "clip")}
        scale = {} if section is None else {"scale": getattr(self.config, section).scale}
        return {**values, **scale, "seed": self.seed}

    def sample(
        self,
        num: int,
        *,
        solver: str | None = None,
        steps: int | None = None,
        grid: str | None = None,
        scale: float | None = None,
        clip: float | None = None,
        seed: int | None = None,
        cond: Any = None,
        progress: Callable[[int], None] | None = None,
    ) -> Samples:
        """Draws samples in the user's units. Sample i is the same for every `num`.

        Args:
          num: how many.
          solver, steps, grid, scale, clip: see `with_sampling`.
          seed: of the samples; None: the run's, whose own samples come first then.
          cond: see `labels`.
          progress: told how many are drawn.

        Raises:
          UserError: see `with_sampling`; also labels that there are not.
        """
        check_sample_number(num)
        model = self.with_sampling(solver=solver, steps=steps, grid=grid, scale=scale, clip=clip, seed=seed)
        labels = model.labels(num, cond)
        x = model.generator.draw(named_key(model.seed, "sample"), np.arange(num), labels, progress=progress)
        return Samples(self.problem.scaler.to_user(x), labels)

    def labels(self, num: int, cond: Any = None) -> np.ndarray | None:
        """Labels [num] of samples; None for an unconditional model.

        Args:
          num: how many.
          cond: labels [num], or one for all, as numbers or names; None: drawn as those of the run's samples.

        Raises:
          UserError: labels that there are not, or any for an unconditional model.
        """
        if cond is not None:
            return self._labels(cond, num)
        return self.problem.sample_labels(named_key(self.seed, "labels"), np.arange(num))

    def frame(self, samples: Samples) -> Any:
        """Samples as a pandas DataFrame with the columns of the table that the source's rows came from.

        Categories are what they were there and whole numbers are rounded. Other rows [N, D] have columns x1, x2, ...
        and y.

        Raises:
          UserError: rows are no vectors, or pandas is not installed.
        """
        if len(self.shape) != 1:
            raise UserError(f"samples of shape {self.shape} make no table: take their array x")
        check_packages(".csv", "a DataFrame")
        import pandas

        columns = self.problem.columns or plain_columns(self.shape[0], labels=samples.y is not None, ending=".csv")
        return pandas.DataFrame(columns.decode(samples.x, samples.y, self.classes))

    def _labels(self, cond: Any, num: int) -> np.ndarray:
        if not self.problem.conditional:
            raise UserError("the model is unconditional: leave out labels")
        labels, last = np.asarray(cond), self.problem.num_classes - 1
        if labels.dtype.kind == "U":
            labels = self._numbers(labels)
        fits = labels.dtype.kind in "iu" and labels.shape in ((), (num,))
        if not fits or labels.min() < 0 or labels.max() > last:
            raise UserError(f"cond must be labels in 0..{last}, one for all or one a sample")
        return np.broadcast_to(labels, (num,)).astype(np.int32)

    def _numbers(self, words: np.ndarray) -> np.ndarray:
        """Labels by name, or by number where no name says otherwise."""
        known = {str(i): i for i in range(self.problem.num_classes)} | {n: i for i, n in enumerate(self.classes)}
        names, places = np.unique(words, return_inverse=True)
        for name in names:
            choose("label", str(name), known)
        return np.array([known[str(name)] for name in names])[places].reshape(words.shape)

    def log_likelihood(self, x: Any, *, cond: Any = None, num_steps: int = NUM_STEPS) -> np.ndarray:
        """log density [N], in nats, of rows x [N, *D] in the user's units.

        By the probability-flow ODE, and the change of units: log p(x) = log p_model(x') - sum log scale.

        Args:
          x: rows in the user's units.
          cond: labels [N], or one for all, of a conditional model.
          num_steps: Runge-Kutta steps, four evaluations of the score and its divergence each.

        Raises:
          UserError: rows of another shape, labels that there are not, or a method without a score.
        """
        x = np.asarray(x)
        if x.shape[1:] != self.shape:
            raise UserError(f"x has rows of shape {x.shape[1:]} but the model has {self.shape}: give rows of that")
        labels = None
        if self.problem.conditional:
            if cond is None:
                raise UserError("the model is conditional: give the labels of the rows as cond")
            labels = jnp.asarray(self._labels(cond, len(x)))
        value = log_likelihood(self.problem.scaler.to_model(x), self.score, self.sde, cond=labels, num_steps=num_steps)
        scale = np.broadcast_to(np.asarray(self.problem.scaler.scale, np.float64), self.shape)
        return value - np.log(scale).sum()
