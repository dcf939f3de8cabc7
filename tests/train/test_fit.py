"""The training loop, on one-number tasks whose course is known by hand."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tgdp_jax.errors import UserError
from tgdp_jax.runtime import parallel
from tgdp_jax.settings.training import RivalConfig
from tgdp_jax.train.cross_validation import fit_cross_validated
from tgdp_jax.train.fit import Task, candidate_weights, fit, start, train_step
from tgdp_jax.train.optimiser import OptimiserConfig, course
from tgdp_jax.train.session import Session

KEY = jax.random.key(0)
# With a gradient of constant sign Adam moves by the learning rate at every step, whatever the gradient's size.
RATE = 0.1
PLAIN = OptimiserConfig(
    steps=60, batch_size=4, learning_rate=RATE, schedule="constant", clip_norm=1e9, ema=0.0, steps_per_launch=5
)


def replaced(**changes) -> OptimiserConfig:
    return OptimiserConfig(**(vars(PLAIN) | changes))


def _init(key):
    return {"w": jnp.zeros(())}


def _no_draw(key, data, member):
    return jnp.ones(4)


def _march(params, frozen, batch, step, member):
    """A gradient of constant sign: the weight grows by RATE a step."""
    return {"down": -2 * params["w"] * batch, "up": params["w"] * batch}


def _goal(data, member):
    goal = data["goal"] if member is None else member["goal"]
    return goal[None], jnp.ones(1)


def _distance(params, frozen, batch):
    """Least where the weight is at `goal`."""
    return (params["w"] - batch) ** 2


MARCH = Task(init=_init, draw=_no_draw, loss=_march, held_out=_goal, evaluate=_distance)


VAST = 2**45


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init": lambda key: {"w": jnp.zeros(VAST)}}, "training, .* would take .* choose smaller networks"),
        ({"draw": lambda *_: jnp.ones(VAST)}, "a batch of 4 rows would take .* choose a smaller batch-size"),
        ({"held_out": lambda *_: (jnp.ones(VAST), jnp.ones(1))}, "is judged by would .* choose fewer validation-rows"),
    ],
)
def test_what_does_not_fit_into_memory_is_refused_before_it_is_allocated(changes, message):
    with pytest.raises(UserError, match=message):
        fit(KEY, dataclasses.replace(MARCH, **changes), PLAIN, data={"goal": jnp.zeros(())})


def _random_init(key):
    return {"w": jax.random.normal(key, ())}


def _random_draw(key, data, member):
    return data["x"][jax.random.randint(key, (4,), 0, len(data["x"]))]


def _square(params, frozen, batch, step, member):
    return {"square": (params["w"] - batch) ** 2}


def _everything(data, member):
    return data["x"], jnp.full(len(data["x"]), 1 / len(data["x"]))


# Everything random: start and batches.
RANDOM = Task(init=_random_init, draw=_random_draw, loss=_square, held_out=_everything, evaluate=_distance)
DATA = {"x": jnp.linspace(-1.0, 3.0, 17)}

march = functools.partial(fit, KEY, MARCH)


def test_members_that_train_in_threads_have_the_same_bits(monkeypatch):
    """Groups, early stopping and curves are those of members one after the other."""
    found = []
    for cores in (1, 4):
        monkeypatch.setattr(parallel, "_cores", lambda cores=cores: cores)
        goals = {"goal": jnp.array([1.0, 2.9, 5.0, 2.0])}
        found.append(march(replaced(patience=20), data={}, members=goals, groups=2, judge_start=True))
    assert found[0].best_step.tolist() == [20, 35] and found[0].params["w"].shape == (4,)
    jax.tree.map(np.testing.assert_array_equal, *found)


def test_the_course_that_the_other_tests_assume():
    fitted = march(PLAIN, data={"goal": jnp.asarray(100.0)}, keep="last")
    np.testing.assert_allclose(fitted.params["w"], 60 * RATE, rtol=1e-4)


def test_the_chosen_step_is_where_validation_is_least():
    fitted = march(PLAIN, data={"goal": jnp.asarray(2.9)})
    best = int(np.argmin(fitted.history["validation"]))
    assert fitted.best_step[0] == fitted.history["step"][best] == 30
    assert fitted.best_value[0] == pytest.approx(fitted.history["validation"].min(), rel=1e-6)
    np.testing.assert_allclose(fitted.params["w"], 30 * RATE, rtol=1e-4)


def test_the_last_weights_are_kept_where_asked():
    fitted = march(PLAIN, data={"goal": jnp.asarray(2.9)}, keep="last")
    np.testing.assert_allclose(fitted.params["w"], 60 * RATE, rtol=1e-4)
    assert fitted.best_step[0] == 60


def test_curves_have_one_row_a_launch():
    fitted = march(PLAIN, data={"goal": jnp.asarray(2.9)})
    assert fitted.history["step"].tolist() == list(range(5, 61, 5))
    assert {"loss", "validation", "down", "up"} <= set(fitted.history)
    np.testing.assert_allclose(fitted.history["down"], 2 * fitted.history["loss"], rtol=1e-4, atol=1e-6)
    # The mean over the launch's steps, each taken before its update: weights 0, 0.1, ... 0.4.
    assert fitted.history["loss"][0] == pytest.approx(-0.2, rel=1e-3)


def test_groups_stop_separately_and_their_members_together():
    # Two groups of two folds. A group's mean validation is least at the middle of its members' goals.
    goals = jnp.asarray([0.8, 1.2, 3.6, 4.4])
    fitted = march(PLAIN, data={}, members={"goal": goals}, groups=2)
    assert fitted.best_step.tolist() == [10, 40]
    np.testing.assert_allclose(fitted.params["w"], [1.0, 1.0, 4.0, 4.0], rtol=1e-3)
    np.testing.assert_allclose(fitted.best_value, [0.04, 0.16], rtol=1e-2)
    together = march(PLAIN, data={}, members={"goal": goals}, groups=1)
    assert together.best_step.tolist() == [25]


def test_a_member_is_what_it_would_be_alone():
    goals = jnp.asarray([1.0, 3.0])
    both = march(PLAIN, data={}, members={"goal": goals}, groups=2)
    for i in range(2):
        alone = march(PLAIN, data={}, members={"goal": goals[i : i + 1]})
        np.testing.assert_allclose(both.params["w"][i], alone.params["w"][0], rtol=1e-6)
        assert both.best_step[i] == alone.best_step[0]
        assert both.best_value[i] == pytest.approx(alone.best_value[0], rel=1e-5)


def test_patience_counts_from_the_best_step():
    fitted = march(replaced(patience=15), data={"goal": jnp.asarray(1.0)})
    assert fitted.history["step"][-1] == 25 and fitted.best_step[0] == 10
    # One group that still improves keeps all going.
    fitted = march(replaced(patience=15), data={}, members={"goal": jnp.asarray([1.0, 4.0])}, groups=2)
    assert fitted.history["step"][-1] == 55 and fitted.best_step.tolist() == [10, 40]


def test_the_number_of_steps_is_kept_exactly():
    seen = []
    config = replaced(steps=13)
    fitted = march(config, data={"goal": jnp.asarray(9.0)}, session=Session(progress=lambda *row: seen.append(row)))
    assert fitted.history["step"].tolist() == [5, 10, 13]
    np.testing.assert_allclose(fitted.params["w"], 13 * RATE, rtol=1e-4)
    assert [row[:2] for row in seen] == [(5, 13), (10, 13), (13, 13)]
    np.testing.assert_allclose([row[2] for row in seen], fitted.history["loss"])
    np.testing.assert_allclose([row[3] for row in seen], fitted.history["validation"])


def test_the_length_of_a_launch_changes_nothing_else():
    short, long = (fit(KEY, RANDOM, replaced(steps_per_launch=k), data=DATA, keep="last") for k in (5, 20))
    np.testing.assert_allclose(short.params["w"], long.params["w"], rtol=1e-5)


def test_the_result_is_a_function_of_the_key():
    a, b = (fit(KEY, RANDOM, PLAIN, data=DATA) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, a, b)
    other = fit(jax.random.key(1), RANDOM, PLAIN, data=DATA)
    assert other.params["w"] != a.params["w"]
    assert (other.history["loss"] != a.history["loss"]).any()


def test_members_start_and_draw_on_their_own():
    # A rate too small to move: what is left differs by the start alone.
    still = fit(KEY, RANDOM, replaced(learning_rate=1e-12), data=DATA, members={"i": jnp.arange(3)})
    assert len(np.unique(still.params["w"])) == 3
    # One common start: what is left differs by the draws alone.
    common = fit(KEY, RANDOM, PLAIN, data=DATA, members={"i": jnp.arange(3)}, initial={"w": jnp.asarray(0.5)})
    assert len(np.unique(common.params["w"])) == 3


def test_training_starts_from_the_weights_given():
    config = replaced(learning_rate=1e-12)
    fitted = fit(KEY, RANDOM, config, data=DATA, initial={"w": jnp.asarray(7.0)})
    np.testing.assert_allclose(fitted.params["w"], 7.0, rtol=1e-6)


@pytest.mark.parametrize("decay", [0.8, 0.99])
def test_the_average_of_the_weights(decay):
    steps = 60
    fitted = march(replaced(ema=decay), data={"goal": jnp.asarray(100.0)}, keep="last")
    # By hand: weights RATE, 2 RATE, ..., and a decay that starts small, so that the start is soon forgotten: at 0.99
    # all along, an average over 100 steps would still be half the start.
    average = 0.0
    for k in range(steps):
        rate = min(decay, (1 + k) / (10 + k))
        average = rate * average + (1 - rate) * RATE * (k + 1)
    np.testing.assert_allclose(fitted.params["w"], average, rtol=1e-4)
    assert average < 0.95 * steps * RATE


def test_validation_sees_the_average():
    fitted = march(replaced(ema=0.99), data={"goal": jnp.asarray(100.0)})
    np.testing.assert_allclose(fitted.history["validation"][-1], (fitted.params["w"] - 100.0) ** 2, rtol=1e-5)
    assert fitted.params["w"] < 0.9 * 60 * RATE


def _flat(params, frozen, batch, step, member):
    return {"flat": 0.0 * (jnp.sum(params["kernel"]) + jnp.sum(params["bias"])) * batch}


def _nothing(data, member):
    return jnp.zeros(1), jnp.ones(1)


def _same(params, frozen, batch):
    return batch


def _layer(key):
    return {"kernel": jnp.ones((2, 3)), "bias": jnp.ones((3,))}


FLAT = Task(init=_layer, draw=_no_draw, loss=_flat, held_out=_nothing, evaluate=_same)


def test_weight_decay_is_a_members_own_and_spares_biases():
    decay = jnp.asarray([0.0, 0.5, 2.0])
    fitted = fit(KEY, FLAT, PLAIN, data={}, members={"weight_decay": decay}, keep="last")
    expected = (1 - RATE * np.asarray(decay)) ** 60
    for i in range(3):
        np.testing.assert_allclose(fitted.params["kernel"][i], expected[i], rtol=1e-4)
    np.testing.assert_array_equal(fitted.params["bias"], 1.0)


def test_weight_decay_of_a_single_model_is_the_configured_one():
    fitted = fit(KEY, FLAT, replaced(weight_decay=0.5), data={}, keep="last")
    np.testing.assert_allclose(fitted.params["kernel"], 0.95**60, rtol=1e-4)


def test_frozen_weights_are_seen_and_not_moved():
    def loss(params, frozen, batch, step, member):
        return {"square": (params["w"] - frozen["w"]) ** 2 * batch}

    def judge(params, frozen, batch):
        return (params["w"] - frozen["w"]) ** 2 + batch

    frozen = {"w": jnp.asarray(2.0)}
    task = Task(init=_init, draw=_no_draw, loss=loss, held_out=_nothing, evaluate=judge)
    fitted = fit(KEY, task, replaced(ema=0.9), data={}, frozen=frozen)
    np.testing.assert_allclose(fitted.params["w"], 2.0, atol=0.1)
    assert frozen["w"] == 2.0


def _explode(params, frozen, batch, step, member):
    return {"explosive": (jnp.exp(params["w"] ** 2) - params["w"]) * batch}


def test_divergence_is_reported_with_its_step_and_a_remedy():
    task = Task(init=_init, draw=_no_draw, loss=_explode, held_out=_nothing, evaluate=_same)
    with pytest.raises(UserError, match=r"diverged.*at step 5; lower the learning rate \(now 1e\+06\)"):
        fit(KEY, task, replaced(learning_rate=1e6), data={})


def test_one_diverging_member_is_enough():
    def loss(params, frozen, batch, step, member):
        return {"linear": params["w"] * member["size"] * batch}

    task = Task(init=_init, draw=_no_draw, loss=loss, held_out=_nothing, evaluate=_same)
    with pytest.raises(UserError, match="diverged"):
        fit(KEY, task, PLAIN, data={}, members={"size": jnp.asarray([1.0, jnp.nan])})


def test_bad_data_are_reported():
    with pytest.raises(UserError, match="check the data"):
        fit(KEY, RANDOM, PLAIN, data={"x": DATA["x"].at[3].set(jnp.nan)})


def test_weights_of_candidates():
    loss = np.array([0.5, 0.5, 0.6, 2.0])
    weights = candidate_weights(loss, 10)
    np.testing.assert_allclose(weights.sum(), 1.0)
    assert weights[0] == weights[1]
    np.testing.assert_allclose(weights[2] / weights[0], np.exp(-10 * 0.1))
    assert weights[3] == 0.0
    np.testing.assert_allclose(candidate_weights(loss + 100, 10), weights, rtol=1e-9)
    # More rows make the choice sharper.
    assert candidate_weights(loss, 1000).tolist() == [0.5, 0.5, 0.0, 0.0]


def test_another_rate_or_length_compiles_nothing(caplog):
    one = replaced(steps=20, steps_per_launch=10)
    first = fit(KEY, RANDOM, one, data={"x": jnp.zeros(3)})
    with jax.log_compiles():
        other = fit(
            KEY, RANDOM, replaced(steps=40, steps_per_launch=10, learning_rate=2 * RATE), data={"x": jnp.zeros(3)}
        )
    assert not [record for record in caplog.records if "ompil" in record.getMessage()]
    assert first.params["w"] != other.params["w"]


# Hooks of a task


def _plain_gradient(form, along, weight_decay):
    assert weight_decay is None
    return optax.sgd(along.learning_rate)


def test_a_tasks_own_optimiser_makes_the_updates():
    task = dataclasses.replace(RANDOM, optimiser=_plain_gradient)
    fitted = fit(KEY, task, replaced(steps=1), data={"x": jnp.full(3, 2.0)}, initial={"w": jnp.asarray(7.0)})
    np.testing.assert_allclose(fitted.params["w"], 7.0 - RATE * 2 * (7.0 - 2.0), rtol=1e-6)


def _watch(params, frozen, data, held):
    goals, weights = held
    return {"gap": params["w"] - goals[0], "total": weights.sum()}


def test_what_a_task_monitors_is_in_its_curves():
    task = dataclasses.replace(MARCH, monitor=_watch)
    fitted = fit(KEY, task, replaced(ema=0.9), data={"goal": jnp.asarray(2.0)})
    # Of averaged weights, at the end of every launch.
    np.testing.assert_allclose(fitted.history["gap"] ** 2, fitted.history["validation"], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(fitted.history["total"], 1.0)
    # Over members, their mean.
    both = fit(KEY, task, PLAIN, data={}, members={"goal": jnp.asarray([1.0, 3.0])})
    np.testing.assert_allclose(both.history["gap"][-1], 60 * RATE - 2.0, rtol=1e-4)


def test_a_course_that_cross_validation_cuts_off_has_a_warm_up_still():
    # The goal is left behind at once, so that one step is chosen.
    task = dataclasses.replace(MARCH, held_out=lambda data, member: (jnp.zeros(1), jnp.ones(1)))
    config = replaced(steps=6, steps_per_launch=1, schedule="cosine", warmup=5)
    found = fit_cross_validated(KEY, task, config, data={"x": jnp.zeros(4)}, learning_rates=(RATE,), folds=2)
    assert found.info["steps"] <= 5


def test_the_average_of_folds_takes_the_place_of_training_on_all_rows():
    """Folds march to a goal of their own, and stop where the mean of their losses is least."""
    told = []
    session = Session(log=lambda part, row: told.append(part))
    found = fit_cross_validated(
        KEY,
        MARCH,
        PLAIN,
        data={"x": jnp.zeros(4)},
        learning_rates=(RATE,),
        folds=2,
        members={"goal": jnp.asarray([1.0, 3.0, 1.0, 3.0])},
        initial={"w": jnp.asarray(0.5)},
        average=lambda folds: jax.tree.map(lambda leaf: leaf.mean(0), folds),
        session=session,
    )
    assert found.info["steps"] == 15 and set(told) == {"rate0"}
    np.testing.assert_allclose(found.folds["w"], [2.0] * 4, rtol=1e-5)
    np.testing.assert_allclose(found.params["w"], 2.0, rtol=1e-5)
    held = [set(index[:count].tolist()) for index, count in zip(*map(np.asarray, found.held), strict=True)]
    assert sorted(row for rows in held for row in rows) == [0, 1, 2, 3]


def test_with_one_fold_all_rows_train_for_all_steps():
    found = fit_cross_validated(
        KEY, RANDOM, replaced(steps=30), data={"x": jnp.full(4, 2.0)}, learning_rates=(RATE,), folds=1
    )
    plain = fit(KEY, RANDOM, replaced(steps=30), data={"x": jnp.full(4, 2.0)}, keep="last")
    np.testing.assert_array_equal(found.params["w"], plain.params["w"])
    assert found.info == {"steps": 30, "learning_rate": RATE} and found.folds is None
    with pytest.raises(UserError, match="with one fold nothing chooses among them: give one"):
        RivalConfig(folds=1, shrink=False).check_chosen()
    with pytest.raises(UserError, match="folds is 1, so that no rows are held out"):
        RivalConfig(folds=1)


@pytest.mark.parametrize("members", [None, {"goal": jnp.asarray([1.0, 2.0, 0.2, 0.4])}])
def test_the_start_is_kept_where_every_step_leads_away_from_it(members):
    """Weights march up from 2: towards none of these goals."""
    settings = {"initial": {"w": jnp.asarray(2.0)}, "members": members, "groups": 1 if members is None else 2}
    found = fit(KEY, MARCH, PLAIN, data={"goal": jnp.asarray(1.0)}, judge_start=True, **settings)
    np.testing.assert_array_equal(found.best_step, 0)
    np.testing.assert_array_equal(found.params["w"], np.full(() if members is None else 4, 2.0))
    later = fit(KEY, MARCH, PLAIN, data={"goal": jnp.asarray(1.0)}, **settings)
    np.testing.assert_array_equal(later.best_step, PLAIN.steps_per_launch)
    # One goal ahead of it is reached as ever.
    ahead = fit(KEY, MARCH, PLAIN, data={"goal": jnp.asarray(3.0)}, initial={"w": jnp.asarray(2.0)}, judge_start=True)
    np.testing.assert_array_equal(ahead.best_step, 10)


def _rows_draw(key, data, member):
    return jax.random.normal(key, (10, 3))  # a device's rows need not be a multiple of the parts


def _row_error(params, frozen, batch, step, member):
    out = jnp.tanh(batch @ params["w"])
    return {"error": (out - batch[:, 0]) ** 2, "size": 0.1 * out**2}


ROWS = Task(
    init=lambda key: {"w": jax.random.normal(key, (3,))},
    draw=_rows_draw,
    loss=_row_error,
    held_out=lambda data, member: (data["x"], jnp.full(5, 0.2)),
    evaluate=lambda params, frozen, batch: (jnp.tanh(batch @ params["w"]) - batch[:, 0]) ** 2,
)


@pytest.mark.parametrize("members", [None, {"number": jnp.arange(2)}])
def test_a_batch_in_parts_is_the_batch(members):
    data, changes = {"x": jax.random.normal(KEY, (5, 3))}, {"steps": 20, "batch_size": 12, "clip_norm": 0.5}
    whole, parts = (fit(KEY, ROWS, replaced(parts=count, **changes), data=data, members=members) for count in (1, 4))
    np.testing.assert_allclose(parts.params["w"], whole.params["w"], rtol=1e-5, atol=1e-6)
    assert parts.history.keys() == whole.history.keys() > {"error", "size"}
    for name, curve in whole.history.items():
        np.testing.assert_allclose(parts.history[name], curve, rtol=1e-4, err_msg=name)


def test_parts_of_a_batch_take_less_memory():
    data = {"x": jnp.zeros((5, 3))}
    net = lambda w, x: functools.reduce(lambda h, _: jnp.tanh(h @ w), range(8), x)  # noqa: E731
    task = dataclasses.replace(
        ROWS,
        init=lambda key: jnp.eye(64),
        draw=lambda key, data, member: jax.random.normal(key, (1024, 64)),
        loss=lambda w, frozen, x, step, member: {"error": net(w, x).mean(1)},
    )

    def memory(count):
        config = replaced(parts=count, batch_size=1024)
        state = start(KEY, None, None, course(config), task=task, config=config, count=1, groups=1).state
        step = functools.partial(train_step, task=task, config=config)
        program = jax.jit(step).lower(state, None, data, None, KEY, course(config)).compile()
        return program.memory_analysis().temp_size_in_bytes

    assert memory(8) < 0.5 * memory(1)


@pytest.mark.parametrize("parts", [0, 3])
def test_parts_that_do_not_fit_are_refused(parts):
    with pytest.raises(UserError, match=f"parts is {parts}: give a divisor of the batch size, 4"):
        replaced(parts=parts)
