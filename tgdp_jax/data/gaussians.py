"""The simulation of Ouyang et al. 2024: two equal-weight Gaussian mixtures N(+-mu, v I), with everything exact.

In d = 2, mu_S = (0.5, 0.5), mu_T = (0.5, -0.5), v = 0.1. In d dimensions the same pair is turned into general position:
mu_S = c (1, 1, ...), mu_T = c (1, -1, 1, ...) with c = 0.5 sqrt(2/d), which leaves |mu| and so every divergence alone.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from tgdp_jax.data.memory import check_fits
from tgdp_jax.data.problem import Data, Exact, Problem, check_n_target
from tgdp_jax.errors import UserError

if TYPE_CHECKING:
    from tgdp_jax.data.mixture import GaussianMixture

# Rows drawn to judge by.
NUM_REFERENCE = 10_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussiansConfig:
    """Two Gaussian mixtures with known densities (the paper's simulation by default).

    Attributes:
      dim: dimension of the data.
      source_mean: mean of the source's first component, the second's being its negative; dim numbers. Default: the
        paper's (0.5, 0.5), in higher dimensions spread over all coordinates at the same norm.
      target_mean: the same for the target. Default: the paper's (0.5, -0.5).
      variance: variance of every component.
      num_source: source rows drawn.
      conditional: models see the component as a label.
      target_weight: share of the target's first component; 1 leaves the target with one class only.
    """

    dim: int = 2
    source_mean: tuple[float, ...] | None = None
    target_mean: tuple[float, ...] | None = None
    variance: float = 0.1
    num_source: int = 10_000
    conditional: bool = False
    target_weight: float = 0.5

    def __post_init__(self):
        if self.dim < 1:
            raise UserError(f"dim is {self.dim}: it must be at least 1")
        if not 0 < self.variance < math.inf:
            raise UserError(f"variance is {self.variance}: it must be positive and finite")
        if self.num_source < 100:
            raise UserError(f"num-source is {self.num_source}: a source model needs at least 100 rows")
        if not 0 <= self.target_weight <= 1:
            raise UserError(f"target-weight is {self.target_weight}: it must lie in [0, 1]")
        for name in ("source_mean", "target_mean"):
            mean = getattr(self, name)
            if mean is not None and len(mean) != self.dim:
                flag = name.replace("_", "-")
                raise UserError(f"{flag} has {len(mean)} numbers but dim is {self.dim}: give as many as dim")
            if mean is not None and not np.all(np.isfinite(mean)):
                raise UserError(f"{name.replace('_', '-')} must be finite numbers, got {mean}")


def mixtures(config: GaussiansConfig) -> Exact:
    """The source's and the target's density."""
    import jax.numpy as jnp  # late: settings need not wait for it

    from tgdp_jax.data.mixture import GaussianMixture

    spread = np.full(config.dim, 0.5 * math.sqrt(2 / config.dim))
    turned = spread * np.where(np.arange(config.dim) % 2, -1.0, 1.0)

    def pair(mean: tuple[float, ...] | None, default: np.ndarray, weight: float) -> GaussianMixture:
        m = np.asarray(default if mean is None else mean, np.float32)
        weights = jnp.array([weight, 1.0 - weight])
        return GaussianMixture(jnp.asarray(np.stack([m, -m])), jnp.asarray(config.variance), weights)

    return Exact(pair(config.source_mean, spread, 0.5), pair(config.target_mean, turned, config.target_weight))


def load(config: GaussiansConfig, *, n_target: int | None, seed: int, source_seed: int | None = None) -> Problem:
    """Draws the problem; `source_seed` (None: the seed) is that of source rows; target rows are nested in n.

    Raises:
      UserError: n_target is out of range.
    """
    n_target = 100 if n_target is None else n_target
    available = 100_000
    check_n_target(n_target, available)
    # Means, noise and their sum; target rows are drawn all, so that they are nested.
    rows = max(config.num_source, available, NUM_REFERENCE)
    needed = 3 * rows * config.dim * np.dtype(np.float32).itemsize
    remedy = "lower --dim" + " or --num-source" * (rows == config.num_source)
    check_fits(needed, f"drawing {rows} rows of dimension {config.dim}", remedy)
    import jax  # late: settings need not wait for it

    exact = mixtures(config)
    source_seed = seed if source_seed is None else source_seed
    keys = [jax.random.fold_in(jax.random.key(own), part) for part, own in enumerate((source_seed, seed, seed))]
    parts = [
        exact.source.sample(keys[0], config.num_source),
        tuple(a[:n_target] for a in exact.target.sample(keys[1], available)),
        exact.target.sample(keys[2], NUM_REFERENCE),
    ]
    source, target, reference = (Data(np.asarray(x), np.asarray(y)) for x, y in parts)
    return Problem("gaussians", source, target, reference, num_classes=2 if config.conditional else 0, exact=exact)
