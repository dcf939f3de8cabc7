"""scikit-learn's digits as images, and a quick classifier of them."""

import functools

import jax
import numpy as np
from sklearn.datasets import load_digits

from tgdp_jax.metrics.features import Features, fit_features
from tgdp_jax.train.optimiser import OptimiserConfig


@functools.cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """(x [1797, 8, 8, 1] in [-1, 1], classes [1797]), in random order."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return (x.reshape(-1, 8, 8, 1)[order] / 8 - 1).astype(np.float32), y[order]


@functools.cache
def quick_features() -> Features:
    """Trained on the first 800 images."""
    x, y = digits()
    optimiser = OptimiserConfig(steps=200, batch_size=64, learning_rate=3e-3, steps_per_launch=100)
    return fit_features(jax.random.key(0), x[:800], y[:800], num_classes=10, optimiser=optimiser)
