"""Forward (noising) processes in continuous time t in [t_min, 1].

Every process here is linear, so that its transition from clean data is Gaussian:

    x_t = alpha(t) x_0 + sigma(t) eps,   eps ~ N(0, I),     lambda(t) = log alpha^2 / sigma^2  (log-SNR)

and it solves  dx = f(t) x dt + g(t) dw  with

    f = d log alpha / dt,      g^2 = d sigma^2 / dt - 2 f sigma^2 = -sigma^2 d lambda / dt.

(Kingma et al. 2021, Variational Diffusion Models, eq. 10-11.) A process is therefore fixed by `log_alpha` and
`sigma`; drift and diffusion follow by differentiation, so that they can not disagree with the perturbation kernel.
VP, sub-VP and VE are those of Song et al. 2021, "Score-based generative modeling through SDEs", section 3.4.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.bounds import check_betas, check_chain, check_sigmas
from tgdp_jax.errors import UserError, choose

Array = jax.Array


def expand(t: Array, x: Array) -> Array:
    """Appends axes to `t` [B] so that it broadcasts against `x` [B, *D]."""
    return jnp.reshape(t, t.shape + (1,) * (x.ndim - t.ndim))


@dataclasses.dataclass(frozen=True)
class SDE(abc.ABC):
    """A linear forward process. All methods take t of any shape (usually [B]) and return the same shape."""

    @property
    def t_min(self) -> float:
        """Smallest time at which scores are learned and sampling ends."""
        return 1e-3

    @abc.abstractmethod
    def log_alpha(self, t: Array) -> Array:
        """log of the signal's scale."""

    @abc.abstractmethod
    def sigma(self, t: Array) -> Array:
        """Standard deviation of the noise in x_t given x_0."""

    @abc.abstractmethod
    def t_of_log_snr(self, log_snr: Array) -> Array:
        """Inverse of `log_snr`."""

    def alpha(self, t: Array) -> Array:
        """Scale of the signal in x_t."""
        return jnp.exp(self.log_alpha(t))

    def log_snr(self, t: Array) -> Array:
        """lambda(t) = log alpha^2 / sigma^2, strictly decreasing."""
        return 2.0 * (self.log_alpha(t) - jnp.log(self.sigma(t)))

    def training_time(self, u: Array) -> Array:
        """Times in [t_min, 1], increasing in u in [0, 1], over which training draws are spread evenly in u.

        Here t = u^2, with u scaled to [sqrt(t_min), 1]: between uniform t, which hardly draws where the score changes
        fast (small t), and uniform log-SNR, which runs off to infinity as t -> 0 where noise grows from nothing. A
        process whose log-SNR does not, overrides this.
        """
        low = self.t_min**0.5
        return (low + (1.0 - low) * u) ** 2

    def f(self, t: Array) -> Array:
        """d log alpha / dt: the drift's coefficient."""
        return jax.jvp(self.log_alpha, (t,), (jnp.ones_like(t),))[1]

    def diffusion(self, t: Array) -> Array:
        """g(t), the noise's coefficient, in units of x per sqrt(time)."""
        slope = jax.jvp(self.log_snr, (t,), (jnp.ones_like(t),))[1]
        return self.sigma(t) * jnp.sqrt(-slope)

    def drift(self, x: Array, t: Array) -> Array:
        """f(t) x for x [B, *D] and t [B]."""
        return expand(self.f(t), x) * x

    def perturb(self, x0: Array, eps: Array, t: Array) -> Array:
        """x_t [B, *D] from clean data x0 [B, *D], unit noise eps [B, *D] and times t [B]."""
        return expand(self.alpha(t), x0) * x0 + expand(self.sigma(t), x0) * eps

    @property
    def prior_scale(self) -> float:
        """Standard deviation of the prior at t = 1."""
        return 1.0

    def prior_sample(self, key: Array, shape: tuple[int, ...]) -> Array:
        """Draws x_1 from N(0, prior_scale^2 I)."""
        return self.prior_scale * jax.random.normal(key, shape)

    def prior_log_prob(self, x: Array) -> Array:
        """log density [B] of the prior at x [B, *D], in nats."""
        flat = x.reshape(x.shape[0], -1)
        scale = self.prior_scale
        return -0.5 * jnp.sum((flat / scale) ** 2, -1) - flat.shape[1] * math.log(scale * math.sqrt(2 * math.pi))


