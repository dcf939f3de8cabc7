"""Held-out negative log-likelihood: -E_q log p_model(x), in nats.

It equals the entropy of the data's distribution plus KL(data || model): lower is better, and the best possible value is
the entropy. The model is the probability-flow ODE of its score (`tgdp_jax.sampling.log_likelihood`).
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from tgdp_jax.errors import UserError
from tgdp_jax.metrics.inputs import positive, rows
from tgdp_jax.metrics.spread import Value, mean_value
from tgdp_jax.prediction import ScoreFn
from tgdp_jax.sampling import log_likelihood
from tgdp_jax.sde import SDE

# Against many more steps the mean of exact Gaussian mixtures is off by 4e-5 nats in 2 dimensions and by up to 3e-3 in 8
# and 32, with VP and VE alike, that of trained and guided models in 2 dimensions by less than 1e-5; its standard error
# over a thousand rows is 0.03 to 0.1.
NUM_STEPS = 12


def nll(x_test: Any, score_fn: ScoreFn, sde: SDE, *, cond: Any = None, num_steps: int = NUM_STEPS) -> Value:
    """Mean negative log-likelihood of held-out target data under the model.

    Args:
      x_test: data the model has not seen [N, *D], N >= 2, taken as being at t_min.
      score_fn: (x [B, *D], t [B], cond) -> score [B, *D].
      sde: the forward process of the score.
      cond: None, or a tree of arrays with leading axis N; the result is then that of p(x | cond).
      num_steps: Runge-Kutta steps (four score evaluations and their divergence each).

    Returns:
      (value, standard error) in nats a sample.

    Raises:
      UserError: bad data, a cond of another length, or a likelihood that is not finite.
    """
    rows("x_test", x_test, at_least=2)
    positive("num_steps", num_steps)
    for leaf in jax.tree.leaves(cond):
        if np.shape(leaf)[:1] != (len(x_test),):
            raise UserError(f"cond has leading shape {np.shape(leaf)[:1]} but x_test has {len(x_test)} rows: pair them")
    value = np.asarray(log_likelihood(x_test, score_fn, sde, cond=cond, num_steps=num_steps), np.float64)
    bad = ~np.isfinite(value)
    if bad.any():
        raise UserError(
            f"the model's likelihood is not finite at {bad.sum()} of {value.size} points: its score diverged there, "
            "train it with a lower learning rate or raise num_steps"
        )
    return mean_value(-value)
