"""Wherever a registered name is accepted, so is one's own function; what does not fit is refused in one sentence."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.helpers import paper_pair, single_gaussian
from tgdp_jax import losses
from tgdp_jax.data.augment import augment
from tgdp_jax.data.augmentations import AUGMENTATIONS
from tgdp_jax.data.mixture import ExactLogRatio, ExactScore
from tgdp_jax.errors import UserError
from tgdp_jax.guidance import domain_guidance, log_ratio_guidance
from tgdp_jax.nets import EpsMLP, GeneratorMLP, GuidanceMLP
from tgdp_jax.nets.embedding import TimeFeatures
from tgdp_jax.nets.gan import DiscriminatorMLP
from tgdp_jax.nets.precondition import residual_weight
from tgdp_jax.prediction import convert, network_score
from tgdp_jax.registry import ADVERSARIAL_LOSSES, PREDICTIONS, Prediction
from tgdp_jax.sampling import GRIDS, SOLVERS, Solver, log_likelihood, sample
from tgdp_jax.sde import VE, VP
from tgdp_jax.train.classifier import fit_log_ratio
from tgdp_jax.train.denoising import denoising_task
from tgdp_jax.train.gan import Game, Players, gan_task
from tgdp_jax.train.guidance import GuidanceLoss, fit_guidance, guidance_task
from tgdp_jax.train.optimiser import OptimiserConfig, as_config, make_optimiser
from tgdp_jax.train.registry import REGULARISERS, Regulariser

SDE, KEY = VP(), jax.random.key(0)
SOURCE, TARGET = paper_pair()
SCORE = ExactScore(SOURCE, SDE)
SHORT = OptimiserConfig(steps=20, batch_size=32, steps_per_launch=10, validation_rows=64)


def draw(**options):
    return sample(KEY, SCORE, SDE, 8, (2,), num_steps=6, chunk=8, **options)


# A name and its own function are the same thing


@pytest.mark.parametrize("name", GRIDS)
def test_a_grid_is_its_function(name):
    own = GRIDS[name]
    np.testing.assert_allclose(draw(grid=lambda sde, n: own(sde, n)), draw(grid=name), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["dpmpp_2m", "ancestral", "heun"])
def test_a_solver_is_its_step(name):
    np.testing.assert_array_equal(draw(solver=SOLVERS[name].step), draw(solver=name))
    np.testing.assert_array_equal(draw(solver=SOLVERS[name]), draw(solver=name))


@pytest.mark.parametrize("name", PREDICTIONS)
def test_a_prediction_is_its_value(name):
    out, x, t = *jax.random.normal(KEY, (2, 5, 3)), jnp.linspace(0.1, 0.9, 5)
    for target in ("x0", PREDICTIONS["x0"]):
        found = convert(out, x, t, SDE, source=PREDICTIONS[name], target=target)
        np.testing.assert_array_equal(found, convert(out, x, t, SDE, source=name, target="x0"))


def test_an_own_prediction_gives_its_score():
    """A network that says twice the noise."""
    twice = Prediction(lambda out, x, alpha, sigma: out / 2, lambda eps, x, alpha, sigma: 2 * eps)
    net = EpsMLP(SDE, (8,))
    x, t = jax.random.normal(KEY, (4, 2)), jnp.linspace(0.1, 0.9, 4)
    params = net.init(KEY, x, t)
    eps, own = (network_score(net, params, SDE, prediction=kind)(x, t, None) for kind in ("eps", twice))
    np.testing.assert_allclose(own, eps / 2, rtol=1e-6)


def test_augmentations_weightings_and_embeddings_are_their_functions():
    x = jax.random.normal(KEY, (4, 8, 8, 1))
    for name, own in AUGMENTATIONS.items():
        np.testing.assert_array_equal(augment(KEY, x, kind=own), augment(KEY, x, kind=name))
    np.testing.assert_array_equal(augment(KEY, x, kind=lambda key, x: -x), -x)
    net = EpsMLP(SDE, (8,), data_std=0.7)
    params = net.init(KEY, jnp.zeros((1, 2)), jnp.ones(1))
    batch = *jax.random.normal(KEY, (1, 16, 2)), jnp.linspace(0.1, 1, 16), jax.random.normal(KEY, (16, 2)), None

    def errors(**options):
        return denoising_task(net, SDE, "eps", 8, (2,), **options).evaluate(params, None, batch)

    np.testing.assert_array_equal(errors(weighting=residual_weight), errors(weighting="edm"))
    own = errors(weighting=lambda x, t, sde, std: 3 * sde.sigma(t))
    np.testing.assert_allclose(own, 3 * SDE.sigma(batch[1]) * errors(), rtol=1e-5)
    # One's own loss, weighed likewise.
    absolute = errors(loss=lambda eps_hat, eps: jnp.abs(eps_hat - eps).mean(-1), weighting=lambda x, t, sde, std: 2 * t)
    assert np.abs(absolute / (2 * batch[1]) - errors()).max() > 0.1
    square = errors(loss=lambda eps_hat, eps: ((eps_hat - eps) ** 2).mean(-1), weighting=lambda x, t, sde, std: 2 * t)
    np.testing.assert_allclose(square, 2 * batch[1] * errors(), rtol=1e-5)
    t = jnp.array([0.2, 0.7])
    features = TimeFeatures(SDE, lambda t, sde: jnp.stack([t, sde.sigma(t)], -1)).apply({}, t)
    np.testing.assert_array_equal(features, jnp.stack([t, SDE.sigma(t)], -1))


def rows(mixture, num, seed):
    return np.asarray(mixture.sample(jax.random.key(seed), num)[0])


def test_a_guidance_loss_is_its_function():
    log_h = ExactLogRatio(SOURCE, TARGET, SDE)
    source, target = rows(SOURCE, 60, 0), rows(TARGET, 20, 1)
    given = {"source_log_r": log_h.clean(source), "target_log_r": log_h.clean(target), "folds": 2}
    given |= {"consistency": (1.0,), "optimiser": SHORT}

    def curve(loss):
        net, terms = GuidanceMLP(SDE, (8,)), GuidanceLoss(loss=loss)
        return fit_guidance(KEY, net, SDE, SCORE, source, target, terms=terms, **given).history["guidance"]

    np.testing.assert_allclose(curve(lambda g, log_r, log_w: losses.kl(g, log_r, log_w)), curve("kl"), rtol=1e-5)
    assert np.abs(curve(lambda g, log_r, log_w: 2 * losses.kl(g, log_r, log_w))[0] / curve("kl")[0] - 2) < 0.2


def test_regularisers_and_optimisers_may_be_ones_own():
    source, target = rows(SOURCE, 60, 0), rows(TARGET, 20, 1)

    def found(regulariser, optimiser=SHORT):
        options = {"regularisers": (regulariser,), "folds": 2, "optimiser": optimiser}
        return fit_log_ratio(KEY, source, target, **options)

    named, own = found("mixup"), found(REGULARISERS["mixup"])
    np.testing.assert_array_equal(named.source_log_r, own.source_log_r)
    assert list(named.candidate_weights) == ["mixup"] and list(own.candidate_weights) == [str(REGULARISERS["mixup"])]
    # What does not move learns nothing: the weights are those at the start.
    still = found(Regulariser(), SHORT.using(optax.sgd(0.0)))
    assert np.ptp(still.history["validation"]) < 1e-6 < np.ptp(named.history["validation"])


def test_an_own_optimiser_or_schedule_makes_the_steps():
    params, grads = {"k": jnp.ones((2, 2)), "b": jnp.ones(2)}, {"k": jnp.full((2, 2), 5.0), "b": jnp.ones(2)}

    def step(config, **options):
        optimiser = make_optimiser(config, **options)
        return optimiser.update(grads, optimiser.init(params), params)[0]

    np.testing.assert_allclose(step(SHORT.using(optax.sgd(0.1)))["k"], -0.5)
    # Weight decay joins the gradients, of matrices alone.
    decayed = step(SHORT.using(optax.sgd(0.1)), weight_decay=jnp.asarray(2.0))
    np.testing.assert_allclose([decayed["k"][0, 0], decayed["b"][0]], [-0.7, -0.1], rtol=1e-6)
    np.testing.assert_allclose(step(SHORT.using(schedule=lambda step: 0.25))["b"], -0.25, rtol=1e-3)
    assert as_config(optax.adam(1e-3), SHORT).steps == SHORT.steps and as_config(SHORT, OptimiserConfig()) is SHORT


def test_an_own_adversarial_loss_is_a_value():
    players = Players(GeneratorMLP((2,), 4, (8,)), DiscriminatorMLP((8,)))
    named, own = (gan_task(players, Game(loss=loss), 8, (2,)) for loss in ("wasserstein", *_own_adversarial()))
    params = named.init(KEY)
    batch = (*jax.random.normal(KEY, (1, 8, 2)), None, jax.random.normal(KEY, (8, 4)), jnp.linspace(0, 1, 8))
    first, second = (task.loss(params, {}, batch, 0, None) for task in (named, own))
    jax.tree.map(np.testing.assert_array_equal, first, second)


def _own_adversarial():
    return (ADVERSARIAL_LOSSES["wasserstein"],)


# What does not fit

NET = EpsMLP(SDE, (8,))
MISFITS = {
    "unknown grid": (lambda: draw(grid="cosine"), "unknown time grid 'cosine': choose one of blend, edm, log_snr"),
    "grid's arguments": (
        lambda: draw(grid=lambda n: n),
        r"a time grid takes \(sde, num_steps\), but <lambda> takes \(n\)",
    ),
    "grid's length": (
        lambda: draw(grid=lambda sde, n: jnp.linspace(1, sde.t_min, n)),
        "of 6 steps is 7 decreasing times",
    ),
    "grid's order": (lambda: draw(grid=lambda sde, n: jnp.linspace(sde.t_min, 1, n + 1)), "not from 0.001 to 1"),
    "grid's end": (lambda: draw(grid=lambda sde, n: jnp.linspace(1, 0, n + 1)), "not from 1 to 0"),
    "no grid": (lambda: draw(grid=3), r"time grid is 3: give one of .* or a function of \(sde, num_steps\)"),
    "unknown solver": (lambda: draw(solver="rk"), "unknown solver 'rk': choose one of ancestral"),
    "step's arguments": (
        lambda: draw(solver=lambda x, t: x),
        r"a solver takes \(sde, predict, point, x, memory, noise\)",
    ),
    "solver's step": (lambda: draw(solver=Solver(lambda x, t: x, 1)), r"a solver takes \(sde, predict"),
    "unknown loss": (
        lambda: GuidanceLoss(loss="mae"),
        "unknown guidance loss 'mae': choose one of cep, classification",
    ),
    "loss's arguments": (lambda: GuidanceLoss(loss=lambda g: g), r"a guidance loss takes \(g, log_r, log_w\)"),
    "augmentation's arguments": (
        lambda: augment(KEY, jnp.ones((2, 2)), kind=lambda x: x),
        r"an augmentation takes \(key",
    ),
    "augmentation's shape": (
        lambda: augment(KEY, jnp.ones((2, 2)), kind=lambda key, x: x[:1]),
        "must keep their shape",
    ),
    "unknown weighting": (lambda: denoising_task(NET, SDE, "eps", 8, (2,), weighting="snr"), "unknown weighting 'snr'"),
    "weighting's arguments": (
        lambda: denoising_task(NET, SDE, "eps", 8, (2,), weighting=lambda t: t),
        r"a weighting takes \(x, t, sde, data_std\)",
    ),
    "denoising loss": (lambda: denoising_task(NET, SDE, "eps", 8, (2,), loss=lambda e: e), r"takes \(eps_hat, eps\)"),
    "unknown prediction": (lambda: network_score(NET, {}, SDE, prediction="mu"), "unknown prediction 'mu'"),
    "no prediction": (
        lambda: network_score(NET, {}, SDE, prediction=3),
        "prediction is 3: give one of .* or a Prediction",
    ),
    "unknown regulariser": (
        lambda: fit_log_ratio(KEY, np.ones((4, 2)), np.ones((4, 2)), regularisers=("l1",)),
        "unknown regulariser 'l1'",
    ),
    "adversarial": (
        lambda: gan_task(Players(GeneratorMLP((2,), 4), None), Game(loss="hinge"), 8, (2,)),
        "unknown adversarial loss 'hinge'",
    ),
    "embedding": (lambda: TimeFeatures(SDE, "sin").apply({}, jnp.ones(2)), "unknown time embedding 'sin'"),
    "embedding's shape": (lambda: TimeFeatures(SDE, lambda t, sde: t).apply({}, jnp.ones(2)), r"must be \[B, F\]"),
    "optimiser": (
        lambda: fit_log_ratio(KEY, np.ones((4, 2)), np.ones((4, 2)), optimiser="adam"),
        "optimiser is 'adam': give an OptimiserConfig or an optax optimiser",
    ),
    "score's arguments": (
        lambda: sample(KEY, lambda x: -x, SDE, 2, (1,)),
        r"a score takes \(x, t, cond\), but <lambda> ta",
    ),
    "no score": (lambda: sample(KEY, 3, SDE, 2, (1,)), r"a score takes \(x, t, cond\), but int is no function"),
    "cond for two arguments": (
        lambda: sample(KEY, lambda x, t: -x, SDE, 2, (1,), cond=np.arange(2)),
        r"takes \(x, t\) and no labels",
    ),
    "log-ratio's arguments": (lambda: log_ratio_guidance(lambda x: x)(SCORE), r"a log-ratio takes \(x, t, cond\)"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_what_does_not_fit_is_refused_in_one_sentence(case):
    act, message = MISFITS[case]
    with pytest.raises(UserError, match=message) as error:
        act()
    assert "\n" not in str(error.value)


def test_a_loss_that_is_reduced_is_refused():
    log_h = ExactLogRatio(SOURCE, TARGET, SDE)
    source, target = rows(SOURCE, 60, 0), rows(TARGET, 20, 1)
    ratios = {"source_log_r": log_h.clean(source), "target_log_r": log_h.clean(target), "optimiser": SHORT}
    terms = GuidanceLoss(loss=lambda g, log_r, log_w: jnp.mean(g))
    with pytest.raises(UserError, match=r"must be \[K\]"):
        fit_guidance(KEY, GuidanceMLP(SDE, (8,)), SDE, SCORE, source, target, terms=terms, **ratios)


def test_tasks_of_one_function_are_one_task():
    def square(g, log_r, log_w):
        return g**2

    net = GuidanceMLP(SDE, (8,))
    first, second = (guidance_task(net, SDE, GuidanceLoss(loss=square), 8, (2,)) for _ in range(2))
    assert first is second


# The front of the sampler


def test_a_number_is_a_count():
    x = draw()
    assert x.shape == (8, 2)
    np.testing.assert_array_equal(sample(KEY, SCORE, SDE, range(8), (2,), num_steps=6, chunk=8), x)
    np.testing.assert_array_equal(sample(KEY, SCORE, SDE, np.array([3]), (2,), num_steps=6, chunk=8), x[3:4])
    for bad in (-1, 2.0, True):
        with pytest.raises(UserError, match="or a count"):
            sample(KEY, SCORE, SDE, bad, (2,))


def test_a_score_of_two_arguments_is_a_score():
    def plain(x, t):
        return SCORE(x, t, None)

    def full(x, t, cond):
        return SCORE(x, t, cond)

    options = {"num_steps": 6, "chunk": 8}
    two, three = (sample(KEY, fn, SDE, 8, (2,), **options) for fn in (plain, full))
    np.testing.assert_array_equal(two, three)
    # Objects that wrap a function take what it takes.
    own_slope = jax.custom_jvp(plain)
    own_slope.defjvp(lambda primals, tangents: jax.jvp(plain, primals, tangents))
    for wrapped in (own_slope, jax.jit(plain), jax.tree_util.Partial(plain)):
        np.testing.assert_array_equal(sample(KEY, wrapped, SDE, 8, (2,), **options), three)
    guided = log_ratio_guidance(lambda x, t: -jnp.sum(x**2, -1), scale=0.0)(plain)
    np.testing.assert_allclose(sample(KEY, guided, SDE, 8, (2,), **options), three, rtol=1e-5, atol=1e-6)
    guided = domain_guidance(plain, scale=2.0)(full)
    np.testing.assert_allclose(sample(KEY, guided, SDE, 8, (2,), **options), three, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(log_likelihood(two, plain, SDE), log_likelihood(two, full, SDE))
    # Parameters of such a function are arguments of one program, as any others.
    traces = []

    def scaled(scale, x, t):
        traces.append(1)
        return -scale * x

    for scale in (1.0, 2.0):
        sample(KEY, jax.tree_util.Partial(scaled, jnp.asarray(scale)), SDE, 8, (2,), **options)
    assert len(traces) == 1 and len(inspect.signature(scaled).parameters) == 3


def test_samples_that_run_away_are_warned_of(recwarn):
    with pytest.warns(UserWarning, match=r"8 of 8 samples ran away \(0 are not finite, the others lie beyond 1000\)"):
        sample(KEY, lambda x, t: 20.0 * x, SDE, 8, (2,), num_steps=10, chunk=8)
    with pytest.warns(UserWarning, match=r"8 of 8 samples ran away \(8 are not finite"):
        sample(KEY, lambda x, t: x * jnp.nan, SDE, 8, (2,), num_steps=2, chunk=8)
    recwarn.clear()
    draw()
    # A large prior, and data of a large scale, are no runaways.
    wide = single_gaussian([2000.0], 1.0)
    sde = VE(0.01, 10.0)
    assert np.abs(sample(KEY, ExactScore(wide, sde), sde, 4, (1,), chunk=8)).max() > 1000
    assert not [warning for warning in recwarn if "ran away" in str(warning.message)]
