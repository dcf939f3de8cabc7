"""Metrics of series on learned features, where classes are frequencies and their phases are random."""

import jax
import numpy as np
import pytest

from tgdp_jax.metrics.downstream import KINDS, downstream
from tgdp_jax.metrics.features import fit_features
from tgdp_jax.metrics.images import evaluate_images
from tgdp_jax.metrics.utility import utility
from tgdp_jax.train.optimiser import OptimiserConfig

QUICK = OptimiserConfig(steps=60, batch_size=32, learning_rate=3e-3, steps_per_launch=20)


def waves(num, seed):
    """(series [num, 32, 2], classes [num])."""
    rng = np.random.default_rng(seed)
    y = np.arange(num) % 2
    angles = (2 + 3 * y[:, None]) * np.linspace(0, 2 * np.pi, 32) + rng.uniform(0, 2 * np.pi, (num, 1))
    x = 3 * np.stack([np.sin(angles), np.cos(angles)], -1) + 0.3 * rng.normal(size=(num, 32, 2))
    return x.astype(np.float32), y


@pytest.fixture(scope="module")
def features():
    return fit_features(jax.random.key(0), *waves(400, 0), num_classes=2, optimiser=QUICK)


def test_classes_are_learned_and_a_missing_one_is_seen(features):
    assert features.accuracy > 0.95
    (train, _), (reference, _), (fresh, asked) = waves(50, 1), waves(200, 2), waves(200, 3)
    good = evaluate_images(fresh, reference, train, features, labels=asked)
    assert good["label_accuracy"].value > 0.95 and good["coverage"].value > 0.8
    half = evaluate_images(np.repeat(fresh[::2], 2, 0), reference, train, features)
    assert half["frechet"].value > 10 * good["frechet"].value and half["coverage"].value < 0.7


@pytest.mark.slow
def test_samples_of_the_wrong_class_do_harm():
    (fresh, labels), test = waves(200, 4), waves(200, 5)
    found = [
        utility(jax.random.key(0), waves(4, 6), (fresh, asked), test, num_classes=2, seeds=1, optimiser=QUICK)
        for asked in (labels, 1 - labels)
    ]
    assert found[0].augmented.value > 0.95 and found[1].gain.value < -0.1


@pytest.mark.slow
def test_diagnosis_gains_from_samples_of_the_right_class_and_from_the_source_classifier(features):
    test = waves(200, 5)
    x, y = waves(200, 4)
    found = [
        downstream(jax.random.key(0), waves(4, 6), (x, asked), test, features, optimiser=QUICK) for asked in (y, 1 - y)
    ]
    assert set(found[0]) == {f"{measure}_{kind}" for measure in ("auc", "f2", "g2") for kind in KINDS}
    right, wrong = ({name: value.value for name, value in part.items()} for part in found)
    assert right["auc_generated"] > 0.95 > 0.05 > wrong["auc_generated"]
    assert right["f2_both"] > 0.9 > wrong["f2_both"] and right["auc_tuned"] > 0.95
    # What does not depend on samples is the same.
    assert right["auc_real"] == wrong["auc_real"] and right["g2_tuned"] == wrong["g2_tuned"]
