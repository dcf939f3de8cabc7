"""The game of two players in the one training loop."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import sliced_w2, spread_params
from tests.metrics.tied import KINDS, NEVER
from tgdp_jax.errors import UserError
from tgdp_jax.metrics.coverage import density_coverage, expected_coverage
from tgdp_jax.nets import DiscriminatorConv, DiscriminatorMLP, GeneratorConv, GeneratorMLP
from tgdp_jax.registry import ADVERSARIAL_LOSSES
from tgdp_jax.train.batches import Rows, all_rows
from tgdp_jax.train.fit import fit
from tgdp_jax.train.gan import Game, Players, gan_task, shown_rows, shown_samples, spread
from tgdp_jax.train.optimiser import OptimiserConfig, course

KEY = jax.random.key(0)
STD = 0.5
CONFIG = OptimiserConfig(steps=3, batch_size=8, learning_rate=1e-2, schedule="constant", ema=0.0, steps_per_launch=1)


def players(num_classes: int = 0, features=(16,)) -> Players:
    return Players(GeneratorMLP((2,), 3, features, num_classes, STD), DiscriminatorMLP(features, num_classes, STD))


def rows(num: int = 40, num_classes: int = 0):
    rng = np.random.default_rng(0)
    data = {"x": jnp.asarray(rng.normal(size=(num, 2)) * STD + [1.0, 0.0], jnp.float32), "shown": shown_rows(num)}
    if num_classes:
        data["y"] = jnp.asarray(rng.integers(0, num_classes, num))
    held = num // 4
    split = {
        "train": Rows(jnp.arange(held, num), jnp.asarray(num - held)),
        "held": Rows(jnp.arange(held), jnp.asarray(held)),
    }
    return data | split


def started(task):
    """Players with weights of some size."""
    return spread_params(task.init)


@pytest.mark.parametrize("loss", ADVERSARIAL_LOSSES)
@pytest.mark.parametrize("num_classes", [0, 3])
def test_each_player_descends_its_own_loss(loss, num_classes):
    pair, game = players(num_classes), Game(loss=loss, penalty=0.7)
    task = gan_task(pair, game, 8, (2,))
    rule, params, batch = (
        ADVERSARIAL_LOSSES[loss],
        started(task),
        task.draw(KEY, rows(num_classes=num_classes), None),
    )
    x, y, z, share = batch

    def total(params):
        return sum(jnp.mean(term) for term in task.loss(params, {}, batch, 0, None).values())

    def discriminator_loss(weights):
        def logit(x):
            return pair.discriminator.apply({"params": weights}, x, y)

        fake = pair.generate(params, z, y)
        at = share[:, None] * x + (1 - share[:, None]) * fake if rule.between else x
        # Row by row, by forward differentiation: nothing shared with the task.
        slope = jax.vmap(
            jax.jacfwd(lambda row, label: pair.discriminator.apply({"params": weights}, row[None], label)[0]),
            in_axes=(0, None if y is None else 0),
        )(at, None if y is None else y[:, None])
        return jnp.mean(rule.discriminator(logit(x), logit(fake)) + 0.7 * rule.penalty(STD * slope))

    def generator_loss(weights):
        fake = pair.generate({"generator": weights}, z, y)
        return jnp.mean(rule.generator(pair.discriminator.apply({"params": params["discriminator"]}, fake, y)))

    found = jax.jit(jax.grad(total))(params)
    own = jax.jit(jax.grad(discriminator_loss))(params["discriminator"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), found["discriminator"], own)
    own = jax.jit(jax.grad(generator_loss))(params["generator"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), found["generator"], own)


def _same(a, b) -> bool:
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


def test_the_generator_moves_at_every_kth_step_of_the_discriminator():
    task = gan_task(players(), Game(discriminator_steps=3), 8, (2,))
    start = started(task)
    for steps in (2, 3, 5, 6):
        config = dataclasses.replace(CONFIG, steps=steps, learning_rate=1e-2)
        after = fit(KEY, task, config, data=rows(), frozen={}, initial=start, keep="last").params
        assert not _same(after["discriminator"], start["discriminator"])
        assert _same(after["generator"], start["generator"]) == (steps < 3)
        if steps == 3:
            third = after["generator"]
        if steps == 5:
            assert _same(after["generator"], third)
    assert not _same(after["generator"], third)


def test_frozen_layers_are_used_and_stay():
    task = gan_task(players(features=(8, 8)), Game(), 8, (2,))
    start = started(task)
    layers = dict(start["discriminator"])
    frozen = {"layer_0": layers.pop("layer_0")}
    before = jax.tree.map(np.array, frozen)
    fitted = fit(KEY, task, CONFIG, data=rows(), frozen=frozen, initial={**start, "discriminator": layers}, keep="last")
    assert set(fitted.params["discriminator"]) == {"layer_1", "logit"}
    assert _same(frozen, before) and not _same(fitted.params["discriminator"]["layer_1"], layers["layer_1"])
    # The same with other frozen weights goes another way: they are seen.
    other = jax.tree.map(lambda leaf: 2 * leaf, frozen)
    moved = fit(KEY, task, CONFIG, data=rows(), frozen=other, initial={**start, "discriminator": layers}, keep="last")
    assert not _same(moved.params["generator"], fitted.params["generator"])


@pytest.mark.parametrize("num_classes", [0, 3])
def test_what_is_held_out_is_judged_by_its_energy_score(num_classes):
    task, data = gan_task(players(num_classes), Game(), 8, (2,)), rows(num_classes=num_classes)
    params = started(task)
    (x, y), weights = task.held_out(data, None)
    scores = jax.jit(task.evaluate)(params, {}, (x, y))
    assert scores.shape == (10,) and float(weights.sum()) == pytest.approx(1.0)
    # By its definition, with the same latent vectors for each class' own samples.
    each = 512 // max(num_classes, 1)
    z = jax.random.normal(jax.random.key(7), (each * max(num_classes, 1), 3)).reshape(-1, each, 3)
    for i in range(10):
        label = 0 if y is None else int(y[i])
        cond = None if y is None else jnp.full(each, label)
        fake = np.asarray(players(num_classes).generate(params, z[label], cond))
        within = np.linalg.norm(fake[:, None] - fake, axis=-1).sum() / (each * (each - 1))
        known = np.linalg.norm(fake - np.asarray(x[i]), axis=-1).mean() - 0.5 * within
        assert scores[i] == pytest.approx(known, rel=1e-3, abs=1e-4)


def test_spread_tells_equal_distributions_from_collapse():
    rng = np.random.default_rng(0)
    side = rng.integers(0, 2, (2, 200, 1)) * 6.0
    real, fake = jnp.asarray(rng.normal(size=(2, 200, 2)) + side, jnp.float32)
    same = spread(real, fake)
    assert same.diversity == pytest.approx(1.0, abs=0.05)
    assert same.coverage == pytest.approx(expected_coverage(200, 200), abs=0.05)
    point = spread(real, jnp.zeros((200, 2)))
    assert point.diversity < 1e-3 and point.coverage < 0.1
    one_mode = spread(real, jnp.asarray(rng.normal(size=(200, 2)), jnp.float32))
    assert one_mode.diversity < 0.7 and 0.4 < one_mode.coverage < 0.6
    # Two rows, the fewest.
    assert np.isfinite(spread(real[:2], fake[:3])).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", [2, 12])
def test_spread_reads_the_same_where_distances_tie(kind, dim):
    rng = np.random.default_rng(0)

    def drawn(draw, num):
        return jnp.asarray(draw(rng, num, dim), jnp.float32)

    measured = jax.jit(spread)
    pairs = [(drawn(KINDS[kind], 100), drawn(KINDS[kind], 256)) for _ in range(12)]
    found = [measured(*pair).coverage for pair in pairs]
    assert np.mean(found) == pytest.approx(expected_coverage(100, 256), abs=0.02)
    # As metrics have it, in double precision.
    for value, (real, fake) in zip(found, pairs, strict=True):
        assert value == pytest.approx(density_coverage(np.asarray(real), np.asarray(fake))[1], abs=0.02)
    if kind in NEVER and dim == 2:  # in many dimensions every sample comes near
        never = [measured(real, drawn(NEVER[kind], 256)).coverage for real, _ in pairs]
        assert np.mean(never) < np.mean(found) - 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("game", "steps", "slack"),
    [(Game(penalty=10.0), 2000, 1), (Game(loss="wasserstein", penalty=1.0, discriminator_steps=5), 5000, 1.7)],
)
def test_it_learns_two_modes(game, steps, slack):
    """Latent numbers have one mode, the data two of unequal weight. WGAN-GP circles further out at these rates."""
    rng = np.random.default_rng(0)
    right = rng.random(2000) < 0.7
    x = np.stack([np.where(right, 1.0, -1.0), np.zeros(2000)], -1) + 0.3 * rng.normal(size=(2000, 2))
    data = {
        "x": jnp.asarray(x, jnp.float32),
        "train": all_rows(2000),
        "held": all_rows(2000),
        "shown": shown_rows(2000),
    }
    pair = Players(GeneratorMLP((2,), 4, (32, 32)), DiscriminatorMLP((32, 32)))
    config = OptimiserConfig(steps=steps, batch_size=128, learning_rate=1e-3, steps_per_launch=500)
    task = gan_task(pair, game, 128, (2,))
    fitted = fit(KEY, task, config, data=data, frozen={}, keep="last")
    fake = np.asarray(pair.generate(fitted.params, jax.random.normal(jax.random.key(1), (2000, 4)), None))
    # Other data are 0.02 away, a Gaussian of their mean and covariance 0.24, one of the modes alone 0.61.
    assert sliced_w2(fake, x) < 0.12 * slack
    # At the end the discriminator has nothing left to say, and what was watched says so.
    last = {name: values[-1] for name, values in fitted.history.items()}
    assert last["logit_of_training_rows"] == pytest.approx(last["logit_of_samples"], abs=0.3)
    assert last["diversity"] == pytest.approx(1.0, abs=0.1 * slack) and last["coverage"] > 1 - 0.1 * slack


def test_a_game_that_runs_away_is_reported():
    task = gan_task(players(), Game(penalty=0.0), 8, (2,))
    config = dataclasses.replace(CONFIG, steps=200, learning_rate=1e20)
    with pytest.raises(UserError, match=r"training diverged.*lower the learning rate"):
        fit(KEY, task, config, data=rows(), frozen={})


# Networks


NETS = {
    "rows": (GeneratorMLP((3, 2), 4, (8,), 3), DiscriminatorMLP((8, 8), 3), (3, 2)),
    "images": (GeneratorConv((5, 7, 2), 4, (4, 8), 3), DiscriminatorConv((4, 8), 3), (5, 7, 2)),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_networks_take_each_row_on_its_own_and_look_at_its_label(name, dtype):
    generator, discriminator, shape = NETS[name]
    generator, discriminator = (net.clone(dtype=dtype) for net in (generator, discriminator))
    z, y = jax.random.normal(KEY, (4, 4)), jnp.asarray([0, 1, 2, 0])

    @jax.jit
    def outputs(z, x, y):
        params = [spread_params(net.init, part, y) for net, part in ((generator, z), (discriminator, x))]
        return generator.apply(params[0], z, y), discriminator.apply(params[1], x, y)

    x = jax.random.normal(KEY, (4, *shape))
    fake, logit = outputs(z, x, y)
    assert fake.shape == x.shape and logit.shape == (4,) and fake.dtype == logit.dtype == jnp.float32
    tolerance = 1e-4 if dtype == jnp.float32 else 0.1
    for i in range(4):
        one_fake, one_logit = outputs(z[i : i + 1], x[i : i + 1], y[i : i + 1])
        np.testing.assert_allclose(one_fake[0], fake[i], rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(one_logit[0], logit[i], rtol=tolerance, atol=tolerance)
    others = outputs(z, x, (y + 1) % 3)
    assert np.all(np.abs(others[0] - fake).reshape(4, -1).max(1) > 1e-3) and np.all(np.abs(others[1] - logit) > 1e-3)


@pytest.mark.parametrize("name", NETS)
def test_layers_that_can_be_frozen_are_named(name):
    _, discriminator, shape = NETS[name]
    params = jax.eval_shape(discriminator.init, KEY, jnp.zeros((1, *shape)), jnp.zeros((1,), jnp.int32))["params"]
    assert set(params) == {"logit", *(f"layer_{i}" for i in range(discriminator.num_layers))}


def test_samples_to_watch_have_the_rows_labels():
    data = rows(num_classes=3)
    pair = players(3)
    fake, y = shown_samples(pair, started(gan_task(pair, Game(), 8, (2,))), data)
    assert fake.shape == (256, 2)
    np.testing.assert_array_equal(y[:40], data["y"][data["shown"]])
    assert len(shown_rows(1000)) == 256 and len(set(np.asarray(shown_rows(1000)).tolist())) == 256


def test_fewer_steps_of_the_generator_leave_room_for_its_warm_up():
    config = dataclasses.replace(CONFIG, steps=4, warmup=3, schedule="cosine")
    gan_task(players(), Game(discriminator_steps=5), 8, (2,)).optimiser(config, course(config), None)
