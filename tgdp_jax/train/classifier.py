"""The domain classifier: an ensemble over folds and regularisers, trained in one launch.

Few target rows make a classifier overconfident, and log r inherits it. What helps is stopping at the minimum of the
*mean* held-out curve of K folds, averaging the folds' logits, and one of several regularisers; no regulariser wins at
every dimension (the best input noise is about 0.2 of the data's scale in two dimensions and 0.8 in 32), so that all
candidates train side by side and cross-validated cross-entropy chooses. Where logits of rows out of fold are too large
even so (ten images), all are scaled down.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tgdp_jax import losses
from tgdp_jax.data.augment import Augmentation, augment
from tgdp_jax.data.copies import copy_groups
from tgdp_jax.density_ratio import Calibration, calibrate, shrinkage
from tgdp_jax.errors import named_or_own
from tgdp_jax.nets import ClassifierMLP, readout
from tgdp_jax.nets.protocols import check_call, data_std, first_labels, num_classes, sees_labels
from tgdp_jax.runtime.parallel import in_chunks
from tgdp_jax.train.batches import Rows, as_rows, draw_rows, fold_rows, mean_weights, num_folds, repeated
from tgdp_jax.train.ensemble import EnsembleLogRatio
from tgdp_jax.train.fit import Task, candidate_weights, fit
from tgdp_jax.train.optimiser import OptimiserConfig, as_config
from tgdp_jax.train.registry import REGULARISERS as REGULARISERS
from tgdp_jax.train.registry import Regulariser as Regulariser
from tgdp_jax.train.reparam import carried_over
from tgdp_jax.train.session import QUIET, Session

Array = jax.Array
CHUNK = 4096  # rows whose logits are computed at a time
NUM_JUDGING = 2000  # source rows that a member is judged by while it trains, at most
MIXUP_ENTRIES = 1024  # of the table that mixing shares are drawn from


OPTIMISER = OptimiserConfig(steps=1500, batch_size=256, steps_per_launch=50)


@functools.cache
def classifier_task(
    net: Any, batch_size: int, dim: tuple[int, ...], augmentation: str | Augmentation = "none", labelled: bool = False
) -> Task:
    """Balanced logistic regression; frozen: the network's variables that are not trained, or None; data {"source":
    {"x", "y"?}, "target": {...}, "noise_scale": [] or [D]}; `labelled` says whether there is a "y"."""
    check_call(net, "a domain classifier", "(x, cond)")

    def init(key: Array) -> Any:
        return {"params": net.init(key, jnp.zeros((1, *dim)), first_labels(net, labelled))["params"]}

    def inputs(part: Any, rows: Array) -> tuple[Array, Any]:
        if not sees_labels(net, labelled):
            return part["x"][rows], None
        y = part["y"][rows]
        # Mixup mixes one-hot labels; a network that does not say how many there are gets numbers.
        return part["x"][rows], jax.nn.one_hot(y, num_classes(net)) if num_classes(net) else y

    def draw(key: Array, data: Any, member: Any) -> Any:
        source_key, target_key, order_key, share_key, noise_key = jax.random.split(key, 5)
        half = batch_size // 2
        source = inputs(data["source"], draw_rows(source_key, member["source_train"], half))
        target = inputs(data["target"], draw_rows(target_key, member["target_train"], half))
        x, y = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), source, target)
        x = augment(jax.random.fold_in(key, 5), x, kind=augmentation)
        order = jax.random.permutation(order_key, 2 * half)
        share = jax.random.choice(share_key, member["mixup_shares"], (2 * half,))

        def mix(a: Array) -> Array:
            if jnp.issubdtype(a.dtype, jnp.integer):
                return a  # the label of the row with the larger share
            s = share.reshape((-1,) + (1,) * (a.ndim - 1))
            return s * a + (1.0 - s) * a[order]

        x, y, is_target = jax.tree.map(mix, (x, y, jnp.repeat(jnp.array([0.0, 1.0]), half)))
        x = x + member["noise"] * data["noise_scale"] * jax.random.normal(noise_key, x.shape)
        return x, y, is_target

    def loss(params: Any, frozen: Any, batch: Any, step: Array, member: Any) -> dict[str, Array]:
        return {"classification": evaluate(params, frozen, batch)}

    def held_out(data: Any, member: Any) -> tuple[Any, Array]:
        parts = [(member[f"{name}_held"], data[name], float(name == "target")) for name in ("source", "target")]
        batches = [(*inputs(part, rows.index), jnp.full(rows.index.shape, label)) for rows, part, label in parts]
        weights = [0.5 * mean_weights(rows) for rows, _, _ in parts]
        return jax.tree.map(lambda *a: jnp.concatenate(a), *batches), jnp.concatenate(weights)

    def evaluate(params: Any, frozen: Any, batch: Any) -> Array:
        x, y, is_target = batch
        return losses.domain_classification(net.apply({**params, **(frozen or {})}, x, y), is_target)

    return Task(init=init, draw=draw, loss=loss, held_out=held_out, evaluate=evaluate)


class FittedRatio(NamedTuple):
    """A learned ratio.

    Attributes:
      log_ratio: the function.
      calibration: held-out quality.
      shrinkage: what the averaged logits were multiplied by, see `density_ratio.shrinkage`.
      candidate_weights: each regulariser's weight in the average, by its name (or what it is made of).
      source_log_r: values at the source rows [m].
      target_log_r: values at the target rows [n].
      history: curves.
    """

    log_ratio: EnsembleLogRatio
    calibration: Calibration
    shrinkage: float
    candidate_weights: dict[str, float]
    source_log_r: Array
    target_log_r: Array
    history: dict[str, np.ndarray]


def _groups(x: np.ndarray) -> np.ndarray:
    """Copies among rows [N, *D], see `copy_groups`; where all are copies of one, each stands for itself."""
    groups = copy_groups(x)
    return groups if (groups != groups[0]).any() else np.arange(len(x))


def fit_log_ratio(
    key: Array,
    source: dict[str, Array] | Array,
    target: dict[str, Array] | Array,
    *,
    net: Any = ClassifierMLP(),
    variables: Any = None,
    known: Any = None,
    augmentation: str | Augmentation = "none",
    folds: int = 5,
    regularisers: tuple[str | Regulariser, ...] = tuple(REGULARISERS),
    optimiser: OptimiserConfig | optax.GradientTransformation = OPTIMISER,
    session: Session = QUIET,
) -> FittedRatio:
    """Learns log q/p from source and target rows.

    Args:
      key: PRNG key.
      source: source rows {"x" [m, *D], "y"?}, or x alone.
      target: target rows {"x" [n, *D], "y"?}, or x alone.
      net: Linen network (x [B, *D], cond) -> logit [B], see `nets.protocols`.
      variables: collections of its variables that are not trained, such as a frozen source's weights.
      known: variables to start from wherever they fit (`carried_over`): those of a classifier of labels.
      augmentation: of the rows that train, see `augment`.
      folds: splits of the rows, see `num_folds`; copies of one row are in one fold.
      regularisers: candidates, trained side by side: names in `REGULARISERS`, or a `Regulariser` each.
      optimiser: optimiser and length, or an optax optimiser in the place of Adam.
      session: what training reports to and continues from.

    Raises:
      UserError: fewer than two rows on either side, or training that diverged.
    """
    source, target = as_rows(source), as_rows(target)
    (source_train, source_held), (target_train, target_held) = folds_of(source, target, folds)
    folds = len(target_held.count)
    optimiser = as_config(optimiser, OPTIMISER)
    candidates = [named_or_own("regulariser", given, REGULARISERS, Regulariser) for given in regularisers]
    few = Rows(source_held.index[:, :NUM_JUDGING], jnp.minimum(source_held.count, NUM_JUDGING))
    rows = {"target_train": target_train, "target_held": target_held, "source_train": source_train, "source_held": few}
    members = repeated(rows, len(candidates))
    columns = {
        "weight_decay": [c.weight_decay for c in candidates],
        "noise": [c.noise for c in candidates],
        "mixup_shares": [_mixup_shares(c.mixup) for c in candidates],
    }
    members |= jax.device_put({name: np.repeat(np.array(c, np.float32), folds, 0) for name, c in columns.items()})
    task = classifier_task(net, optimiser.batch_size, tuple(source["x"].shape[1:]), augmentation, "y" in source)
    data = {"source": source, "target": target, "noise_scale": jnp.asarray(data_std(net))}
    initial = None if known is None else carried_over(known, jax.jit(task.init)(jax.random.fold_in(key, 1)))
    fitted = fit(
        key,
        task,
        optimiser,
        data=data,
        frozen=variables,
        members=members,
        groups=len(candidates),
        initial=initial,
        session=session,
    )
    # The loss is the mean of two means: of n rows of either kind the log-likelihood is -2 n times that.
    weights = candidate_weights(fitted.best_value, 2 * len(target["x"]))
    kept = np.flatnonzero(np.repeat(weights, folds))
    member_weights = jnp.asarray(np.repeat(weights, folds)[kept] / folds, jnp.float32)
    ratio = EnsembleLogRatio(jax.tree.map(lambda a: a[kept], fitted.params), member_weights, net, variables or {})
    fold_of = np.tile(np.arange(folds), len(candidates))[kept]
    named = {str(given): float(w) for given, w in zip(regularisers, weights, strict=True)}
    return judged(ratio, source, target, fold_of, source_held, target_held, named, fitted.history)


def folds_of(
    source: dict[str, Array], target: dict[str, Array], folds: int
) -> tuple[tuple[Rows, Rows], tuple[Rows, Rows]]:
    """(training, held-out) rows of every fold of the source and of the target, see `num_folds`."""
    groups = [_groups(np.asarray(part["x"])) for part in (source, target)]
    folds = num_folds(folds, min(len(np.unique(each)) for each in groups))
    return fold_rows(groups[0], folds, seed=1), fold_rows(groups[1], folds, seed=0)


def judged(
    ratio: EnsembleLogRatio,
    source: dict[str, Array],
    target: dict[str, Array],
    fold_of: np.ndarray,
    source_held: Rows,
    target_held: Rows,
    candidates: dict[str, float],
    history: dict[str, np.ndarray],
) -> FittedRatio:
    """An ensemble's values at the rows, its logits shrunk as far as rows out of fold say.

    Args:
      ratio: the ensemble, its weights summing to one.
      source: source rows {"x" [m, *D], "y"?}.
      target: target rows {"x" [n, *D], "y"?}.
      fold_of: each member's fold [M].
      source_held: source rows that each fold did not see.
      target_held: target rows that each fold did not see.
      candidates: weights, for the record.
      history: curves, for the record.
    """
    member_weights = ratio.weights
    source_logits, target_logits = member_logits(ratio, source), member_logits(ratio, target)
    # Judged on rows out of fold; used on rows of both kinds as the whole ensemble sees them. (Out-of-fold values at the
    # target rows would tell the guidance network that a row far from the others belongs to the source.)
    held_target = _out_of_fold(target_logits, member_weights, fold_of, target_held)
    held_source = _out_of_fold(source_logits, member_weights, fold_of, source_held)
    share = shrinkage(held_target, held_source)
    ratio = dataclasses.replace(ratio, weights=share * member_weights)
    return FittedRatio(
        ratio,
        calibrate(share * held_target, share * held_source),
        share,
        candidates,
        ratio.weights @ source_logits,
        ratio.weights @ target_logits,
        history,
    )


def member_logits(ratio: EnsembleLogRatio, data: dict[str, Any]) -> np.ndarray:
    """[M, N]: what each member says of rows {"x" [N, *D], "y" [N]?}."""
    labels = data.get("y") if sees_labels(ratio.net, "y" in data) else None
    chunk = readout.CHUNK if isinstance(ratio.net, readout.FeatureReadout) else CHUNK
    return in_chunks(_member_logits, (data["x"], labels), ratio, chunk=chunk, static={}).T


def _member_logits(rows: tuple[Array, Any], ratio: EnsembleLogRatio) -> Array:
    """[B, M] for rows (x, y)."""
    return ratio.members(*rows).T


def _mixup_shares(alpha: float, size: int = MIXUP_ENTRIES) -> np.ndarray:
    """A table of the larger of (s, 1 - s) for s ~ Beta(alpha, alpha), by quantiles: drawing from it is far cheaper
    than from the distribution, whose rejection sampler dominates the step otherwise."""
    if alpha == 0:
        return np.ones(size)
    from scipy import stats  # late: options need not wait for it

    share = stats.beta.ppf((np.arange(size) + 0.5) / size, alpha, alpha)
    return np.maximum(share, 1 - share)


def _out_of_fold(logits: np.ndarray, weights: Array, fold_of: np.ndarray, held: Rows) -> Array:
    """[N] logits of each row by the members that did not train on it, from [M, N], members' weights and folds [M]."""
    out = np.empty(logits.shape[1], np.float32)
    for k, (index, count) in enumerate(zip(np.asarray(held.index), np.asarray(held.count), strict=True)):
        rows, mine = index[:count], fold_of == k
        out[rows] = np.average(logits[mine][:, rows], axis=0, weights=np.asarray(weights)[mine])
    return jnp.asarray(out)
