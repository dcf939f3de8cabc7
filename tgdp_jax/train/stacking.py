"""How much of what adaptations change to trust, noise level by noise level, as rows say that they were not trained on.

A member j, adapted from a source, changes its noise prediction by d_j = eps_j - eps_p. Of the noise of a held-out row
the source leaves the residual r = eps - eps_p unexplained. Weights w_j(t) >= 0, piecewise linear in sqrt(t), minimise

    E W(t) || r - sum_j w_j(t) d_j ||^2 + smoothness * sum_j s_j sum_k (w_j(t_k+1) - w_j(t_k))^2

with W = 1 / c_out^2 (`nets.precondition.residual_weight`), so that all times count alike, and s_j the scale of member
j's own term. No row is judged by a member that was trained on it: members come in folds. The stacked score is
`guidance.stacking`.

Three properties make it safe with few rows. All w = 0 is the source, so that on the held-out rows a stack is never
worse than that. A weight below one shrinks a member that was trained too long, at the noise levels where it was. And
non-negative weights of members that err alike are sparse (Breiman 1996, "Stacked regressions").
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from tgdp_jax.guidance import hat_functions
from tgdp_jax.nets.precondition import residual_weight
from tgdp_jax.prediction import ScoreFn, as_score
from tgdp_jax.sde import SDE, expand
from tgdp_jax.train.batches import Rows
from tgdp_jax.train.denoising import held_out_rows

Array = jax.Array
KNOTS = 6
SMOOTHNESS = 0.05
# Near t = 1 a row is known so badly that a few draws would decide for all.
MOST_WEIGHT = 1e3
_hats = jax.jit(hat_functions, static_argnums=1)


class HeldOut(NamedTuple):
    """What members change at noised rows that they were not trained on, times the root of W.

    Attributes:
      changes: d_j, [J, N, *D].
      residual: r, [N, *D].
      t: times [N].
      share: of each noised row in the mean, [N].
    """

    changes: np.ndarray
    residual: np.ndarray
    t: np.ndarray
    share: np.ndarray


def held_out_changes(
    source: ScoreFn,
    members: Sequence[Sequence[ScoreFn]],
    data: dict[str, Any],
    held: Rows,
    sde: SDE,
    *,
    num: int,
    data_std: Any,
) -> HeldOut:
    """Each fold's rows, noised as in `train.denoising.held_out_rows`, as the source sees them and that fold's members.

    Args:
      source: score of the source.
      members: of each of J members the scores of its K folds.
      data: rows {"x" [N, *D], "y" [N]?}.
      held: the rows that each fold did not train on, leading axis K.
      sde: the forward process.
      num: noised rows a fold, at least.
      data_std: standard deviation of the data, for W.
    """
    first = as_score(source)
    parts = [
        _of_fold(first, [as_score(folds[fold]) for folds in members], data, held, fold, data_std, sde=sde, num=num)
        for fold in range(len(held.count))
    ]
    changes, *others = zip(*jax.device_get(parts), strict=True)
    return HeldOut(np.concatenate(changes, 1), *map(np.concatenate, others))


@functools.partial(jax.jit, static_argnames=("sde", "num"))
def _of_fold(
    source: Any, members: list[Any], data: dict[str, Any], held: Rows, fold: Array, data_std: Any, *, sde: SDE, num: int
) -> tuple[Array, Array, Array, Array]:
    (x, t, eps, labels), share = held_out_rows(data, Rows(held.index[fold], held.count[fold]), sde, num)
    sigma = expand(sde.sigma(t), x)
    root = jnp.sqrt(jnp.minimum(residual_weight(x, t, sde, jnp.asarray(data_std)), MOST_WEIGHT))
    base = -sigma * source(x, t, labels)
    changes = jnp.stack([root * (-sigma * member(x, t, labels) - base) for member in members])
    # Every row counts alike, however large its fold.
    return changes, root * (eps - base), t, held.count[fold] / jnp.sum(held.count) * share


def stacking_weights(found: HeldOut, *, knots: int = KNOTS, smoothness: float = SMOOTHNESS) -> np.ndarray:
    """The non-negative weights [J, knots] of the module's head.

    Args:
      found: changes and residual at held-out rows.
      knots: in sqrt(t); 1: one weight for all noise levels.
      smoothness: how much neighbouring weights hold together.
    """
    members, size = len(found.changes), len(found.changes) * knots
    hats = np.asarray(_hats(found.t, knots), np.float64)
    weighted = found.share[:, None] * hats
    d = found.changes.reshape(members, len(hats), -1).astype(np.float64)
    r = found.residual.reshape(len(hats), -1).astype(np.float64)
    slope = np.einsum("nk,jnd,nd->jk", weighted, d, r, optimize=True).reshape(size)
    gram = _gram(weighted, hats, d)
    rough = np.diff(np.eye(knots), axis=0)
    scales = np.diagonal(gram).reshape(members, knots).mean(1)
    gram = gram + smoothness * np.kron(np.diag(scales), rough.T @ rough)
    # || F w - c ||^2 with F^T F = gram and F^T c = slope: directions in which no member changes anything have no say.
    values, vectors = np.linalg.eigh(gram)
    kept = values > 1e-12 * max(values[-1], np.finfo(float).tiny)
    root = np.sqrt(values[kept])
    weights, _ = optimize.nnls(root[:, None] * vectors[:, kept].T, (vectors[:, kept].T @ slope) / root)
    return weights.reshape(members, knots).astype(np.float32)


def _gram(weighted: np.ndarray, hats: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Inner products [J knots, J knots] of the members' changes times the hat functions."""
    blocks = [[weighted.T @ (hats * np.einsum("nd,nd->n", a, b)[:, None]) for b in d] for a in d]
    return np.block(blocks)


def held_out_gain(found: HeldOut, weights: np.ndarray) -> float:
    """How much of the source's error at the held-out rows, weighted by W, a stack takes away: at most 1, 0 is none."""
    at_rows = np.asarray(_hats(found.t, weights.shape[1])) @ weights.T
    left = found.residual - np.einsum("nj,jn...->n...", at_rows, found.changes)
    error, before = (found.share @ (a.reshape(len(found.t), -1) ** 2).sum(1) for a in (left, found.residual))
    return float(1 - error / before)
