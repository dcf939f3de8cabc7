"""From logits to log ratios, and calibration of ratios that are known exactly."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from tests.helpers import density, draw, paper_pair, plane, single_gaussian, standard_errors
from tgdp_jax import density_ratio
from tgdp_jax.data.mixture import ExactLogRatio
from tgdp_jax.sde import VP

# Two unit Gaussians one apart: E_p r^2 = e, KL = 1/2, the log ratio is Gaussian with mean -+1/2 and variance 1.
SHIFT = single_gaussian([1.0], 1.0)
BASE = single_gaussian([0.0], 1.0)


def shifted_log_ratios(num=200_000, seed=0):
    """(log r at target rows, log r at source rows) of the pair above, from the exact ratio."""
    rng = np.random.default_rng(seed)
    ratio = ExactLogRatio(BASE, SHIFT, VP())
    rows = rng.normal(size=(2, num, 1)) + np.array([1.0, 0.0])[:, None, None]
    return tuple(ratio.clean(jnp.asarray(x)) for x in rows)


def test_self_normalised_ratio_has_mean_one_at_the_source_and_keeps_all_differences():
    rng = np.random.default_rng(1)
    source, target = jnp.asarray(rng.normal(3.0, 2.0, 500)), jnp.asarray(rng.normal(6.0, 2.0, 80))
    new_source, new_target = density_ratio.self_normalise(source, target)
    assert float(jnp.mean(jnp.exp(new_source))) == pytest.approx(1.0, rel=1e-5)
    np.testing.assert_allclose(new_source - new_source[0], source - source[0], atol=2e-5)
    np.testing.assert_allclose(new_target - new_source[0], target - source[0], atol=2e-5)


def test_self_normalisation_survives_logits_beyond_the_range_of_exp():
    source, target = density_ratio.self_normalise(jnp.asarray([-900.0, -901.0, -902.0]), jnp.asarray([-899.0]))
    total = np.exp([0.0, -1.0, -2.0]).sum()
    np.testing.assert_allclose(np.exp(source), 3 * np.exp([0.0, -1.0, -2.0]) / total, rtol=1e-4)
    np.testing.assert_allclose(np.exp(target), 3 * np.exp([1.0]) / total, rtol=1e-4)


def test_cap_bounds_a_single_runaway_row():
    log_r = jnp.asarray([0.0, 1.0, 50.0, 2.0])
    source, target = density_ratio.self_normalise(log_r, jnp.asarray([90.0, 2.5]), cap=3.0)
    total = np.exp([0.0, 1.0, 3.0, 2.0]).sum()
    np.testing.assert_allclose(np.exp(source), 4 * np.exp([0.0, 1.0, 3.0, 2.0]) / total, rtol=1e-5)
    np.testing.assert_allclose(np.exp(target), 4 * np.exp([3.0, 2.5]) / total, rtol=1e-5)
    # Without a cap in reach the other rows would be erased.
    assert density_ratio.self_normalise(log_r, log_r, cap=100.0)[0][0] < -40


def test_effective_sample_size_counts_equal_rows_and_sees_a_dominant_one():
    assert float(density_ratio.effective_sample_size(jnp.full(400, -7.0))) == pytest.approx(400, rel=1e-4)
    assert float(density_ratio.effective_sample_size(jnp.zeros(400).at[3].set(60.0))) == pytest.approx(1, rel=1e-4)
    half = jnp.where(jnp.arange(400) < 100, 0.0, -200.0)
    assert float(density_ratio.effective_sample_size(half)) == pytest.approx(100, rel=1e-4)
    weights = np.array([1.0, 2.0, 3.0])
    expected = weights.sum() ** 2 / (weights**2).sum()
    assert float(density_ratio.effective_sample_size(jnp.log(weights) + 500.0)) == pytest.approx(expected, rel=1e-4)


def test_pooled_weights_are_the_densities_over_the_half_and_half_mixture():
    source, target = paper_pair()
    x = np.random.default_rng(2).normal(size=(50, 2))
    p, q = density(source, x), density(target, x)
    log_w_p, log_w_q = density_ratio.pooled_log_weights(jnp.asarray(np.log(q / p)))
    np.testing.assert_allclose(np.exp(log_w_p), p / (0.5 * (p + q)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(np.exp(log_w_q), q / (0.5 * (p + q)), rtol=1e-4, atol=1e-6)


def test_pooled_weights_stay_below_two_for_any_ratio():
    log_w_p, log_w_q = density_ratio.pooled_log_weights(jnp.asarray([-300.0, -20.0, 0.0, 20.0, 300.0]))
    np.testing.assert_allclose(np.exp(log_w_p), [2, 2, 1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(np.exp(log_w_q), [0, 0, 1, 2, 2], atol=1e-6)


@pytest.mark.parametrize("decimals", [8, 1, 0])
def test_auc_agrees_with_scikit_learn_with_and_without_ties(decimals):
    rng = np.random.default_rng(3)
    target, source = rng.normal(0.7, 1.0, 230).round(decimals), rng.normal(0.0, 1.3, 410).round(decimals)
    labels = np.concatenate([np.ones(230), np.zeros(410)])
    expected = roc_auc_score(labels, np.concatenate([target, source]))
    assert density_ratio.auc(target, source) == pytest.approx(expected, abs=1e-12)
    assert density_ratio.auc(source, target) == pytest.approx(1 - expected, abs=1e-12)


def test_auc_of_a_constant_classifier_is_one_half():
    assert density_ratio.auc(np.zeros(5), np.zeros(9)) == 0.5


def test_cross_entropy_is_log_two_minus_the_jensen_shannon_divergence_at_the_exact_ratio():
    target, source = shifted_log_ratios()
    assert float(density_ratio.cross_entropy(jnp.zeros(4), jnp.zeros(6))) == pytest.approx(math.log(2), rel=1e-6)
    x = np.linspace(-12, 13, 20_001)
    p, q = stats.norm(0, 1).pdf(x), stats.norm(1, 1).pdf(x)
    middle = 0.5 * (p + q)
    divergence = 0.5 * np.sum(p * np.log(p / middle) + q * np.log(q / middle)) * (x[1] - x[0])
    exact = math.log(2) - divergence
    spread = math.hypot(np.logaddexp(0, -np.asarray(target)).std(), np.logaddexp(0, np.asarray(source)).std())
    error = 0.5 * spread / math.sqrt(len(target))
    assert abs(float(density_ratio.cross_entropy(target, source)) - exact) < 4.5 * error
    # No other scale of the logit does better.
    for scale in (0.7, 1.3):
        assert float(density_ratio.cross_entropy(scale * target, scale * source)) > exact + 4.5 * error


def test_calibration_of_the_exact_ratio_of_two_gaussians_reads_its_closed_form():
    target, source = shifted_log_ratios()
    num = len(target)
    measured = density_ratio.calibrate(target, source)
    ratio = np.exp(np.asarray(source, np.float64))
    assert abs(measured.mean_ratio - 1.0) < 4.5 * ratio.std() / math.sqrt(num)
    assert abs(measured.kl - 0.5) < 4.5 / math.sqrt(num)  # the log ratio has variance one
    assert abs(measured.auc - stats.norm.cdf(1 / math.sqrt(2))) < 4.5 * 0.5 / math.sqrt(num)
    # (E r)^2 / E r^2 = 1/e; its error is dominated by that of the second moment.
    assert measured.effective_sample_size / num == pytest.approx(
        math.exp(-1), rel=4.5 * (ratio**2).std() / math.sqrt(num)
    )
    assert measured.cross_entropy == float(density_ratio.cross_entropy(target, source))


def test_calibration_on_the_paper_mixtures_matches_quadrature():
    source, target = paper_pair()
    nodes, cell = plane(-3.5, 3.5, 401, 2)
    p, q = density(source, nodes), density(target, nodes)
    exact_kl = float((q * np.log(q / p)).sum() * cell)
    ratio = ExactLogRatio(source, target, VP())
    at_target, at_source = (np.asarray(ratio.clean(jnp.asarray(draw(m, 200_000, seed=4)[0]))) for m in (target, source))
    measured = density_ratio.calibrate(jnp.asarray(at_target), jnp.asarray(at_source))
    assert standard_errors(at_target, exact_kl) < 4.5 and measured.kl == pytest.approx(at_target.mean(), rel=1e-4)
    assert standard_errors(np.exp(at_source), 1.0) < 4.5
    assert measured.mean_ratio == pytest.approx(np.exp(at_source.astype(np.float64)).mean(), rel=1e-4)


def test_calibration_shows_a_ratio_that_is_off_by_a_constant():
    target, source = shifted_log_ratios(50_000)
    exact, off = (density_ratio.calibrate(target + c, source + c) for c in (0.0, 1.0))
    assert off.mean_ratio == pytest.approx(math.e * exact.mean_ratio, rel=1e-4)
    assert off.kl == pytest.approx(exact.kl + 1.0, rel=1e-4)
    assert off.auc == pytest.approx(exact.auc, abs=1e-6)  # rounding turns a few neighbours into ties
    assert off.effective_sample_size == pytest.approx(exact.effective_sample_size, rel=1e-4)


def test_logits_that_are_too_large_are_shrunk_to_the_exact_ratio():
    target, source = shifted_log_ratios(50_000)
    for factor in (1.5, 4.0):
        assert density_ratio.shrinkage(factor * target, factor * source) == pytest.approx(1 / factor, rel=0.05)


def test_logits_that_say_nothing_are_shrunk_to_nothing():
    noise = np.random.default_rng(0).normal(size=(2, 20_000)) * 3
    assert density_ratio.shrinkage(*jnp.asarray(noise)) < 0.02


def test_logits_are_never_enlarged_nor_shrunk_without_evidence():
    target, source = shifted_log_ratios(50_000)
    assert density_ratio.shrinkage(0.5 * target, 0.5 * source) == 1.0
    # A few rows whose best scale is below one, by less than the choice of a scale is worth.
    few, many = jnp.asarray([2.0, 1.5, -1.0]), jnp.asarray([-1.0, 0.5, -0.5, 0.0])
    gain = density_ratio.cross_entropy(few, many) - density_ratio.cross_entropy(0.9 * few, 0.9 * many)
    assert 0 < gain < 1 / 6 and density_ratio.shrinkage(few, many) == 1.0


def test_source_rows_count_as_many_as_target_rows_as_evidence_for_shrinking():
    few, many = jnp.asarray([3.0, 2.0, -3.0]), jnp.asarray([-1.0, 0.5, -0.5, 0.0])
    gain = density_ratio.cross_entropy(few, many) - density_ratio.cross_entropy(0.25 * few, 0.25 * many)
    assert 0.5 < len(few) * gain < 1  # enough of six rows, too little of three
    assert density_ratio.shrinkage(few, many) == pytest.approx(0.25, abs=0.01)
