"""What a denoising network predicts, and how it becomes a score function.

With x_t = alpha x_0 + sigma eps, any one of these determines the others at known (x_t, t):

    eps          the noise
    x0           (x_t - sigma eps) / alpha
    v            alpha eps - sigma x_0            (Salimans & Ho 2022)
    score        -eps / sigma                     (Tweedie: grad log p_t = -E[eps | x_t] / sigma)

For a process that is not variance preserving, v is defined with the same alpha and sigma; then
x_t = alpha x_0 + sigma eps gives eps = (alpha v + sigma x_t) / (alpha^2 + sigma^2).

A score function is a plain callable. If it is also a pytree (its parameters are leaves), jit takes it as an argument:
two functions that differ in their parameters alone share one compiled program, and no weight is baked into it as a
constant. `as_pytree` gives any callable that form.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from tgdp_jax.errors import UserError, check_takes, named_or_own, takes
from tgdp_jax.registry import PREDICTIONS as PREDICTIONS
from tgdp_jax.registry import Prediction as Prediction
from tgdp_jax.sde import SDE, expand

Array = jax.Array
# (x [B, *D], t [B], cond) -> score [B, *D]. `cond` is None, or labels [B], or any tree of arrays with leading axis B.
ScoreFn = Callable[[Array, Array, Any], Array]


def to_eps(kind: str | Prediction, out: Array, x: Array, t: Array, sde: SDE) -> Array:
    """Converts a prediction `out` [B, *D] of the given kind at x [B, *D], t [B] into the noise it implies.

    Raises:
      UserError: `kind` is neither a name in `PREDICTIONS` nor a `Prediction`.
    """
    return _prediction(kind).to_eps(out, x, expand(sde.alpha(t), x), expand(sde.sigma(t), x))


def to_x0(kind: str | Prediction, out: Array, x: Array, t: Array, sde: SDE) -> Array:
    """Converts a prediction `out` [B, *D] of the given kind at x [B, *D], t [B] into the clean data it implies.

    Raises:
      UserError: `kind` is neither a name in `PREDICTIONS` nor a `Prediction`.
    """
    made, alpha, sigma = _prediction(kind), expand(sde.alpha(t), x), expand(sde.sigma(t), x)
    if made.to_x0 is not None:
        return made.to_x0(out, x, alpha, sigma)
    return (x - sigma * made.to_eps(out, x, alpha, sigma)) / alpha


def x0_and_eps(score: Any, x: Array, t: Array, cond: Any, alpha: Array, sigma: Array) -> tuple[Array, Array]:
    """What a score says at x [B, *D] and one time t [], of that alpha and sigma: (clean data, noise), both [B, *D].

    A score that knows both better than by a division by alpha, which may be next to nothing, has a method of this name.
    """
    batch_t = jnp.broadcast_to(t, x.shape[:1])
    if hasattr(score, "x0_and_eps"):
        return score.x0_and_eps(x, batch_t, cond)
    eps = -sigma * score(x, batch_t, cond)
    return (x - sigma * eps) / alpha, eps


def from_eps(kind: str | Prediction, eps: Array, x: Array, t: Array, sde: SDE) -> Array:
    """Inverse of `to_eps`: what a network of the given kind would have to output, [B, *D].

    Raises:
      UserError: `kind` is neither a name in `PREDICTIONS` nor a `Prediction`.
    """
    return _prediction(kind).from_eps(eps, x, expand(sde.alpha(t), x), expand(sde.sigma(t), x))


def _prediction(kind: str | Prediction) -> Prediction:
    return named_or_own("prediction", kind, PREDICTIONS, Prediction)


def convert(out: Array, x: Array, t: Array, sde: SDE, *, source: str | Prediction, target: str | Prediction) -> Array:
    """Converts between any two kinds of prediction; all arrays [B, *D], t [B]."""
    return from_eps(target, to_eps(source, out, x, t, sde), x, t, sde)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Opaque:
    """A callable without array leaves: known to jit by identity, what it closes over becomes constants."""

    fn: Callable[..., Any] = dataclasses.field(metadata={"static": True})

    def __call__(self, *args: Any) -> Any:
        return self.fn(*args)


def as_pytree(fn: Callable[..., Any]) -> Any:
    """`fn` itself where it is a pytree (a registered class, `jax.tree_util.Partial`), else wrapped in `Opaque`."""
    return Opaque(fn) if jax.tree_util.all_leaves([fn]) else fn


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Unconditional:
    """A function of (x, t) alone, called as (x, t, cond)."""

    fn: Any

    def __call__(self, x: Array, t: Array, cond: Any = None) -> Array:
        if cond is not None:
            raise UserError("this score takes (x, t) and no labels: give none, or one that takes (x, t, cond)")
        return self.fn(x, t)


def as_score(fn: Callable[..., Any], what: str = "a score") -> Any:
    """A score function of (x, t, cond), or of (x, t) where there are no labels, as a pytree of (x, t, cond).

    Raises:
      UserError: it takes other arguments.
    """
    if not callable(fn):
        raise UserError(f"{what} takes (x, t, cond), but {type(fn).__name__} is no function: give one")
    if takes(fn, 3) or not takes(fn, 2):
        check_takes(fn, what, "(x, t, cond)")
        return as_pytree(fn)
    return Unconditional(as_pytree(fn))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NetworkScore:
    """A Linen network and its parameters as a score function (x [B, *D], t [B], cond) -> [B, *D].

    Where the network has several `modalities`, t may be [B, M], a time for each.
    """

    params: Any
    net: Any = dataclasses.field(metadata={"static": True})
    sde: SDE = dataclasses.field(metadata={"static": True})
    prediction: str | Prediction = dataclasses.field(default="eps", metadata={"static": True})

    def __call__(self, x: Array, t: Array, cond: Any = None) -> Array:
        if t.ndim > 1 and not hasattr(self.net, "modalities"):
            raise UserError(
                f"times of shape {t.shape} are for a network with modalities, as nets.protocols.HasModalities says, "
                f"and {type(self.net).__name__} has none: give one time a row"
            )
        out = self.net.apply(self.params, x, t, cond)
        t = t if t.ndim == 1 else self.net.modalities.spread(t, x.shape[1:])
        return convert(out, x, t, self.sde, source=self.prediction, target="score")


def network_score(net: Any, params: Any, sde: SDE, *, prediction: str | Prediction = "eps") -> ScoreFn:
    """Closes `net.apply(params, x, t, cond)` over its parameters: nothing downstream knows a network.

    Args:
      net: a Linen module (hashable), called as (x [B, *D], t [B], cond) -> [B, *D].
      params: its variables.
      sde: the process it was trained on.
      prediction: what it outputs, a name in `PREDICTIONS` or a `Prediction`.

    Raises:
      UserError: `prediction` is unknown.
    """
    _prediction(prediction)
    return NetworkScore(params=params, net=net, sde=sde, prediction=prediction)
