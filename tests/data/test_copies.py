"""Copies: rows that are, those that chance or a common value explains, and the split that keeps them together."""

import numpy as np
import pytest

from tgdp_jax.data.copies import copies_between, copy_groups, copy_notes, judging_notes
from tgdp_jax.data.problem import split_target


def rows(num: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num, *shape)).astype(np.float32)


def test_a_copy_belongs_to_the_first_of_its_rows():
    x = rows(8, 3)
    x[[4, 6]] = x[1]
    x[7] = x[5]
    assert copy_groups(x).tolist() == [0, 1, 2, 3, 1, 5, 1, 5]
    assert copy_notes(copy_groups(x), "rows", split=False) == ("target: 3 of 8 rows are copies of others",)


def test_rows_without_copies_are_apart():
    assert copy_groups(rows(50, 4, 2)).tolist() == list(range(50))
    assert copy_notes(np.arange(5), "rows", split=True) == ()


@pytest.mark.parametrize("columns", [2, 3, 50])
@pytest.mark.parametrize("times", [2, 5])
def test_rows_that_are_given_several_times_are_copies(columns, times):
    groups = copy_groups(np.concatenate([rows(20, columns)] * times))
    assert groups.tolist() == times * list(range(20))


def test_both_zeros_are_one_number():
    x = rows(5, 3)
    x[1] = x[3] = 0.5
    x[1, 0], x[3, 0] = 0.0, -0.0
    assert copy_groups(x)[3] == 1


def test_images_in_integers_are_compared():
    x = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 1), np.uint8)
    x[150:] = x[:150]
    assert copy_groups(x).tolist() == 2 * list(range(150))


@pytest.mark.parametrize(
    "x",
    [
        np.random.default_rng(0).integers(0, 2, (1000, 3)),
        np.random.default_rng(0).integers(0, 2, (1000, 10)),
        np.eye(12)[np.random.default_rng(0).integers(0, 12, 600)],
        np.where(np.random.default_rng(0).random((500, 2)) < 0.6, 0.0, rows(500, 2)),
        # Half of these images are blank.
        np.where(np.arange(200)[:, None, None] % 2, 0.0, rows(200, 8, 8)),
        np.random.default_rng(0).poisson(3, (400, 1)),
    ],
    ids=["table of three bits", "table of ten bits", "one-hot", "many zeros", "blank images", "counts"],
)
def test_values_that_data_take_again_and_again_are_no_copies(x):
    assert len(np.unique(x, axis=0)) < len(x)
    assert copy_groups(x).tolist() == list(range(len(x)))
    assert copies_between(x[: len(x) // 2], x[len(x) // 2 :]) == 0


def test_a_picture_that_stands_for_missing_ones_is_a_copy():
    x = rows(1000, 8, 8)
    x[::20] = x[0]
    assert (copy_groups(x)[::20] == 0).all()


def test_copies_between_two_sets_are_counted():
    x, others = rows(40, 5), rows(30, 5, seed=1)
    assert copies_between(x, others) == 0
    others[[3, 4, 9]] = x[[7, 7, 20]]
    assert copies_between(x, others) == 3
    found = judging_notes(others, "rows", source=x, target=rows(9, 5, seed=2))
    assert found == ("3 of 30 rows to judge by are copies of source rows",)


# The split


def test_the_split_of_rows_without_copies_is_the_seeds_permutation():
    order = np.random.default_rng(3).permutation(50)
    for n in (2, 17, 40):
        learned, rest = split_target(np.arange(50), n, all_to_learn=False, seed=3)
        np.testing.assert_array_equal(learned, order[:n])
        np.testing.assert_array_equal(rest, order[n:])


@pytest.mark.parametrize("seed", range(5))
def test_copies_are_on_one_side_and_the_learned_rows_nested(seed):
    groups = copy_groups(np.concatenate([rows(100, 3), rows(100, 3)[:60], rows(100, 3)[:20]]))
    longest, _ = split_target(groups, 150, all_to_learn=False, seed=seed)
    for n in (2, 31, 100, 144, 150):
        learned, rest = split_target(groups, n, all_to_learn=False, seed=seed)
        assert len(learned) == n and len(set(learned)) == n
        np.testing.assert_array_equal(learned, longest[:n])
        assert not set(groups[learned]) & set(groups[rest]) and not set(learned) & set(rest)
        # No more is lost than the copies of the last row that is learned from.
        assert 180 - n - 2 <= len(rest) <= 180 - n


def test_rows_that_are_all_learned_from_keep_their_order():
    groups = copy_groups(np.concatenate([rows(20, 3)] * 2))
    learned, rest = split_target(groups, None, all_to_learn=True, seed=1)
    np.testing.assert_array_equal(learned, np.random.default_rng(1).permutation(40))
    assert rest is None
