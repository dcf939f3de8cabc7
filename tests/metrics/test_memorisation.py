"""Copies, fresh data and what lies between."""

import numpy as np
import pytest

from tests.metrics.tied import KINDS, NEVER
from tgdp_jax.errors import UserError
from tgdp_jax.metrics.memorisation import memorisation_ratio, nearest_training_distance

DIMS = [2, 20]  # a tree, and brute force


def draw(dim, *sizes):
    rng = np.random.default_rng(dim)
    return [rng.normal(size=(n, dim)) for n in sizes]


@pytest.mark.parametrize("dim", DIMS)
def test_distance_equals_brute_force(dim):
    x, train = draw(dim, 60, 40)
    expected = np.linalg.norm(x[:, None] - train, axis=-1).min(1)
    np.testing.assert_allclose(nearest_training_distance(x, train), expected, rtol=1e-12)


@pytest.mark.parametrize("dim", DIMS)
def test_copies_have_distance_and_ratio_zero(dim):
    train, fresh = draw(dim, 80, 300)
    train = train + 1000  # far from the origin, where distances by matrix products cancel
    copies = train[np.random.default_rng(0).integers(80, size=200)].astype(np.float32)
    assert (nearest_training_distance(copies, train.astype(np.float32)) == 0).all()
    assert memorisation_ratio(copies, train.astype(np.float32), reference=fresh + 1000) == 0


@pytest.mark.parametrize("dim", DIMS)
def test_fresh_data_has_ratio_one(dim):
    train, fresh, held_out = draw(dim, 100, 3000, 3000)
    assert memorisation_ratio(fresh, train, reference=held_out) == pytest.approx(1, abs=0.06)


def test_noisy_copies_lie_between_and_far_samples_above():
    train, fresh, held_out = draw(2, 100, 3000, 3000)
    noisy = np.repeat(train, 30, axis=0) + 0.02 * fresh
    assert 0.01 < memorisation_ratio(noisy, train, reference=held_out) < 0.3
    assert memorisation_ratio(fresh + 5, train, reference=held_out) > 5


def test_a_few_diverged_samples_do_not_decide():
    train, fresh, held_out = draw(2, 100, 3000, 3000)
    fresh[:150] += 100
    assert memorisation_ratio(fresh, train, reference=held_out) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("dim", DIMS)
def test_an_offset_changes_nothing(dim):
    x, train = draw(dim, 60, 40)
    np.testing.assert_allclose(
        nearest_training_distance(x + 1e8, train + 1e8), nearest_training_distance(x, train), rtol=1e-5
    )


def test_images_are_flattened_and_one_training_row_is_enough():
    x = np.zeros((3, 4, 4))
    np.testing.assert_allclose(nearest_training_distance(x, np.ones((1, 4, 4))), 4)


@pytest.mark.parametrize("dim", [3, 12])
@pytest.mark.parametrize("kind", ["rows_of_zeros", "half_blank"])
def test_repeats_that_fresh_data_have_say_nothing_of_novelty(kind, dim):
    rng = np.random.default_rng(dim)
    train, fresh, held_out = (KINDS[kind](rng, n, dim) for n in (100, 3000, 3000))
    copies = train[rng.integers(len(train), size=1000)]
    assert memorisation_ratio(fresh, train, reference=held_out) == pytest.approx(1, abs=0.1)
    assert memorisation_ratio(copies, train, reference=held_out) == 0
    assert memorisation_ratio(NEVER[kind](rng, 3000, dim), train, reference=held_out) > 1.05


def test_ratio_with_repeats_by_hand():
    train, reference = np.zeros((1, 1)), np.array([0.0, 0, 0, 2, 4, 6])
    # Half of the reference repeats; the median of the rest is 4. So half of the samples go, and 1, 2, 3 are left.
    assert memorisation_ratio(np.array([3.0, 0, 0, 1, 0.5, 2]), train, reference=reference) == 2 / 4
    # Every row is left out on neither side, however few the samples.
    assert memorisation_ratio(np.array([8.0]), train, reference=reference) == 8 / 4


def test_bad_inputs_are_refused():
    train, fresh = draw(2, 10, 10)
    with pytest.raises(UserError, match="hold the reference out"):
        memorisation_ratio(fresh, train, reference=train)
    with pytest.raises(UserError, match="same shape"):
        nearest_training_distance(fresh, np.zeros((3, 5)))
    with pytest.raises(UserError, match="samples has NaN"):
        nearest_training_distance(fresh * np.nan, train)
