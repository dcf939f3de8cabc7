"""Training a diffusion model on rows: denoising score matching, stopped where held-out rows say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from tgdp_jax.data.augment import Augmentation
from tgdp_jax.errors import UserError
from tgdp_jax.prediction import Prediction, ScoreFn, network_score
from tgdp_jax.sde import SDE
from tgdp_jax.train.batches import as_rows, split_rows
from tgdp_jax.train.denoising import Weighting, denoising_task
from tgdp_jax.train.fit import fit
from tgdp_jax.train.optimiser import OptimiserConfig, as_config
from tgdp_jax.train.representation import RepresentationConfig, representation_task
from tgdp_jax.train.session import QUIET, Session

Array = jax.Array
OPTIMISER = OptimiserConfig(steps=4000, learning_rate=3e-3, ema=0.999, steps_per_launch=200)


class FittedDenoiser(NamedTuple):
    """A trained diffusion model.

    Attributes:
      score: (x [B, *D], t [B], cond) -> score [B, *D], for `sample`, guidance and likelihoods.
      params: the network's variables, averaged, at the best step.
      history: curves: "step", "loss", "validation" and so on.
      best_step: the step whose held-out loss was the lowest.
    """

    score: ScoreFn
    params: Any
    history: dict[str, np.ndarray]
    best_step: int


def fit_denoiser(
    key: Array,
    net: Any,
    sde: SDE,
    data: dict[str, Any] | Any,
    *,
    loss: Callable[[Array, Array], Array] | None = None,
    prediction: str | Prediction = "eps",
    weighting: str | Weighting = "eps",
    held_out: float = 0.05,
    optimiser: OptimiserConfig | optax.GradientTransformation = OPTIMISER,
    augmentation: str | Augmentation = "none",
    representation: RepresentationConfig | None = None,
    session: Session = QUIET,
) -> FittedDenoiser:
    """Trains a network to denoise rows, and gives the score of their distribution.

    Args:
      key: typed PRNG key; the result is a pure function of it and the data.
      net: any Linen module called as (x [B, *D], t [B], cond) -> [B, *D], see `nets.protocols`. Time t is in
        [sde.t_min, 1]; cond is the labels [B] where the data have any, else None.
      sde: the forward process.
      data: rows {"x" [N, *D], "y" [N]?}, or x alone; best of about unit scale.
      loss: (eps_hat [B, *D], eps [B, *D]) -> [B], not reduced over rows; None: the mean squared error, whose minimiser
        is the score.
      prediction: what the network predicts, a name in `PREDICTIONS` or a `Prediction`.
      weighting: of the error over times, a name in `WEIGHTINGS` or a function (x_t, t, sde, data_std) -> weights.
      held_out: share of the rows that is kept back to choose the step by.
      optimiser: optimiser and length, or an optax optimiser in the place of Adam.
      augmentation: of the rows that train, see `data.augment.augment`.
      representation: what the network learns beside denoising, without labels; None: nothing.
      session: what training reports to and continues from.

    Raises:
      UserError: rows, labels, network or functions that do not fit, or training that diverged.
      Preempted: the process was asked to stop; training is saved.
    """
    optimiser, rows = as_config(optimiser, OPTIMISER), as_rows(data)
    dim, labelled = tuple(rows["x"].shape[1:]), "y" in rows
    if representation is not None and (weighting != "eps" or loss is not None):
        raise UserError("a representation goes with the squared error of the noise: leave out loss and weighting")
    split = split_rows(rows, held_out)
    task = denoising_task(
        net,
        sde,
        prediction,
        optimiser.batch_size,
        dim,
        optimiser.validation_rows,
        augmentation,
        None,
        weighting,
        labelled,
        loss,
    )
    if representation is not None:
        task = representation_task(
            task, representation, net, sde, prediction, optimiser.batch_size, dim, augmentation, labelled
        )
    fitted = fit(key, task, optimiser, data=split, session=session)
    params = fitted.params if representation is None else fitted.params["net"]
    score = network_score(net, params, sde, prediction=prediction)
    return FittedDenoiser(score, params, fitted.history, int(fitted.best_step[0]))
