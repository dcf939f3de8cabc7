"""What is said of numbers: each case by its own words, and none that says two things at once."""

import itertools
import math

import pytest

from tgdp_jax.app.report.conclusion import (
    GroupNumbers,
    RunNumbers,
    agreement,
    compared,
    conclude,
    conclude_comparison,
    gained,
)
from tgdp_jax.app.report.table import Cell, Column

SW2 = Column("sw2", "sliced W2", "lower")
GOOD, BAD = Cell(0.1, 0.01), Cell(0.5, 0.02)
FRESH = Cell(1.0, 0.05)


def said(value=GOOD, source: Cell | None = BAD, *, method="tgdp", column=SW2, **facts):
    facts = {"memorisation": FRESH, "diagnosis": "transfer", "num_target": 100, **facts}
    return conclude(RunNumbers(method, column, value, source, **facts))


def test_a_good_run():
    assert said(fresh=Cell(0.02, 0.005)) == (
        "The samples of tgdp are closer to the target than those of the source model: their sliced W2 is 0.100 ± 0.010 "
        "versus 0.500 ± 0.020 (lower is better), a difference of more than twice its error. Fresh target data scores "
        "0.0200 ± 0.0050. They are no copies of the training rows (memorisation ratio 1.000 ± 0.050, where fresh data "
        "scores 1). The diagnosis agrees: by the domain classifier source and target differ but overlap, where "
        "density-ratio transfer fits."
    )


@pytest.mark.parametrize(
    ("value", "source", "outcome"),
    [
        (GOOD, BAD, "closer"),
        (BAD, GOOD, "farther"),
        (Cell(0.48, 0.02), BAD, "unclear"),
        # Twice the error of the difference is 2 sqrt(0.03^2 + 0.04^2) = 0.1.
        (Cell(0.401, 0.03), Cell(0.5, 0.04), "unclear"),
        (Cell(0.399, 0.03), Cell(0.5, 0.04), "closer"),
        (Cell(0.601, 0.03), Cell(0.5, 0.04), "farther"),
        (Cell(0.1), BAD, "unclear"),
        (GOOD, Cell(0.5, math.nan), "unclear"),
        (GOOD, None, "unknown"),
        (GOOD, Cell(math.nan), "unknown"),
    ],
)
def test_a_difference_counts_beyond_its_error(value, source, outcome):
    assert compared(value, source, SW2) == outcome
    higher = SW2._replace(better="higher")
    swapped = {"closer": "farther", "farther": "closer"}.get(outcome, outcome)
    assert compared(value, source, higher) == swapped


def test_overlapping_errors_are_worded_with_care():
    text = said(Cell(0.48, 0.02))
    assert text.startswith("It is not clear that the samples of tgdp are closer") and "within twice its error" in text
    assert "expected more" in text
    assert "how far chance goes is not known" in said(Cell(0.1))


def test_copies_earn_no_praise():
    text = said(memorisation=Cell(0.1, 0.02))
    assert "They copy the training rows (memorisation ratio 0.100 ± 0.020" in text and "is no merit then" in text
    assert "agrees" not in text and "The diagnosis: by the domain classifier" in text


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (Cell(0.3, 0.01), "They copy"),
        (Cell(0.3), "They copy"),
        (Cell(0.45, 0.05), "They may copy"),
        (Cell(0.55, 0.05), "They may copy"),
        (Cell(0.7, 0.05), "no copies of the training rows, though closer"),
        (Cell(0.95, 0.05), "no copies of the training rows ("),
        (Cell(1.5, 0.05), "no copies of the training rows, and farther"),
        (Cell(math.nan), "was not measured"),
        (None, "was not measured"),
    ],
)
def test_copying_is_judged_with_its_error(ratio, words):
    assert words in said(memorisation=ratio)


def test_what_was_not_measured_is_not_claimed():
    assert "is not known: there were no target rows" in said(None)
    assert "is not known: there were no target rows" in said(Cell(math.nan))
    assert "is not known: there were no target rows" in said(column=None)
    alone = said(source=None, method="gan", diagnosis=None)
    assert "did not measure the source model" in alone and "diagnosis" not in alone


