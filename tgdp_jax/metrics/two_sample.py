"""Distances between two sets of samples, each with rows of one shape.

Wasserstein-2:        W2^2(p, q) = inf over couplings of E |x - y|^2; on the line W2^2 = int_0^1 (F_p^-1 - F_q^-1)^2 du.
Sliced Wasserstein-2: SW2^2 = E_theta W2^2(theta.x, theta.y), theta uniform on the sphere (Rabin et al. 2011, Bonneel et
                      al. 2015). For a shift by m, W2 = |m| and SW2 = |m|/sqrt(d): SW2 values of different d are not
                      on one scale.
Maximum mean discrepancy: MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y), the unbiased estimate of Gretton et al. 2012,
                      lemma 6; it is zero on average for equal distributions, so it can be negative.

Distances are in the units of x, MMD^2 has none.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist, pdist

from tgdp_jax.errors import UserError
from tgdp_jax.metrics.inputs import pair, positive, rows
from tgdp_jax.metrics.spread import Value, bootstrap, subsample_spread

BLOCK = 1024  # rows of one kernel block: 4 MiB in float32, within the caches
POOLED = 1000  # points whose distances set a bandwidth
DIRECT_MAX_DIM = 4  # up to here differences are taken one by one, above by a matrix product


def sliced_wasserstein2(x: Any, y: Any, *, projections: int = 64, seed: int = 0) -> float:
    """sqrt of the mean over random directions of the squared one-dimensional W2.

    Sets of unequal sizes are compared through their quantile functions, exactly. Two finite sets of the same
    distribution are a positive distance apart (about 0.008 for 10,000 samples of two unit-size modes in the plane).

    Args:
      x: samples [N, *D].
      y: samples [M, *D].
      projections: number of directions.
      seed: of the directions; equal seeds give equal directions, so that rows of one table can be compared.

    Returns:
      The distance, in units of x.

    Raises:
      UserError: bad arrays, or no projections.
    """
    return _sliced(*_projected(x, y, projections, seed))


def sliced_wasserstein2_value(x: Any, y: Any, *, projections: int = 64, num: int = 20, seed: int = 0) -> Value:
    """`sliced_wasserstein2` with its bootstrap standard error at fixed directions, projecting once.

    Args:
      x: samples [N, *D].
      y: samples [M, *D].
      projections: number of directions.
      num: bootstrap copies.
      seed: of the directions and the resampling.

    Returns:
      (value, spread), in units of x.

    Raises:
      UserError: bad arrays, no projections, or num below two.
    """
    shadows = _projected(x, y, projections, seed)
    return Value(_sliced(*shadows), float(bootstrap(_sliced, *shadows, num=num, seed=seed)))


def _projected(x: Any, y: Any, projections: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Both sets on random directions, [N, projections] and [M, projections]."""
    x, y = pair("x", x, "y", y)
    positive("projections", projections)
    directions = np.random.default_rng(seed).normal(size=(projections, x.shape[1]))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return x @ directions.T, y @ directions.T


def _sliced(x: np.ndarray, y: np.ndarray) -> float:
    """sqrt of the mean over columns of the squared W2 between columns of x [N, P] and y [M, P]."""
    # One direction a row, so that each sort runs over contiguous memory.
    sorted_x, sorted_y = np.sort(np.ascontiguousarray(x.T), -1), np.sort(np.ascontiguousarray(y.T), -1)
    if len(x) == len(y):
        return math.sqrt(((sorted_x - sorted_y) ** 2).mean())
    first, second, width = _common_quantiles(len(x), len(y))
    return math.sqrt(((sorted_x[:, first] - sorted_y[:, second]) ** 2 @ width).mean())


