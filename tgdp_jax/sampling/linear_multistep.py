"""Linear multistep solvers of the probability-flow ODE, all of them rows of one table of coefficients.

In one of three forms the ODE is dy = m dc: its linear part is solved exactly, and what is left is the model's output m,
integrated over a clock c. With the half-log-SNR l = log(alpha / sigma), s the data's standard deviation and
v = alpha^2 s^2 + sigma^2,

    form       y             c                 m
    data       x / sigma     e^l               x_0
    noise      x / alpha     e^-l              eps
    residual   x / sqrt(v)   atan(e^-l / s)    (eps - sigma x / v) sqrt(v) / (alpha s)
    centre     x / sqrt(v)   alpha / sqrt(v)   x_0 - alpha s^2 eps / sigma = (x + v score) / alpha

The residual is what a preconditioned network outputs (Karras et al. 2022, section 5). It vanishes for N(0, s^2 I) data,
so that any step is exact for them; for other data it is bounded and smooth over all times, and few steps suffice.

The centre is the mean m of the Gaussian N(m, s^2 I) whose noised score at x is the one that is seen: Tweedie's formula
with v in the place of sigma^2. It is constant for any such Gaussian; s = 0 is the data form. It is minus the residual
times s / sin(angle): where data have a smooth density the residual vanishes as the noise does, which is built in here
and has to be found out there.

A step replaces m by the polynomial, in some variable, through its last values, and integrates that (Adams-Bashforth).
A corrector repeats the step before once the output at its end is known (Zhao et al. 2023, UniPC): it raises the order
by one and costs no evaluation. DPM-Solver++ (Lu et al. 2022b) is the data form in l, DEIS (Zhang & Chen 2023) the noise
form in t.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.errors import UserError, choose
from tgdp_jax.sampling.solver import Point, Predict, Solver
from tgdp_jax.sde import SDE

Array = jax.Array
NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)
MAX_ORDER = 4


class Form(NamedTuple):
    """How the ODE is written. Everything is elementwise; alpha, sigma, std and the half-log-SNR broadcast against x.

    Attributes:
      unit: (alpha, sigma, std) -> x / y.
      rate: (half, std) -> dc / dl.
      output: (x, x0, eps, alpha, sigma, std) -> m.
    """

    unit: Callable[[Array, Array, Array], Array]
    rate: Callable[[Array, Array], Array]
    output: Callable[[Array, Array, Array, Array, Array, Array], Array]


def _residual(x: Array, x0: Array, eps: Array, alpha: Array, sigma: Array, std: Array) -> Array:
    variance = (alpha * std) ** 2 + sigma**2
    return (eps - sigma / variance * x) * jnp.sqrt(variance) / (alpha * std)


def _centre_rate(half: Array, std: Array) -> Array:
    noise = jnp.exp(-half)
    both = jnp.hypot(noise, std)
    return (noise / both) ** 2 / both  # no power of the noise itself, which may be huge


FORMS = {
    "data": Form(
        unit=lambda alpha, sigma, std: sigma,
        rate=lambda half, std: jnp.exp(half),
        output=lambda x, x0, eps, alpha, sigma, std: x0,
    ),
    "noise": Form(
        unit=lambda alpha, sigma, std: alpha,
        rate=lambda half, std: -jnp.exp(-half),
        output=lambda x, x0, eps, alpha, sigma, std: eps,
    ),
    "residual": Form(
        unit=lambda alpha, sigma, std: jnp.sqrt((alpha * std) ** 2 + sigma**2),
        rate=lambda half, std: -std * jnp.exp(-half) / (std**2 + jnp.exp(-2.0 * half)),
        output=_residual,
    ),
    "centre": Form(
        unit=lambda alpha, sigma, std: jnp.sqrt((alpha * std) ** 2 + sigma**2),
        rate=_centre_rate,
        output=lambda x, x0, eps, alpha, sigma, std: x0 - alpha * std**2 / sigma * eps,
    ),
}
# What polynomials are in: (sde, half, std) -> variable.
VARIABLES: dict[str, Callable[[SDE, Array, Array], Array]] = {
    "log_snr": lambda sde, half, std: half,
    "time": lambda sde, half, std: sde.t_of_log_snr(2.0 * half),
    "angle": lambda sde, half, std: jnp.arctan(jnp.exp(-half) / std),
}


class Rule(NamedTuple):
    """Coefficients of all steps, [K, ...], or of one of them. Trailing axes are those of the data's deviation.

    Attributes:
      keep: what x is multiplied by, [K, *S].
      predictor: weights [K, order, *S] of the outputs, the newest first.
      corrector: weights [K, corrector, *S] with which the step *before* is repeated; zero in the first.
    """

    keep: Array
    predictor: Array
    corrector: Array


@functools.cache  # one object for one choice, so that jit compiles it once
def multistep(form: str, *, order: int, corrector: int = 0, variable: str) -> Solver:
    """A linear multistep solver of one evaluation a step.

    Args:
      form: "data", "noise", "residual" or "centre", see the module.
      order: outputs that a step uses, at most 4; the first steps use those that there are.
      corrector: outputs with which a step is repeated once the one at its end is known, at most 4; 0 for none.
      variable: what the outputs are polynomials of: "log_snr", "time" or "angle", atan(sigma / (alpha s)).

    Raises:
      UserError: unknown form or variable, or an order that there is not.
    """
    choose("form", form, FORMS)
    choose("variable", variable, VARIABLES)
    made = FORMS[form]
    if not 1 <= order <= MAX_ORDER or not (corrector == 0 or 2 <= corrector <= MAX_ORDER):
        raise UserError(f"order must lie in 1..{MAX_ORDER} and corrector be 0 or in 2..{MAX_ORDER}")

    def plan(sde: SDE, times: Array, std: Array) -> Rule:
        return rule(sde, times, std, form=made, order=order, corrector=corrector, variable=VARIABLES[variable])

    def start(x: Array) -> Any:
        nothing = jnp.zeros_like(x)
        return nothing, (nothing,) * max(order, corrector)

    def step(sde: SDE, predict: Predict, point: Point, x: Array, memory: Any, noise: Any) -> tuple[Array, Any]:
        before, outputs = memory
        x0, eps = predict(x, point.t)
        new = made.output(x, x0, eps, sde.alpha(point.t), sde.sigma(point.t), point.data_std)
        outputs = (new, *outputs[:-1])
        if corrector:
            x = jnp.where(point.first, x, before + _combined(point.plan.corrector, outputs))
        kept = point.plan.keep * x
        return kept + _combined(point.plan.predictor, outputs), (kept, outputs)

    return Solver(step, 1, start, plan)


def _combined(weights: Array, outputs: tuple[Array, ...]) -> Array:
    """Sum of the newest outputs, term by term, whose rounding can not depend on the batch."""
    terms = [weight * output for weight, output in zip(weights, outputs, strict=False)]
    return functools.reduce(jnp.add, terms)


def rule(
    sde: SDE,
    times: Array,
    std: Array,
    *,
    form: Form,
    order: int,
    corrector: int,
    variable: Callable[[SDE, Array, Array], Array],
) -> Rule:
    """Coefficients of all steps of a grid.

    Args:
      sde: the process.
      times: decreasing [K + 1].
      std: the data's standard deviation, of shape *S that broadcasts against a sample.
      form, order, corrector, variable: see `multistep`.
    """
    std = jnp.asarray(std, times.dtype)
    times = times.reshape(-1, *(1,) * std.ndim)
    half = 0.5 * sde.log_snr(times)
    unit = form.unit(sde.alpha(times), sde.sigma(times), std)
    start, end = half[:-1, None], half[1:, None]
    # Gauss-Legendre points [K, Q, *S] of every interval, and the clock's measure there in units of x at its end.
    shape = (1, -1, *(1,) * std.ndim)
    at = 0.5 * (start + end) + 0.5 * (end - start) * NODES.reshape(shape)
    measure = unit[1:, None] * 0.5 * (end - start) * WEIGHTS.reshape(shape) * form.rate(at, std)
    known, where = variable(sde, half, std), variable(sde, at, std)
    steps = np.arange(len(times) - 1)

    def weights(back: np.ndarray) -> Array:
        """[K, len(back), *S]: of the outputs so many grid times before each interval's start."""
        index = steps[:, None] - back
        return _lagrange(known[np.maximum(index, 0)], index >= 0, where, measure)

    predictor = weights(np.arange(order))
    repeated = weights(np.arange(corrector) - 1)
    return Rule(unit[1:] / unit[:-1], predictor, jnp.concatenate([jnp.zeros_like(repeated[:1]), repeated[:-1]]))


