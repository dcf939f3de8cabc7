"""Problems with known answers, quadrature and reference measures shared by the tests.

Everything here is plain NumPy in double precision and shares no formula with the package: densities are written out,
posteriors are integrated on a grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.data.mixture import GaussianMixture
from tgdp_jax.sampling.loop import sample_chunk
from tgdp_jax.sde import SDE, VE, VP, CosineVP, SubVP

# Any function that is a pytree, compiled: one program instead of dozens of single operations.
evaluate = jax.jit(lambda fn, *args: fn(*args))
# One chunk of samples on a grid of a test's own; a score that is a plain function goes through `as_score`.
compiled_chunk = jax.jit(sample_chunk, static_argnames=("sde", "shape", "solver", "clip"))

PROCESSES = {"vp": VP(), "subvp": SubVP(), "cosine": CosineVP(), "ve": VE()}


def mixture(means, variance, weights) -> GaussianMixture:
    return GaussianMixture(
        means=jnp.asarray(means, float), variance=jnp.asarray(variance, float), weights=jnp.asarray(weights, float)
    )


def paper_pair() -> tuple[GaussianMixture, GaussianMixture]:
    """Source and target of the two-dimensional simulation; the component is the label."""
    source = mixture([[0.5, 0.5], [-0.5, -0.5]], 0.1, [0.5, 0.5])
    target = mixture([[0.5, -0.5], [-0.5, 0.5]], 0.1, [0.5, 0.5])
    return source, target


def line_pair() -> tuple[GaussianMixture, GaussianMixture]:
    """One-dimensional source and target without any symmetry, so that no error can cancel."""
    source = mixture([[-0.8], [0.6], [0.1]], 0.15, [0.3, 0.5, 0.2])
    target = mixture([[0.5], [1.1]], 0.12, [0.65, 0.35])
    return source, target


def single_gaussian(mean, variance: float) -> GaussianMixture:
    return mixture([mean], variance, [1.0])


def draw(m: GaussianMixture, num: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(x [num, D], labels [num])."""
    rng = np.random.default_rng(seed)
    means, weights = np.asarray(m.means, np.float64), np.asarray(m.weights, np.float64)
    labels = rng.choice(len(weights), num, p=weights / weights.sum())
    return means[labels] + math.sqrt(float(m.variance)) * rng.normal(size=(num, means.shape[1])), labels


def density(
    m: GaussianMixture, x: np.ndarray, y: int | None = None, *, alpha: float = 1.0, sigma: float = 0.0
) -> np.ndarray:
    """Density [N] of alpha x_0 + sigma eps at x [N, D], clean by default; of the joint with label y where given."""
    means, weights = alpha * np.asarray(m.means, np.float64), np.asarray(m.weights, np.float64)
    variance = alpha**2 * float(m.variance) + sigma**2
    square = ((x[:, None, :] - means) ** 2).sum(-1)
    parts = weights * np.exp(-0.5 * square / variance) / (2 * math.pi * variance) ** (0.5 * means.shape[1])
    return parts.sum(1) if y is None else parts[:, y]


def mixture_moments(m: GaussianMixture) -> tuple[np.ndarray, np.ndarray]:
    """Mean [D] and covariance [D, D]."""
    means, weights = np.asarray(m.means, np.float64), np.asarray(m.weights, np.float64)
    mean = weights @ means
    centred = means - mean
    return mean, (weights[:, None] * centred).T @ centred + float(m.variance) * np.eye(means.shape[1])


def plane(low: float, high: float, points: int, dim: int) -> tuple[np.ndarray, float]:
    """Nodes [points^dim, dim] of the trapezoid rule on a cube, and the weight of each.

    All integrands here vanish at the borders, where the rule converges faster than any power of the step.
    """
    axis = np.linspace(low, high, points)
    nodes = np.stack(np.meshgrid(*[axis] * dim, indexing="ij"), -1).reshape(-1, dim)
    return nodes, (axis[1] - axis[0]) ** dim


def posterior_weights(prior: np.ndarray, nodes: np.ndarray, xt: np.ndarray, t: float, sde: SDE) -> np.ndarray:
    """Posterior probabilities [B, N] of clean nodes [N, D] given x_t [B, D], for prior densities [N] at the nodes."""
    alpha, sigma = scales(sde, t)
    square = ((xt[:, None, :] - alpha * nodes) ** 2).sum(-1)
    with np.errstate(divide="ignore"):
        log_weight = np.log(prior) - 0.5 * square / sigma**2
    weight = np.exp(log_weight - log_weight.max(1, keepdims=True))
    return weight / weight.sum(1, keepdims=True)


def scales(sde: SDE, t: float) -> tuple[float, float]:
    """(alpha, sigma) at one time."""
    at = jnp.asarray(t)
    return float(sde.alpha(at)), float(sde.sigma(at))


def spread_params(init: Callable[..., Any], *args: Any, scale: float = 0.5, seed: int = 0) -> Any:
    """Parameters of the shapes that `init` would give, all drawn at random: no zero layer hides an input."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(init, jax.random.key(0), *args)
    drawn = jax.tree.map(lambda leaf: (scale * rng.normal(size=leaf.shape)).astype(jnp.result_type(float)), shapes)
    return jax.device_put(drawn)


def standard_errors(samples: np.ndarray, expected: float | np.ndarray) -> np.ndarray:
    """How many standard errors the mean over the leading axis lies from its expected value."""
    samples = np.asarray(samples, np.float64)
    return np.abs(samples.mean(0) - expected) / (samples.std(0) / math.sqrt(samples.shape[0]))


def assert_moments(samples: np.ndarray, mean: np.ndarray, cov: np.ndarray, *, errors: float, bias: float = 0.0) -> None:
    """Mean and covariance of samples [N, D] within so many standard errors (plus an allowance for a known bias)."""
    samples = np.asarray(samples, np.float64)
    centred = samples - mean
    products = (centred[:, :, None] * centred[:, None, :]).reshape(len(samples), -1)
    for values, expected in ((samples, np.asarray(mean)), (products, np.asarray(cov).reshape(-1))):
        tolerance = errors * values.std(0) / math.sqrt(len(values)) + bias
        np.testing.assert_array_less(np.abs(values.mean(0) - expected), tolerance)


def sliced_w2(a: np.ndarray, b: np.ndarray, *, projections: int = 64, seed: int = 0) -> float:
    """Sliced Wasserstein-2 distance between samples of the same size [N, D]."""
    directions = np.random.default_rng(seed).normal(size=(a.shape[1], projections))
    directions /= np.linalg.norm(directions, axis=0)
    gaps = np.sort(a @ directions, axis=0) - np.sort(b @ directions, axis=0)
    return float(np.sqrt((gaps**2).mean()))
