"""Guidance where log h is known: every term of the loss is least there, and what was learned is used as it is."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tests.helpers import draw, evaluate, paper_pair, spread_params, standard_errors
from tgdp_jax.app.bench.flops import matmul_flops
from tgdp_jax.data.mixture import ExactLogRatio, ExactScore
from tgdp_jax.data.registry import load_problem
from tgdp_jax.errors import UserError
from tgdp_jax.nets import EpsUNet, GuidanceHead, GuidanceMLP
from tgdp_jax.nets.heads import frozen
from tgdp_jax.sde import VP
from tgdp_jax.train.batches import all_rows
from tgdp_jax.train.ensemble import EnsembleLogRatio
from tgdp_jax.train.guidance import GuidanceLoss, fit_guidance, guidance_task
from tgdp_jax.train.session import QUIET
from tgdp_jax.transfer import METHODS
from tgdp_jax.transfer.tgdp import guidance_stage

SDE = VP()
SOURCE, TARGET = paper_pair()
LOG_H = ExactLogRatio(SOURCE, TARGET, SDE)
NUM, ROWS = 20_000, 40_000
ETA = {"cycle": 0.5, "consistency": 0.25}
TERMS = ("guidance", "cycle", "consistency", "evaluate")


@dataclasses.dataclass(frozen=True)
class Scaled:
    """g = a log h."""

    num_classes: int = 0

    def apply(self, variables, x, t, cond):
        return variables["params"] * LOG_H(x, t)


def rows(mixture, seed):
    x = jnp.asarray(draw(mixture, ROWS, seed=seed)[0], jnp.float32)
    return {"x": x, "log_r": LOG_H.clean(x)}


@functools.cache
def slopes(terms, etas=(ETA["cycle"], ETA["consistency"])):
    """a -> {term: its derivative by a, one a row}; the members' weights are `etas`."""
    task = guidance_task(Scaled(), SDE, terms, 2 * NUM, (2,), validation_rows=NUM)
    data = {"source": rows(SOURCE, 0), "target": rows(TARGET, 1)}
    member = {name: all_rows(ROWS) for name in ("source_train", "target_train", "target_held")}
    member |= dict(zip(("eta1", "eta2"), map(jnp.asarray, etas), strict=True))
    frozen = {"source": ExactScore(SOURCE, SDE), "variables": {}, "noisy_ratio": LOG_H}

    @jax.jit
    def at(a, data, member):
        batch = task.draw(jax.random.key(0, impl="rbg"), data, member)
        found = jax.jacfwd(lambda a: task.loss({"params": a}, frozen, batch, 0, member))(a)
        held, _ = task.held_out(data, member)
        return found | {"evaluate": jax.jacfwd(lambda a: task.evaluate({"params": a}, frozen, held))(a)}

    return {a: at(jnp.asarray(a), data, member) for a in (0.5, 1.0, 1.5)}


@pytest.mark.parametrize(
    ("name", "pooled"), [("logistic", True), ("logistic", False), ("kl", True), ("classification", False)]
)
def test_every_term_and_the_judge_are_least_at_log_h(name, pooled):
    found = slopes(GuidanceLoss(loss=name, pooled=pooled, use_cycle=True))
    for term in TERMS:
        assert standard_errors(found[1.0][term], 0.0) < 4.5, term
        assert np.mean(found[0.5][term]) < 0 < np.mean(found[1.5][term]), term
        assert min(standard_errors(found[a][term], 0.0) for a in (0.5, 1.5)) > 5, term


def test_a_members_weights_and_the_schedule_multiply_the_regularisers_alone():
    plain = GuidanceLoss(use_cycle=True)
    scheduled = dataclasses.replace(plain, eta_schedule=lambda step: jnp.where(step == 0, 0.5, jnp.nan))
    known, twice, half = slopes(plain)[0.5], slopes(plain, (1.0, 0.5))[0.5], slopes(scheduled)[0.5]
    for term, factor in (("guidance", 1), ("cycle", 2), ("consistency", 2)):
        np.testing.assert_allclose(twice[term], factor * known[term], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(half[term], known[term] / factor, rtol=1e-4, atol=1e-5)


def ensemble(weights):
    net, x, t = GuidanceMLP(SDE, features=(8,)), jnp.ones((5, 2)), jnp.linspace(0.1, 0.9, 5)
    one = [spread_params(net.init, x, t, seed=seed) for seed in range(len(weights))]
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *one)
    return EnsembleLogRatio(params, jnp.asarray(weights), net), [functools.partial(net.apply, p) for p in one], x, t


def test_an_ensemble_is_the_weighted_mean_of_its_members():
    log_h, members, x, t = ensemble([0.3, 0.7])
    values = [member(x, t, None) for member in members]
    assert np.abs(values[0] - values[1]).min() > 1e-3
    np.testing.assert_allclose(log_h(x, t), 0.3 * values[0] + 0.7 * values[1], rtol=1e-5)
    slope = jax.grad(lambda x: log_h(x, t).sum())(x)
    np.testing.assert_allclose(log_h.gradient(x, t), slope, rtol=1e-4, atol=1e-6)


