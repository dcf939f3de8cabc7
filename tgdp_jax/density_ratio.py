"""From domain-classifier logits to log r = log q/p, and how far to trust it.

A classifier trained on m_q target and m_p source rows (after weighting) has the optimal logit

    logit(x) = log q(x)/p(x) + log m_q/m_p,      so      log r = logit + log m_p/m_q.

With balanced batches the correction is zero. For pooled sampling, x_0 comes from the mixture p/2 + q/2 and the
importance weights that keep E_p[f] and E_p[r f] unbiased are bounded (the balance heuristic, Veach & Guibas 1995):

    w_p = p / ((p+q)/2) = 2/(1+r),        w_q = q / ((p+q)/2) = 2r/(1+r).

Few target rows make logits that order rows well and are far too large. One number s in [0, 1] that scales them
(temperature scaling, Guo et al. 2017), fitted to logits of rows that were held out, mends that.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


@functools.partial(jax.jit, static_argnames="cap")
def self_normalise(source_log_r: Array, target_log_r: Array, *, cap: float = 20.0) -> tuple[Array, Array]:
    """Caps log r at source [m] and target [n] rows, then shifts both so that the source's mean ratio is one.

    The cap comes first, so that one row can not swallow the normaliser.
    """
    source, target = jnp.minimum(source_log_r, cap), jnp.minimum(target_log_r, cap)
    shift = jax.scipy.special.logsumexp(source) - jnp.log(source.shape[0])
    return source - shift, target - shift


@jax.jit
def effective_sample_size(log_r: Array) -> Array:
    """(sum r)^2 / sum r^2 for log r [N] at source samples: between 1 and N (Kong 1992)."""
    return jnp.exp(2 * jax.scipy.special.logsumexp(log_r) - jax.scipy.special.logsumexp(2 * log_r))


def pooled_log_weights(log_r: Array) -> tuple[Array, Array]:
    """(log w_p, log w_q) for rows of the half-and-half mixture of source and target."""
    return jnp.log(2.0) - jax.nn.softplus(log_r), jnp.log(2.0) - jax.nn.softplus(-log_r)


def auc(target_logit: Any, source_logit: Any) -> float:
    """Area under the ROC curve: P(target logit > source logit), ties counting one half (Mann-Whitney)."""
    from scipy import stats  # late: options need not wait for it

    target, source = np.asarray(target_logit, np.float64), np.asarray(source_logit, np.float64)
    return float(stats.mannwhitneyu(target, source).statistic / (target.size * source.size))


@jax.jit
def cross_entropy(target_logit: Array, source_logit: Array) -> Array:
    """Balanced logistic loss in nats: 1/2 E_q softplus(-logit) + 1/2 E_p softplus(logit); log 2 is chance."""
    return 0.5 * jnp.mean(jax.nn.softplus(-target_logit)) + 0.5 * jnp.mean(jax.nn.softplus(source_logit))


def shrinkage(target_logit: Array, source_logit: Array) -> float:
    """The s in [0, 1] whose s * logit has the lowest cross-entropy at held-out target [n] and source [m] rows.

    It is one wherever that gains less than a parameter costs: one nat of log-likelihood (Akaike 1974), counting as many
    source rows as target rows, for the two weigh the same.
    """

    def loss(s: Any) -> float:
        return float(_scaled(s, target_logit, source_logit))

    from scipy import optimize

    best: Any = optimize.minimize_scalar(loss, bounds=(0.0, 1.0), method="bounded")
    return float(best.x) if 2 * len(target_logit) * (loss(1.0) - best.fun) > 1.0 else 1.0


@jax.jit
def _scaled(s: Array, target_logit: Array, source_logit: Array) -> Array:
    return cross_entropy(s * target_logit, s * source_logit)


class Calibration(NamedTuple):
    """Held-out quality of a learned ratio.

    Attributes:
      auc: held-out area under the ROC curve of target against source; 0.5 means the same distribution.
      cross_entropy: held-out balanced logistic loss, nats; log 2 is chance, near 0 means disjoint supports.
      effective_sample_size: of the source samples under the learned ratio; not to be trusted alone.
      mean_ratio: E_p[r], 1 for a calibrated ratio.
      kl: E_q[log r] on held-out target rows, an estimate of KL(q||p) in nats.
    """

    auc: float
    cross_entropy: float
    effective_sample_size: float
    mean_ratio: float
    kl: float


@jax.jit
def _mean_ratio(log_r: Array) -> Array:
    return jnp.exp(jax.scipy.special.logsumexp(log_r) - jnp.log(log_r.shape[0]))


def calibrate(target_log_r: Array, source_log_r: Array) -> Calibration:
    """Calibration from held-out log r at target [n] and source [m] rows."""
    return Calibration(
        auc=auc(target_log_r, source_log_r),
        cross_entropy=float(cross_entropy(target_log_r, source_log_r)),
        effective_sample_size=float(effective_sample_size(source_log_r)),
        mean_ratio=float(_mean_ratio(source_log_r)),
        kl=float(jnp.mean(target_log_r)),
    )
