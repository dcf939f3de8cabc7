"""Density, coverage, precision and recall against the definition and their expectations."""

import numpy as np
import pytest

from tgdp_jax.errors import UserError
from tgdp_jax.metrics.coverage import density_coverage, expected_coverage, precision_recall

DIMS = [2, 20]  # a tree, and brute force


def density(real, fake, k=5):
    return density_coverage(real, fake, k)[0]


def coverage(real, fake, k=5):
    return density_coverage(real, fake, k)[1]


def precision(real, fake, k=5):
    return precision_recall(real, fake, k)[0]


def recall(real, fake, k=5):
    return precision_recall(real, fake, k)[1]


def draw(dim, *sizes):
    rng = np.random.default_rng(dim)
    return [rng.normal(size=(n, dim)) for n in sizes]


def inside_of(real, fake, k):
    """[N, M]: whether fake j lies in the open ball of real i, from the definition."""
    own = np.linalg.norm(real[:, None] - real, axis=-1)
    np.fill_diagonal(own, np.inf)
    radius = np.sort(own, axis=1)[:, k - 1]
    return np.linalg.norm(real[:, None] - fake, axis=-1) < radius[:, None]


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("k", [1, 5])
def test_all_four_equal_their_definitions(dim, k):
    real, fake = draw(dim, 120, 70)
    fake[:20] += 3 / np.sqrt(dim)
    forward, backward = inside_of(real, fake, k), inside_of(fake, real, k)
    assert 0 < forward.any(0).mean() < 1  # else the comparison below could not tell anything apart
    assert coverage(real, fake, k) == pytest.approx(forward.any(1).mean(), abs=1e-12)
    assert density(real, fake, k) == pytest.approx(forward.sum() / (k * len(fake)), abs=1e-12)
    assert precision(real, fake, k) == pytest.approx(forward.any(0).mean(), abs=1e-12)
    assert recall(real, fake, k) == pytest.approx(backward.any(0).mean(), abs=1e-12)


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize(("n", "m"), [(1500, 1500), (1500, 500)])
def test_equal_distributions_meet_the_expectation(dim, n, m):
    real, fake = draw(dim, n, m)
    assert coverage(real, fake) == pytest.approx(expected_coverage(n, m), abs=0.02 if n == m else 0.04)
    assert density(real, fake) == pytest.approx(1, abs=0.12)
    assert precision(real, fake) > 0.8


def test_expected_coverage_of_equal_sizes_is_one_minus_two_to_the_minus_k():
    assert expected_coverage(10**7, 10**7, k=5) == pytest.approx(1 - 2**-5, abs=1e-5)
    # k = 1 by hand: of the other N - 1 real and M fake rows, the nearest is fake with probability M/(N + M - 1).
    assert expected_coverage(10, 4, k=1) == pytest.approx(4 / 13)


@pytest.mark.parametrize("k", [1, 2])
def test_precision_and_recall_of_equal_distributions_on_the_line(k):
    # A point is in nobody's ball if on either side k spacings together are shorter than the one next to it. Spacings
    # are independent exponentials, so that this has probability 2^-k a side.
    real, fake = draw(1, 8000, 8000)
    assert precision_recall(real, fake, k) == pytest.approx((1 - 4**-k, 1 - 4**-k), abs=0.02)


@pytest.mark.parametrize("dim", DIMS)
def test_a_dropped_mode_lowers_recall_and_not_precision(dim):
    real, fake = draw(dim, 1000, 1000)
    real[:300] += 20
    both = fake.copy()
    both[:300] += 20
    whole, dropped = precision_recall(real, both), precision_recall(real, fake)
    assert dropped[1] == pytest.approx(0.7 * whole[1], abs=0.05)
    assert dropped[0] == pytest.approx(whole[0], abs=0.06)


@pytest.mark.parametrize("dim", DIMS)
def test_a_collapsed_sampler_is_precise_and_covers_nothing(dim):
    real, fake = draw(dim, 1000, 1000)
    collapsed = 0.05 * fake
    assert precision(real, collapsed) > 0.95
    assert coverage(real, collapsed) < 0.8 * expected_coverage(1000, 1000)
    assert recall(real, collapsed) < 0.1


def test_density_sees_collapse_in_many_dimensions_only():
    # Balls shrink where rows are dense, so that in the plane every point lies in about k of them.
    real, fake = draw(2, 1000, 1000)
    assert density(real, 0.05 * fake) == pytest.approx(1, abs=0.25)
    assert coverage(real, 0.05 * fake) < 0.1
    real, fake = draw(20, 1000, 1000)
    assert density(real, 0.05 * fake) > 5


def test_half_of_the_modes():
    real, fake = draw(2, 1000, 1000)
    real[:500] += 20
    assert coverage(real, fake) == pytest.approx(0.5, abs=0.03)
    assert recall(real, fake) < 0.55
    assert precision(real, fake) > 0.95


@pytest.mark.parametrize("dim", DIMS)
def test_an_offset_changes_nothing(dim):
    real, fake = draw(dim, 200, 150)
    for metric in (coverage, density, precision, recall):
        assert metric(real + 1e7, fake + 1e7) == pytest.approx(metric(real, fake), abs=1e-12)


def test_far_samples_score_nothing():
    real, fake = draw(2, 200, 200)
    assert coverage(real, fake + 50) == density(real, fake + 50) == precision(real, fake + 50) == 0
    assert recall(real, fake + 50) == 0


@pytest.mark.parametrize("dim", DIMS)
def test_copies_have_density_one_and_full_coverage(dim):
    # Open balls: the row that sets the radius is not inside, the centre's own copy is.
    (real,) = draw(dim, 300)
    assert density(real, real) == pytest.approx(1, abs=1e-12)
    assert coverage(real, real) == precision(real, real) == recall(real, real) == 1


@pytest.mark.parametrize("dim", DIMS)
def test_repeated_real_rows_have_empty_balls(dim):
    real = np.repeat(draw(dim, 5)[0], 8, axis=0)
    assert coverage(real, real) == density(real, real) == precision(real, real) == 0


@pytest.mark.parametrize("metric", [density_coverage, precision_recall])
def test_too_few_rows_are_refused(metric):
    with pytest.raises(UserError, match="real has 5 rows"):
        metric(np.zeros((5, 2)), np.zeros((9, 2)))
    with pytest.raises(UserError, match="k must be"):
        metric(np.zeros((5, 2)), np.zeros((9, 2)), k=0)
    with pytest.raises(UserError, match="NaN"):
        metric(np.zeros((9, 2)), np.full((9, 2), np.inf))


def test_recall_needs_fake_rows():
    with pytest.raises(UserError, match="fake has 5 rows"):
        precision_recall(np.zeros((9, 2)), np.zeros((5, 2)))
