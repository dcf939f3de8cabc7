"""Kernel density estimate and importance resampling."""

import jax
import numpy as np
import pytest
from scipy import stats

from tests import tiny
from tests.helpers import single_gaussian, standard_errors
from tgdp_jax.data.mixture import ExactLogRatio
from tgdp_jax.errors import UserError
from tgdp_jax.sde import VP
from tgdp_jax.train.session import QUIET
from tgdp_jax.transfer import METHODS
from tgdp_jax.transfer.kde import LEFT_OUT, kde_fit, kde_fit_classes
from tgdp_jax.transfer.resampling import ReferenceGenerator, weighted_choice

PROBLEMS = {
    "plane": np.random.default_rng(0).normal(size=(60, 2)),
    "two scales": np.concatenate(
        [np.random.default_rng(1).normal(size=(30, 1)), 0.01 * np.random.default_rng(2).normal(size=(30, 1)) + 9]
    ),
    "eight": 5 * np.random.default_rng(3).normal(size=(100, 8)),
    "pair": np.array([[0.0, 0.0], [3.0, 4.0]]),
}


def leave_one_out(x, h):
    """Straight from the definition, one row at a time."""
    n, d = x.shape
    total = 0.0
    for i in range(n):
        others = np.delete(x, i, axis=0)
        kernels = stats.multivariate_normal(x[i], h**2 * np.eye(d)).pdf(others)
        total += np.log(np.maximum(np.mean(kernels), 1e-300))
    return total / n


@pytest.mark.parametrize("x", PROBLEMS.values(), ids=PROBLEMS)
def test_bandwidth_maximises_the_leave_one_out_likelihood(x):
    h = kde_fit(x)
    best = max(leave_one_out(x, h * f) for f in np.geomspace(0.05, 20, 60))
    assert leave_one_out(x, h) >= best - 1e-6


def test_bandwidth_of_two_points_is_known():
    # One pair at distance r in d dimensions: h^2 = r^2 / d.
    assert kde_fit(PROBLEMS["pair"]) == pytest.approx(5 / np.sqrt(2), rel=1e-3)


def test_bandwidth_scales_with_the_data_and_falls_with_their_number():
    x = np.random.default_rng(4).normal(size=(400, 2))
    h = kde_fit(x)
    assert kde_fit(100 * x) == pytest.approx(100 * h, rel=1e-3)
    assert kde_fit(x[:40]) > h
    # Many rows: only some are left out, but all others serve as kernels.
    many = kde_fit(np.random.default_rng(5).normal(size=(LEFT_OUT + 500, 2)))
    assert many < h


def test_copies_of_a_row_are_left_out_with_it():
    x = PROBLEMS["plane"]
    assert kde_fit(np.concatenate([x, x[:3]])) == pytest.approx(kde_fit(x), rel=0.05)
    # All of them twice: the likelihood has the same maximum.
    assert kde_fit(np.concatenate([x, x])) == pytest.approx(kde_fit(x), rel=1e-3)


def test_rows_that_fix_no_bandwidth_are_refused():
    # The four corners of a square are no copies but what these data consist of.
    corners = np.random.default_rng(0).integers(0, 2, (40, 2))
    for x in (corners, np.ones((5, 2))):
        with pytest.raises(UserError, match="no bandwidth fits best"):
            kde_fit(x)
    mixed = np.concatenate([np.zeros((30, 2)), PROBLEMS["plane"]])
    assert kde_fit(mixed) > 0.01


def test_every_class_has_the_bandwidth_of_its_own_rows():
    rng = np.random.default_rng(0)
    narrow, wide = 0.01 * rng.normal(size=(30, 2)), 5 + rng.normal(size=(40, 2))
    alone, twins = np.array([[9.0, 9.0]]), np.array([[-3.0, 0.0], [-3.0, 0.0]])
    x = np.concatenate([narrow, wide, alone, twins])
    y = np.repeat([0, 1, 2, 4], [30, 40, 1, 2])
    found = kde_fit_classes(x, y, 5)
    assert found[0] == kde_fit(narrow) and found[1] == kde_fit(wide) and found[1] > 20 * found[0]
    # One row, no row, repeated rows alone.
    np.testing.assert_allclose(found[2:], 0.5 * (found[0] + found[1]))
    order = rng.permutation(len(x))
    np.testing.assert_allclose(kde_fit_classes(x[order], y[order], 5), found)


def test_classes_of_one_row_each_share_the_bandwidth_of_all_rows():
    x = PROBLEMS["plane"][:6]
    np.testing.assert_array_equal(kde_fit_classes(x, np.arange(6), 6), np.full(6, kde_fit(x)))
    with pytest.raises(UserError, match="at least two rows"):
        kde_fit_classes(x[:1], np.array([0]), 2)
    twins = kde_fit_classes(np.concatenate([x, x]), np.tile(np.arange(6), 2), 6)
    np.testing.assert_allclose(twins, kde_fit(x), rtol=1e-3)


