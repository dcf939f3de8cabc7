"""The guidance network: g(x_t, t) = log E_p[r(x_0) | x_t].

    L = E_{x_0 ~ p} [ loss(g(x_t, t), log r(x_0)) ]  +  eta1 E_{x_0 ~ q} [ cycle ]  +  eta2 E_{x_0 ~ q} [ consistency ]

(Ouyang et al. 2024, with regularisers.) The consistency term is denoising score matching on the target with the source
frozen; the same quantity on held-out target rows says when to stop, which is the only judge there is when nothing but
n samples of the target are known. It is a little too kind: log r was learned from all rows, those held out included. Of
ten rows, with the exact source score, that was worth 0.4 to 1.1 nats of n D times the loss in two dimensions and 1.4 to
2 in eight, without the consistency term.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tgdp_jax import losses
from tgdp_jax.data.augment import Augmentation
from tgdp_jax.density_ratio import pooled_log_weights, self_normalise
from tgdp_jax.errors import UserError, named_or_own
from tgdp_jax.guidance import grad_log_ratio
from tgdp_jax.nets.protocols import check_call, first_labels
from tgdp_jax.prediction import as_score
from tgdp_jax.registry import GUIDANCE_LOSSES
from tgdp_jax.sde import SDE
from tgdp_jax.train.batches import Rows, as_rows, cross_validation_rows, draw_rows, repeated, stratified_times
from tgdp_jax.train.denoising import held_out_rows, noised_rows
from tgdp_jax.train.ensemble import EnsembleLogRatio
from tgdp_jax.train.fit import Task, candidate_weights, fit
from tgdp_jax.train.optimiser import OptimiserConfig, as_config
from tgdp_jax.train.session import QUIET, Session

Array = jax.Array
CEP_GROUP = 64
CLASSIFICATION = "classification"


OPTIMISER = OptimiserConfig(steps=1500, learning_rate=5e-3, patience=500)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuidanceLoss:
    """What is minimised. Static.

    Attributes:
      loss: a name in `registry.GUIDANCE_LOSSES`; a function (g, log_r, log_w) -> loss, each [K], row by row; or
        "classification": target against source rows on noised data, which needs no clean ratio (discriminator guidance,
        Kim et al. 2023).
      pooled: draw x_0 from source and target half and half, with the weights that keep the minimiser.
      draws: noise draws a row.
      use_cycle: whether the cycle regulariser is computed; its weight is a member's "eta1".
      use_consistency: whether the consistency regulariser is computed; its weight is a member's "eta2".
      eta_schedule: multiplies both weights by a function of the step, an optax schedule; None: constant.
    """

    loss: str | Callable[[Array, Array, Array], Array] = "logistic"
    pooled: bool = True
    draws: int = 1
    use_cycle: bool = False
    use_consistency: bool = True
    eta_schedule: Callable[[Any], Any] | None = None

    def __post_init__(self):
        known = dict.fromkeys((*GUIDANCE_LOSSES, CLASSIFICATION))
        named_or_own("guidance loss", self.loss, known, "(g, log_r, log_w)")


def _ratio_loss(
    terms: GuidanceLoss, g: Any, source: Any, source_log_r: Array, target: Any, target_log_r: Array, group: int
) -> Array:
    """[U], one value a unit: `group` source rows and as many target rows."""
    (xs, ts, _, ys), (xt, tt, _, yt) = source, target
    g_source = g(xs, ts, ys)
    if terms.loss == CLASSIFICATION:
        return _mean_of_unit(jax.nn.softplus(g_source) + jax.nn.softplus(-g(xt, tt, yt)), group)
    parts = [(g_source, source_log_r, jnp.zeros_like(source_log_r))]
    if terms.pooled:
        log_w_source, _ = pooled_log_weights(source_log_r)
        log_w_target, _ = pooled_log_weights(target_log_r)
        parts = [(g_source, source_log_r, log_w_source), (g(xt, tt, yt), target_log_r, log_w_target)]
    units = [[a.reshape(-1, group) for a in part] for part in parts]
    args = (jnp.concatenate(a, 1) for a in zip(*units, strict=True))
    one = GUIDANCE_LOSSES[terms.loss] if isinstance(terms.loss, str) else terms.loss
    values = jax.vmap(one)(*args)
    if values.ndim != 2:
        raise UserError(f"a guidance loss returned shape {values.shape[1:]} of a batch [K]: it must be [K]")
    return jnp.mean(values, 1)


def _mean_of_unit(values: Array, group: int) -> Array:
    return jnp.mean(values.reshape(-1, group), 1)


@functools.cache
def guidance_task(
    net: Any,
    sde: SDE,
    terms: GuidanceLoss,
    batch_size: int,
    dim: tuple[int, ...],
    validation_rows: int = 4096,
    augmentation: str | Augmentation = "none",
    labelled: bool = False,
) -> Task:
    """frozen: {"source": score, "variables": what of the network is not trained, "noisy_ratio"?: LogRatioFn}; data
    {"source": {"x", "y"?, "log_r"}, "target": ...}; `labelled` says whether there is a "y"."""
    check_call(net, "a guidance network", "(x, t, cond)")
    half = batch_size // 2
    # The softmax of "cep" compares rows at one time: `group` rows share theirs and stay together on a device.
    group = math.gcd(CEP_GROUP, half) if terms.loss == "cep" else 1

    def init(key: Array) -> Any:
        return {"params": net.init(key, jnp.zeros((1, *dim)), jnp.ones((1,)), first_labels(net, labelled))["params"]}

    def log_h(params: Any, frozen: Any) -> Callable[..., Array]:
        return lambda x, t, y=None: net.apply({**params, **frozen["variables"]}, x, t, y)

    def draw(key: Array, data: Any, member: Any) -> Any:
        keys = jax.random.split(key, 5)
        source_rows = jnp.tile(draw_rows(keys[0], member["source_train"], half // terms.draws), terms.draws)
        target_rows = jnp.tile(draw_rows(keys[1], member["target_train"], half // terms.draws), terms.draws)
        times = None
        if group > 1:
            times = jnp.repeat(stratified_times(keys[4], half // group, sde), group)
        noised = functools.partial(noised_rows, sde=sde, times=times, augmentation=augmentation)
        source, target = noised(keys[2], data["source"], source_rows), noised(keys[3], data["target"], target_rows)
        batch = source, data["source"]["log_r"][source_rows], target, data["target"]["log_r"][target_rows]
        return jax.tree.map(lambda a: a.reshape(-1, group, *a.shape[1:]), batch)

    def loss(params: Any, frozen: Any, batch: Any, step: Array, member: Any) -> dict[str, Array]:
        batch = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), batch)
        source, source_log_r, target, target_log_r = batch
        xt, tt, _, yt = target
        g = log_h(params, frozen)
        parts = {"guidance": _ratio_loss(terms, g, source, source_log_r, target, target_log_r, group)}
        scale = 1.0 if terms.eta_schedule is None else terms.eta_schedule(step)
        if terms.use_cycle:
            noisy = frozen["noisy_ratio"](xt, tt, yt)
            parts["cycle"] = scale * member["eta1"] * _mean_of_unit(losses.cycle(g(xt, tt, yt), noisy), group)
        if terms.use_consistency:
            parts["consistency"] = scale * member["eta2"] * _mean_of_unit(evaluate(params, frozen, target), group)
        return parts

    def held_out(data: Any, member: Any) -> tuple[Any, Array]:
        return held_out_rows(data["target"], member["target_held"], sde, validation_rows)

    def evaluate(params: Any, frozen: Any, batch: Any) -> Array:
        x, t, eps, y = batch
        slope = grad_log_ratio(log_h(params, frozen), x, t, y)
        return losses.consistency(frozen["source"](x, t, y), slope, eps, sde.sigma(t))

    return Task(init=init, draw=draw, loss=loss, held_out=held_out, evaluate=evaluate)


def _check_given(terms: GuidanceLoss, source_log_r: Any, target_log_r: Any, noisy_ratio: Any) -> None:
    needed = {"noisy_ratio": terms.use_cycle and noisy_ratio is None}
    if terms.loss != CLASSIFICATION:
        needed |= {"source_log_r": source_log_r is None, "target_log_r": terms.pooled and target_log_r is None}
    missing = [name for name, absent in needed.items() if absent]
    if missing:
        lacks = " and ".join(missing)
        raise UserError(f"the guidance loss {terms.loss!r} needs {lacks}: pass what `fit_log_ratio` found")


class FittedGuidance(NamedTuple):
    """A learned log h: the function, each candidate's weight and held-out loss, curves."""

    log_h: EnsembleLogRatio
    candidate_weights: np.ndarray
    held_out_loss: np.ndarray
    history: dict[str, np.ndarray]


