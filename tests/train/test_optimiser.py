"""The optimiser's parts, and settings that are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tgdp_jax.errors import UserError
from tgdp_jax.train.optimiser import OptimiserConfig, course, form, make_optimiser
from tgdp_jax.train.registry import OPTIMISERS


def updates(config: OptimiserConfig, gradients, *, params=None) -> np.ndarray:
    """The update of a single weight at each step; Adam makes of a constant gradient minus the learning rate."""
    optimiser = make_optimiser(config)
    params = jnp.zeros(()) if params is None else params
    state, out = optimiser.init(params), []
    for gradient in gradients:
        step, state = optimiser.update(jnp.asarray(gradient), state, params)
        out.append(np.asarray(step))
    return np.array(out)


def test_cosine_falls_to_zero_at_the_last_step():
    config = OptimiserConfig(steps=10, learning_rate=0.5, schedule="cosine")
    rates = -updates(config, np.ones(11))
    np.testing.assert_allclose(rates, 0.25 * (1 + np.cos(np.pi * np.arange(11) / 10)), atol=1e-5)


def test_a_constant_rate_is_constant():
    config = OptimiserConfig(steps=10, learning_rate=0.5, schedule="constant")
    np.testing.assert_allclose(-updates(config, np.ones(20)), 0.5, rtol=1e-4)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_warm_up_rises_from_zero_to_the_peak(schedule):
    config = OptimiserConfig(steps=10, learning_rate=0.5, schedule=schedule, warmup=4)
    rates = -updates(config, np.ones(5))
    np.testing.assert_allclose(rates, 0.5 * np.arange(5) / 4, atol=1e-5)


@pytest.mark.parametrize(("schedule", "warmup"), [("constant", 0), ("constant", 7), ("cosine", 0), ("cosine", 7)])
def test_rates_are_those_of_optax(schedule, warmup):
    config = OptimiserConfig(steps=40, learning_rate=3e-3, schedule=schedule, warmup=warmup)
    first = 0.0 if warmup else 3e-3
    theirs = {
        "constant": optax.linear_schedule(first, 3e-3, max(warmup, 1)),
        "cosine": optax.warmup_cosine_decay_schedule(first, 3e-3, warmup, 40),
    }[schedule]
    steps = jnp.arange(60)  # a course may be left behind: its rate stays where it ended
    ours = jax.jit(lambda along: along.rate(steps, schedule))(course(config))
    np.testing.assert_allclose(ours, theirs(steps) * jnp.ones(60), rtol=1e-6, atol=1e-9)


def test_programs_are_compiled_for_what_is_no_number():
    config = OptimiserConfig()
    faster = OptimiserConfig(steps=7, learning_rate=0.5, warmup=3, batch_size=9, patience=2, steps_per_launch=5)
    assert form(config) == form(faster) and course(config) != course(faster)
    for other in ({"schedule": "constant"}, {"clip_norm": 2.0}, {"ema": 0.5}, {"weight_decay": 0.1}, {"kind": "lion"}):
        assert form(config) != form(OptimiserConfig(**other))


def test_a_shorter_course_warms_up_within_its_steps():
    config = OptimiserConfig(steps=10, learning_rate=0.5, warmup=8)
    assert config.shortened(9) == OptimiserConfig(steps=9, learning_rate=0.5, warmup=8)
    for steps in (1, 3):
        make_optimiser(config.shortened(steps))


def test_large_gradients_are_clipped():
    # Adam forgets the scale of a constant gradient, not that of a single large one among small ones.
    gradients = [1.0, 1.0, 1.0, 1e4, 1.0]
    clipped, free = (
        updates(OptimiserConfig(steps=10, schedule="constant", clip_norm=norm), gradients) for norm in (1.0, 1e9)
    )
    np.testing.assert_allclose(clipped, -1e-3, rtol=1e-3)
    assert abs(free[4] + 1e-3) > 1e-4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "linear"}, "unknown learning-rate schedule 'linear': choose one of constant, cosine"),
        ({"steps": 0}, "steps must be positive"),
        ({"batch_size": 0}, "batch_size must be positive"),
        ({"learning_rate": -1e-3}, "learning_rate must be positive"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive"),
        ({"clip_norm": 0.0}, "clip_norm must be positive"),
        ({"steps_per_launch": 0}, "steps_per_launch must be positive"),
        ({"ema": 1.0}, "ema must lie in"),
        ({"ema": -0.1}, "ema must lie in"),
        ({"weight_decay": -0.1}, "weight_decay must not be negative"),
        ({"patience": -1}, "patience must not be negative"),
        ({"steps": 5, "warmup": 5}, r"warmup must lie in 0\.\.4"),
        ({"warmup": -1}, "warmup must lie in"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        OptimiserConfig(**settings)


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_every_kind_comes_down_a_bowl(kind):
    config = OptimiserConfig(steps=200, learning_rate=0.05, kind=kind, clip_norm=1e9)
    optimiser, goal = make_optimiser(config), jnp.linspace(-1.0, 1.0, 12).reshape(3, 4)

    def step(carry, _):
        w, state = carry
        update, state = optimiser.update(w - goal, state, w)
        return (w + update, state), None

    start = jnp.zeros_like(goal)
    (w, _), _ = jax.lax.scan(step, (start, optimiser.init(start)), None, length=200)
    np.testing.assert_allclose(w, goal, atol=0.02)


def test_what_kinds_keep_of_a_kernel():
    kernel = jnp.zeros((256, 512))
    sizes = {
        kind: sum(leaf.size for leaf in jax.tree.leaves(make_optimiser(OptimiserConfig(kind=kind)).init(kernel)))
        for kind in OPTIMISERS
    }
    assert sizes["adam"] >= 2 * kernel.size > sizes["lion"] >= kernel.size
    assert max(sizes["adafactor"], sizes["sgd"]) < 0.01 * kernel.size
    with pytest.raises(UserError, match="unknown optimiser 'adamw': choose one of adafactor, adam, lion, sgd"):
        OptimiserConfig(kind="adamw")
