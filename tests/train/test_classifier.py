"""The domain classifier: exact log-ratios are recovered, and held-out values come from members that held them out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests.helpers import density, draw, mixture, plane
from tgdp_jax.train.batches import Rows
from tgdp_jax.train.classifier import REGULARISERS, _mixup_shares, _out_of_fold, fit_log_ratio
from tgdp_jax.train.optimiser import OptimiserConfig

FOLDS = 2
OPTIMISER = OptimiserConfig(steps=300, batch_size=128, learning_rate=5e-3, steps_per_launch=50)


def learn(source, target, *, key=0, optimiser=OPTIMISER, regularisers=("weight_decay",), folds=FOLDS, **options):
    parts = [
        {name: jnp.asarray(v, jnp.int32 if name == "y" else jnp.float32) for name, v in part.items()}
        for part in (source, target)
    ]
    options = {"features": (32, 32)} | options
    return fit_log_ratio(
        jax.random.key(key), *parts, folds=folds, regularisers=regularisers, optimiser=optimiser, **options
    )


@pytest.fixture(scope="module")
def line():
    """N(0, 1) to N(1, 1), where log r = x - 1/2, and what is learned from it."""
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(4000, 1)), 1 + rng.normal(size=(2000, 1))
    return source, target, learn({"x": source}, {"x": target})


def test_a_linear_log_ratio_is_recovered(line):
    source, target, fitted = line
    for x, learned in ((source, fitted.source_log_r), (target, fitted.target_log_r)):
        # Saying nothing (log r = 0) would err by about 1, half or twice the slope by about 0.5.
        assert np.abs(np.asarray(learned) - (x[:, 0] - 0.5)).mean() < 0.15
    grid = np.linspace(-1.5, 2.5, 9)[:, None]
    np.testing.assert_allclose(fitted.log_ratio(jnp.asarray(grid, jnp.float32)), grid[:, 0] - 0.5, atol=0.4)


def test_calibration_reads_what_the_exact_ratio_would(line):
    calibration = line[2].calibration
    x, width = plane(-8, 9, 4001, 1)
    p, q = stats.norm.pdf(x[:, 0]), stats.norm.pdf(x[:, 0], loc=1)
    log_r = x[:, 0] - 0.5
    cross_entropy = width * (0.5 * q * np.log1p(np.exp(-log_r)) + 0.5 * p * np.log1p(np.exp(log_r))).sum()
    assert calibration.auc == pytest.approx(stats.norm.cdf(np.sqrt(0.5)), abs=0.03)
    assert calibration.cross_entropy == pytest.approx(cross_entropy, abs=0.03)
    assert calibration.kl == pytest.approx(0.5, abs=0.15)
    assert calibration.mean_ratio == pytest.approx(1.0, abs=0.2)
    # E_p[r^2] = e for this pair.
    assert calibration.effective_sample_size == pytest.approx(4000 / np.e, rel=0.3)


def test_a_curved_log_ratio_is_recovered():
    p = mixture([[0.5, 0.5], [-0.5, -0.5]], 0.3, [0.5, 0.5])
    q = mixture([[0.5, -0.5], [-0.5, 0.5]], 0.3, [0.5, 0.5])
    source, target = draw(p, 4000, seed=0)[0], draw(q, 2000, seed=1)[0]
    fitted = learn({"x": source}, {"x": target})
    for x, learned in ((source, fitted.source_log_r), (target, fitted.target_log_r)):
        exact = np.log(density(q, x) / density(p, x))
        error = np.abs(np.asarray(learned) - exact).mean()
        # No linear function explains any of it: the log-ratio is odd in each coordinate.
        assert error < 0.35 * np.abs(exact).mean()
    assert fitted.history["step"].tolist() == list(range(50, 301, 50))


def test_labels_are_used_where_the_ratio_is_the_joints():
    # Within class 1 the target lies to the right of the source, within class 0 to the left; the classes are as common
    # in both, and without the label x says little.
    rng = np.random.default_rng(2)
    ys, yt = rng.integers(0, 2, 4000), rng.integers(0, 2, 2000)
    source = {"x": rng.normal(size=(4000, 1)), "y": ys}
    target = {"x": rng.normal(size=(2000, 1)) + np.where(yt == 1, 1.0, -1.0)[:, None], "y": yt}
    fitted = learn(source, target, num_classes=2)
    x = jnp.linspace(-1.5, 1.5, 7)[:, None]
    for label, sign in ((1, 1.0), (0, -1.0)):
        learned = fitted.log_ratio(x, jnp.full(7, label))
        np.testing.assert_allclose(learned, sign * np.linspace(-1.5, 1.5, 7) - 0.5, atol=0.5)
    exact = np.where(ys == 1, 1.0, -1.0) * source["x"][:, 0] - 0.5
    assert np.abs(np.asarray(fitted.source_log_r) - exact).mean() < 0.2


def test_a_shift_of_the_classes_alone_is_seen():
    # Same x, other shares of the classes: log r is log(0.9/0.5) in class 0 and log(0.1/0.5) in class 1.
    rng = np.random.default_rng(3)
    source = {"x": rng.normal(size=(4000, 1)), "y": rng.integers(0, 2, 4000)}
    target = {"x": rng.normal(size=(2000, 1)), "y": (rng.random(2000) < 0.1).astype(int)}
    fitted = learn(source, target, num_classes=2)
    learned = [float(fitted.log_ratio(jnp.zeros((1, 1)), jnp.full(1, label))[0]) for label in (0, 1)]
    np.testing.assert_allclose(learned, np.log([1.8, 0.2]), atol=0.35)


ONE_LAUNCH = OptimiserConfig(steps=20, batch_size=32, learning_rate=1e-2, steps_per_launch=20)


@pytest.mark.parametrize("moved", ["target", "source"])
def test_held_out_rows_were_really_held_out(moved):
    """A row that no one trains on may be moved at will: exactly the members that hold it out must stay the same."""
    rng = np.random.default_rng(4)
    rows = {"source": rng.normal(size=(100, 1)), "target": rng.normal(size=(6, 1)) + 1}
    far = {name: x.copy() for name, x in rows.items()}
    far[moved][3] = 40.0
    folds = 3
    # One launch: validation, which does see the row, can choose nothing.
    before, after = (
        learn({"x": r["source"]}, {"x": r["target"]}, optimiser=ONE_LAUNCH, folds=folds) for r in (rows, far)
    )
    probe = jnp.linspace(-2.0, 2.0, 11)[:, None]
    same = np.all(np.asarray(before.log_ratio.members(probe)) == np.asarray(after.log_ratio.members(probe)), axis=1)
    assert same.sum() == 1, "exactly one of three folds holds the row out"
    if moved == "target":
        # The value reported for the row is that member's, and no average with the others.
        members = np.asarray(after.log_ratio.members(jnp.asarray(far["target"], jnp.float32)))
        np.testing.assert_allclose(after.target_log_r[3], members[same, 3][0], rtol=1e-5)
        assert abs(members[:, 3].mean() - members[same, 3][0]) > 1e-3


def test_out_of_fold_values_average_over_candidates():
    # Members: (candidate, fold) = (0, 0), (0, 1), (1, 0), (1, 1), the second candidate thrice as heavy.
    logits = jnp.asarray([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0], [100.0, 200.0, 300.0], [1000.0, 2000.0, 3000.0]])
    weights = jnp.asarray([0.125, 0.125, 0.375, 0.375])
    held = Rows(jnp.asarray([[2, 0], [1, 1]]), jnp.asarray([2, 1]))
    out = _out_of_fold(logits, weights, np.array([0, 1, 0, 1]), held)
    expected = [0.25 * 1 + 0.75 * 100, 0.25 * 20 + 0.75 * 2000, 0.25 * 3 + 0.75 * 300]
    np.testing.assert_allclose(out, expected, rtol=1e-6)


def test_without_a_difference_nothing_is_claimed():
    # Few rows of one distribution: members memorise theirs, held-out values must not show it.
    rng = np.random.default_rng(5)
    source, target = rng.normal(size=(400, 8)), rng.normal(size=(40, 8))
    optimiser = OptimiserConfig(steps=200, batch_size=64, learning_rate=1e-2, steps_per_launch=200)
    fitted = learn({"x": source}, {"x": target}, optimiser=optimiser, regularisers=("noise_0.2",))
    members = np.asarray(fitted.log_ratio.members(jnp.asarray(target, jnp.float32)))
    assert members.mean() > 0.5  # in sample, the target rows do look different
    assert fitted.calibration.auc == pytest.approx(0.5, abs=0.2)


def test_the_result_is_a_function_of_the_key():
    rng = np.random.default_rng(6)
    source, target = {"x": rng.normal(size=(100, 1))}, {"x": rng.normal(size=(6, 1))}
    a, b, c = (learn(source, target, key=k, optimiser=ONE_LAUNCH, folds=3) for k in (0, 0, 1))
    np.testing.assert_array_equal(a.source_log_r, b.source_log_r)
    assert (np.asarray(a.source_log_r) != np.asarray(c.source_log_r)).all()


def test_candidates_share_the_weight_and_folds_shrink_to_the_rows():
    rng = np.random.default_rng(7)
    names = tuple(REGULARISERS)
    fitted = learn(
        {"x": rng.normal(size=(100, 1))},
        {"x": rng.normal(size=(2, 1))},
        optimiser=ONE_LAUNCH,
        regularisers=names,
        folds=5,
    )
    assert tuple(fitted.candidate_weights) == names
    assert sum(fitted.candidate_weights.values()) == pytest.approx(1.0)
    np.testing.assert_allclose(np.sum(fitted.log_ratio.weights), 1.0, rtol=1e-5)
    kept = sum(w > 0 for w in fitted.candidate_weights.values())
    assert fitted.log_ratio.weights.shape == (2 * kept,)  # two rows allow two folds
    assert np.isfinite(fitted.target_log_r).all() and fitted.target_log_r.shape == (2,)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 5.0])
def test_mixup_shares_follow_their_distribution(alpha):
    table = _mixup_shares(alpha)
    assert table.min() >= 0.5 and table.max() <= 1.0
    # P(max(s, 1 - s) < u) = 2 F(u) - 1 for the symmetric Beta.
    for u in (0.55, 0.7, 0.9, 0.99):
        assert (table < u).mean() == pytest.approx(2 * stats.beta.cdf(u, alpha, alpha) - 1, abs=0.01)


def test_no_mixup_leaves_rows_alone():
    np.testing.assert_array_equal(_mixup_shares(0.0), 1.0)
