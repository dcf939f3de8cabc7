"""Ranks and marks: against SciPy's own test, by hand, and by how often chance alone is marked."""

import numpy as np
import pytest
from scipy import stats

from tgdp_jax.app.report.ranks import MIN_SEEDS, mean_ranks, paired_p_value, ranks, worse_than_best
from tgdp_jax.app.report.table import Cell, Column, Row, format_cell, plain, sections

LOW, HIGH = Column("low", "low", "lower"), Column("high", "high", "higher")
GOAL, COST = Column("goal", "goal", "target", goal=1.0), Column("cost", "cost", "none")


@pytest.mark.parametrize("seeds", [3, 5, 12])
def test_the_p_value_is_that_of_the_paired_t_test(seeds):
    a, b = np.random.default_rng(seeds).normal([[0.8], [0.0]], size=(2, seeds))
    assert paired_p_value(a - b) == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-9)


def test_few_seeds_say_nothing():
    assert MIN_SEEDS == 3
    assert paired_p_value([1.0]) == paired_p_value([1.0, 1.0001]) == paired_p_value([]) == 1.0
    assert worse_than_best({"a": [0.1], "b": [99.0]}) == set()
    assert worse_than_best({"a": [0.1, 0.1], "b": [99.0, 99.1]}) == set()


def test_what_moves_all_methods_alike_does_not_hide_a_difference():
    draw = np.random.default_rng(0).normal(size=5)
    a, b = draw, draw + np.array([0.1, 0.11, 0.09, 0.1, 0.105])
    assert stats.ttest_ind(a, b).pvalue > 0.5
    assert worse_than_best({"a": a, "b": b}) == {"b"}


def test_numbers_that_are_the_same_are_not_worse_and_constant_gaps_are():
    same = [0.1, 0.2, 0.3]
    assert worse_than_best({"a": same, "b": same}) == set()
    assert worse_than_best({"a": same, "b": np.array(same) + 1}) == {"b"}


def test_what_is_not_finite_is_not_tested():
    assert worse_than_best({"a": [1.0, 1.1, 1.0], "b": [np.nan, 9.0, 9.1]}) == set()


@pytest.mark.parametrize(("methods", "seeds"), [(2, 3), (7, 3), (7, 5)])
def test_equal_methods_are_rarely_marked(methods, seeds):
    rng, tables = np.random.default_rng(1), 1000
    marked = sum(
        bool(worse_than_best({str(i): values for i, values in enumerate(rng.normal(size=(methods, seeds)))}))
        for _ in range(tables)
    )
    # At most 5 % in truth; four standard errors of the count above that.
    assert marked <= 50 + 4 * np.sqrt(50)


def test_a_clear_difference_is_marked_at_three_seeds():
    rng = np.random.default_rng(2)
    losses = {str(i): 0.1 + 0.001 * rng.normal(size=3) for i in range(6)} | {"bad": np.array([0.9, 0.91, 0.9])}
    assert worse_than_best(losses) == {"bad"}


ROWS = [
    Row("a", {"low": Cell(1.0), "high": Cell(5.0), "goal": Cell(0.5), "cost": Cell(1.0)}),
    Row("b", {"low": Cell(2.0), "high": Cell(9.0), "goal": Cell(1.1), "cost": Cell(2.0)}),
    Row("c", {"low": Cell(2.0), "high": Cell(7.0), "goal": Cell(3.0), "cost": Cell(3.0)}),
    Row("fresh", {"low": Cell(0.0), "high": Cell(99.0)}, reference=True),
    Row("broken", {}, failed="failed: no reason"),
]


def test_ranks_by_hand():
    found = ranks(ROWS, [LOW, HIGH, GOAL, COST])
    assert found == {
        "low": {"a": 1.0, "b": 2.5, "c": 2.5},
        "high": {"a": 3.0, "b": 1.0, "c": 2.0},
        "goal": {"a": 2.0, "b": 1.0, "c": 3.0},
    }
    assert mean_ranks(found) == {"a": 2.0, "b": 1.5, "c": 2.5}


def test_a_column_that_a_method_lacks_ranks_nobody():
    lacking = [*ROWS[:2], Row("kde", {"low": Cell(3.0), "high": Cell(float("nan"))})]
    assert set(ranks(lacking, [LOW, HIGH])) == {"low"}
    assert ranks(ROWS[:1], [LOW]) == {} and mean_ranks({}) == {}


def test_marks_of_a_table():
    worse = Row("b", {"low": Cell(2.0, 0.1, worse=True)})
    rows = [ROWS[0], worse, ROWS[4]]
    (part,) = sections(rows, [LOW])
    assert [line.marks for line in part.lines] == [["*"], ["†"], [""]]
    text = plain(rows, [LOW], title="t")
    assert "1*" in text and f"{format_cell(worse.cells['low'])}†" in text and "broken (failed)" in text
    assert "* best; † worse beyond chance" in text
    assert "2.00 +/- 0.10!" in plain(rows, [LOW], title="t", ascii_only=True)
    assert "worse" not in plain(ROWS[:2], [LOW], title="t")


def test_a_row_that_failed_in_part_is_not_best():
    rows = [Row("lucky", {"low": Cell(0.1)}, failed="failed at 2 of 3 seeds: diverged"), *ROWS[:2]]
    (part,) = sections(rows, [LOW])
    assert [line.marks[0] for line in part.lines] == ["", "*", ""]
    assert part.lines[0].name == "lucky (failed in part)"
