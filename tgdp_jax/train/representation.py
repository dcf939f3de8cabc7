"""Self-supervised diffusion: a denoising network that learns, beside its own loss, a representation without labels.

    E || eps_theta(x_t, t) - eps ||^2 + weight * objective

with one of two objectives on the network's middle layer f(x_t, t):

    contrastive   two views of a row, of different noise and noise level (images: also shifted), find each other among
                  the views of other rows: NT-Xent of g(f(x_t)) and g(f(x'_s)), g a small head (Chen et al. 2020)
    masked        of half of the rows random patches (vectors: coordinates) are hidden; a small decoder d predicts
                  their clean values, || d(f(visible part of x_t)) - x_0 ||^2 there, and the network denoises what is
                  visible (He et al. 2022; Zheng et al. 2024, "Fast training of diffusion models with masked
                  transformers")

The denoising minimiser on whole rows stays E[eps | x_t] with either: views are denoised only where they are rows of the
source as it is. Heads are trained too and dropped afterwards; the network is then as any other of its kind.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax import losses
from tgdp_jax.data.augment import Augmentation, augment
from tgdp_jax.errors import UserError
from tgdp_jax.nets.layers import middle, with_layers
from tgdp_jax.nets.precondition import signal_share
from tgdp_jax.nets.protocols import first_labels
from tgdp_jax.nets.representation import MaskedDecoder, ProjectionHead
from tgdp_jax.prediction import Prediction, to_eps
from tgdp_jax.sde import SDE
from tgdp_jax.train.batches import draw_rows, stratified_times
from tgdp_jax.train.denoising import fresh_params, noised_rows
from tgdp_jax.train.fit import Task
from tgdp_jax.train.settings import RepresentationConfig as RepresentationConfig

Array = jax.Array
GROUP = 32  # rows that a view is compared with; they stay together on a device


def hidden_parts(key: Array, num: int, dim: tuple[int, ...], *, share: float, patches: int) -> Array:
    """Which numbers of rows [num, *dim] are hidden: of every row the same number of patches, bool.

    Rows [d] have a patch for every coordinate; rows with channels last are cut into `patches` along each other axis (or
    as many as there are places), and a patch has all channels. At least one is hidden and at least one is not.

    Raises:
      UserError: rows of one patch.
    """
    sides, cuts = _cuts(dim, patches)
    total = math.prod(cuts)
    count = min(max(round(share * total), 1), total - 1)
    draws = jax.random.uniform(key, (num, total))
    chosen = draws < jnp.sort(draws, -1)[:, count][:, None]
    axes = [np.arange(side) * cut // side for side, cut in zip(sides, cuts, strict=True)]
    patch = np.ravel_multi_index(np.meshgrid(*axes, indexing="ij"), cuts)
    return jnp.broadcast_to(chosen[:, patch] if len(dim) == 1 else chosen[:, patch][..., None], (num, *dim))


def check_hidden(dim: tuple[int, ...], settings: RepresentationConfig) -> None:
    """Says where an objective hides parts of rows that have none.

    Raises:
      UserError: it does.
    """
    if settings.objective == "masked":
        _cuts(dim, settings.patches)


def _cuts(dim: tuple[int, ...], patches: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Length of every axis that is cut, and the number of patches along it."""
    sides = dim if len(dim) == 1 else dim[:-1]
    cuts = dim if len(dim) == 1 else tuple(min(patches, side) for side in sides)
    if math.prod(cuts) < 2:
        raise UserError(f"rows of shape {dim} have nothing to hide: use the contrastive objective")
    return sides, cuts


@functools.cache
def representation_task(
    plain: Task,
    settings: RepresentationConfig,
    net: Any,
    sde: SDE,
    prediction: str | Prediction,
    batch_size: int,
    dim: tuple[int, ...],
    augmentation: str | Augmentation = "none",
    labelled: bool = False,
) -> Task:
    """A denoising task with the objective beside it; it trains {"net": the network's variables, "head": the head's}.

    Validation is that of the denoising loss alone.

    Args:
      plain: the `denoising_task` of the same network, without a `Reparam`.
      settings: the objective.
      net: the network.
      sde: the process.
      prediction: what the network predicts.
      batch_size: rows.
      dim: shape of a row.
      augmentation: of the rows that are denoised. Of the other views images are shifted in any case.
      labelled: whether the rows have labels.
    """
    make = _contrastive if settings.objective == "contrastive" else _masked
    head, draw, loss = make(settings, net, sde, prediction, batch_size, dim, augmentation)

    def init(key: Array) -> Any:
        net_key, head_key = jax.random.split(key)
        params = fresh_params(net_key, net, dim, labelled=labelled)
        labels = first_labels(net, labelled)
        _, layers = with_layers(net, params, jnp.zeros((1, *dim)), jnp.ones((1,)), labels)
        return {"net": params, "head": head.init(head_key, middle(layers))}

    def evaluate(params: Any, frozen: Any, batch: Any) -> Array:
        return plain.evaluate(params["net"], frozen, batch)

    return dataclasses.replace(plain, init=init, draw=draw, loss=loss, evaluate=evaluate)


