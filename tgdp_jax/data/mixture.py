"""Gaussian mixtures: everything about diffusing them is known in closed form.

For p(x_0) = sum_k w_k N(m_k, v I) and x_t = alpha x_0 + sigma eps,

    p_t(x) = sum_k w_k N(x; alpha m_k, (alpha^2 v + sigma^2) I),
    grad log p_t = -(x - alpha sum_k post_k(x) m_k) / (alpha^2 v + sigma^2),

and for two mixtures h(x, t) = E_p[q(x_0)/p(x_0) | x_t] = q_t(x)/p_t(x). With the component as label y, the joint
p(x_0, y) = w_y N(m_y, v I) gives the class-conditional forms.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp

from tgdp_jax.sde import SDE, expand

Array = jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GaussianMixture:
    """sum_k weights_k N(means_k, variance I), components being the labels.

    Attributes:
      means: [K, D].
      variance: scalar, shared by all components and coordinates.
      weights: [K], summing to one; zero for a class that does not occur.
    """

    means: Array
    variance: Array
    weights: Array

    @property
    def dim(self) -> int:
        return self.means.shape[1]

    def sample(self, key: Array, num: int) -> tuple[Array, Array]:
        """(x [num, D], y [num] int32)."""
        label_key, noise_key = jax.random.split(key)
        means, y = self._components(label_key, num)
        # Not in one program: how the compiler fuses these would round the rows of a seed differently.
        return means + jnp.sqrt(self.variance) * jax.random.normal(noise_key, (num, self.dim)), y

    @functools.partial(jax.jit, static_argnames="num")
    def _components(self, key: Array, num: int) -> tuple[Array, Array]:
        """(means [num, D], labels [num] int32) of components drawn by weight."""
        y = jax.random.choice(key, self.weights.shape[0], (num,), p=self.weights)
        return self.means[y], y.astype(jnp.int32)

    def _component_log_prob(self, x: Array, t: Array | None, sde: SDE | None) -> Array:
        """log w_k N(x; ...) [B, K] at time t [B] (clean where None)."""
        alpha = jnp.ones(x.shape[:1]) if t is None or sde is None else sde.alpha(t)
        noise = jnp.zeros(x.shape[:1]) if t is None or sde is None else sde.sigma(t) ** 2
        variance = (alpha**2 * self.variance + noise)[:, None]
        square = jnp.sum((x[:, None, :] - alpha[:, None, None] * self.means) ** 2, -1)
        normaliser = 0.5 * self.dim * jnp.log(2 * math.pi * variance)
        return jnp.log(self.weights) - 0.5 * square / variance - normaliser

    @functools.partial(jax.jit, static_argnames="sde")
    def log_prob(self, x: Array, t: Array | None = None, sde: SDE | None = None, y: Array | None = None) -> Array:
        """log p_t(x) [B], or the joint log p_t(x, y) where labels y [B] are given; clean density where t is None."""
        parts = self._component_log_prob(x, t, sde)
        if y is None:
            return jax.scipy.special.logsumexp(parts, axis=-1)
        return jnp.take_along_axis(parts, y[:, None], axis=1)[:, 0]

    @jax.jit
    def responsibilities(self, x: Array) -> Array:
        """P(component | clean x) [B, K]."""
        return jax.nn.softmax(self._component_log_prob(x, None, None), axis=-1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ExactScore:
    """grad log p_t(x) of a mixture, or of p_t(x | y) where cond is labels [B]."""

    mixture: GaussianMixture
    sde: SDE = dataclasses.field(metadata={"static": True})

    def __call__(self, x: Array, t: Array, cond: Array | None = None) -> Array:
        m = self.mixture
        alpha, sigma = expand(self.sde.alpha(t), x), expand(self.sde.sigma(t), x)
        if cond is None:
            mean = jax.nn.softmax(m._component_log_prob(x, t, self.sde), axis=-1) @ m.means
        else:
            mean = m.means[cond]
        return -(x - alpha * mean) / (alpha**2 * m.variance + sigma**2)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ExactLogRatio:
    """log h(x, t) = log q_t/p_t of two mixtures; of the joint q_t(x, y)/p_t(x, y) where cond is labels [B]."""

    source: GaussianMixture
    target: GaussianMixture
    sde: SDE = dataclasses.field(metadata={"static": True})

    def __call__(self, x: Array, t: Array | None, cond: Array | None = None) -> Array:
        return self.target.log_prob(x, t, self.sde, cond) - self.source.log_prob(x, t, self.sde, cond)

    def clean(self, x: Array, cond: Array | None = None) -> Array:
        """log r(x_0) [B], or log r(x_0, y)."""
        return self.target.log_prob(x, y=cond) - self.source.log_prob(x, y=cond)