@dataclasses.dataclass(frozen=True)
class _LinearBeta(SDE):
    """Shared by VP and sub-VP: alpha^2 = exp(-B(t)), B(t) = beta_min t + (beta_max - beta_min) t^2 / 2."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self):
        check_betas(self.beta_min, self.beta_max)

    def log_alpha(self, t: Array) -> Array:
        return -0.5 * self.beta_min * t - 0.25 * (self.beta_max - self.beta_min) * t**2

    def _t_of_integral(self, b: Array) -> Array:
        # The root of the quadratic B(t) = b, in the form that does not cancel for small b.
        root = jnp.sqrt(self.beta_min**2 + 2.0 * (self.beta_max - self.beta_min) * b)
        return 2.0 * b / (self.beta_min + root)


@dataclasses.dataclass(frozen=True)
class VP(_LinearBeta):
    """Variance-preserving process with linear beta: sigma^2 = 1 - alpha^2 (Song et al. 2021, eq. 32-33)."""

    def sigma(self, t: Array) -> Array:
        return jnp.sqrt(-jnp.expm1(2.0 * self.log_alpha(t)))

    def t_of_log_snr(self, log_snr: Array) -> Array:
        return self._t_of_integral(jax.nn.softplus(-log_snr))


@dataclasses.dataclass(frozen=True)
class SubVP(_LinearBeta):
    """Sub-variance-preserving process: sigma = 1 - alpha^2 (Song et al. 2021, eq. 29)."""

    def sigma(self, t: Array) -> Array:
        return -jnp.expm1(2.0 * self.log_alpha(t))

    def t_of_log_snr(self, log_snr: Array) -> Array:
        # u = 1 - alpha^2 solves exp(lambda) u^2 + u - 1 = 0, and B = -log(1 - u), written so that nothing cancels.
        root = jnp.sqrt(1.0 + 4.0 * jnp.exp(log_snr))
        return self._t_of_integral(jnp.log1p(0.5 * (1.0 + root) * jnp.exp(-log_snr)))


@dataclasses.dataclass(frozen=True)
class CosineVP(SDE):
    """Variance-preserving process with the cosine schedule, truncated to finite log-SNR.

    alpha = cos(phi), sigma = sin(phi) with phi linear in t (Nichol & Dhariwal 2021, in the form of Salimans & Ho 2022).
    """

    log_snr_max: float = 12.0
    log_snr_min: float = -10.0

    def __post_init__(self):
        if not self.log_snr_min < self.log_snr_max:
            raise UserError(f"log_snr_min must lie below log_snr_max, got {self.log_snr_min} and {self.log_snr_max}")

    @property
    def _ends(self) -> tuple[float, float]:
        return math.atan(math.exp(-0.5 * self.log_snr_max)), math.atan(math.exp(-0.5 * self.log_snr_min))

    def _phi(self, t: Array) -> Array:
        low, high = self._ends
        return low + (high - low) * t

    def log_alpha(self, t: Array) -> Array:
        return jnp.log(jnp.cos(self._phi(t)))

    def sigma(self, t: Array) -> Array:
        return jnp.sin(self._phi(t))

    def t_of_log_snr(self, log_snr: Array) -> Array:
        low, high = self._ends
        return (jnp.arctan(jnp.exp(-0.5 * log_snr)) - low) / (high - low)


BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")


# Alpha at the last step of a chain whose SNR is zero there by definition, unless the step before is as small.
LEAST_ALPHA = 2.0**-12


@functools.cache
def _chain(sde: DiscreteVP) -> tuple[np.ndarray, np.ndarray]:
    """(B_i = -log alpha_bar after i steps, i = 0..T; B_(i+1) - B_i, i = 0..T-1) of a discrete chain, float64."""
    match sde.kind:
        case "trained":
            betas = np.asarray(sde.betas, np.float64)
        case "linear":
            betas = np.linspace(sde.beta_start, sde.beta_end, sde.num_steps)
        case "scaled_linear":
            betas = np.linspace(sde.beta_start**0.5, sde.beta_end**0.5, sde.num_steps) ** 2
        case _:
            signal = np.cos((np.arange(sde.num_steps + 1) / sde.num_steps + 0.008) / 1.008 * (0.5 * math.pi)) ** 2
            betas = np.minimum(1.0 - signal[1:] / signal[:-1], 0.999)
    steps = -np.log1p(-betas)
    nodes = np.concatenate([[0.0], np.cumsum(steps)])
    if sde.zero_snr:
        alphas = np.exp(-0.5 * nodes[1:])
        alphas = (alphas - alphas[-1]) * (alphas[0] / (alphas[0] - alphas[-1]))
        alphas[-1] = min(LEAST_ALPHA, 0.5 * alphas[-2])
        nodes[1:] = -2.0 * np.log(alphas)
        steps = np.diff(nodes)
    return nodes, steps


@dataclasses.dataclass(frozen=True)
class DiscreteVP(SDE):
    """Variance-preserving process through the marginals of a discrete chain of T steps (Ho et al. 2020).

    At t = (i + 1) / T, i = 0..T-1, x_t has the distribution of step i, alpha^2 = prod_{j <= i} (1 - beta_j); between
    two steps -log alpha^2 = B(t) is linear in t, so that g^2 is piecewise constant. At a step, f and g are those of the
    interval before it, which a reverse step from there passes.

    Attributes:
      kind: of the betas, as diffusers names them: "linear", "scaled_linear" (square roots are linear; Rombach et al.
        2022), "squaredcos_cap_v2" (Nichol & Dhariwal 2021, betas at most 0.999), which has no start and end, or
        "trained", a list of them.
      beta_start: of the first step.
      beta_end: of the last step.
      num_steps: T.
      zero_snr: whether alphas are shifted and scaled so that no signal is left after the last step (Lin et al. 2023,
        Algorithm 1). There alpha is 2^-12, or half of the step before if that is less, and not zero, so that
        everything stays finite. A net that predicts v or x_0 knows x_0 there as well as anywhere, one that predicts
        the noise does not.
      betas: the list, T numbers in (0, 1).
    """

    kind: str = "linear"
    beta_start: float = 1e-4
    beta_end: float = 0.02
    num_steps: int = 1000
    zero_snr: bool = False
    betas: tuple[float, ...] | None = None

    def __post_init__(self):
        choose("beta schedule", self.kind, (*BETA_SCHEDULES, "trained"))
        check_chain(self.beta_start, self.beta_end, self.num_steps)
        if (self.kind == "trained") != (self.betas is not None):
            has = "has a" if self.betas is None else "has no"
            raise UserError(f"a chain of kind {self.kind!r} {has} list of betas")
        if self.betas is not None and not (len(self.betas) == self.num_steps and all(0 < b < 1 for b in self.betas)):
            raise UserError(f"a chain of {self.num_steps} steps has as many betas, all of them in (0, 1)")
        if self.zero_snr and self.num_steps < 2:
            raise UserError("a chain whose last step leaves no signal has at least two steps, got 1")

    @property
    def t_min(self) -> float:
        return 1.0 / self.num_steps

    def _tables(self, like: Array) -> tuple[Array, Array]:
        nodes, steps = _chain(self)
        dtype = jnp.result_type(like, jnp.float32)
        return jnp.asarray(nodes, dtype), jnp.asarray(steps, dtype)

    def log_alpha(self, t: Array) -> Array:
        nodes, steps = self._tables(t)
        at = t * self.num_steps
        # A time of a grid is a step's up to a few roundings in float32, either way: without this a third of the steps
        # of a uniform grid would take the rate of the interval after them.
        step = jnp.round(at)
        step = jnp.where(jnp.abs(at - step) < 1e-4 * max(1.0, self.num_steps / 1000), step, jnp.ceil(at))
        # Slopes from a table, not from differences of rounded nodes: these are off by 1e-4 where B is large.
        i = jnp.clip(step - 1, 0, self.num_steps - 1).astype(jnp.int32)
        return -0.5 * (nodes[i] + (at - i) * steps[i])

    def sigma(self, t: Array) -> Array:
        return jnp.sqrt(-jnp.expm1(2.0 * self.log_alpha(t)))

    def t_of_log_snr(self, log_snr: Array) -> Array:
        nodes, steps = self._tables(log_snr)
        b = jax.nn.softplus(-log_snr)
        i = jnp.clip(jnp.searchsorted(nodes, b) - 1, 0, self.num_steps - 1)
        return (i + (b - nodes[i]) / steps[i]) / self.num_steps


@dataclasses.dataclass(frozen=True)
class VE(SDE):
    """Variance-exploding process: alpha = 1, sigma geometric in t (Song et al. 2021, eq. 30-31)."""

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def __post_init__(self):
        check_sigmas(self.sigma_min, self.sigma_max)

    @property
    def t_min(self) -> float:
        return 0.0

    def log_alpha(self, t: Array) -> Array:
        return jnp.zeros_like(t)

    def sigma(self, t: Array) -> Array:
        return self.sigma_min * jnp.exp(t * math.log(self.sigma_max / self.sigma_min))

    def training_time(self, u: Array) -> Array:
        """t = u: log-SNR is linear in t, and the square would put half of the draws at the least quarter of it."""
        return u

    def t_of_log_snr(self, log_snr: Array) -> Array:
        return (-0.5 * log_snr - math.log(self.sigma_min)) / math.log(self.sigma_max / self.sigma_min)

    @property
    def prior_scale(self) -> float:
        return self.sigma_max
