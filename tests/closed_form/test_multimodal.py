"""Several modalities on a Gaussian, where the score at independent times is known exactly.

For x_0 ~ N(m, S) and the i-th number at time t_i, x = a * x_0 + s * eps with vectors a and s, so that

    x ~ N(a * m, C),   C_ij = a_i a_j S_ij + s_i^2 [i = j],   score = -C^-1 (x - a * m),   E[eps | x] = -s * score,

and E|eps - E[eps | x]|^2 = sum_i (1 - s_i^2 (C^-1)_ii).
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import assert_moments, evaluate
from tgdp_jax.data.modalities import Modalities, Modality, halves
from tgdp_jax.errors import UserError
from tgdp_jax.nets import EpsMultimodal
from tgdp_jax.prediction import network_score
from tgdp_jax.sampling import sample, sample_modalities
from tgdp_jax.sde import VP
from tgdp_jax.train.batches import all_rows, modal_times
from tgdp_jax.train.denoising import denoising_task
from tgdp_jax.train.fit import fit
from tgdp_jax.train.optimiser import OptimiserConfig

SDE = VP()
# Modalities of two, one and one numbers, all correlated with one another.
MODALITIES = Modalities((Modality("a", (2,)), Modality("b", (1,)), Modality("c", (1,))))
MEAN = np.array([0.3, -0.2, 0.5, 0.1])
_ROOT = np.array([[1.0, 0.0, 0.0, 0.0], [0.4, 0.8, 0.0, 0.0], [0.7, -0.5, 0.4, 0.0], [-0.3, 0.6, 0.2, 0.7]])
COV = _ROOT @ _ROOT.T
VALUE = np.array([0.9, -0.4, 0.8, -0.6])  # of what is given
NUM = 4000


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Exact:
    """The score at times [B] or [B, M]; also, as `apply`, the best noise prediction, in the place of a network's."""

    modalities: Modalities = dataclasses.field(default=MODALITIES, metadata={"static": True})
    num_classes: int = dataclasses.field(default=0, metadata={"static": True})

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Any:
        t = t if t.ndim == 2 else jnp.repeat(t[:, None], len(MODALITIES), 1)
        at = MODALITIES.spread(t, x.shape[1:])
        a, s = SDE.alpha(at), SDE.sigma(at)
        cov = a[:, :, None] * a[:, None, :] * COV + s[:, :, None] ** 2 * jnp.eye(4)
        return -jnp.linalg.solve(cov, (x - a * MEAN)[..., None])[..., 0]

    def apply(self, shift: Any, x: Any, t: Any, cond: Any = None) -> Any:
        return -SDE.sigma(MODALITIES.spread(t, x.shape[1:])) * self(x, t) + shift


@functools.cache
def least_loss(num: int = 100_000) -> float:
    """The exact minimum of the loss, by an average over independent times t = u^2 alone."""
    u = np.random.default_rng(3).uniform(SDE.t_min**0.5, 1.0, (num, len(MODALITIES)))
    at = MODALITIES.spread(u**2, (4,))
    a, s = np.asarray(SDE.alpha(jnp.asarray(at)), float), np.asarray(SDE.sigma(jnp.asarray(at)), float)
    cov = a[:, :, None] * a[:, None, :] * COV + s[:, :, None] ** 2 * np.eye(4)
    return float((1.0 - s**2 * np.diagonal(np.linalg.inv(cov), axis1=1, axis2=2)).mean())


def gaussian(num: int, *, seed: int = 0) -> np.ndarray:
    return (MEAN + np.random.default_rng(seed).normal(size=(num, 4)) @ _ROOT.T).astype(np.float32)


