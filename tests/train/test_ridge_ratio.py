"""The ratio by regression on a frozen network's features: known log-ratios, its optimum, its folds, and the option."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tests.helpers import spread_params
from tgdp_jax.errors import UserError
from tgdp_jax.nets.heads import frozen
from tgdp_jax.nets.readout import SMALL, TIMES, FeatureReadout
from tgdp_jax.sde import VP
from tgdp_jax.settings.networks import NetworkConfig
from tgdp_jax.train import ridge_ratio
from tgdp_jax.train.denoising import fresh_params
from tgdp_jax.train.ridge_ratio import _Domain, _regression, _whitening, fit_ridge_ratio
from tgdp_jax.train.session import QUIET
from tgdp_jax.transfer.heads import clean_log_ratio
from tgdp_jax.transfer.lora import lora
from tgdp_jax.transfer.networks import denoiser
from tgdp_jax.transfer.ratio import classifier_stage
from tgdp_jax.transfer.stages import named_key
from tgdp_jax.transfer.tgdp_denoising import _log_ratios

RNG = np.random.default_rng(0)


class Same(nn.Module):
    """A network whose only feature map is what comes in."""

    num_classes: int = 0

    @nn.compact
    def __call__(self, x, t, cond=None):
        return x * self.param("one", nn.initializers.ones, ())

    def encode(self, x, t, cond=None):
        return [x]


VARIABLES = frozen({"params": {"one": jnp.ones(())}})


def learn(source, target, *, num_classes=0, **options):
    net = FeatureReadout(Same(num_classes), VP(), num_classes)
    return fit_ridge_ratio(source, target, net=net, variables=VARIABLES, **options)


def rows(x, y=None):
    data = {"x": jnp.asarray(x, jnp.float32)}
    return data if y is None else {**data, "y": jnp.asarray(y, jnp.int32)}


def test_a_linear_log_ratio_is_recovered_at_all_rows(monkeypatch):
    """N(0, I) to N((1, 0), I), where log r = x_1 - 1/2; there are more source rows than it is fitted to."""
    monkeypatch.setattr(ridge_ratio, "ENOUGH", 1500)
    source, target = RNG.normal(size=(2000, 2)), np.array([1.0, 0.0]) + RNG.normal(size=(1000, 2))
    fitted = learn(rows(source), rows(target), folds=2)
    for x, learned in ((source, fitted.source_log_r), (target, fitted.target_log_r)):
        assert np.abs(np.asarray(learned) - (x[:, 0] - 0.5)).mean() < 0.15
    assert fitted.calibration.kl == pytest.approx(0.5, abs=0.1)
    assert sum(fitted.candidate_weights.values()) == pytest.approx(1.0)


def test_the_label_counts_where_the_ratio_is_the_joints():
    # Same x, other shares of the classes: log r is log(0.9/0.5) in class 0 and log(0.1/0.5) in class 1.
    source = rows(RNG.normal(size=(1000, 1)), RNG.integers(0, 2, 1000))
    target = rows(RNG.normal(size=(1000, 1)), RNG.random(1000) < 0.1)
    fitted = learn(source, target, num_classes=2, folds=2)
    learned = [float(fitted.log_ratio(jnp.zeros((1, 1)), jnp.full(1, label))[0]) for label in (0, 1)]
    np.testing.assert_allclose(learned, np.log([1.8, 0.2]), atol=0.3)


def test_few_rows_of_the_sources_own_kind_are_told_to_be_that():
    fitted = learn(rows(RNG.normal(size=(400, 16))), rows(RNG.normal(size=(10, 16))))
    assert np.abs(np.asarray(fitted.source_log_r)).mean() < 0.3


def test_the_regression_is_where_the_penalised_balanced_cross_entropy_is_least():
    p, q = (_Domain(RNG.normal(size=(num, 3)) + shift, np.arange(num) % 2) for num, shift in ((300, 0.0), (20, 0.7)))
    found = _regression(p, q, 0, 0.1)

    def objective(readout):
        logits = [readout[0] + domain.z[domain.fold != 0] @ readout[1:] for domain in (p, q)]
        error = 0.5 * jax.nn.softplus(logits[0]).mean() + 0.5 * jax.nn.softplus(-logits[1]).mean()
        return error + 0.05 * (readout[1:] ** 2).sum()

    slope = jax.grad(objective)(jnp.asarray(found, jnp.float32))
    np.testing.assert_allclose(slope, 0.0, atol=2e-4)
    assert np.abs(jax.grad(objective)(jnp.zeros(4))).max() > 0.05


def test_whitened_rows_have_no_correlation_and_directions_without_variance_are_left_out():
    x = RNG.normal(size=(500, 3)) @ RNG.normal(size=(3, 5)) * np.array([1.0, 10.0, 0.1, 1.0, 1.0]) + 4.0
    x = np.concatenate([x, np.ones((500, 1))], 1)
    mean, directions = _whitening(x, 64)
    z = (x - mean) @ directions
    assert z.shape == (500, 3)
    np.testing.assert_allclose(np.cov(z.T), np.eye(3), atol=1e-6)
    assert _whitening(x, 2)[1].shape == (6, 2)


def test_a_member_knows_nothing_of_the_rows_of_its_fold():
    source, target = RNG.normal(size=(200, 2)), RNG.normal(size=(6, 2)) + 1
    moved = target.copy()
    moved[4] = -30.0
    of = [
        learn(rows(source), rows(x), strengths=(0.1,)).log_ratio.params["params"]["readout"]["kernel"]
        for x in (target, moved)
    ]
    same = np.isclose(of[0], of[1], rtol=1e-4).all((1, 2))
    assert same.sum() == 1 and len(same) == 6


def test_features_are_mean_and_deviation_over_the_places_of_noised_rows():
    net, x = FeatureReadout(Same(), VP()), RNG.normal(size=(3, 4, 4, 2)).astype(np.float32)
    found = np.asarray(net.apply(VARIABLES, jnp.asarray(x), method="pooled"))
    expected = []
    for number, t in enumerate(TIMES):
        noise = np.asarray(jax.random.normal(jax.random.key(number), (4, 4, 2)))
        noised = float(VP().alpha(jnp.asarray(t))) * x + float(VP().sigma(jnp.asarray(t))) * noise
        expected += [noised.mean((1, 2)), np.sqrt(noised.var((1, 2)) + SMALL)]
    np.testing.assert_allclose(found, np.concatenate(expected, 1), rtol=1e-4, atol=1e-4)


def test_as_an_option_it_stands_on_the_source_and_is_cross_fitted():
    problem = tiny.problem()
    config = dataclasses.replace(tiny.TRAINING, classifier=dataclasses.replace(tiny.TRAINING.classifier, kind="ridge"))
    net, stage = denoiser(config, problem), classifier_stage(config, problem)
    source = spread_params(lambda key: fresh_params(key, net, problem.shape), scale=0.2)
    trees = {"source": {"params": source}}
    assert stage.needs == ("source",)
    trees["classifier"] = jax.tree.map(
        jnp.asarray, stage.run(named_key(0, "classifier"), trees, QUIET).artefact.to_tree()
    )
    together, folds = _log_ratios(lora(config, problem), trees)
    assert folds.shape == (4, len(problem.source))
    np.testing.assert_allclose(folds.mean(0), together, rtol=1e-3, atol=1e-4)
    ratio = clean_log_ratio(config, problem, trees)
    np.testing.assert_allclose(ratio(jnp.asarray(problem.source.x), None), together, rtol=1e-3, atol=1e-4)
    assert np.abs(folds[0] - folds[1]).max() > 1e-3


def test_a_network_without_features_is_refused():
    config = dataclasses.replace(
        tiny.TRAINING,
        network=NetworkConfig(kind="multimodal"),
        classifier=dataclasses.replace(tiny.TRAINING.classifier, kind="ridge"),
    )
    with pytest.raises(UserError, match="has no features"):
        classifier_stage(config, tiny.problem())
