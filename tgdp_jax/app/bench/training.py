"""What the training loop costs over a bare scan of the same optimiser steps.

The bare scan is one program: drawing, loss, gradient, update and averaging, nothing between. `fit` adds validation, the
best weights, checks and curves, and comes back to the host after every launch. Held-out evaluation is work rather than
overhead, so a second bare scan has it too.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from tgdp_jax.app.bench.measure import Spread, interleaved
from tgdp_jax.app.bench.models import SMALL
from tgdp_jax.app.bench.settings import Effort
from tgdp_jax.data.gaussians import GaussiansConfig, mixtures
from tgdp_jax.nets import EpsMLP
from tgdp_jax.sde import VP
from tgdp_jax.train.batches import Rows, all_rows
from tgdp_jax.train.denoising import denoising_task
from tgdp_jax.train.fit import Task, fit
from tgdp_jax.train.optimiser import OptimiserConfig, make_optimiser

Array = jax.Array
BATCH = 512
STEPS_PER_LAUNCH = 100


def _bare(key: Array, data: Any, *, task: Task, config: OptimiserConfig, validate: bool) -> Any:
    """All steps in one program; averaged weights and the mean of all losses."""
    optimiser = make_optimiser(config)
    params = task.init(key)

    def step(carry: Any, i: Array) -> tuple[Any, Array]:
        params, ema, state = carry
        batch = task.draw(jax.random.fold_in(key, i), data, None)

        def loss(params: Any) -> Array:
            terms = task.loss(params, None, batch, i, None)
            return sum((jnp.mean(term) for term in terms.values()), jnp.zeros(()))

        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimiser.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        ema = optax.incremental_update(params, ema, 1.0 - jnp.minimum(config.ema, (1.0 + i) / (10.0 + i)))
        return (params, ema, state), value

    def launch(carry: Any, start: Array) -> tuple[Any, tuple[Array, Array]]:
        carry, values = jax.lax.scan(step, carry, start + jnp.arange(STEPS_PER_LAUNCH))
        held = jnp.zeros(())
        if validate:
            batch, weights = task.held_out(data, None)
            held = jnp.sum(weights * task.evaluate(carry[1], None, batch))
        return carry, (jnp.mean(values), held)

    starts = jnp.arange(0, config.steps, STEPS_PER_LAUNCH)
    carry, values = jax.lax.scan(launch, (params, params, optimiser.init(params)), starts)
    return carry[1], values


def loop_overhead(effort: Effort, *, repeats: int) -> dict[str, Any]:
    """Time of `fit` over that of bare scans, for 3x64 networks and batch 512."""
    vp = VP()
    net: Any = EpsMLP(vp, SMALL)
    task = denoising_task(net, vp, "eps", BATCH, (2,))
    config = OptimiserConfig(steps=effort.train_steps, batch_size=BATCH, steps_per_launch=STEPS_PER_LAUNCH)
    x, _ = mixtures(GaussiansConfig()).source.sample(jax.random.key(0), 10_000)
    held = jnp.arange(500)
    data = {"x": x, "train": all_rows(len(x)), "held": Rows(held, jnp.asarray(len(held)))}
    key = jax.random.key(1)
    bare = jax.jit(_bare, static_argnames=("task", "config", "validate"))
    seconds = interleaved(
        {
            "fit": lambda: fit(key, task, config, data=data).params,
            "bare": lambda: bare(key, data, task=task, config=config, validate=False),
            "validated": lambda: bare(key, data, task=task, config=config, validate=True),
        },
        repeats=repeats,
        seconds=3 * effort.seconds,
    )
    return {
        "features": list(SMALL),
        "batch": BATCH,
        "steps": config.steps,
        "steps_per_launch": STEPS_PER_LAUNCH,
        "seconds_per_step": Spread.of(seconds["fit"] / config.steps)._asdict(),
        "bare_seconds_per_step": Spread.of(seconds["bare"] / config.steps)._asdict(),
        "over_bare": Spread.of(seconds["fit"] / seconds["bare"])._asdict(),
        "over_bare_with_validation": Spread.of(seconds["fit"] / seconds["validated"])._asdict(),
    }
