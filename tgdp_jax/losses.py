"""Every loss, unreduced ([B]), with its known minimiser.

Notation: r = q(x_0)/p(x_0); x_0 ~ p unless said; x_t = alpha x_0 + sigma eps; g(x_t, t) is the guidance network's
output, which stands for log h with h(x_t) = E_p[r | x_t]. For the Bregman losses the pointwise condition
d/dg E[loss | x_t] = 0 is linear in r, which is why E[r | x_t] comes out and not a function of it
(Sugiyama et al. 2012):

    mse       2 (e^g - r) e^g = 0                       ->  e^g = E[r | x_t]
    kl        e^g - r = 0                               ->  e^g = E[r | x_t]
    logistic  s(g) - r s(-g) = 0,  s(g)/s(-g) = e^g     ->  e^g = E[r | x_t]
    log_mse   2 (g - log r) = 0                         ->  g = E[log r | x_t] <= log E[r | x_t]      (biased)

The losses take log r and two log weights, so that x_0 may come from any proposal: `log_w` is log p/proposal and
`log_w + log_r` is then log q/proposal. With plain source samples log_w = 0. Log r may be -inf, where r = 0; from
above it is bounded by what float32 holds: log r < 88, and log w r^2 < 88 for mse.

Adversarial losses compare data x ~ q with a generator's samples x' ~ g through a discriminator D. Pointwise,
d/dD [ q softplus(-D) + g softplus(D) ] = 0 gives D = log q/g, and the value there is 2 log 2 - 2 JS(q, g) (Goodfellow
et al. 2014). A critic minimises E D(x') - E D(x) instead, over D with slopes of at most one: the value is -W_1(q, g)
(Arjovsky et al. 2017).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array


def _flat_mean_square(x: Array) -> Array:
    return jnp.mean(jnp.square(x).reshape(x.shape[0], -1), axis=-1)


def denoising(eps_hat: Array, eps: Array, weight: Array | None = None) -> Array:
    """mean over coordinates of weight (eps_hat - eps)^2, [B]. Minimiser: eps_hat = E[eps | x_t] (Ho et al. 2020).

    Args:
      eps_hat: [B, *D].
      eps: [B, *D].
      weight: positive, [B, *D]; None: one. The minimiser is the same whatever it is.
    """
    error = eps_hat - eps
    return _flat_mean_square(error if weight is None else jnp.sqrt(weight) * error)


def square_on(prediction: Array, truth: Array, where: Array) -> Array:
    """mean over the coordinates in `where` of (prediction - truth)^2, [B]; 0 for a row that has none.

    Masked prediction (He et al. 2022, eq. in section 3): with x_0 as the truth and the hidden coordinates of x_t, the
    minimiser is E[x_0 | visible coordinates of x_t] there. With eps and the visible ones it is denoising of what is
    seen, E[eps | visible coordinates of x_t] (Zheng et al. 2024). Coordinates elsewhere are free.

    Args:
      prediction: [B, *D].
      truth: [B, *D].
      where: bool [B, *D].
    """
    square = jnp.where(where, jnp.square(prediction - truth), 0.0).reshape(where.shape[0], -1)
    return jnp.sum(square, -1) / jnp.maximum(jnp.sum(where.reshape(where.shape[0], -1), -1), 1)


def contrastive(a: Array, b: Array, *, temperature: float) -> Array:
    """NT-Xent [B]: each of two views of a row picks the other among all 2 B - 1 other views (Chen et al. 2020, eq. 1).

    The mean over both views of -log softmax(s / temperature) at the partner, s the cosine of two views' features.
    Value: log(1 + (2 B - 2) e^(-1/temperature)) where views of a row agree and rows are orthogonal, log(2 B - 1) where
    all features are alike. Minimiser over all functions s: s / temperature = log p(a, b) / (p(a) p(b)) plus any
    function of a, and log(2 B - 1) less the value is then at most the mutual information of the views, which it
    approaches with B (van den Oord et al. 2018).

    Args:
      a: features of one view of each row [B, F].
      b: of the other.
      temperature: above 0.
    """
    num = a.shape[0]
    z = jnp.concatenate([a, b])
    z = z * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(z), -1, keepdims=True), 1e-12))
    logits = jnp.matmul(z, z.T, precision=jax.lax.Precision.HIGHEST) / temperature
    logits = jnp.where(jnp.eye(2 * num, dtype=bool), -jnp.inf, logits)
    partner = (jnp.arange(2 * num) + num) % (2 * num)
    chosen = jnp.take_along_axis(logits, partner[:, None], 1)[:, 0]
    return jnp.mean((jax.nn.logsumexp(logits, -1) - chosen).reshape(2, num), 0)


def consistency(source_score: Array, grad_g: Array, eps: Array, sigma: Array) -> Array:
    """sigma^2-weighted denoising score matching of source score + guidance on target rows, [B].

    mean over coordinates of (sigma (s_p + grad g) + eps)^2, for x_0 ~ q. Minimiser over g, where a gradient field can
    reach it: grad g = grad log q_t - s_p (the consistency regulariser of Ouyang et al. 2024).

    Args:
      source_score: frozen source score at x_t [B, *D].
      grad_g: grad_x g at x_t [B, *D].
      eps: the noise in x_t [B, *D].
      sigma: noise scale [B].
    """
    sigma = jnp.reshape(sigma, sigma.shape + (1,) * (eps.ndim - 1))
    return _flat_mean_square(sigma * (source_score + grad_g) + eps)


def domain_classification(logit: Array, is_target: Array) -> Array:
    """Binary cross-entropy [B] of target (1) against source (0). Minimiser: logit = log q/p + log prior odds.

    `is_target` may be fractional (mixup).
    """
    return jax.nn.softplus(logit) - is_target * logit


# log r that losses which regress on it take r = 0 for: of the smallest number that float32 holds in full.
LEAST_LOG_RATIO = math.log(float(jnp.finfo(jnp.float32).tiny))


def mse(g: Array, log_r: Array, log_w: Array) -> Array:
    """w (e^g - r)^2 [B]; minimiser g = log E_p[r | x_t] (the paper's loss, on e^g). Variance of r is its enemy."""
    # The weight within the square: r^2 overflows where w r^2 does not, for pooled weights are about 1/r.
    half = 0.5 * log_w
    return jnp.square(jnp.exp(half + g) - jnp.exp(half + log_r))


def kl(g: Array, log_r: Array, log_w: Array) -> Array:
    """w (e^g - r g) [B]; minimiser g = log E_p[r | x_t] (generalised KL, KLIEP)."""
    return jnp.exp(log_w + g) - jnp.exp(log_w + log_r) * g


def logistic(g: Array, log_r: Array, log_w: Array) -> Array:
    """w (softplus(g) + r softplus(-g)) [B]; minimiser g = log E_p[r | x_t]."""
    return jnp.exp(log_w) * jax.nn.softplus(g) + jnp.exp(log_w + log_r) * jax.nn.softplus(-g)


def log_mse(g: Array, log_r: Array, log_w: Array) -> Array:
    """w (g - log r)^2 [B]; BIASED: its minimiser is E_p[log r | x_t]. For comparison only.

    Where r = 0 its logarithm counts as that of the smallest float32, -87.3, or the mean would be -inf.
    """
    return jnp.exp(log_w) * jnp.square(g - jnp.maximum(log_r, LEAST_LOG_RATIO))


def cep(g: Array, log_r: Array, log_w: Array) -> Array:
    """Contrastive energy prediction over the batch [B], all rows at one shared t (Lu et al. 2023, eq. 12).

    B * softmax_i(log r + log w) * -log softmax_i(g + log w). Minimiser in the limit of large B: g = log E_p[r | x_t]
    up to a constant, which the gradient of g does not see. In a batch of r = 0 alone all rows are alike.
    """
    target = jax.nn.softmax(jnp.maximum(log_r, LEAST_LOG_RATIO) + log_w)
    return -g.shape[0] * target * jax.nn.log_softmax(g + log_w)


def cycle(g_target: Array, log_ratio_target: Array) -> Array:
    """Cycle regulariser [B] on x_t ~ q_t against the noise-conditional classifier's log-ratio.

    On the target side E_q[1/r | x_t] = 1/h: with r' = (1 - c')/c' given by the classifier at (x_t, t), the logistic
    Bregman divergence softplus(-g) + (1/r') softplus(g), scaled by r'/(1 + r') to stay bounded, is minimal at
    g = log r'.
    """
    weight = jax.nn.sigmoid(log_ratio_target)
    return weight * jax.nn.softplus(-g_target) + (1 - weight) * jax.nn.softplus(g_target)


def logistic_discriminator(real: Array, fake: Array) -> Array:
    """softplus(-D(x)) + softplus(D(x')) [B]. Minimiser: D = log q/g; value there 2 log 2 - 2 JS(q, g)."""
    return jax.nn.softplus(-real) + jax.nn.softplus(fake)


def non_saturating(fake: Array) -> Array:
    """softplus(-D(x')) [B] of the generator (Goodfellow et al. 2014). At D = log q/g stationary where g = q.

    Its slope stays where the discriminator is sure, other than that of the game's own -softplus(D(x')).
    """
    return jax.nn.softplus(-fake)


def wasserstein_critic(real: Array, fake: Array) -> Array:
    """D(x') - D(x) [B] (Arjovsky et al. 2017). Minimiser over D with slopes of at most 1: value -W_1(q, g)."""
    return fake - real


def wasserstein_generator(fake: Array) -> Array:
    """-D(x') [B]. At the best critic its gradient is that of W_1(q, g)."""
    return -fake


def _square_norm(x: Array) -> Array:
    return jnp.sum(jnp.square(x).reshape(x.shape[0], -1), -1)


def r1(slope: Array) -> Array:
    """|grad_x D(x)|^2 / 2 at data x, [B] (Mescheder et al. 2018, eq. 9). Minimiser: D flat on the data, as it is at
    the equilibrium g = q; without it the game's gradient flow need not get there.

    Args:
      slope: grad_x D [B, *D].
    """
    return 0.5 * _square_norm(slope)


def gradient_penalty(slope: Array) -> Array:
    """(|grad_x D| - 1)^2 between data and samples, [B] (Gulrajani et al. 2017, eq. 3). Minimiser: slopes of norm 1, as
    the best critic has along the lines of transport.

    Args:
      slope: grad_x D [B, *D].
    """
    # The root has no derivative at zero.
    return jnp.square(jnp.sqrt(_square_norm(slope) + 1e-12) - 1.0)


class AdversarialLoss(NamedTuple):
    """What the two players of a GAN minimise.

    Attributes:
      discriminator: (D(x) [B], D(x') [B]) -> [B].
      generator: D(x') [B] -> [B].
      penalty: grad_x D [B, *D] -> [B], of the discriminator.
      between: the penalty is taken on lines between data and samples, not at the data.
    """

    discriminator: Callable[[Array, Array], Array]
    generator: Callable[[Array], Array]
    penalty: Callable[[Array], Array]
    between: bool


NON_SATURATING = AdversarialLoss(logistic_discriminator, non_saturating, r1, between=False)
WASSERSTEIN = AdversarialLoss(wasserstein_critic, wasserstein_generator, gradient_penalty, between=True)


def energy_score(x: Array, fake: Array) -> Array:
    """mean_j |x_i - x'_j| - 1/2 mean_{j != k} |x'_j - x'_k|, [B]: how well samples forecast rows x ~ q.

    Minimiser over the samples' distribution g, in expectation: g = q, which it exceeds elsewhere by half the energy
    distance of Szekely (Gneiting & Raftery 2007, section 4.3). It judges sets of samples row by row, without a density.

    Args:
      x: rows [B, *D].
      fake: samples [M, *D] from g, M >= 2.
    """
    num = fake.shape[0]
    within = jnp.sum(distances(fake, fake)) / (num * (num - 1))
    return jnp.mean(distances(x, fake), -1) - 0.5 * within


def distances(x: Array, y: Array) -> Array:
    """Euclidean distances [N, M] of rows x [N, *D] and y [M, *D], through their products."""
    # Shifted by one vector, so that |x|^2 + |y|^2 - 2 x.y cancels less; all in float32.
    middle = jnp.mean(y, 0)
    x, y = (a.reshape(a.shape[0], -1) for a in (x - middle, y - middle))
    product = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
    square = jnp.sum(x**2, -1)[:, None] + jnp.sum(y**2, -1) - 2 * product
    # Rows that coincide, as each does with itself, have no direction: the slope is zero there, not NaN.
    apart = square > 0
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1.0)), 0.0)
