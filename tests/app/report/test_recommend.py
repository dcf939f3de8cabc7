"""Recommendations of made-up tables: what they name, and what they do not claim."""

import math

import pytest

from tgdp_jax.app.report.recommend import MEMORISED, Contender, recommend
from tgdp_jax.app.report.table import Column

W2 = Column("sw2", "sliced W2", "lower")
WHERE = "100 target rows"
CLEAR = Contender("tgdp", (0.10, 0.12, 0.11), 0.95, 54.4, 2.04)
BEHIND = Contender("scratch", (0.20, 0.23, 0.21), 1.0, 14.0, 0.9)
CLOSE = Contender("kde", (0.09, 0.13, 0.12), 0.9, 0.0017, 0.01)
COPIES = Contender("finetune", (0.02, 0.03, 0.02), 0.1, 30.0, 1.0)
FAILED = Contender("gan", failed=True)


def say(*contenders, column=W2):
    return recommend(contenders, column, where=WHERE)


def test_a_clear_winner_is_named_with_its_lead_and_cost():
    found = say(BEHIND, CLEAR)
    assert (found.best, found.clear) == ("tgdp", True)
    # Leads of 0.10, 0.11 and 0.10.
    assert found.sentence == (
        "With 100 target rows use tgdp: sliced W2 0.110 ± 0.010, ahead of scratch by 0.1033 ± 0.0058 over 3 paired "
        "seeds. It trained in 54 s and drew its samples in 2 s."
    )


def test_a_lead_within_its_spread_is_a_tie_and_the_cheapest_is_named():
    found = say(CLEAR, CLOSE, BEHIND)
    assert (found.best, found.clear) == ("tgdp", False)
    assert "its lead over kde, 0.003 ± 0.012, is within its spread over 3 paired seeds" in found.sentence
    assert "no clear winner among tgdp and kde, of which kde trains fastest (0.0017 s)" in found.sentence
    assert "scratch" not in found.sentence


def test_equal_numbers_are_a_tie():
    found = say(CLEAR, CLEAR._replace(name="twin"))
    assert not found.clear and "no clear winner among tgdp and twin" in found.sentence


def test_a_winner_that_copies_its_training_rows_is_not_recommended():
    found = say(CLEAR, COPIES, BEHIND)
    assert (found.best, found.clear) == ("tgdp", True)
    assert "finetune scores 0.0233 ± 0.0058 but memorises: its samples lie 0.10 times as far" in found.sentence
    edge = say(CLEAR, COPIES._replace(memorisation=MEMORISED))
    assert edge.best == "finetune" and "memorises" not in edge.sentence
    assert say(CLEAR, COPIES._replace(memorisation=math.nan)).best == "finetune"


def test_a_loser_that_copies_is_not_mentioned():
    assert "memorises" not in say(CLEAR, BEHIND._replace(memorisation=0.1)).sentence


def test_if_all_copy_none_is_recommended():
    found = say(COPIES, CLEAR._replace(memorisation=0.2), FAILED)
    assert found.best is None and "every method that finished copies its training rows" in found.sentence
    assert "Left out, as they failed: gan." in found.sentence


def test_if_all_fail_nothing_is_recommended():
    found = say(FAILED, FAILED._replace(name="dreambooth"))
    assert (found.best, found.clear) == (None, False)
    assert found.sentence == "With 100 target rows every method failed: there is nothing to recommend."
    assert "nothing was measured" in say(Contender("kde")).sentence
    assert "nothing was measured" in say().sentence


def test_a_method_that_failed_at_some_seed_is_left_out():
    lucky = Contender("gan", (0.01, 0.01), failed=True)
    found = say(lucky, CLEAR, BEHIND)
    assert found.best == "tgdp" and found.sentence.endswith("Left out, as they failed: gan.")


def test_one_seed_claims_nothing():
    found = say(*(c._replace(values=c.values[:1]) for c in (CLEAR, BEHIND)))
    assert (found.best, found.clear) == ("tgdp", False)
    assert "0.1000, before scratch with 0.2000, at a single seed" in found.sentence
    assert "chance can not be told, run with --seeds 3 or more" in found.sentence


def test_one_method_is_no_comparison():
    assert "tgdp was run alone: nothing is compared" in say(CLEAR).sentence
    found = say(CLEAR, FAILED)
    assert "tgdp is the only method left" in found.sentence and not found.clear


def test_higher_is_better_where_it_is_and_goals_are_aims():
    assert say(CLEAR, BEHIND, column=W2._replace(better="higher")).best == "scratch"
    assert say(CLEAR, BEHIND, column=W2._replace(better="target", goal=0.2)).best == "scratch"
    with pytest.raises(ValueError, match="no better and no worse"):
        say(CLEAR, column=W2._replace(better="none"))


def test_times_that_are_not_known_are_not_invented():
    found = say(CLEAR._replace(train_seconds=math.nan), BEHIND)
    assert "trained in unknown time" in found.sentence
