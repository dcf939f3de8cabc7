"""Utility of samples for a classifier with few real rows, on digits."""

import jax
import numpy as np
import pytest

from tests.metrics.digits import digits
from tgdp_jax.errors import UserError
from tgdp_jax.metrics.utility import utility
from tgdp_jax.train.optimiser import OptimiserConfig

QUICK = OptimiserConfig(steps=150, batch_size=64, learning_rate=3e-3, steps_per_launch=150)


@pytest.fixture(scope="module")
def parts():
    x, y = digits()
    cuts = {"real": slice(0, 30), "fresh": slice(30, 530), "test": slice(800, 1797)}
    return {name: (x[cut], y[cut]) for name, cut in cuts.items()}


def gained(parts, samples, **options):
    options = {"num_classes": 10, "seeds": 2, "optimiser": QUICK} | options
    return utility(jax.random.key(0), parts["real"], samples, parts["test"], **options)


@pytest.mark.slow
def test_fresh_data_help_copies_do_not_and_wrong_labels_harm(parts):
    fresh, labels = parts["fresh"]
    good = gained(parts, (fresh, labels))
    assert 0.5 < good.alone.value < 0.85
    assert good.augmented.value > 0.88
    assert good.gain.value == pytest.approx(good.augmented.value - good.alone.value, abs=1e-12)
    assert good.gain.value > 5 * good.gain.spread > 0
    copies = gained(parts, tuple(np.resize(a, (500, *a.shape[1:])) for a in parts["real"]))
    assert copies.alone == good.alone
    assert abs(copies.gain.value) < 0.05
    wrong = gained(parts, (fresh, (labels + 1) % 10))
    assert wrong.gain.value < -0.1


def test_fewer_samples_than_rows_and_values_out_of_range_are_fine(parts):
    fresh, labels = parts["fresh"]
    steps = OptimiserConfig(steps=2, batch_size=8, steps_per_launch=2)
    found = gained(parts, (1.5 * fresh[:7], labels[:7]), optimiser=steps, seeds=1)
    assert 0 <= found.augmented.value <= 1
    assert np.isnan(found.gain.spread)


def test_bad_inputs_are_refused(parts):
    fresh, labels = parts["fresh"]
    with pytest.raises(UserError, match="--conditional"):
        gained(parts, (fresh, None))
    with pytest.raises(UserError, match="samples has NaN"):
        gained(parts, (fresh * np.nan, labels))
    with pytest.raises(UserError, match="one shape"):
        gained(parts, (fresh[:, :7], labels))
    with pytest.raises(UserError, match="seeds"):
        gained(parts, (fresh, labels), seeds=0)
    with pytest.raises(UserError, match="number them from 0 to 4"):
        gained(parts, (fresh, labels), num_classes=5)