def test_the_source_itself_is_not_compared_and_copies_nothing():
    text = said(source=None, method="source", memorisation=Cell(0.1, 0.01), diagnosis=None)
    assert text.startswith("This is the source model as it is") and "cannot copy" in text
    assert "did not measure" not in text and "They copy" not in text


def test_reaching_fresh_data_is_said():
    assert "Fresh target data scores 0.090 ± 0.010, the same within the error." in said(fresh=Cell(0.09, 0.01))
    assert "the same" not in said(fresh=Cell(0.01, 0.01))


def test_few_rows_make_a_rough_diagnosis():
    assert "(8 target rows make that a rough reading)" in said(num_target=8)
    assert "rough" not in said(num_target=20)


OUTCOMES = {"closer": (GOOD, BAD), "unclear": (BAD, BAD), "farther": (BAD, GOOD), "unknown": (GOOD, None)}


@pytest.mark.parametrize("diagnosis", ["transfer", "finetune", "same"])
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_the_diagnosis_agrees_only_with_what_it_says(diagnosis, outcome):
    expected = {
        "transfer": {"closer"},
        "finetune": {"unclear", "farther"},
        "same": {"unclear", "farther"},
    }[diagnosis]
    text = agreement(diagnosis, outcome, 100)
    assert (" agrees" in text) == (outcome in expected)
    assert text[0].isupper() and text.endswith(".") and text.count(".") == 1


def test_no_case_contradicts_itself():
    ratios = [Cell(0.1, 0.01), Cell(0.5, 0.05), Cell(0.8, 0.02), FRESH, Cell(2.0, 0.1), None]
    for (value, source), ratio, diagnosis in itertools.product(OUTCOMES.values(), ratios, ("transfer", "same", None)):
        text = said(value, source, memorisation=ratio, diagnosis=diagnosis)
        assert sum(words in text for words in ("are closer to the target", "are farther from the target")) <= 1
        assert sum(words in text for words in ("They copy", "They may copy", "are no copies", "not measured")) == 1
        assert not ("They copy" in text and "agrees" in text)
        assert ".." not in text and "  " not in text


@pytest.mark.parametrize(
    ("gains", "outcome"),
    [
        ([0.3, 0.31, 0.29], "closer"),
        ([-0.3, -0.31, -0.29], "farther"),
        ([0.3, -0.1, 0.02], "unclear"),
        ([0.3], "unclear"),
        ([], "unknown"),
        ([0.3, math.nan], "unknown"),
    ],
)
def test_gains_are_paired_over_seeds(gains, outcome):
    assert gained(gains) == outcome


def test_a_comparison_is_told_by_the_number_of_rows():
    groups = {
        10: GroupNumbers("finetune", False, {"finetune": [0.2, -0.1], "tgdp": [-0.1, -0.12]}, [], "finetune", "tgdp"),
        100: GroupNumbers("tgdp", True, {"tgdp": [0.3, 0.31]}, ["gan", "kde"], "transfer", "tgdp"),
        1000: GroupNumbers("source", False, {}, ["gan"], None, None),
        5000: GroupNumbers(None, False, {}),
    }
    assert conclude_comparison(groups, SW2) == (
        "With 10 target rows finetune scores best, though not clearly ahead of the next by sliced W2; that it is "
        "closer to the target than the source model is not clear. For tgdp the diagnosis agrees: by the domain "
        "classifier source and target hardly overlap, too little for density-ratio transfer (10 target rows make "
        "that a rough reading); fine-tune the source instead. With 100 target rows tgdp is best by sliced W2, and "
        "closer to the target than the source model; gan and kde copy the training rows. For tgdp the diagnosis "
        "agrees: by the domain classifier source and target differ but overlap, where density-ratio transfer fits. "
        "With 1000 target rows no method has a better sliced W2 than the source model as it is; gan copies the "
        "training rows. With 5000 target rows no method can be recommended."
    )
    assert "no target rows left to judge by" in conclude_comparison(groups, None)


def test_what_copies_scored_says_nothing_of_the_transfer():
    group = GroupNumbers("kde", True, {"kde": [1.0, 1.1], "tgdp": [1.0, 1.1]}, ["tgdp"], "transfer", "tgdp")
    text = conclude_comparison({100: group}, SW2)
    assert "tgdp copies the training rows" in text and "agrees" not in text
