"""Guidance as a decorator: a Transform maps a score function to a score function.

For h(x, t) = E_p[q(x_0)/p(x_0) | x_t = x] it holds that q_t = p_t h, hence

    grad log q_t = grad log p_t + grad log h         (Ouyang et al. 2024, theorem of section 3)

so that a log-ratio function on noised data turns a source score into the target's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from tgdp_jax.errors import UserError
from tgdp_jax.prediction import Prediction, ScoreFn, as_score, to_eps, to_x0
from tgdp_jax.sde import SDE, expand

Array = jax.Array
LogRatioFn = Callable[[Array, Array, Any], Array]  # (x [B, *D], t [B], cond) -> log h [B]; never h itself
Transform = Callable[[ScoreFn], ScoreFn]
# A time of a grid that is an end of an interval but for rounding in float32 lies in it.
ROUNDING = 1e-6


def grad_log_ratio(log_h: LogRatioFn, x: Array, t: Array, cond: Any = None) -> Array:
    """grad_x log h [B, *D].

    Rows do not interact, so the gradient of the sum is the row-wise gradient. A log_h that knows a cheaper way (an
    ensemble) has a method `gradient` of the same arguments.
    """
    if hasattr(log_h, "gradient"):
        return log_h.gradient(x, t, cond)
    return jax.grad(lambda z: jnp.sum(log_h(z, t, cond)))(x)


def changed_where(on: Array, change: Callable[[Array], Array], score: Array) -> Array:
    """A score [B, *D], changed in the rows that are on [B].

    The change is not evaluated where no row is on: the rows of a sampler share one time, and are on or off together.
    """

    def some(score: Array) -> Array:
        return jnp.where(expand(on, score), change(score), score)

    return jax.lax.cond(jnp.any(on), some, lambda score: score, score)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GuidedScore:
    """score + scale * grad log h where t lies in the interval."""

    score: Any
    log_h: Any
    scale: float | Array
    interval: tuple[float, float] | None = dataclasses.field(default=None, metadata={"static": True})

    def __call__(self, x: Array, t: Array, cond: Any = None) -> Array:
        def guided(score: Array) -> Array:
            return score + self.scale * grad_log_ratio(self.log_h, x, t, cond)

        score = self.score(x, t, cond)
        if self.interval is None:
            return guided(score)
        on = (t >= self.interval[0] - ROUNDING) & (t <= self.interval[1] + ROUNDING)
        return changed_where(on, guided, score)


def log_ratio_guidance(
    log_h: LogRatioFn, *, scale: float = 1.0, interval: tuple[float, float] | None = None
) -> Transform:
    """Adds `scale * grad_x log_h` to a score.

    Args:
      log_h: log-ratio on noised data, (x [B, *D], t [B], cond) -> [B].
      scale: guidance weight; 1 is the exact theorem, 0 the source.
      interval: (low, high); guidance acts where low <= t <= high. None: everywhere.

    Raises:
      UserError: `interval` is not an increasing pair.
    """
    if interval is not None and not interval[0] < interval[1]:
        raise UserError(f"the guidance interval must be an increasing pair of times, got {interval}")
    return lambda score: GuidedScore(as_score(score), as_score(log_h, "a log-ratio"), scale, interval)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CombinedScore:
    """first + scale (second - first)."""

    first: Any
    second: Any
    scale: float | Array

    def __call__(self, x: Array, t: Array, cond: Any = None) -> Array:
        base = self.first(x, t, cond)
        return base + self.scale * (self.second(x, t, cond) - base)


def combine_scores(first: ScoreFn, second: ScoreFn, *, scale: float) -> ScoreFn:
    """first + scale (second - first): the common form of classifier-free and domain guidance."""
    if _known(scale) and scale == 0:
        return as_score(first)  # the other one is not evaluated
    return CombinedScore(as_score(first), as_score(second), scale)


def domain_guidance(tuned: ScoreFn, *, scale: float) -> Transform:
    """Past a fine-tuned score, away from the source's: s_src + scale (s_ft - s_src) (Zhong et al. 2025).

    Where the fine-tuned score is the target's exactly, that is the score of q_t (q_t/p_t)^(scale - 1): of the target,
    with more weight where the source has less.

    Args:
      tuned: score of the fine-tuned model.
      scale: w; 1 is the fine-tuned model, 0 the source.
    """
    return lambda score: combine_scores(score, tuned, scale=scale)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class StackedScore:
    """source + sum_j w_j(t) (member_j - source), with weights [J, B] at knots that are equally spaced in sqrt(t).

    `gaps` says of which members the weight is zero over some interval of times; they are not evaluated there.
    """

    source: Any
    members: tuple[Any, ...]
    weights: Array
    gaps: tuple[bool, ...] = dataclasses.field(metadata={"static": True})

    def __call__(self, x: Array, t: Array, cond: Any = None) -> Array:
        base = self.source(x, t, cond)
        out = base
        for member, at_knots, gap in zip(self.members, self.weights, self.gaps, strict=True):
            weight = hat_functions(t, self.weights.shape[1]) @ at_knots

            def changed(out: Array, member: Any = member, weight: Array = weight) -> Array:
                return out + expand(weight, x) * (member(x, t, cond) - base)

            out = changed_where(weight != 0, changed, out) if gap else changed(out)
        return out


def hat_functions(t: Array, knots: int) -> Array:
    """[N, knots] at times t [N]: each is one at its knot, zero at all others, and linear in sqrt(t) between them.

    Knots are equally spaced in sqrt(t) from 0 to 1; a single one is everywhere. The functions add up to one.
    """
    if knots == 1:
        return jnp.ones((*jnp.shape(t), 1))
    place = jnp.sqrt(t)[..., None] * (knots - 1)
    return jnp.maximum(1 - jnp.abs(place - jnp.arange(knots)), 0.0)


def stacking(members: Sequence[ScoreFn], weights: Any) -> Transform:
    """Adds what other scores change of a score, each change with a weight for every noise level.

    Args:
      members: J scores of the target.
      weights: [J, B], at B knots equally spaced in sqrt(t), see `train.stacking`; all zero leaves the score as it is.
    """
    scores = tuple(as_score(member) for member in members)
    gaps = _gaps(weights) if _known(weights) else (False,) * len(scores)
    return lambda score: StackedScore(as_score(score), scores, jnp.asarray(weights), gaps)


def _gaps(weights: Any) -> tuple[bool, ...]:
    """Of which rows of weights [J, B] at knots two neighbours, or the only one, are zero."""
    zero = np.asarray(weights) == 0
    pairs = zero if zero.shape[1] == 1 else zero[:, 1:] & zero[:, :-1]
    return tuple(pairs.any(1).tolist())


def _known(value: Any) -> bool:
    """Whether it is a value, and not one that is being traced."""
    return not isinstance(value, Tracer)


def shrunk(score: ScoreFn, source: ScoreFn, weights: Any) -> ScoreFn:
    """What one score changes of another, with weights [1, B] for every noise level; None leaves it whole."""
    return score if weights is None else stacking([score], weights)(source)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ClassifierFreeScore:
    """A conditional network's score, pushed away from what the network predicts under another condition.

    Attributes:
      params: variables of `net`.
      uncond: the other condition, a tree like cond with a leading axis of 1 or B; None: no guidance.
      scale: see `classifier_free`.
      rescale: see there.
      cond: the condition where none is given, likewise.
      net: called as (x, t, cond).
      sde: the process it was trained on.
      prediction: what it outputs.
    """

    params: Any
    uncond: Any
    scale: Array
    rescale: Array
    cond: Any
    net: Any = dataclasses.field(metadata={"static": True})
    sde: SDE = dataclasses.field(metadata={"static": True})
    prediction: str | Prediction = dataclasses.field(metadata={"static": True})

    def __call__(self, x: Array, t: Array, cond: Any = None) -> Array:
        eps = to_eps(self.prediction, self._output(x, t, cond), x, t, self.sde)
        return -eps / expand(self.sde.sigma(t), x)

    def x0_and_eps(self, x: Array, t: Array, cond: Any = None) -> tuple[Array, Array]:
        """(x0, eps), both [B, *D], neither of them by way of the score."""
        out = self._output(x, t, cond)
        return to_x0(self.prediction, out, x, t, self.sde), to_eps(self.prediction, out, x, t, self.sde)

    def _output(self, x: Array, t: Array, cond: Any) -> Array:
        """What the network outputs under guidance, in its own kind of prediction."""
        cond = _rows(self.cond if cond is None else cond, len(x))
        if self.uncond is None:
            return self.net.apply(self.params, x, t, cond)
        other = _rows(self.uncond, len(x))
        shapes = [jax.tree.map(jnp.shape, tree) for tree in (cond, other)]
        if shapes[0] != shapes[1]:
            raise UserError(
                "classifier-free guidance runs both conditions in one batch, so that they must be alike: got "
                f"{shapes[0]} and {shapes[1]}"
            )
        both = jax.tree.map(lambda *parts: jnp.concatenate(parts), cond, other)
        out = self.net.apply(self.params, jnp.concatenate([x, x]), jnp.concatenate([t, t]), both)
        out, other = jnp.split(out, 2)
        guided = other + self.scale * (out - other)
        deviation = _deviation(guided)
        ratio = jnp.where(deviation > 0, _deviation(out) / jnp.where(deviation > 0, deviation, 1.0), 1.0)
        return guided * (1.0 + self.rescale * (ratio - 1.0))


def _rows(cond: Any, rows: int) -> Any:
    """A condition with a row for each of a batch."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (rows, *leaf.shape[1:])) if len(leaf) == 1 else leaf, cond)