def _contrastive(
    settings: RepresentationConfig, net: Any, sde: SDE, prediction: Any, batch_size: int, dim: Any, augmentation: Any
):
    """(head, draw, loss) of `representation_task`: the unit of a batch is a group of rows."""
    head: Any = ProjectionHead(settings.width)
    group = math.gcd(GROUP, batch_size)
    moved = "shift" if augmentation == "none" and len(dim) == 3 else augmentation

    def draw(key: Array, data: Any, member: Any) -> Any:
        row_key, first_key, second_key, time_key, order_key = jax.random.split(key, 5)
        rows = draw_rows(row_key, data["train"], batch_size)
        times = jax.random.permutation(order_key, stratified_times(time_key, batch_size, sde))
        first = noised_rows(first_key, data, rows, sde, augmentation=augmentation)
        second = noised_rows(second_key, data, rows, sde, times=times, augmentation=moved)
        return jax.tree.map(lambda a: a.reshape(-1, group, *a.shape[1:]), (first, second[:2]))

    def loss(params: Any, frozen: Any, batch: Any, step: Array, member: Any) -> dict[str, Array]:
        (x, t, eps, y), (other, s) = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), batch)
        out, layers = with_layers(net, params["net"], x, t, y)
        # Its prediction is not used, and so not computed.
        _, others = with_layers(net, params["net"], other, s, y)
        views = [head.apply(params["head"], middle(each)).reshape(-1, group, head.out) for each in (layers, others)]
        apart = jax.vmap(functools.partial(losses.contrastive, temperature=settings.temperature))(*views)
        # A view that is all noise can not be found.
        weight = (signal_share(t, sde) * signal_share(s, sde)).reshape(-1, group)
        denoising = losses.denoising(to_eps(prediction, out, x, t, sde), eps)
        return {
            "denoising": jnp.mean(denoising.reshape(-1, group), 1),
            "contrastive": settings.weight * jnp.mean(weight * apart, 1),
        }

    return head, draw, loss


def _masked(
    settings: RepresentationConfig, net: Any, sde: SDE, prediction: Any, batch_size: int, dim: Any, augmentation: Any
):
    """(head, draw, loss) of `representation_task`: of the first half of a batch parts are hidden."""
    head: Any = MaskedDecoder(dim, settings.width)
    share = {"share": settings.hidden, "patches": settings.patches}

    def draw(key: Array, data: Any, member: Any) -> Any:
        row_key, noise_key, move_key, time_key, order_key, part_key = jax.random.split(key, 6)
        rows = draw_rows(row_key, data["train"], batch_size)
        clean = {name: data[name][rows] for name in ("x", "y") if name in data}
        clean["x"] = augment(move_key, clean["x"], kind=augmentation)
        times = jax.random.permutation(order_key, stratified_times(time_key, batch_size, sde))
        noised = noised_rows(noise_key, clean, jnp.arange(batch_size), sde, times=times)
        some = hidden_parts(part_key, batch_size, dim, **share)
        half = jnp.reshape(jnp.arange(batch_size) < -(-batch_size // 2), (-1, *[1] * len(dim)))
        return noised, clean["x"], some & half

    def loss(params: Any, frozen: Any, batch: Any, step: Array, member: Any) -> dict[str, Array]:
        (x, t, eps, y), x0, hidden = batch
        seen = head.apply(params["head"], x, hidden, method="hide")
        out, layers = with_layers(net, params["net"], seen, t, y)
        guess = head.apply(params["head"], middle(layers))
        return {
            "denoising": losses.square_on(to_eps(prediction, out, x, t, sde), eps, ~hidden),
            "masked": settings.weight * losses.square_on(guess, x0, hidden),
        }

    return head, draw, loss
