"""Denoising score matching: the stage that trains a source, a from-scratch or a fine-tuned model.

min_theta E || eps_theta(alpha x_0 + sigma eps, t, y) - eps ||^2,      t = u^2 stratified (Ho et al. 2020, eq. 14)
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from tgdp_jax import losses
from tgdp_jax.data.augment import augment
from tgdp_jax.prediction import to_eps
from tgdp_jax.sde import SDE, expand
from tgdp_jax.train.batches import Rows, draw_rows, mean_weights, stratified_times
from tgdp_jax.train.fit import Task

Array = jax.Array


def noised_rows(
    key: Array, data: dict[str, Array], rows: Array, sde: SDE, *, times: Array | None = None, augmentation: str = "none"
):
    """(x_t, t, eps, labels or None) for the given row numbers of data {"x": [N, *D], "y": [N] (optional)}."""
    time_key, noise_key = jax.random.split(key)
    x0 = augment(jax.random.fold_in(key, 2), data["x"][rows], kind=augmentation)
    t = stratified_times(time_key, rows.shape[0], sde) if times is None else times
    eps = jax.random.normal(noise_key, x0.shape)
    return sde.perturb(x0, eps, t), t, eps, data["y"][rows] if "y" in data else None


def held_out_rows(data: dict[str, Array], held: Rows, sde: SDE, least: int) -> tuple[Any, Array]:
    """((x_t, t, eps, labels or None) [V], weights [V]) of held-out rows: the same draws at every call, so that
    curves of the loss are smooth.

    Args:
      data: {"x", "y"?}.
      held: the rows; each is noised several times, until there are enough.
      sde: the process.
      least: noised rows, at least.
    """
    capacity = held.index.shape[0]
    repeats = max(1, -(-least // capacity))

    def one(key: Array) -> Any:
        # Every repeat noises every row once, at times stratified across the rows in a fresh random order.
        key, order_key = jax.random.split(key)
        t = jax.random.permutation(order_key, stratified_times(key, capacity, sde))
        return noised_rows(key, data, held.index, sde, times=t)

    batch = jax.vmap(one)(jax.random.split(jax.random.key(7), repeats))
    weights = jnp.tile(mean_weights(held), repeats) / repeats
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), batch), weights


@functools.cache
def denoising_task(
    net: Any,
    sde: SDE,
    prediction: str,
    batch_size: int,
    dim: tuple[int, ...],
    validation_rows: int = 4096,
    augmentation: str = "none",
) -> Task:
    """Trains `net` on data {"x", "y"?, "train": Rows, "held": Rows}; a member's own "train"/"held" take precedence."""

    def init(key: Array) -> Any:
        labels = jnp.zeros((1,), jnp.int32) if net.num_classes else None
        return net.init(key, jnp.zeros((1, *dim)), jnp.ones((1,)), labels)

    def rows(data: Any, member: Any, name: str) -> Rows:
        return data[name] if member is None else member[name]

    def draw(key: Array, data: Any, member: Any) -> Any:
        row_key, noise_key = jax.random.split(key)
        drawn = draw_rows(row_key, rows(data, member, "train"), batch_size)
        return noised_rows(noise_key, data, drawn, sde, augmentation=augmentation)

    def eps_fn(params: Any, x: Array, t: Array, y: Array | None) -> Array:
        return to_eps(prediction, net.apply(params, x, t, y), x, t, sde)

    def loss(params: Any, frozen: Any, batch: Any, step: Array, member: Any) -> dict[str, Array]:
        return {"denoising": judge(params, frozen, batch)}

    def held(data: Any, member: Any) -> tuple[Any, Array]:
        return held_out_rows(data, rows(data, member, "held"), sde, validation_rows)

    def judge(params: Any, frozen: Any, batch: Any) -> Array:
        x, t, eps, y = batch
        return losses.denoising(eps_fn(params, x, t, y), eps)

    return Task(init=init, draw=draw, loss=loss, held=held, judge=judge)


def noise_prediction(score: Any, x: Array, t: Array, cond: Any, sde: SDE) -> Array:
    """eps_hat [B, *D] = -sigma score."""
    return -expand(sde.sigma(t), x) * score(x, t, cond)