def _deviation(z: Array) -> Array:
    """Standard deviation over a row, [B, 1, ...]."""
    return jnp.std(z, axis=tuple(range(1, z.ndim)), keepdims=True)


def classifier_free(
    net: Any,
    params: Any,
    sde: SDE,
    *,
    prediction: str | Prediction = "eps",
    uncond: Any = None,
    scale: Any = 7.5,
    rescale: Any = 0.0,
    cond: Any = None,
) -> ClassifierFreeScore:
    """Closes a conditional network over its parameters, with classifier-free guidance (Ho & Salimans 2022).

    In the network's own prediction, which is affine in the score, it is out(uncond) + scale (out(cond) - out(uncond));
    both come from one batch of twice the rows. All but `net`, `sde` and `prediction` are leaves: another scale, text or
    parameters never compile anew.

    Args:
      net: a Linen module (hashable), called as (x [B, *D], t [B], cond) -> [B, *D].
      params: its variables.
      sde: the process it was trained on.
      prediction: what it outputs, a name in `PREDICTIONS` or a `Prediction`.
      uncond: the condition that says nothing, or what is not wanted (a negative text); a tree like cond with a leading
        axis of 1 or B. None: there is no guidance.
      scale: 1 is the conditional network, 0 the one under `uncond`.
      rescale: from 0 to 1, how much of the change in a row's standard deviation is taken back, against pictures that a
        large scale overexposes (Lin et al. 2023, eq. 15-16).
      cond: the condition of all rows, for whoever calls without one; a tree with a leading axis of 1 or B.
    """
    number = jnp.asarray(scale, jnp.float32), jnp.asarray(rescale, jnp.float32)
    return ClassifierFreeScore(params, uncond, *number, cond, net, sde, prediction)