def _lagrange(nodes: Array, there: np.ndarray, where: Array, measure: Array) -> Array:
    """Integrals [K, N, *S] of the Lagrange polynomials of the nodes [K, N, *S] that are there [K, N]."""
    found = []
    for k in range(nodes.shape[1]):
        basis = jnp.ones_like(where)
        for j in range(nodes.shape[1]):
            if j != k:
                used = (there[:, j] & there[:, k]).reshape(-1, *(1,) * (where.ndim - 1))
                gap = jnp.where(used, nodes[:, k, None] - nodes[:, j, None], 1.0)
                basis = basis * jnp.where(used, (where - nodes[:, j, None]) / gap, 1.0)
        mine = there[:, k].reshape(-1, *(1,) * (where.ndim - 2))
        found.append(jnp.where(mine, jnp.sum(basis * measure, axis=1), 0.0))
    return jnp.stack(found, axis=1) if found else jnp.zeros((len(nodes), 0, *where.shape[2:]))


DPMPP_3M = multistep("data", order=3, variable="log_snr")
DEIS = multistep("noise", order=3, variable="time")
UNIPC = multistep("data", order=2, corrector=3, variable="log_snr")
RESIDUAL_2M = multistep("residual", order=2, corrector=3, variable="angle")._replace(grid="blend", num_steps=10)
CENTRE_3M = multistep("centre", order=3, corrector=3, variable="angle")._replace(grid="blend", num_steps=10)