def conditional(of: list[int], given: list[int], value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of some numbers given others."""
    gain = COV[np.ix_(of, given)] @ np.linalg.inv(COV[np.ix_(given, given)])
    return MEAN[of] + gain @ (value - MEAN[given]), COV[np.ix_(of, of)] - gain @ COV[np.ix_(given, of)]


@pytest.fixture(scope="module")
def rows() -> dict[str, Any]:
    x = gaussian(20_000)
    held = all_rows(4000)
    return {"x": jnp.asarray(x), "train": all_rows(len(x)), "held": held}


def test_the_loss_is_least_at_the_exact_score(rows):
    task = denoising_task(Exact(), SDE, "eps", 6000, (4,))
    shift = jnp.array([0.5, 0.0, -0.3, 0.0])

    @jax.jit
    def measured(rows):
        batch = task.draw(jax.random.key(0), rows, None)

        def loss(shift):
            return task.loss(shift, None, batch, jnp.zeros((), int), None)["denoising"]

        slope = jax.grad(lambda shift: loss(shift).mean())(jnp.zeros(4))
        return batch[1], loss(jnp.zeros(4)), slope, loss(shift).mean()

    times, errors, slope, shifted = measured(rows)
    assert times.shape == (6000, 3)
    errors = np.asarray(errors, float)
    assert abs(errors.mean() - least_loss()) < 4 * errors.std() / np.sqrt(len(errors)) + 0.004
    # Its slope there is nought, and off it the loss is larger by the mean square of what is added.
    np.testing.assert_allclose(slope, 0.0, atol=0.02)
    assert float(shifted) - errors.mean() == pytest.approx(float((shift**2).mean()), abs=0.02)


def test_times_of_modalities_are_independent_and_stratified():
    t = np.sqrt(np.asarray(modal_times(jax.random.key(0), 1000, 3, SDE)))
    cells = np.floor((t - SDE.t_min**0.5) / (1 - SDE.t_min**0.5) * 1000 + 1e-3)
    assert all(len(np.unique(column)) > 990 for column in cells.T)
    assert np.abs(np.corrcoef(t.T) - np.eye(3)).max() < 0.15


OPTIONS = {"num_steps": 50, "chunk": NUM}


def test_the_joint_is_that_of_equal_times():
    both = sample_modalities(jax.random.key(1), Exact(), SDE, range(NUM), MODALITIES, (4,), **OPTIONS)
    joint = sample(jax.random.key(1), Exact(), SDE, range(NUM), (4,), **OPTIONS)
    np.testing.assert_allclose(MODALITIES.join(both, (4,)), joint, atol=1e-5)
    assert_moments(joint, MEAN, COV, errors=4.5, bias=0.01)


@pytest.mark.parametrize("known", [("c",), ("a",), ("b", "c")], ids="+".join)
def test_conditionals_have_the_exact_moments(known):
    where = {"a": [0, 1], "b": [2], "c": [3]}
    given = [i for name in known for i in where[name]]
    of = [i for i in range(4) if i not in given]
    told = {name: np.tile(VALUE[where[name]], (NUM, 1)) for name in known}
    drawn = sample_modalities(jax.random.key(2), Exact(), SDE, range(NUM), MODALITIES, (4,), given=told, **OPTIONS)
    assert set(drawn) == set(where) - set(known)
    x = np.concatenate([drawn[name] for name in MODALITIES.names if name in drawn], 1)
    assert_moments(x, *conditional(of, given, VALUE[given]), errors=4.5, bias=0.01)


@pytest.mark.parametrize("name, numbers", [("a", [0, 1]), ("b", [2])])
def test_marginals_have_the_exact_moments(name, numbers):
    drawn = sample_modalities(jax.random.key(3), Exact(), SDE, range(NUM), MODALITIES, (4,), drawn=[name], **OPTIONS)
    # At t = 1 the others still tell a little (alpha is 0.007).
    assert_moments(drawn[name], MEAN[numbers], COV[np.ix_(numbers, numbers)], errors=4.5, bias=0.015)


def test_a_modality_given_another_leaves_the_third_out_of_account():
    told = {"c": np.full((NUM, 1), -0.6)}
    drawn = sample_modalities(
        jax.random.key(4), Exact(), SDE, range(NUM), MODALITIES, (4,), drawn=["b"], given=told, **OPTIONS
    )
    assert set(drawn) == {"b"}
    assert_moments(drawn["b"], *conditional([2], [3], np.array([-0.6])), errors=4.5, bias=0.015)


def test_guidance_goes_from_the_marginal_past_the_conditional():
    # At 0 what is given is left out of account, at 1 it is the conditional (tested above), beyond it goes further.
    told = {"a": np.tile([0.9, -0.4], (NUM, 1)), "b": np.full((NUM, 1), 0.8)}
    draw = functools.partial(
        sample_modalities, jax.random.key(5), Exact(), SDE, range(NUM), MODALITIES, (4,), given=told, **OPTIONS
    )
    assert_moments(draw(scale=0.0)["c"], MEAN[3:], COV[3:, 3:], errors=4.5, bias=0.015)
    mean = [draw(scale=scale)["c"].mean() for scale in (0.0, 1.0, 2.0)]
    assert np.abs(mean[2] - mean[0]) > 1.2 * np.abs(mean[1] - mean[0])


def test_a_sample_depends_on_its_id_alone():
    told = {"b": np.linspace(-1, 1, 40)[:, None]}
    draw = functools.partial(sample_modalities, jax.random.key(6), Exact(), SDE, scale=1.5, num_steps=5, chunk=64)
    all_of_them = draw(range(40), MODALITIES, (4,), given=told)
    ids = np.array([30, 2, 17])
    some = draw(ids, MODALITIES, (4,), given={"b": told["b"][ids]})
    for name in ("a", "c"):
        np.testing.assert_array_equal(some[name], all_of_them[name][ids])


def test_the_same_question_is_asked_of_the_same_programs(caplog):
    def ask(seed):
        return sample_modalities(jax.random.key(seed), Exact(), SDE, range(8), MODALITIES, (4,), **OPTIONS)

    ask(0)
    with jax.log_compiles():
        ask(1)
    assert not [record for record in caplog.records if "ompil" in record.getMessage()]


def test_a_trained_network_comes_near_the_least_loss(rows):
    net = EpsMultimodal(SDE, MODALITIES, width=16, depth=1)
    config = OptimiserConfig(steps=200, batch_size=256, learning_rate=1e-2, steps_per_launch=200, ema=0.98)
    task = denoising_task(net, SDE, "eps", config.batch_size, (4,))
    fitted = fit(jax.random.key(0), task, config, data=rows)

    @jax.jit
    def judged(rows):
        held, weights = task.held_out(rows, None)
        exact = denoising_task(Exact(), SDE, "eps", config.batch_size, (4,))
        fresh = task.evaluate(task.init(jax.random.key(0)), None, held)
        return jnp.sum(weights * fresh), jnp.sum(weights * exact.evaluate(jnp.zeros(4), None, held))

    # Held-out rows are few: the exact prediction's loss on the same draws is what to come near.
    start, least = map(float, judged(rows))
    assert least == pytest.approx(least_loss(), abs=0.02)
    assert least - 0.01 < float(fitted.best_value[0]) < least + 0.015 and start > least + 0.045
    score = network_score(net, fitted.params, SDE)
    x, t = jnp.asarray(gaussian(200, seed=5)), jnp.full((200,), 0.3)
    apart = evaluate(score, x, jnp.repeat(t[:, None], 3, 1))
    np.testing.assert_allclose(evaluate(score, x, t), apart, rtol=1e-5, atol=1e-6)


def test_one_image_tells_another_what_stands_where():
    """Two images of white noise, the second nearly the first one turned upside down: no channel as a whole tells that,
    every place does, and what it tells shows in the loss.

    At times (t_1, t_2) each number x of an image has one counterpart z in the other, so that E|eps - E[eps | x, z]|^2
    is 1 - s_1^2 v_2 / (v_1 v_2 - (r a_1 a_2)^2) with v = a^2 + s^2, and 1 - s_1^2 / v_1 for who does not look at z.
    """
    correlation, shape = 0.95, (2, 4, 1)
    rng = np.random.default_rng(0)
    first = rng.normal(size=(8000, *shape))
    other = correlation * first[:, ::-1] + (1 - correlation**2) ** 0.5 * rng.normal(size=first.shape)
    x = jnp.asarray(np.concatenate([first, other], 1), jnp.float32)
    net = EpsMultimodal(SDE, halves((4, 4, 1)), channels=(16,), width=64, depth=1)
    config = OptimiserConfig(steps=300, batch_size=128, learning_rate=5e-3, steps_per_launch=300, ema=0.98)
    task = denoising_task(net, SDE, "eps", config.batch_size, x.shape[1:])
    data = {"x": x, "train": all_rows(len(x)), "held": all_rows(2000)}
    found = float(fit(jax.random.key(0), task, config, data=data).best_value[0])

    t = jnp.asarray(np.random.default_rng(3).uniform(SDE.t_min**0.5, 1.0, (100_000, 2)) ** 2)
    a, s = np.asarray(SDE.alpha(t), float), np.asarray(SDE.sigma(t), float)
    v = a**2 + s**2
    least = (1.0 - s[:, 0] ** 2 * v[:, 1] / (v[:, 0] * v[:, 1] - (correlation * a[:, 0] * a[:, 1]) ** 2)).mean()
    alone = (1.0 - s[:, 0] ** 2 / v[:, 0]).mean()
    assert least - 0.01 < found < least + 0.4 * (alone - least)


def test_what_can_not_be_drawn_is_refused():
    def draw(**options):
        return sample_modalities(jax.random.key(0), Exact(), SDE, range(3), MODALITIES, (4,), **options)

    one = np.zeros((3, 1))
    for options, said in (
        ({"drawn": ["d"]}, "unknown modality 'd': choose one of a, b, c"),
        ({"given": {"z": one}}, "unknown modality 'z'"),
        ({"drawn": ["b"], "given": {"b": one}}, "b is both given and asked for"),
        ({"given": {"a": np.zeros((3, 2)), "b": one, "c": one}}, "all modalities are given"),
        ({"given": {"a": one}}, r"a is given with shape \(3, 1\): it must be \(3, 2\)"),
        ({"scale": 2.0}, "guidance scale of 2 needs something"),
    ):
        with pytest.raises(UserError, match=said):
            draw(**options)
    with pytest.raises(UserError, match="no two modalities"):
        halves((1,))


class TestModalities:
    def test_rows_split_and_join_to_the_same_rows(self):
        x = gaussian(5).reshape(5, 2, 2)
        parts = MODALITIES.split(x)
        assert {name: part.shape for name, part in parts.items()} == {"a": (5, 2), "b": (5, 1), "c": (5, 1)}
        np.testing.assert_array_equal(MODALITIES.join(parts, (2, 2)), x)

    def test_halves_of_images_are_above_one_another(self):
        x = np.arange(2 * 5 * 4).reshape(2, 5, 4, 1)
        parts = halves((5, 4, 1)).split(x)
        np.testing.assert_array_equal(parts["upper"], x[:, :2])
        np.testing.assert_array_equal(parts["lower"], x[:, 2:])

    def test_text_is_bits_and_back(self):
        words = ["zero", "one", "seven"]
        text = Modality.text("word", words)
        bits = text.encode(words)
        assert bits.shape == (3, *text.shape) and set(np.unique(bits)) == {-1.0, 1.0}
        assert text.decode(bits + np.random.default_rng(0).uniform(-0.9, 0.9, bits.shape)) == words
        # Seven letters and the blank need three bits and leave none over; a flipped one is another character.
        assert text.decode(-bits) != words
        with pytest.raises(UserError, match="'eight' is no word"):
            text.encode(["eight"])
