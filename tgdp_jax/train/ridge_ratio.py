"""The log-ratio by ridge logistic regression on what a frozen network sees in a row; no network is trained.

    minimise over w, b:    1/2 E_q log(1 + exp(-l)) + 1/2 E_p log(1 + exp(l)) + strength / 2 |w|^2,    l = <w, z(x)> + b

z are the network's pooled features (`nets.readout`), standardised, in the principal directions of the source rows and
whitened there. Both kinds of rows count alike, whatever their numbers, which makes l the log-ratio. Folds, the weights
of the candidates by their held-out loss, and the final shrinkage are those of `train.classifier`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from tgdp_jax.nets.protocols import sees_labels
from tgdp_jax.nets.readout import CHUNK, FeatureReadout
from tgdp_jax.runtime.parallel import in_chunks
from tgdp_jax.train.batches import Rows, as_rows
from tgdp_jax.train.classifier import FittedRatio, folds_of, judged
from tgdp_jax.train.ensemble import EnsembleLogRatio
from tgdp_jax.train.fit import candidate_weights

Array = jax.Array
COMPONENTS = 64
# The weakest leaves nearly all to the rows, the strongest says nearly nothing.
STRENGTHS = tuple(float(10.0**power) for power in np.arange(-4, 1.5, 0.5))
ENOUGH = 8192  # source rows that the regression is fitted to, at most
NEGLIGIBLE = 1e-6  # variance of a direction, relative to the first's


class _Domain(NamedTuple):
    """Whitened features [N, F] of one kind of rows, and the fold [N] that holds each out."""

    z: np.ndarray
    fold: np.ndarray


def fit_ridge_ratio(
    source: dict[str, Array] | Array,
    target: dict[str, Array] | Array,
    *,
    net: FeatureReadout,
    variables: Any,
    folds: int = 5,
    components: int = COMPONENTS,
    strengths: tuple[float, ...] = STRENGTHS,
) -> FittedRatio:
    """Learns log q/p from source and target rows with a linear readout of a frozen network's features.

    Args:
      source: source rows {"x" [m, *D], "y"?}, or x alone.
      target: target rows {"x" [n, *D], "y"?}, or x alone.
      net: says what the features are.
      variables: of the frozen network that gives them, see `nets.heads.frozen`.
      folds: splits of the rows, see `num_folds`; copies of one row are in one fold.
      components: principal directions of the features that are kept, at most.
      strengths: candidates for the penalty.

    Raises:
      UserError: fewer than two rows on either side.
    """
    source, target = as_rows(source), as_rows(target)
    (_, source_held), (_, target_held) = folds_of(source, target, folds)
    some = np.random.default_rng(0).permutation(len(source["x"]))[:ENOUGH]
    seen = {name: value[some] for name, value in source.items()}
    features = [_pooled(rows, net, variables) for rows in (seen, target)]
    mean, directions = _whitening(features[0], components)
    p, q = (
        _Domain((f - mean) @ directions, fold)
        for f, fold in zip(features, (_fold_of(source_held)[some], _fold_of(target_held)), strict=True)
    )
    count = len(target_held.count)
    found = np.array([[_regression(p, q, fold, strength) for fold in range(count)] for strength in strengths])
    weights = candidate_weights(np.array([_held_out_loss(p, q, each) for each in found]), 2 * len(q.z))
    readouts = np.tensordot(weights, found, 1)
    kernel = readouts[:, 1:] @ directions.T
    bias = readouts[:, 0] - kernel @ mean
    params = {
        "readout": {
            "kernel": jnp.asarray(kernel[..., None], jnp.float32),
            "bias": jnp.asarray(bias[:, None], jnp.float32),
        }
    }
    ratio = EnsembleLogRatio({"params": params}, jnp.full(count, 1 / count), net, variables)
    named = {f"{strength:.2g}": float(w) for strength, w in zip(strengths, weights, strict=True)}
    return judged(ratio, source, target, np.arange(count), source_held, target_held, named, {})


def _pooled(rows: dict[str, Array], net: Any, variables: Any) -> np.ndarray:
    """What the readout is linear in, [N, F]."""
    labels = rows.get("y") if sees_labels(net, "y" in rows) else None
    return in_chunks(_pooled_chunk, (rows["x"], labels), variables, chunk=CHUNK, static={"net": net})


def _pooled_chunk(rows: tuple[Array, Any], variables: Any, *, net: Any) -> Array:
    return net.apply(variables, *rows, method="pooled")


def _fold_of(held: Rows) -> np.ndarray:
    """The fold [N] that holds each row out."""
    index, count = np.asarray(held.index), np.asarray(held.count)
    fold = np.empty(count.sum(), int)
    for k, (rows, num) in enumerate(zip(index, count, strict=True)):
        fold[rows[:num]] = k
    return fold


def _whitening(features: np.ndarray, components: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean [F], and directions [F, C] along which standardised features have variance one and no correlation."""
    features = features.astype(np.float64)
    mean, scale = features.mean(0), features.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    pca = PCA(min(components, *features.shape), random_state=0).fit((features - mean) / scale)
    variance, axes = np.asarray(pca.explained_variance_), np.asarray(pca.components_)
    kept = variance > NEGLIGIBLE * max(variance[0], NEGLIGIBLE)
    return mean, (axes[kept] / np.sqrt(variance[kept])[:, None]).T / scale[:, None]


def _regression(p: _Domain, q: _Domain, fold: int, strength: float) -> np.ndarray:
    """[1 + C]: intercept and slopes by the rows that a fold trains on."""
    parts = [domain.z[domain.fold != fold] for domain in (p, q)]
    share = np.concatenate([np.full(len(z), 0.5 / len(z)) for z in parts])
    is_target = np.repeat([0, 1], [len(z) for z in parts])
    solved = LogisticRegression(C=1 / strength, solver="newton-cholesky").fit(np.concatenate(parts), is_target, share)
    return np.concatenate([solved.intercept_, solved.coef_[0]])


def _held_out_loss(p: _Domain, q: _Domain, readouts: np.ndarray) -> float:
    """Balanced cross-entropy of rows out of fold, in nats, by readouts [K, 1 + C]."""
    logits = [readouts[d.fold, 0] + (d.z * readouts[d.fold, 1:]).sum(1) for d in (p, q)]
    return float(0.5 * np.logaddexp(0, logits[0]).mean() + 0.5 * np.logaddexp(0, -logits[1]).mean())
