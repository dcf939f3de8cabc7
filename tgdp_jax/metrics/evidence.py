"""Samples of one method, and everything that there is to measure them by."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np

from tgdp_jax.data.mixture import GaussianMixture
from tgdp_jax.metrics.encoded import EncoderFeatures
from tgdp_jax.metrics.features import Features
from tgdp_jax.metrics.inputs import pair
from tgdp_jax.prediction import ScoreFn
from tgdp_jax.sde import SDE

Array = jax.Array
T = TypeVar("T")
COPIES = 20  # resampled copies behind a spread
MOST_ROWS = 10_000  # samples, and held-out rows, of metrics whose cost grows with the product of both numbers


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """What metrics are functions of. A metric applies where what it needs is not None.

    Attributes:
      samples: [N, *D], in the models' units, as all rows here.
      labels: the classes that samples were asked for [N].
      captions: what samples were asked to show, N texts.
      reference: held-out target rows [M, *D].
      reference_labels: their classes [M].
      train: the target rows that the method was trained on [n, *D].
      train_labels: their classes [n].
      num_classes: number of labels that models see; 0 where they see none.
      features: what images and series are compared by.
      target: the true density of the target.
      score: of the sampler, (x [B, D], t [B], cond) -> [B, D].
      sde: the forward process of the score.
      to_user: maps rows to the user's units.
      ecg_rate: samples a second, where rows are ECGs in mV for the user.
      drawn_style: of pictures of shapes, the style that samples should have.
      bandwidth: of the kernel of mmd2; None: the median distance within the reference.
      num_path: points behind path_kl.
      num_likelihood: fresh target rows behind nll, which cost about 200 score evaluations each.
      seed: of projections, subsets and resampling.
      key: name -> typed PRNG key, of what draws with one. Equal seeds and keys make rows of one table comparable.
    """

    samples: Any
    labels: Any = None
    captions: Sequence[str] | None = None
    reference: Any = None
    reference_labels: Any = None
    train: Any = None
    train_labels: Any = None
    num_classes: int = 0
    features: Features | EncoderFeatures | None = None
    target: GaussianMixture | None = None
    score: ScoreFn | None = None
    sde: SDE | None = None
    to_user: Callable[[Any], Any] = lambda x: x
    ecg_rate: float | None = None
    drawn_style: str | None = None
    bandwidth: float | None = None
    num_path: int = 20_000
    num_likelihood: int = 1000
    seed: int = 0
    key: Callable[[str], Array] = lambda name: jax.random.key(0)
    _found: dict[Callable[..., Any], Any] = dataclasses.field(default_factory=dict, repr=False)

    def once(self, fn: Callable[[Evidence], T]) -> T:
        """`fn` of this evidence, computed for the first metric that asks and kept for the others."""
        if fn not in self._found:
            self._found[fn] = fn(self)
        return self._found[fn]

    @property
    def has_rows(self) -> bool:
        """Whether there are held-out rows, and more than one sample: a single one is no distribution."""
        return self.reference is not None and self.train is not None and len(self.samples) > 1

    @functools.cached_property
    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Samples and reference as float64 [., prod D].

        Raises:
          UserError: fewer than two of either, not finite, or of different shapes.
        """
        return pair("samples", self.samples, "reference", self.reference, at_least=2)

    @property
    def drawn(self) -> tuple[Any, Any]:
        """Which samples and which held-out rows metrics of pairs of rows take: at most `MOST_ROWS` of either, in order.

        They depend on the seed and on the number of rows alone.
        """
        samples, reference = (_drawn(len(rows), self.seed) for rows in (self.samples, self.reference))
        return samples, reference


def _drawn(num: int, seed: int) -> np.ndarray | slice:
    if num <= MOST_ROWS:
        return slice(None)
    return np.sort(np.random.default_rng(seed).choice(num, MOST_ROWS, replace=False, shuffle=False))
