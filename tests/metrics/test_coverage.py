"""Density, coverage, precision and recall against the definition and their expectations, with ties and without."""

import numpy as np
import pytest

from tests.metrics.tied import KINDS, NEVER
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
def test_copies_lie_inside_all_balls_but_on_one_they_lie_at_the_edge(dim):
    # The centre's copy and those of its k - 1 nearest are inside; that of the k-th is drawn by lot against the k-th.
    (real,) = draw(dim, 300)
    assert density(real, real) == pytest.approx(1 + 0.5 / 5, abs=1e-12)
    assert coverage(real, real) == precision(real, real) == recall(real, real) == 1


def by_lot(real, fake, k, rng):
    """(density, coverage) with every tie broken by lot, from the definition."""
    held = []
    for i, centre in enumerate(real):
        rows = np.concatenate([np.delete(real, i, axis=0), fake])
        distance = ((rows - centre) ** 2).sum(1)  # of integers: exact
        order = np.lexsort([rng.uniform(size=len(rows)), distance])
        kth = np.flatnonzero(order < len(real) - 1)[k - 1]
        held.append((order[:kth] >= len(real) - 1).sum())
    return np.sum(held) / (k * len(fake)), np.mean(np.array(held) > 0)


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("k", [1, 3])
def test_ties_count_as_they_do_on_average_over_lots(dim, k):
    rng = np.random.default_rng(dim)
    share = 0.5 if dim == 2 else 0.05  # either way rows repeat and distances tie
    real, fake = ((rng.uniform(size=(n, dim)) < share).astype(float) for n in (25, 15))
    real[:5] *= 2
    lots = np.array([by_lot(real, fake, k, rng) for _ in range(600)])
    errors = lots.std(0, ddof=1) / np.sqrt(len(lots))
    assert (np.abs(np.array(density_coverage(real, fake, k)) - lots.mean(0)) < 4 * errors).all()


@pytest.mark.parametrize("dim", [1, 3, 12])
@pytest.mark.parametrize("kind", KINDS)
def test_fresh_data_meet_the_expectation_however_they_tie(kind, dim):
    rng = np.random.default_rng(dim)
    n, m = 300, 200
    found = np.array([density_coverage(KINDS[kind](rng, n, dim), KINDS[kind](rng, m, dim)) for _ in range(30)])
    expected = np.array([1.0, expected_coverage(n, m)])
    errors = found.std(0, ddof=1) / np.sqrt(len(found))
    assert (np.abs(found.mean(0) - expected) < 4 * errors + 1e-3).all()
    assert (np.abs(found.mean(0) - expected) < 0.04).all()


@pytest.mark.parametrize("dim", [1, 3, 12])
@pytest.mark.parametrize("kind", NEVER)
def test_a_sampler_that_never_emits_the_value_that_ties_scores_worse(kind, dim):
    rng = np.random.default_rng(dim)
    real, fresh, never = KINDS[kind](rng, 400, dim), KINDS[kind](rng, 400, dim), NEVER[kind](rng, 400, dim)
    whole, lacking = coverage(real, fresh), coverage(real, never)
    assert whole == pytest.approx(expected_coverage(400, 400), abs=0.05)
    if kind == "zeros_in_one_column" and dim > 1:
        # Off the plane of zeros, but the nearer to it, relative to other distances, the more columns there are.
        assert density(real, never) < density(real, fresh) - 0.1
        assert lacking < whole - (0.1 if dim == 3 else 0.01)
    else:
        assert lacking < whole - 0.1
    if kind in ("rows_of_zeros", "half_blank"):
        blank = (real == real.min()).all(1) if kind == "half_blank" else (real == 0).all(1)
        assert lacking == pytest.approx(1 - blank.mean(), abs=0.03)


@pytest.mark.parametrize("dim", DIMS)
def test_repeated_rows_share_the_places_in_their_balls(dim):
    # Five rows, eight times each: every ball has radius zero, seven real rows and eight fake ones at its edge.
    real = np.repeat(draw(dim, 5)[0], 8, axis=0)
    assert density(real, real) == pytest.approx(1, abs=1e-12)
    assert coverage(real, real) == pytest.approx(1 - np.prod([(7 - j) / (15 - j) for j in range(5)]), abs=1e-12)
    assert precision(real, real) == recall(real, real) == 1
    assert density(real, real + 1) == coverage(real, real + 1) == precision(real, real + 1) == 0


@pytest.mark.parametrize("dim", [3, 12])
def test_distances_tie_whatever_their_rounding(dim):
    rng = np.random.default_rng(0)
    real, fake = KINDS["binary"](rng, 200, dim), KINDS["binary"](rng, 150, dim)
    for metric in (coverage, density, precision, recall):
        exact = metric(real, fake)
        assert metric(0.1 * real + 1e3, 0.1 * fake + 1e3) == pytest.approx(exact, abs=1e-12)
        assert metric(real.astype(np.float32) / 3, fake.astype(np.float32) / 3) == pytest.approx(exact, abs=1e-12)


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