def fit_guidance(
    key: Array,
    net: Any,
    sde: SDE,
    source_score: Any,
    source: dict[str, Array] | Array,
    target: dict[str, Array] | Array,
    *,
    source_log_r: Array | None = None,
    target_log_r: Array | None = None,
    terms: GuidanceLoss = GuidanceLoss(),
    consistency: tuple[float, ...] = (0.0, 1.0, 10.0),
    cycle: float = 0.0,
    noisy_ratio: Any = None,
    variables: Any = None,
    augmentation: str | Augmentation = "none",
    folds: int = 5,
    optimiser: OptimiserConfig | optax.GradientTransformation = OPTIMISER,
    session: Session = QUIET,
) -> FittedGuidance:
    """Learns log h for any source score.

    Every candidate eta2 is trained on each of K splits of the target rows, in one launch; a candidate stops at the
    minimum of its mean held-out denoising loss. Candidates are averaged with weights exp(-n D (loss - best)), the
    held-out likelihood's analogue (pseudo-BMA, Yao et al. 2018); negligible ones are dropped.

    Args:
      key: PRNG key.
      net: Linen network (x [B, *D], t [B], cond) -> [B].
      sde: the source's forward process.
      source_score: (x [B, *D], t [B], cond) -> score [B, *D], frozen; used by the consistency term and for stopping.
      source: source rows {"x" [m, *D], "y"?}, or x alone.
      target: target rows {"x" [n, *D], "y"?}, or x alone.
      source_log_r: log q/p at the source rows [m]; not needed for "classification".
      target_log_r: log q/p at the target rows [n]; likewise, and not needed where `terms` are not pooled.
      terms: the loss; which regularisers it has is said by `consistency` and `cycle`.
      consistency: candidates for eta2; all 0: none.
      cycle: eta1; 0: none.
      noisy_ratio: noise-conditional classifier's log-ratio (x, t, cond) -> [B], for the cycle term.
      variables: collections of the network's variables that are not trained, such as a frozen source's weights.
      augmentation: of the rows, see `augment`; a row keeps its log q/p.
      folds: splits of the target rows, see `num_folds`; copies of one row are in one fold.
      optimiser: optimiser and length, or an optax optimiser in the place of Adam.
      session: what training reports to and continues from.

    Raises:
      UserError: an argument that the loss needs is missing, or training diverged.
      Preempted: the process was asked to stop; training is saved.
    """
    terms = dataclasses.replace(terms, use_cycle=cycle > 0, use_consistency=max(consistency) > 0)
    _check_given(terms, source_log_r, target_log_r, noisy_ratio)
    optimiser = as_config(optimiser, OPTIMISER)
    source, target = as_rows(source), as_rows(target)
    n, m = len(target["x"]), len(source["x"])
    split = cross_validation_rows(target["x"], folds)
    folds = len(split[0].index)
    count = len(consistency) * folds
    train, held = repeated(split, len(consistency))
    members = {
        "target_train": train,
        "target_held": held,
        "source_train": Rows.put(np.tile(np.arange(m), (count, 1)), np.full(count, m)),
        "eta2": jax.device_put(np.repeat(np.array(consistency, np.float32), folds)),
        "eta1": jax.device_put(np.full(count, cycle, np.float32)),
    }

    given = (source_log_r, m), (target_log_r, n)
    ratios = self_normalise(*(jnp.zeros(num) if log_r is None else log_r for log_r, num in given))
    data = {"source": {**source, "log_r": ratios[0]}, "target": {**target, "log_r": ratios[1]}}
    variables = variables or {}
    frozen = {"source": as_score(source_score), "variables": variables}
    if noisy_ratio is not None:
        frozen["noisy_ratio"] = as_score(noisy_ratio, "a log-ratio")
    dim = tuple(source["x"].shape[1:])
    task = guidance_task(
        net, sde, terms, optimiser.batch_size, dim, optimiser.validation_rows, augmentation, "y" in source
    )
    fitted = fit(
        key,
        task,
        optimiser,
        data=data,
        frozen=frozen,
        members=members,
        groups=len(consistency),
        session=session,
    )
    weights = candidate_weights(fitted.best_value, n * int(np.prod(dim)))
    kept = np.flatnonzero(np.repeat(weights, folds))
    params = jax.tree.map(lambda a: a[kept], fitted.params)
    member_weights = jnp.asarray(np.repeat(weights, folds)[kept] / folds, jnp.float32)
    return FittedGuidance(
        EnsembleLogRatio(params, member_weights, net, variables), weights, fitted.best_value, fitted.history
    )
