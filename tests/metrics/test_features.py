"""Learned image features: a good classifier, judged on images it has not seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.metrics.digits import digits, quick_features
from tgdp_jax.errors import UserError
from tgdp_jax.metrics.features import fit_features
from tgdp_jax.nets.features import FeatureCNN
from tgdp_jax.train.optimiser import OptimiserConfig

FEW = OptimiserConfig(steps=60, batch_size=32, learning_rate=3e-3, steps_per_launch=20)


@pytest.mark.slow
def test_digits_are_classified():
    x, y = digits()
    features = fit_features(jax.random.key(0), x, y, num_classes=10)
    assert features.accuracy > 0.97


def test_few_steps_classify_new_images_as_well_as_held_out_ones():
    x, y = digits()
    features = quick_features()
    assert features.accuracy > 0.9
    assert (features.classify(x[800:]) == y[800:]).mean() == pytest.approx(features.accuracy, abs=0.06)


def test_features_separate_classes():
    x, y = digits()
    found = quick_features().embed(x[800:])
    assert found.shape == (len(x) - 800, 64)
    means = np.stack([found[y[800:] == c].mean(0) for c in range(10)])
    nearest = np.linalg.norm(found[:, None] - means, axis=-1).argmin(1)
    assert (nearest == y[800:]).mean() > 0.85


def test_an_image_has_the_same_features_whatever_comes_after_it():
    x, _ = digits()
    features = quick_features()
    np.testing.assert_array_equal(features.embed(x[:5]), features.embed(x)[:5])
    assert features.classify(x[:3]).dtype.kind == "i"


def test_features_are_a_tree():
    x, _ = digits()
    features = quick_features()
    copy = jax.tree.map(jnp.asarray, features)
    np.testing.assert_array_equal(copy.embed(x[:5]), features.embed(x[:5]))


def test_accuracy_is_of_images_not_trained_on():
    # Labels without meaning can be learned by heart, not foretold.
    x, _ = digits()
    y = np.random.default_rng(0).integers(10, size=200)
    optimiser = OptimiserConfig(steps=150, batch_size=64, learning_rate=3e-3, steps_per_launch=50)
    features = fit_features(jax.random.key(0), x[:200], y, num_classes=10, optimiser=optimiser)
    assert features.accuracy < 0.4


def test_training_is_a_function_of_key_and_data():
    x, y = digits()
    first, again, other = (
        fit_features(jax.random.key(seed), x[:100], y[:100], num_classes=10, optimiser=FEW) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.embed(x[:9]), again.embed(x[:9]))
    assert np.abs(first.embed(x[:9]) - other.embed(x[:9])).max() > 0


@pytest.mark.parametrize("shape", [(8, 8, 1), (16, 16, 3), (7, 10, 1), (3, 3, 1), (28, 28, 1)])
def test_images_of_any_size(shape):
    net = FeatureCNN(4)
    variables = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, *shape)))
    features, logits = jax.eval_shape(net.apply, variables, jnp.zeros((5, *shape)))
    assert (features.shape, logits.shape) == ((5, 64), (5, 4))


def test_bad_inputs_are_refused():
    x, y = digits()
    key = jax.random.key(0)
    with pytest.raises(UserError, match="reshape"):
        fit_features(key, x.reshape(len(x), -1), y, num_classes=10)
    with pytest.raises(UserError, match=r"scale images to \[-1, 1\]"):
        fit_features(key, 8 * x, y, num_classes=10)
    with pytest.raises(UserError, match="x has NaN"):
        fit_features(key, x * np.nan, y, num_classes=10)
    with pytest.raises(UserError, match="one integer class"):
        fit_features(key, x, y[:-1], num_classes=10)
    with pytest.raises(UserError, match="one integer class"):
        fit_features(key, x, y.astype(float), num_classes=10)
    with pytest.raises(UserError, match="number them from 0 to 8"):
        fit_features(key, x, y, num_classes=9)
    with pytest.raises(UserError, match="at least two"):
        fit_features(key, x[:1], y[:1], num_classes=10)
    with pytest.raises(UserError, match="one shape"):
        quick_features().embed(x[:, :7])
    with pytest.raises(UserError, match="NaN"):
        quick_features().classify(x * np.nan)
