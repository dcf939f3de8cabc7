"""Cards say what a method is, and their names lead to it."""

import dataclasses

import pytest

from tgdp_jax.errors import UserError
from tgdp_jax.transfer import METHODS, Card, method_name, method_names


def test_every_method_goes_by_its_own_name():
    for name, method in METHODS.items():
        assert method.name == name and name.isidentifier()


@pytest.mark.parametrize("name", METHODS)
class TestCard:
    def test_it_says_in_one_line_what_the_method_does(self, name):
        summary = METHODS[name].card.summary
        assert 10 < len(summary) < 120 and "\n" not in summary

    def test_texts_fit_every_terminal_and_sentence(self, name):
        for label, text in METHODS[name].card.facts().items():
            assert text and text == text.strip() and text.isascii(), label
            assert not text.endswith("."), label

    def test_a_paper_has_authors_and_the_year_of_its_venue(self, name):
        card = METHODS[name].card
        assert (card.paper is None) == (card.originators is None) == (card.year is None)
        if card.paper is not None:
            title, venue = card.paper.rsplit(", ", 1)
            assert len(title) > 10 and venue.endswith(str(card.year))

    def test_facts_show_every_field(self, name):
        assert len(METHODS[name].card.facts()) == len(dataclasses.fields(Card))

    def test_names_and_aliases_lead_to_the_method(self, name):
        for text in (name, name.upper(), name.replace("_", "-"), name.replace("_", " "), *METHODS[name].card.aliases):
            assert method_name(text) == name


def test_no_two_methods_share_a_name():
    bare = [
        "".join(c for c in text.lower() if c.isalnum())
        for name, method in METHODS.items()
        for text in {name, *method.card.aliases}
    ]
    assert len(bare) == len(set(bare))


def test_unknown_names_are_refused_with_the_list():
    with pytest.raises(UserError, match="unknown method 'nope': choose one of discriminator_guidance"):
        method_name("nope")
    with pytest.raises(UserError, match="unknown method"):
        method_name("")


def test_all_stands_for_every_method_once():
    assert method_names(["kde", "All", "TGDP"]) == ("kde", *(name for name in METHODS if name != "kde"))
    assert method_names(["tgdp", "TGDP"]) == ("tgdp",)