def heads_on_features(members):
    """Heads on the features of a frozen U-Net, and rows: (ensemble, x, t)."""
    unet, x, t = EpsUNet(SDE, channels=(8, 16)), jnp.ones((3, 8, 8, 1)), jnp.linspace(0.1, 0.9, 3)
    net = GuidanceHead(SDE, channels=(4,), features=(8,), source=unet)
    one = [{"params": spread_params(net.init, x, t, seed=seed)["params"]} for seed in range(members)]
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *one)
    weights = jnp.arange(1.0, members + 1)
    return EnsembleLogRatio(params, weights, net, frozen(spread_params(unet.init, x, t, None))), x, t


def test_members_on_a_frozen_network_pass_through_it_once():
    log_h, x, t = heads_on_features(2)
    slope = jax.jit(jax.grad(lambda x: log_h(x, t).sum()))(x)
    assert np.abs(slope).min() > 0
    np.testing.assert_allclose(jax.jit(log_h.gradient)(x, t), slope, rtol=1e-3, atol=1e-4 * np.abs(slope).max())
    one, two, three = (matmul_flops(ensemble.gradient, x, t) for ensemble, *_ in map(heads_on_features, (1, 2, 3)))
    features = log_h.net.shared(log_h.variables)
    seen, back = jax.vjp(lambda x: features(x, t, None), x)
    passes = matmul_flops(lambda x: features(x, t, None), x) + matmul_flops(back, seen)
    assert two - one == three - two  # a member's own layers
    assert one - (two - one) == pytest.approx(passes, rel=0.01)


@pytest.fixture(scope="module")
def problem():
    return load_problem(tiny.GAUSSIANS, n_target=tiny.N_TARGET, seed=0)


@pytest.fixture(scope="module")
def trees(problem):
    """What stages leave, weights as they fall."""
    source = METHODS["source"].stages(tiny.TRAINING, problem)[0].run(jax.random.key(0), {}, QUIET).artefact.to_tree()
    log_h, *_ = ensemble([0.3, 0.7])
    net = GuidanceMLP(SDE, tiny.TRAINING.guidance.features, data_std=problem.data_std)
    made = [spread_params(net.init, jnp.ones((1, 2)), jnp.ones(1), seed=seed) for seed in range(2)]
    guidance = {"params": jax.tree.map(lambda *leaves: jnp.stack(leaves), *made), "weights": log_h.weights}
    ratios = {"source_log_r": np.arange(len(problem.source)) / 100.0, "target_log_r": np.arange(tiny.N_TARGET) / 10.0}
    return {"source": source, "guidance": guidance, "classifier": ratios}


def test_samples_are_guided_by_scale_within_the_interval(problem, trees):
    x, t = jnp.asarray(problem.source.x[:40]), jnp.linspace(0.05, 0.95, 40)

    def score(**settings):
        guidance = dataclasses.replace(tiny.TRAINING.guidance, **settings)
        config = dataclasses.replace(tiny.TRAINING, guidance=guidance)
        return np.asarray(evaluate(METHODS["tgdp"].generator(config, problem, trees).score, x, t, None))

    plain, guided, twice = score(scale=0.0), score(), score(scale=2.0)
    source = METHODS["source"].generator(tiny.TRAINING, problem, trees).score
    np.testing.assert_allclose(plain, evaluate(source, x, t, None), rtol=1e-5, atol=1e-5)
    net = GuidanceMLP(SDE, tiny.TRAINING.guidance.features, data_std=problem.data_std)
    log_h = EnsembleLogRatio(trees["guidance"]["params"], trees["guidance"]["weights"], net)
    np.testing.assert_allclose(guided - plain, jax.jit(log_h.gradient)(x, t), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(twice - plain, 2 * (guided - plain), rtol=1e-3, atol=1e-4)
    expected = np.where(((t > 0.3) & (t < 0.6))[:, None], guided, plain)
    np.testing.assert_allclose(score(interval=(0.3, 0.6)), expected, rtol=1e-4, atol=1e-5)


def test_the_stage_hands_the_ratios_of_the_classifier_on(problem, trees, monkeypatch):
    handed = {}

    def record(*args, **kwargs):
        handed.update(kwargs)
        raise InterruptedError

    monkeypatch.setattr("tgdp_jax.transfer.tgdp.fit_guidance", record)
    with pytest.raises(InterruptedError):
        guidance_stage(tiny.TRAINING, problem).run(jax.random.key(0), trees, QUIET)
    for name, values in trees["classifier"].items():
        np.testing.assert_allclose(handed[name], values, rtol=1e-6)
    assert handed["consistency"] == tiny.TRAINING.guidance.consistency


def test_a_loss_without_what_it_needs_is_refused():
    args = jax.random.key(0), GuidanceMLP(SDE, features=(4,)), SDE, lambda x, t, cond=None: -x
    data = {"x": jnp.ones((20, 2))}, {"x": jnp.ones((6, 2))}
    with pytest.raises(UserError, match="source_log_r"):
        fit_guidance(*args, *data)
    with pytest.raises(UserError, match="target_log_r"):
        fit_guidance(*args, *data, source_log_r=jnp.zeros(20))
    ratios = {"source_log_r": jnp.zeros(20), "target_log_r": jnp.zeros(6)}
    with pytest.raises(UserError, match="noisy_ratio"):
        fit_guidance(*args, *data, **ratios, cycle=1.0)
