"""Denoising score matching: the stage that trains a source, a from-scratch or a fine-tuned model.

min_theta E || eps_theta(alpha x_0 + sigma eps, t, y) - eps ||^2,      t = u^2 stratified (Ho et al. 2020, eq. 14)

Any positive weight of (x_t, t) leaves the minimiser E[eps | x_t] as it is. With `weighting` edm the error is that of
what preconditioned networks put out (`nets.precondition`), which counts large times as much as small ones: there a row
becomes what a label, a word or another image tells, and there the noise is known too well for its error to say much.

A network of rows of several modalities x = (x^1, ..., x^M) is trained with a time for each, drawn independently:

min_theta E || eps_theta(x^1_{t_1}, ..., x^M_{t_M}, t_1, ..., t_M) - (eps^1, ..., eps^M) ||^2      (Bao et al. 2023)

so that it knows the score of the joint (equal times), of each modality given others (theirs at t_min: clean) and of
each alone (the others at 1: nothing but noise).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from tgdp_jax import losses
from tgdp_jax.data.augment import Augmentation, augment
from tgdp_jax.data.modalities import Modalities
from tgdp_jax.errors import UserError, check_takes, named_or_own
from tgdp_jax.nets.embedding import Prompt
from tgdp_jax.nets.protocols import check_call, data_std, first_labels
from tgdp_jax.prediction import Prediction, to_eps
from tgdp_jax.sde import SDE, expand
from tgdp_jax.train.batches import Rows, draw_rows, mean_weights, modal_times, stratified_times
from tgdp_jax.train.fit import Task
from tgdp_jax.train.registry import WEIGHTINGS
from tgdp_jax.train.reparam import Reparam

Array = jax.Array
# (x_t [B, *D], t [B], sde, data_std) -> positive weights of the squared error, [B, *D] or [B, 1...]; None: all alike.
Weighting = Callable[[Array, Array, SDE, Any], Array | None]


def even_weight(x: Array, t: Array, sde: SDE, data_std: Any) -> None:
    """All errors count alike, as noise."""


def noised_rows(
    key: Array,
    data: dict[str, Array],
    rows: Array,
    sde: SDE,
    *,
    times: Array | None = None,
    augmentation: str | Augmentation = "none",
    modalities: Modalities | None = None,
):
    """(x_t, t, eps, labels or None) for the given row numbers of data {"x": [N, *D], "y": [N] (optional)}.

    With `modalities`, times are [B, M].
    """
    time_key, noise_key = jax.random.split(key)
    x0 = augment(jax.random.fold_in(key, 2), data["x"][rows], kind=augmentation)
    t = _times(time_key, rows.shape[0], sde, modalities) if times is None else times
    eps = jax.random.normal(noise_key, x0.shape)
    at = t if modalities is None else modalities.spread(t, x0.shape[1:])
    return sde.perturb(x0, eps, at), t, eps, data["y"][rows] if "y" in data else None


def _times(key: Array, num: int, sde: SDE, modalities: Modalities | None) -> Array:
    if modalities is None:
        return stratified_times(key, num, sde)
    return modal_times(key, num, len(modalities), sde)


def held_out_rows(
    data: dict[str, Array], held: Rows, sde: SDE, least: int, modalities: Modalities | None = None
) -> tuple[Any, Array]:
    """((x_t, t, eps, labels or None) [V], weights [V]) of held-out rows: the same draws at every call, so that
    curves of the loss are smooth.

    Args:
      data: {"x", "y"?}.
      held: the rows; each is noised several times, until there are enough.
      sde: the process.
      least: noised rows, at least.
      modalities: with a time for each.
    """
    capacity = held.index.shape[0]
    repeats = max(1, -(-least // capacity))

    def one(key: Array) -> Any:
        # Every repeat noises every row once, at times stratified across the rows in a fresh random order.
        key, order_key = jax.random.split(key)
        t = jax.random.permutation(order_key, _times(key, capacity, sde, modalities))
        return noised_rows(key, data, held.index, sde, times=t, modalities=modalities)

    batch = jax.vmap(one)(jax.random.split(jax.random.key(7), repeats))
    weights = jnp.tile(mean_weights(held), repeats) / repeats
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), batch), weights


def fresh_params(key: Array, net: Any, dim: tuple[int, ...], *, labelled: bool = False) -> Any:
    """Parameters of a noise prediction network of rows [B, *dim] before training.

    Args:
      key: PRNG key.
      net: the network.
      dim: *D.
      labelled: whether the rows have labels, see `nets.protocols.sees_labels`.
    """
    return net.init(key, jnp.zeros((1, *dim)), jnp.ones((1,)), first_labels(net, labelled))


@functools.cache
def denoising_task(
    net: Any,
    sde: SDE,
    prediction: str | Prediction,
    batch_size: int,
    dim: tuple[int, ...],
    validation_rows: int = 4096,
    augmentation: str | Augmentation = "none",
    reparam: Reparam | None = None,
    weighting: str | Weighting = "eps",
    labelled: bool = False,
    loss: Callable[[Array, Array], Array] | None = None,
    dropout: float = 0.0,
) -> Task:
    """Trains `net` on data {"x", "y"?, "train": Rows, "held": Rows}; a member's own "train"/"held" take precedence.

    What is trained are the net's parameters, or with a `reparam` what is merged with its base, the frozen tree; it then
    starts from what `reparam.init` makes of that. A net with an attribute `modalities` is trained with a time for each.
    `weighting` is a name in `WEIGHTINGS` or such a function, and `labelled` says whether there is a "y". The loss is
    `losses.denoising`, or one's own (eps_hat [B, *D], eps [B, *D]) -> [B], of which a row counts by its mean weight.
    With a `dropout` above 0 that share of the rows that are drawn has the label `net.num_classes`, which stands for
    none (Ho & Salimans 2022): what classifier-free guidance guides away from is trained too.
    """
    check_call(net, "a denoising network", "(x, t, cond)")
    weigh = named_or_own("weighting", weighting, WEIGHTINGS, "(x, t, sde, data_std)")
    if loss is not None:
        check_takes(loss, "a denoising loss", "(eps_hat, eps)")
    modalities = getattr(net, "modalities", None)

    def init(key: Array) -> Any:
        return fresh_params(key, net, dim, labelled=labelled)

    def rows(data: Any, member: Any, name: str) -> Rows:
        return data[name] if member is None else member[name]

    def draw(key: Array, data: Any, member: Any) -> Any:
        row_key, noise_key = jax.random.split(key)
        drawn = draw_rows(row_key, rows(data, member, "train"), batch_size)
        batch = noised_rows(noise_key, data, drawn, sde, augmentation=augmentation, modalities=modalities)
        if not dropout:
            return batch
        dropped = jax.random.bernoulli(jax.random.fold_in(noise_key, 3), dropout, drawn.shape)
        return *batch[:3], jnp.where(dropped, net.num_classes, jnp.asarray(batch[3]))

    def terms(params: Any, frozen: Any, batch: Any, step: Array, member: Any) -> dict[str, Array]:
        return {"denoising": evaluate(params, frozen, batch)}

    def held_out(data: Any, member: Any) -> tuple[Any, Array]:
        return held_out_rows(data, rows(data, member, "held"), sde, validation_rows, modalities)

    def evaluate(params: Any, frozen: Any, batch: Any) -> Array:
        x, t, eps, y = batch
        out = net.apply(params if reparam is None else reparam.merge(frozen, params), x, t, y)
        at = t if modalities is None else modalities.spread(t, x.shape[1:])
        weight = weigh(x, at, sde, jnp.asarray(data_std(net)))
        eps_hat = to_eps(prediction, _checked_output(net, out, x), x, at, sde)
        if weight is not None:
            weight = expand(weight, x) if weight.ndim == 1 else weight
        if loss is None:
            return losses.denoising(eps_hat, eps, weight)
        value = loss(eps_hat, eps)
        if jnp.shape(value) != x.shape[:1]:
            raise UserError(
                f"a denoising loss of {x.shape[0]} rows returned shape {jnp.shape(value)}: it must be [B], not reduced"
            )
        return value if weight is None else jnp.mean(weight.reshape(weight.shape[0], -1), -1) * value

    return Task(init=init, draw=draw, loss=terms, held_out=held_out, evaluate=evaluate)


def _checked_output(net: Any, out: Array, x: Array) -> Array:
    if jnp.shape(out) != x.shape:
        raise UserError(
            f"{type(net).__name__} returned shape {jnp.shape(out)} for rows {x.shape}: a denoising network returns "
            "rows of their shape"
        )
    return out


@functools.cache
def prior_preservation_task(plain: Task, weight: float) -> Task:
    """DreamBooth's loss for a network with a new token: a denoising task's rows with it, the source's own without.

        E || eps(x_t, c_new) - eps ||^2 + weight E || eps(x_t^pr, c_class) - eps ||^2      (Ruiz et al. 2023)

    Rows of both kinds share one forward pass. Minimiser at c_new: E_q[eps | x_t], and at c_class: E_p[eps | x_t].

    Args:
      plain: a `denoising_task`; its batch size is that of either kind.
      weight: lambda.

    Returns:
      A task on plain's data and "prior": {"x", "y"?, "train": Rows}, drawn from the source.
    """

    def draw(key: Array, data: Any, member: Any) -> Any:
        own_key, prior_key = jax.random.split(key)
        return plain.draw(own_key, data, member), plain.draw(prior_key, data["prior"], None)

    def loss(params: Any, frozen: Any, batch: Any, step: Array, member: Any) -> dict[str, Array]:
        num = batch[0][0].shape[0]
        x, t, eps, labels = jax.tree.map(lambda *kinds: jnp.concatenate(kinds), *batch)
        prompt = Prompt(labels, jnp.arange(2 * num) < num)
        errors = plain.evaluate(params, frozen, (x, t, eps, prompt))
        return {"denoising": errors[:num], "prior": weight * errors[num:]}

    return dataclasses.replace(plain, draw=draw, loss=loss)


@functools.cache
def reweighted_task(plain: Task, share: float, source_from: float = 0.0) -> Task:
    """Denoising of target rows, and of source rows drawn in proportion to a density ratio r.

        share E_q || eps_theta(x_t, t) - eps ||^2 + (1 - share) E_rp || eps_theta(x_t, t) - eps ||^2

    The expectation over r p needs no weights in the loss, for its rows are drawn from a table in which a source row
    stands as often as r says. Its minimiser is E_p[r eps | x_t] / E_p[r | x_t], which as a score is

        grad log p_t + grad log h,      h(x_t, t) = E_p[r | x_t]      (Ouyang et al. 2024, theorem of section 3)

    the guided score of TGDP without a guidance network. With r = 1 it is the source's score, and with share 1 the task
    is `plain` to the bit. The minimiser of both terms together averages theirs by share q_t and (1 - share) (r p)_t.

    Args:
      plain: a `denoising_task`; a batch has as many rows as its.
      share: of target rows in a batch.
      source_from: least time at which source rows are shown; below it all rows are target rows.

    Returns:
      A task on plain's data and "source": {"x", "y"?, "train": Rows}, the rows being the table; a member's own table is
      its "source".
    """

    def draw(key: Array, data: Any, member: Any) -> Any:
        # With one key both kinds have the same times and noise, so that a batch is a choice of rows.
        target = plain.draw(key, data, member)
        source = plain.draw(key, data["source"], None if member is None else {"train": member["source"]})
        num = target[1].shape[0]
        late = jnp.all(target[1].reshape(num, -1) >= source_from, -1)
        chosen = (jax.random.uniform(jax.random.fold_in(key, 2), (num,)) >= share) & late
        return jax.tree.map(lambda a, b: jnp.where(expand(chosen, a), a, b), source, target)

    return dataclasses.replace(plain, draw=draw)
