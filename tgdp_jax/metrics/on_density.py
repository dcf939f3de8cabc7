"""Metrics of problems whose target has a density in closed form: of samples, and of a sampler's score."""

from __future__ import annotations

import jax
import numpy as np

from tgdp_jax.data.mixture import GaussianMixture
from tgdp_jax.metrics import closed_form, likelihood
from tgdp_jax.metrics.evidence import COPIES, Evidence
from tgdp_jax.metrics.spread import Value, bootstrap, mean_value

Array = jax.Array


def avg_density(e: Evidence) -> Value:
    return mean_value(closed_form.densities(e.samples, _target(e)))


def mode_balance(e: Evidence) -> Value:
    shares, target = closed_form.responsibilities(e.samples, _target(e)), _target(e)

    def imbalance(shares: np.ndarray) -> float:
        return closed_form.imbalance(shares, target)

    return Value(imbalance(shares), bootstrap(imbalance, shares, num=COPIES))


def path_kl(e: Evidence) -> Value:
    assert e.score is not None and e.sde is not None
    path_key, _ = _keys(e)
    conditional = e.num_classes > 0
    return closed_form.path_kl(path_key, e.score, _target(e), e.sde, num=e.num_path, conditional=conditional)


def nll(e: Evidence) -> Value:
    assert e.score is not None and e.sde is not None
    _, data_key = _keys(e)
    x, y = _target(e).sample(data_key, e.num_likelihood)
    return likelihood.nll(x, e.score, e.sde, cond=y if e.num_classes else None)


def _keys(e: Evidence) -> Array:
    return jax.random.split(e.key("metrics"))


def _target(e: Evidence) -> GaussianMixture:
    assert e.target is not None
    return e.target