def _common_quantiles(n: int, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where both empirical quantile functions are constant: (index into n, index into m, width), each [n + m - gcd]."""
    # In integer multiples of 1/(n m), where the steps of both functions lie exactly.
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
    starts = np.concatenate([[0], ends[:-1]])
    return starts // m, starts // n, (ends - starts) / (n * m)


def wasserstein2_value(x: Any, y: Any, *, max_points: int = 1000, num: int = 20, seed: int = 0) -> Value:
    """Exact W2 between equal-size subsets, by optimal assignment.

    Between finite sets of the same distribution the result is positive and falls only as n^(-1/d) (for d > 4; Fournier
    & Guillin 2015): compare values at the same sizes alone, and read them against reference samples compared with
    themselves. The cost grows as the cube of `max_points`.

    Args:
      x: samples [N, *D], N >= 2.
      y: samples [M, *D], M >= 2.
      max_points: size of the subsets, which are min(max_points, N, M) rows drawn without replacement.
      num: pairs of halves of the subsets behind the spread; each costs about an eighth of the value itself.
      seed: of the subsets and the halves.

    Returns:
      (value, standard error of drawing such subsets), in units of x.

    Raises:
      UserError: bad arrays, max_points below two, or num below two.
    """
    cost = _cost(x, y, max_points, seed)
    # Halves rather than bootstrap copies: repeated rows make ties, at which the assignment is several times slower.
    spread = subsample_spread(
        lambda i, j: _assigned(cost[np.ix_(i, j)]), *map(np.arange, cost.shape), num=num, seed=seed
    )
    return Value(_assigned(cost), float(spread))


def _cost(x: Any, y: Any, max_points: int, seed: int) -> np.ndarray:
    """Squared distances [K, K] between subsets of equal size."""
    x, y = pair("x", x, "y", y)
    positive("max_points", max_points)
    size = min(max_points, len(x), len(y))
    rng = np.random.default_rng(seed)
    x, y = (a if len(a) == size else a[rng.choice(len(a), size, replace=False)] for a in (x, y))
    return cdist(x, y, "sqeuclidean")


def _assigned(cost: np.ndarray) -> float:
    return math.sqrt(cost[linear_sum_assignment(cost)].mean())


def median_bandwidth(*samples: Any, seed: int = 0) -> float:
    """Median distance between pooled points: the usual bandwidth of an RBF kernel (Gretton et al. 2012, section 8).

    In two equal, well separated clusters half of the distances lie within and half between them: the median then falls
    into the gap and moves a lot from draw to draw. Fix the bandwidth where values must be comparable.

    Args:
      *samples: sets [N_i, *D]; an equal share of `POOLED` rows is drawn from each, so that a long set does not decide.
      seed: of the subsets.

    Returns:
      The median of the positive distances, in units of x; 1 where all points coincide.

    Raises:
      UserError: bad arrays.
    """
    sets = [rows("samples", s) for s in samples]
    share = max(1, POOLED // len(sets))
    rng = np.random.default_rng(seed)
    pool = [s if len(s) <= share else s[rng.choice(len(s), share, replace=False)] for s in sets]
    distance = pdist(np.concatenate(pool))
    distance = distance[distance > 0]
    return float(np.median(distance)) if distance.size else 1.0


def mmd2_value(x: Any, y: Any, *, bandwidth: float | None = None, num: int = 20, seed: int = 0) -> Value:
    """Unbiased squared maximum mean discrepancy with the kernel exp(-|x - y|^2 / (2 bandwidth^2)).

    It is zero on average where the distributions agree. Its bootstrap standard error costs next to nothing: the kernel
    is evaluated once.

    Args:
      x: samples [N, *D], N >= 2.
      y: samples [M, *D], M >= 2.
      bandwidth: in units of x; None takes `median_bandwidth(x, y)`, which depends on both sets: to compare several
        samplers with one reference, pass `median_bandwidth(reference)`.
      num: bootstrap copies, which share the bandwidth.
      seed: of the resampling.

    Returns:
      (value, spread).

    Raises:
      UserError: bad arrays, a bandwidth that is not positive, or num below two.
    """
    if num < 2:
        raise UserError(f"num must be at least 2 for a standard deviation, got {num}")
    x, y = pair("x", x, "y", y, at_least=2)
    bandwidth = median_bandwidth(x, y) if bandwidth is None else float(bandwidth)
    if not 0 < bandwidth < math.inf:
        raise UserError(f"bandwidth must be a positive number, got {bandwidth}")
    rng = np.random.default_rng(seed)

    # A resampled set is the set itself with every row counted as often as it was drawn.
    def counts(n: int) -> np.ndarray:
        return np.concatenate([np.ones((n, 1)), rng.multinomial(n, np.full(n, 1 / n), size=num).T], axis=1)

    values = _weighted_mmd2(x, y, counts(len(x)), counts(len(y)), bandwidth)
    return Value(float(values[0]), float(values[1:].std(ddof=1)))


def _weighted_mmd2(x: np.ndarray, y: np.ndarray, wx: np.ndarray, wy: np.ndarray, bandwidth: float) -> Any:
    """MMD^2 [R] of x [N, D] and y [M, D] with rows repeated wx [N, R] and wy [M, R] times, in blocks."""
    size = min(BLOCK, 1 << (max(len(x), len(y)) - 1).bit_length())  # powers of two: few programs to compile
    scale = math.sqrt(2) * bandwidth

    # Centring keeps |a|^2 + |b|^2 - 2 a.b from cancelling in float32; the median is not moved by diverged rows.
    def within(a: np.ndarray, w: np.ndarray) -> Any:
        n, blocks = len(a), _blocks((a - np.median(a, 0)) / scale, w, size)
        total: Any = sum(_kernel_sum(*p, *p) for p in blocks)
        total = total + 2 * sum(_kernel_sum(*p, *q) for p, q in itertools.combinations(blocks, 2))
        return (total - n) / (n * (n - 1))  # a row's kernel with itself is one and does not count

    centre = np.median(np.concatenate([x, y]), 0)
    pairs = itertools.product(_blocks((x - centre) / scale, wx, size), _blocks((y - centre) / scale, wy, size))
    between = sum(_kernel_sum(*p, *q) for p, q in pairs) / (len(x) * len(y))
    return within(x, wx) + within(y, wy) - 2 * between


def _blocks(x: np.ndarray, w: np.ndarray, size: int) -> list[tuple[jax.Array, jax.Array]]:
    """Equal blocks of rows; the last is filled up with rows of weight zero."""
    fill = -len(x) % size
    x = np.clip(x, -1e17, 1e17)  # squares stay finite in float32
    x, w = np.pad(x, ((0, fill), (0, 0))), np.pad(w, ((0, fill), (0, 0)))
    return [
        (jnp.asarray(x[i : i + size], jnp.float32), jnp.asarray(w[i : i + size], jnp.float32))
        for i in range(0, len(x), size)
    ]


def _kernel_sum(x: jax.Array, wx: jax.Array, y: jax.Array, wy: jax.Array) -> np.ndarray:
    """sum_ij wx_ir k(x_i, y_j) wy_jr [R]; the long sum over i in double precision."""
    return np.asarray(_kernel_rows(x, wx, y, wy), np.float64).sum(0)


@jax.jit
def _kernel_rows(x: jax.Array, wx: jax.Array, y: jax.Array, wy: jax.Array) -> jax.Array:
    def product(a: jax.Array, b: jax.Array) -> jax.Array:
        # Accelerators otherwise multiply float32 with the mantissa of bfloat16 or TF32.
        return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)

    if x.shape[1] <= DIRECT_MAX_DIM:
        # Term by term: XLA does not vectorise a sum over so short an axis.
        square = sum((x[:, None, i] - y[:, i]) ** 2 for i in range(x.shape[1]))
    else:
        square = jnp.sum(x**2, -1)[:, None] + jnp.sum(y**2, -1) - 2 * product(x, y.T)
    return wx * product(jnp.exp(-jnp.maximum(square, 0.0)), wy)
