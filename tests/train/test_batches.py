"""Folds, row draws and times."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests.helpers import PROCESSES
from tgdp_jax.errors import UserError
from tgdp_jax.sde import VE, VP, DiscreteVP
from tgdp_jax.train.batches import (
    Rows,
    all_rows,
    draw_rows,
    fold_rows,
    mean_weights,
    num_folds,
    split_rows,
    stratified_times,
)


def real(rows: Rows, k: int) -> list[int]:
    return np.asarray(rows.index)[k, : int(rows.count[k])].tolist()


@pytest.mark.parametrize(("num", "folds"), [(10, 5), (11, 5), (7, 2), (2, 2), (5, 5), (101, 3)])
def test_folds_are_a_partition(num, folds):
    train, held = fold_rows(np.arange(num), folds, seed=0)
    assert train.index.shape[0] == held.index.shape[0] == folds
    everything = [row for k in range(folds) for row in real(held, k)]
    assert sorted(everything) == list(range(num))
    for k in range(folds):
        assert not set(real(train, k)) & set(real(held, k))
        assert sorted(real(train, k) + real(held, k)) == list(range(num))
        assert real(train, k) and real(held, k)


def test_rows_without_copies_are_split_as_ever():
    order = np.random.default_rng(3).permutation(23)
    train, held = fold_rows(np.arange(23), 5, seed=3)
    parts = np.array_split(order, 5)
    for k, part in enumerate(parts):
        assert real(held, k) == part.tolist()
        assert real(train, k) == np.concatenate(parts[:k] + parts[k + 1 :]).tolist()
    found = split_rows({"x": np.random.default_rng(0).normal(size=(23, 2))}, 0.2)
    order = np.random.default_rng(0).permutation(23)
    assert found["held"].index.tolist() == order[:4].tolist() and found["train"].index.tolist() == order[4:].tolist()


@pytest.mark.parametrize("seed", range(4))
def test_copies_are_in_one_fold(seed):
    groups = np.random.default_rng(seed).integers(0, 12, 40)
    num = len(np.unique(groups))
    train, held = fold_rows(groups, 5, seed=seed)
    assert sorted(row for k in range(5) for row in real(held, k)) == list(range(40))
    for k in range(5):
        assert not set(groups[real(train, k)]) & set(groups[real(held, k)])
        # Folds are equal in different rows.
        assert num // 5 <= len(set(groups[real(held, k)])) <= num // 5 + 1


@pytest.mark.parametrize("times", [2, 5])
def test_copies_are_on_one_side_of_what_is_held_out(times):
    x = np.tile(np.random.default_rng(0).normal(size=(30, 3)), (times, 1))
    found = split_rows({"x": x}, 0.1)
    train, held = (np.asarray(found[side].index) for side in ("train", "held"))
    assert sorted([*train, *held]) == list(range(30 * times)) and len(held) == 3 * times
    assert not set(train % 30) & set(held % 30)
    # At least one of two different rows is trained on.
    few = split_rows({"x": x[[0, 30, 1, 31]]}, 0.9)
    assert len(few["train"].index) == len(few["held"].index) == 2


@pytest.mark.parametrize(("num", "folds"), [(2, 2), (3, 3), (10, 10), (20, 10), (21, 5), (1000, 5)])
def test_few_rows_are_split_more_finely_and_never_beyond_single_rows(num, folds):
    assert num_folds(5, num) == folds


def test_padding_of_a_fold_repeats_its_own_rows():
    # A held-out row in the padding of its own training fold would leak if the count were ever overlooked.
    train, held = fold_rows(np.arange(11), 5, seed=0)
    assert len(set(np.asarray(held.count).tolist())) == 2
    for rows in (train, held):
        for k in range(5):
            assert set(np.asarray(rows.index)[k].tolist()) == set(real(rows, k))


def test_folds_depend_on_their_arguments_alone():
    np.random.seed(1)
    first = fold_rows(np.arange(20), 4, seed=0)
    np.random.seed(2)
    again = fold_rows(np.arange(20), 4, seed=0)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert (np.asarray(first[1].index) != np.asarray(fold_rows(np.arange(20), 4, seed=1)[1].index)).any()
    # Shuffled: data often come sorted by class.
    assert real(first[1], 0) != list(range(5))


@pytest.mark.parametrize("count", [1, 4, 7])
def test_rows_are_drawn_uniformly_and_never_from_the_padding(count):
    index = jnp.asarray(10 + np.arange(7))
    drawn = np.asarray(draw_rows(jax.random.key(0), Rows(index, jnp.asarray(count)), 7000))
    values, found = np.unique(drawn, return_counts=True)
    assert values.tolist() == list(range(10, 10 + count))
    assert count == 1 or stats.chisquare(found).pvalue > 1e-3


def test_padding_that_repeats_rows_gives_them_no_weight():
    # 3 real rows in 5 places: were the padding drawn too, rows 0 and 1 would come up twice as often.
    rows = Rows(jnp.asarray([0, 1, 2, 0, 1]), jnp.asarray(3))
    drawn = np.asarray(draw_rows(jax.random.key(1), rows, 9000))
    assert stats.chisquare(np.bincount(drawn, minlength=3)).pvalue > 1e-3


def test_all_rows_are_all_rows():
    drawn = np.asarray(draw_rows(jax.random.key(0), all_rows(5), 500))
    assert set(drawn.tolist()) == set(range(5))


def test_draws_differ_by_key():
    a, b = (np.asarray(draw_rows(jax.random.key(k), all_rows(1000), 50)) for k in (0, 1))
    assert (a != b).any()


EVERY = pytest.mark.parametrize("sde", [*PROCESSES.values(), DiscreteVP(), DiscreteVP("scaled_linear", 0.00085, 0.012)])


def cells(t, sde):
    """u in [0, 1] of times t, by bisection."""
    low, high = np.zeros(t.shape), np.ones(t.shape)
    for _ in range(40):
        middle = 0.5 * (low + high)
        below = np.asarray(sde.training_time(middle)) < t
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low


@EVERY
@pytest.mark.parametrize("num", [1, 7, 256])
def test_times_are_stratified(sde, num):
    t = np.asarray(stratified_times(jax.random.key(0), num, sde), np.float64)
    assert t.shape == (num,) and np.all(t >= sde.t_min * (1 - 1e-5)) and np.all(t <= 1)
    cell = cells(t, sde) * num
    assert np.all(cell > np.arange(num) - 1e-3) and np.all(cell < np.arange(num) + 1 + 1e-3)


@EVERY
def test_times_fill_their_cells(sde):
    keys = jax.random.split(jax.random.key(0), 500)
    t = np.asarray(jax.vmap(lambda k: stratified_times(k, 4, sde))(keys), np.float64)
    for column in (cells(t, sde) * 4 - np.arange(4)).T:
        assert stats.kstest(column, "uniform").pvalue > 1e-3


@EVERY
def test_small_times_have_their_share_and_large_ones_do_not_starve(sde):
    t = np.asarray(stratified_times(jax.random.key(0), 10_000, sde))
    high, at, low = (float(sde.log_snr(jnp.float32(time))) for time in (sde.t_min, 0.1, 1.0))
    uniform = (high - at) / (high - low)
    assert 0.58 * uniform < np.mean(t < 0.1) < 1.01 * uniform
    assert np.mean(t > 0.5) >= 0.29
    if isinstance(sde, VE):
        # Linear in t, so that draws are uniform in log-SNR itself.
        place = (np.asarray(sde.log_snr(t)) - low) / (high - low)
        np.testing.assert_allclose(np.sort(place), (np.arange(10_000) + 0.5) / 10_000, atol=1e-4)


def test_the_paper_process_draws_squares_as_ever():
    u = (jnp.arange(64) + jax.random.uniform(jax.random.key(3), (64,))) / 64
    low = VP().t_min ** 0.5
    np.testing.assert_array_equal(stratified_times(jax.random.key(3), 64, VP()), (low + (1.0 - low) * u) ** 2)


def test_weights_of_a_mean_leave_the_padding_out():
    weights = mean_weights(Rows(jnp.asarray([5, 6, 7, 5]), jnp.asarray(3)))
    np.testing.assert_allclose(weights, [1 / 3, 1 / 3, 1 / 3, 0.0])


@pytest.mark.parametrize(("num", "folds"), [(1, 1), (3, 5), (5, 1), (0, 2)])
def test_folds_without_rows_are_refused(num, folds):
    with pytest.raises(UserError, match=f"{num} different rows can not be split into {folds} folds"):
        fold_rows(np.arange(num), folds, seed=0)
