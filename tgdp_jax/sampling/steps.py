"""Solvers of one step.

With h = (lambda_s - lambda_t) / 2 the half-log-SNR increment, exponential integrators are exact in the linear part of
the ODE/SDE (Lu et al. 2022): x_s = (sigma_s/sigma_t) x - alpha_s (e^-h - 1) x0 for a constant x0.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from tgdp_jax.errors import UserError, named_or_own
from tgdp_jax.sampling.registry import SOLVERS
from tgdp_jax.sampling.solver import Point, Predict, Solver, Step
from tgdp_jax.sde import SDE

Array = jax.Array
STEP = "(sde, predict, point, x, memory, noise)"  # arguments of a step


def _velocity(sde: SDE, predict: Predict, x: Array, t: Array, share: float) -> tuple[Array, Array]:
    """(f x - share g^2 score, g): share 1 for the reverse SDE, 1/2 for the probability-flow ODE."""
    _, eps = predict(x, t)
    g = sde.diffusion(t)
    return sde.f(t) * x + share * g**2 * eps / sde.sigma(t), g


def _half_step(sde: SDE, point: Point) -> Array:
    return 0.5 * (sde.log_snr(point.s) - sde.log_snr(point.t))


def _posterior(sde: SDE, point: Point) -> tuple[Array, Array]:
    """(alpha_t/alpha_s, var) with var the variance of x_s given x_t and x_0 (Ho et al. 2020, eq. 7)."""
    scale = sde.alpha(point.t) / sde.alpha(point.s)
    # 1 - (alpha_t sigma_s / alpha_s sigma_t)^2 = 1 - e^{-2h}
    fresh = -jnp.expm1(-2.0 * _half_step(sde, point))
    return scale, sde.sigma(point.s) ** 2 * fresh


def _euler_maruyama(sde, predict, point, x, memory, noise):
    velocity, g = _velocity(sde, predict, x, point.t, 1.0)
    dt = point.s - point.t
    return x + velocity * dt + g * jnp.sqrt(-dt) * noise(0), memory


def _ancestral(sde, predict, point, x, memory, noise):
    x0, _ = predict(x, point.t)
    scale, variance = _posterior(sde, point)
    keep = scale * (sde.sigma(point.s) / sde.sigma(point.t)) ** 2
    mean = keep * x + sde.alpha(point.s) * (-jnp.expm1(-2.0 * _half_step(sde, point))) * x0
    return mean + jnp.sqrt(variance) * noise(0), memory


def _probability_flow_euler(sde, predict, point, x, memory, noise):
    velocity, _ = _velocity(sde, predict, x, point.t, 0.5)
    return x + velocity * (point.s - point.t), memory


def _probability_flow_heun(sde, predict, point, x, memory, noise):
    dt = point.s - point.t
    first, _ = _velocity(sde, predict, x, point.t, 0.5)
    second, _ = _velocity(sde, predict, x + dt * first, point.s, 0.5)
    return x + 0.5 * dt * (first + second), memory


def _dpmpp_2m(sde, predict, point, x, memory, noise):
    x0, _ = predict(x, point.t)
    slope = _extrapolated(sde, point, x0, memory)
    h = _half_step(sde, point)
    x = (sde.sigma(point.s) / sde.sigma(point.t)) * x - sde.alpha(point.s) * jnp.expm1(-h) * slope
    return x, x0


def _dpmpp_2m_sde(sde, predict, point, x, memory, noise):
    x0, _ = predict(x, point.t)
    slope = _extrapolated(sde, point, x0, memory)
    h = _half_step(sde, point)
    fresh = -jnp.expm1(-2.0 * h)
    keep = (sde.sigma(point.s) / sde.sigma(point.t)) * jnp.exp(-h)
    return keep * x + sde.alpha(point.s) * fresh * slope + sde.sigma(point.s) * jnp.sqrt(fresh) * noise(0), x0


def _extrapolated(sde: SDE, point: Point, x0: Array, previous: Array) -> Array:
    """x0 extrapolated linearly in log-SNR to the middle of the interval (Lu et al. 2022b, Algorithm 2)."""
    h = _half_step(sde, point)
    h_before = 0.5 * (sde.log_snr(point.t) - sde.log_snr(point.before))
    weight = jnp.where(point.first, 0.0, 0.5 * h / jnp.where(point.first, 1.0, h_before))
    return x0 + weight * (x0 - previous)


EULER_MARUYAMA = Solver(_euler_maruyama, 1)
ANCESTRAL = Solver(_ancestral, 1)
PROBABILITY_FLOW_EULER = Solver(_probability_flow_euler, 1)
PROBABILITY_FLOW_HEUN = Solver(_probability_flow_heun, 2)
DPMPP_2M = Solver(_dpmpp_2m, 1)
DPMPP_2M_SDE = Solver(_dpmpp_2m_sde, 1)


@functools.cache  # one function object for one eta, so that jit compiles it once
def ddim(eta: float = 0.0) -> Solver:
    """DDIM (Song et al. 2021): deterministic for eta = 0, the ancestral sampler for eta = 1.

    Raises:
      UserError: eta outside [0, 1].
    """
    if not 0 <= eta <= 1:
        raise UserError(f"eta of DDIM is {eta}: it must lie in [0, 1]")

    def step(sde, predict, point, x, memory, noise):
        x0, eps = predict(x, point.t)
        _, variance = _posterior(sde, point)
        variance = eta**2 * variance
        x = sde.alpha(point.s) * x0 + jnp.sqrt(sde.sigma(point.s) ** 2 - variance) * eps
        return (x + jnp.sqrt(variance) * noise(0) if eta else x), memory

    return Solver(step, 1)


@functools.cache
def predictor_corrector(snr: float = 0.16, corrections: int = 1) -> Solver:
    """Euler-Maruyama, then Langevin corrections at the new time (Song et al. 2021, Algorithm 4-5).

    Their step size 2 (snr |z| / |score|)^2 averages norms over the batch; here |z| / |score| is replaced by its typical
    value sigma, which keeps every sample independent of its batch.

    Raises:
      UserError: snr is not positive, or no corrections.
    """
    if not snr > 0 or corrections < 1:
        raise UserError(f"snr must be positive and corrections at least 1, got {snr} and {corrections}")

    def step(sde, predict, point, x, memory, noise):
        x, memory = _euler_maruyama(sde, predict, point, x, memory, noise)
        sigma = sde.sigma(point.s)
        size = 2.0 * (snr * sigma) ** 2
        for i in range(corrections):
            _, eps = predict(x, point.s)
            x = x - size * eps / sigma + jnp.sqrt(2.0 * size) * noise(1 + i)
        return x, memory

    return Solver(step, 1 + corrections)


DDIM = ddim()
PREDICTOR_CORRECTOR = predictor_corrector()


def make_solver(solver: str | Solver | Step) -> Solver:
    """The solver of a name in `SOLVERS`, or one's own: a `Solver`, or its step alone.

    Raises:
      UserError: unknown name, or a step with other arguments.
    """
    if isinstance(solver, str):
        return named_or_own("solver", solver, SOLVERS, Solver)
    made = solver if isinstance(solver, Solver) else Solver(solver)
    named_or_own("solver", made.step, {name: known.step for name, known in SOLVERS.items()}, STEP)
    return made
