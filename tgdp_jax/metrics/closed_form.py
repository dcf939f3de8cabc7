"""Metrics for problems whose target is a Gaussian mixture, where the truth is known.

average density:  E_samples q(x), the paper's metric (Ouyang et al. 2024, section 4.1)
mode balance:     max_k | E_samples P(component k | x) - w_k |
path KL:          1/2 int_{t_min}^1 g(t)^2 E_{q_t} |score(x, t) - grad log q_t(x)|^2 dt

The path KL bounds the KL divergence from the target of the reverse SDE run with this score (Song et al. 2021, "Maximum
likelihood training of score-based diffusion models", theorem 1), up to the prior's mismatch. Where the score is itself
that of a diffused density p, it equals KL(q_{t_min} || p_{t_min}) - KL(q_1 || p_1). Divergences are in nats.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.data.mixture import ExactScore, GaussianMixture
from tgdp_jax.errors import UserError
from tgdp_jax.metrics.inputs import positive, rows
from tgdp_jax.metrics.spread import Value
from tgdp_jax.prediction import ScoreFn, as_score
from tgdp_jax.runtime.parallel import in_chunks
from tgdp_jax.sde import SDE

Array = jax.Array


def densities(x: Any, target: GaussianMixture) -> np.ndarray:
    """Target density [N] at samples x [N, D], in units of 1/x^D; its mean E q(x) is the paper's metric.

    The mean rewards collapse: true samples of the paper's target score 0.4006 (`expected_density`), a sampler that only
    returns the modes up to about 0.80. A value above the truth is a fault, not a success.

    Raises:
      UserError: bad samples, or another dimension than the target's.
    """
    return np.exp(np.asarray(target.log_prob(_points(x, target)), np.float64))


def expected_density(target: GaussianMixture) -> float:
    """The mean of `densities` over the target's own samples: E_q q = sum_jk w_j w_k N(m_j - m_k; 0, 2 v I)."""
    means, weights = np.asarray(target.means, np.float64), np.asarray(target.weights, np.float64)
    variance = 2 * float(target.variance)
    square = ((means[:, None] - means) ** 2).sum(-1)
    kernel = np.exp(-0.5 * square / variance) / (2 * math.pi * variance) ** (0.5 * target.dim)
    return float(weights @ kernel @ weights)


def responsibilities(x: Any, target: GaussianMixture) -> np.ndarray:
    """P(component | x) [N, K] at samples x [N, D].

    Raises:
      UserError: bad samples, another dimension than the target's, or samples so far out that no component claims them.
    """
    shares = np.asarray(target.responsibilities(_points(x, target)), np.float64)
    lost = ~np.isfinite(shares).all(1)
    if lost.any():
        raise UserError(
            f"{lost.sum()} of {len(shares)} samples are too far from the target for single precision: the sampler "
            "diverged, lower its guidance scale or learning rate, or remove these rows"
        )
    return shares


def imbalance(shares: np.ndarray, target: GaussianMixture) -> float:
    """Largest absolute difference between a component's share of the samples and its weight, between 0 and 1.

    A sample is shared out among components by its `responsibilities` [N, K], not given to the nearest: so the share of
    the target's own samples is the weight exactly, in expectation, even where components overlap. 0 is balance; one of
    two equal modes missing gives 0.5. N true samples of two equal modes give about 0.4/sqrt(N).
    """
    return float(np.abs(shares.mean(0) - np.asarray(target.weights, np.float64)).max())


def path_kl(
    key: Array,
    score_fn: ScoreFn,
    target: GaussianMixture,
    sde: SDE,
    *,
    num: int = 20_000,
    conditional: bool = False,
    chunk: int = 4096,
) -> Value:
    """Score error along the target's diffusion, as a divergence in nats (see the module's head).

    The integral runs over u = sqrt(t), which crowds points where scores are steep, with two independent draws in each
    of num/2 equal strata of u: the differences within the pairs give an honest standard error of the stratified mean.

    Args:
      key: typed PRNG key.
      score_fn: (x [B, D], t [B], cond) -> score [B, D]. One that is a pytree compiles once for all its parameters.
      target: the target density.
      sde: the forward process of the score.
      num: points (x_t, t); odd numbers are rounded up.
      conditional: hand the labels to the score as `cond`, and compare with the score of the labelled component.
      chunk: points a device takes at a time.

    Returns:
      (value, standard error) in nats.

    Raises:
      UserError: num below four, or a score that is of another shape than x or not finite.
    """
    if num < 4:
        raise UserError(f"num must be at least 4 for a standard error, got {num}")
    positive("chunk", chunk)
    pairs = (num + 1) // 2
    data_key, time_key, noise_key = jax.random.split(key, 3)
    x0, labels = target.sample(data_key, 2 * pairs)
    low = math.sqrt(sde.t_min)
    place = (jnp.repeat(jnp.arange(pairs), 2) + jax.random.uniform(time_key, (2 * pairs,))) / pairs
    u = low + (1 - low) * place
    eps = jax.random.normal(noise_key, x0.shape)
    values = in_chunks(
        _path_integrand,
        (x0, eps, u, labels if conditional else None),
        as_score(score_fn),
        target,
        chunk=chunk,
        static={"sde": sde},
    ).astype(np.float64)
    values *= 1 - low
    bad = ~np.isfinite(values)
    if bad.any():
        raise UserError(
            f"the score is not finite at {bad.sum()} of {values.size} noised target points: training diverged, "
            "lower its learning rate or clip its gradients"
        )
    difference = values[0::2] - values[1::2]
    return Value(float(values.mean()), float(math.sqrt((difference**2).sum()) / (2 * pairs)))


def _path_integrand(rows: Any, score: Any, target: GaussianMixture, *, sde: SDE) -> Array:
    """1/2 g^2 |score error|^2 dt/du [B] at t = u^2, for rows (x0, eps, u, cond)."""
    x0, eps, u, cond = rows
    t = u**2
    x = sde.perturb(x0, eps, t)
    got = score(x, t, cond)
    if got.shape != x.shape:
        raise UserError(f"the score function returned shape {got.shape} for points of shape {x.shape}: they must agree")
    error = got - ExactScore(target, sde)(x, t, cond)
    return 0.5 * sde.diffusion(t) ** 2 * jnp.sum(error**2, -1) * 2 * u


def _points(x: Any, target: GaussianMixture) -> Array:
    x = rows("samples", x)
    if x.shape[1] != target.dim:
        raise UserError(
            f"samples have {x.shape[1]} numbers a row but the target density has dimension {target.dim}: "
            "pass samples of the same problem"
        )
    return jnp.asarray(x, jnp.float32)