def test_samples_of_a_class_spread_as_its_rows_do():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [40, 60])
    x = rng.normal(size=(100, 2)) * np.where(labels == 0, 0.01, 1.0)[:, None]
    widths = kde_fit_classes(x, labels, 2)
    generator = ReferenceGenerator(x, widths[labels], weighted_choice(np.ones(100), labels))
    cond = np.repeat([0, 1], 10_000)
    drawn = generator.draw(jax.random.key(0), np.arange(20_000), cond)
    for label in (0, 1):
        rows, samples = x[labels == label], drawn[cond == label]
        second = (samples - rows.mean(0)) ** 2
        assert (standard_errors(second, rows.var(0) + widths[label] ** 2) < 4).all()
    # Without labels a row keeps its own width.
    free = generator.draw(jax.random.key(1), np.arange(20_000))
    second = (free - x.mean(0)) ** 2
    assert (standard_errors(second, x.var(0) + (widths[labels] ** 2).mean()) < 4).all()


def test_a_conditional_problem_stores_a_bandwidth_a_class_under_settings_of_its_own():
    plain, labelled = (tiny.problem(config) for config in (tiny.GAUSSIANS, tiny.CONDITIONAL))
    stages = [METHODS["kde"].stages(tiny.TRAINING, problem)[0] for problem in (plain, labelled)]
    assert stages[0].uses == {} and stages[1].uses != {}
    artefact, _, info = stages[1].run(jax.random.key(0), {}, QUIET)
    tree = artefact.to_tree()
    expected = kde_fit_classes(labelled.target.x, labelled.target.y, labelled.num_classes)
    np.testing.assert_array_equal(tree["bandwidth"], np.float32(expected))
    assert info["bandwidth"] == expected.tolist()
    generator = METHODS["kde"].generator(tiny.TRAINING, labelled, {"kde": tree})
    np.testing.assert_array_equal(generator.bandwidth, np.float32(expected)[labelled.target.y])
    tree = stages[0].run(jax.random.key(0), {}, QUIET).artefact.to_tree()
    assert tree["bandwidth"] == np.float32(kde_fit(plain.target.x)) and np.shape(tree["bandwidth"]) == ()


def test_kde_samples_have_the_moments_of_the_estimate():
    x = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    equal = weighted_choice(np.ones(3), None)
    drawn = ReferenceGenerator(x, 0.5, equal).draw(jax.random.key(0), np.arange(20_000))
    assert drawn.shape == (20_000, 2)
    assert (standard_errors(drawn, x.mean(0)) < 4).all()
    second = (drawn - x.mean(0)) ** 2
    assert (standard_errors(second, x.var(0) + 0.25) < 4).all()
    np.testing.assert_array_equal(drawn[5:9], ReferenceGenerator(x, 0.5, equal).draw(jax.random.key(0), [5, 6, 7, 8]))


def resample(key, rows, weights, num, *, labels=None, cond=None):
    """Source rows drawn by weight, as the generator of the resampling reference does."""
    return ReferenceGenerator(rows, 0.0, weighted_choice(weights, labels)).draw(key, np.arange(num), cond)


def test_resampling_with_the_exact_ratio_gives_the_target():
    source, target = single_gaussian([0.0, 0.0], 1.0), single_gaussian([0.6, -0.3], 0.7)
    x = np.random.default_rng(1).normal(size=(50_000, 2)).astype(np.float32)
    weights = np.exp(np.asarray(ExactLogRatio(source, target, VP()).clean(x), np.float64))
    drawn = resample(jax.random.key(2), x, weights, 20_000)
    assert drawn.shape == (20_000, 2)
    np.testing.assert_allclose(drawn.mean(0), [0.6, -0.3], atol=0.03)
    np.testing.assert_allclose(np.cov(drawn.T), 0.7 * np.eye(2), atol=0.04)
    assert abs(x.mean(0)[0] - 0.6) > 0.5


def test_resampling_follows_the_weights():
    weights = np.array([0.0, 3.0, 0.0, 1.0, 0.0])
    drawn = resample(jax.random.key(3), np.arange(5, dtype=np.float32)[:, None], weights, 6000)
    share = np.bincount(drawn[:, 0].astype(int), minlength=5) / 6000
    assert share[0] == share[2] == share[4] == 0
    assert share[1] == pytest.approx(0.75, abs=4 * np.sqrt(0.75 * 0.25 / 6000))


def test_resampling_by_class_stays_within_the_class():
    rows, labels = np.arange(6, dtype=np.float32)[:, None], np.array([0, 0, 0, 1, 1, 1])
    cond = np.repeat([1, 0], 3000)
    drawn = resample(jax.random.key(4), rows, np.array([1.0, 2, 1, 0, 1, 1]), 6000, labels=labels, cond=cond)[:, 0]
    np.testing.assert_array_equal(labels[drawn.astype(int)], cond)
    assert (drawn[:3000] != 3).all()
    assert (drawn[3000:] == 1).mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(3000))


def test_bad_inputs_are_refused():
    x = np.zeros((3, 2))
    for bad in (np.nan * x, np.zeros((0, 2)), 1.0):
        with pytest.raises(UserError, match="finite numbers"):
            kde_fit(bad)
    with pytest.raises(UserError, match="at least two rows"):
        kde_fit(x[:1])
