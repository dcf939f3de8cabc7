"""The domain classifier: exact log-ratios are recovered, and its quality is judged by members that held the row out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests.helpers import density, draw, mixture, plane
from tgdp_jax.nets import ClassifierMLP
from tgdp_jax.train import classifier
from tgdp_jax.train.batches import Rows
from tgdp_jax.train.classifier import REGULARISERS, _mixup_shares, _out_of_fold, fit_log_ratio
from tgdp_jax.train.fit import candidate_weights
from tgdp_jax.train.optimiser import OptimiserConfig

FOLDS = 2
OPTIMISER = OptimiserConfig(steps=300, batch_size=128, learning_rate=5e-3, steps_per_launch=50)


def learn(source, target, *, key=0, optimiser=OPTIMISER, regularisers=("weight_decay",), folds=FOLDS, **options):
    parts = [
        {name: jnp.asarray(v, jnp.int32 if name == "y" else jnp.float32) for name, v in part.items()}
        for part in (source, target)
    ]
    net = ClassifierMLP(**{"features": (32, 32)} | options)
    return fit_log_ratio(
        jax.random.key(key), *parts, folds=folds, regularisers=regularisers, optimiser=optimiser, net=net
    )


@pytest.fixture(scope="module")
def line():
    """N(0, I) to N((1, 0), I), where log r = x_1 - 1/2, and what is learned from it."""
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(4000, 2)), np.array([1.0, 0.0]) + rng.normal(size=(2000, 2))
    return source, target, learn({"x": source}, {"x": target})


def test_a_linear_log_ratio_is_recovered(line):
    source, target, fitted = line
    for x, learned in ((source, fitted.source_log_r), (target, fitted.target_log_r)):
        # Saying nothing (log r = 0) would err by about 1, half or twice the slope by about 0.5.
        assert np.abs(np.asarray(learned) - (x[:, 0] - 0.5)).mean() < 0.15
    grid = np.stack([np.linspace(-1.5, 2.5, 9), np.zeros(9)], 1)
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
    x = np.linspace(-1.0, 1.0, 5)
    for label, sign in ((1, 1.0), (0, -1.0)):
        learned = fitted.log_ratio(jnp.asarray(x[:, None], jnp.float32), jnp.full(5, label))
        np.testing.assert_allclose(learned, sign * x - 0.5, atol=0.5)
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


def _small(target_row=None, source_row=None):
    """A few rows, one of them moved far away where asked; and what four folds learn from them."""
    rng = np.random.default_rng(4)
    source, target = rng.normal(size=(100, 1)), rng.normal(size=(6, 1)) + 1
    for x, row in ((source, source_row), (target, target_row)):
        if row is not None:
            x[row] = 40.0
    # One launch: validation, which does see the held-out rows, can choose nothing.
    return jnp.asarray(target, jnp.float32), learn({"x": source}, {"x": target}, optimiser=ONE_LAUNCH)


def _unmoved(a, b) -> np.ndarray:
    """Which members are the same function."""
    probe = jnp.linspace(-2.0, 2.0, 11)[:, None]
    return np.flatnonzero(np.all(np.asarray(a.log_ratio.members(probe)) == b.log_ratio.members(probe), axis=1))


def test_quality_is_judged_by_members_that_did_not_see_the_row():
    """A row that a member does not train on may be moved at will: that tells which member holds out which row."""
    target, fitted = _small()
    holders = [_unmoved(fitted, _small(target_row=row)[1]) for row in range(6)]
    assert [len(h) for h in holders] == [1] * 6, "exactly one fold holds a row out"
    assert sorted(np.concatenate(holders).tolist()) == [0, 0, 1, 1, 2, 3]  # four folds of six rows
    members = np.asarray(fitted.log_ratio.members(target))
    out_of_fold = members[np.concatenate(holders), np.arange(6)]
    assert fitted.calibration.kl == pytest.approx(out_of_fold.mean(), rel=1e-5)
    # The trap: averages over all members, in sample for most, read otherwise.
    assert abs(members.mean() - out_of_fold.mean()) > 1e-3


def test_source_rows_are_held_out_too():
    fitted = _small()[1]
    assert len(_unmoved(fitted, _small(source_row=50)[1])) == 1


def test_values_at_the_rows_are_the_ensembles():
    target, fitted = _small()
    np.testing.assert_allclose(fitted.target_log_r, fitted.log_ratio(target), rtol=1e-5)
    assert fitted.source_log_r.shape == (100,)


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
    assert np.median(members.max(0)) > 1.0  # to the member that trained on it a target row does look different
    assert fitted.calibration.auc == pytest.approx(0.5, abs=0.2)


def test_the_result_is_a_function_of_the_key():
    rng = np.random.default_rng(6)
    source, target = {"x": rng.normal(size=(100, 1))}, {"x": rng.normal(size=(6, 1))}
    a, b, c = (learn(source, target, key=k, optimiser=ONE_LAUNCH) for k in (0, 0, 1))
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


def test_candidates_count_by_the_likelihood_of_as_many_rows_of_either_kind(monkeypatch):
    # The held-out loss is half the sum of two means: with n rows of either kind the log-likelihood is -2 n times that.
    seen = []

    def spy(loss, rows):
        seen.append(rows)
        return candidate_weights(loss, rows)

    monkeypatch.setattr(classifier, "candidate_weights", spy)
    _small()
    assert seen == [12]  # of six target rows


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 5.0])
def test_mixup_shares_follow_their_distribution(alpha):
    table = _mixup_shares(alpha)
    assert table.min() >= 0.5 and table.max() <= 1.0
    # P(max(s, 1 - s) < u) = 2 F(u) - 1 for the symmetric Beta.
    for u in (0.55, 0.7, 0.9, 0.99):
        assert (table < u).mean() == pytest.approx(2 * stats.beta.cdf(u, alpha, alpha) - 1, abs=0.01)


def test_no_mixup_leaves_rows_alone():
    np.testing.assert_array_equal(_mixup_shares(0.0), 1.0)


def test_fewer_source_rows_than_folds_leave_none_empty():
    rng = np.random.default_rng(0)
    fitted = learn({"x": rng.normal(size=(3, 2))}, {"x": rng.normal(size=(5, 2))}, optimiser=ONE_LAUNCH, folds=5)
    assert np.isfinite(fitted.source_log_r).all() and np.isfinite(fitted.calibration.cross_entropy)


def test_integer_rows_are_learned_from_as_the_same_floats():
    rng = np.random.default_rng(0)
    source, target = rng.integers(-3, 3, (40, 2)), rng.integers(-1, 5, (20, 2))
    net = ClassifierMLP((16,), data_std=0.5)
    found = [
        fit_log_ratio(
            jax.random.key(0),
            {"x": jnp.asarray(source, dtype)},
            {"x": jnp.asarray(target, dtype)},
            net=net,
            folds=FOLDS,
            regularisers=("weight_decay",),
            optimiser=ONE_LAUNCH,
        )
        for dtype in (jnp.int32, jnp.float32)
    ]
    np.testing.assert_allclose(found[0].source_log_r, found[1].source_log_r, atol=1e-5)
    np.testing.assert_allclose(found[0].target_log_r, found[1].target_log_r, atol=1e-5)
