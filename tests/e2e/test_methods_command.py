"""`tgdp methods`: cards of all, one or several methods, in the terminal and as a page."""

import contextlib
import io

import pytest

from tests.app.report.test_html import Page
from tests.e2e.tools import call, refused
from tgdp_jax.app.cli import main
from tgdp_jax.transfer import METHODS


def words(text: str) -> str:
    """Without boxes and line breaks."""
    return " ".join("".join(c if ord(c) < 0x2500 else " " for c in text).split())


def test_all_methods_are_listed_as_cards():
    out, _ = call("methods")
    text = words(out)
    for name, card in ((n, m.card) for n, m in METHODS.items()):
        assert name in text and card.summary in text and card.trains in text
    assert "!=" not in text


def test_one_method_is_one_card():
    text = words(call("methods", "kde")[0])
    assert METHODS["kde"].card.summary in text and METHODS["tgdp"].card.summary not in text and "!=" not in text


def test_several_stand_side_by_side_with_what_differs_marked():
    text = words(call("methods", "tgdp", "Discriminator-Guidance")[0])
    lines = {label: f"!= {label}" in text for label in METHODS["tgdp"].card.facts()}
    same = {"family", "needs of the source model", "needs source rows", "target labels"}
    assert {label for label, marked in lines.items() if not marked} == same
    assert "discriminator_guidance" in text


def test_aliases_are_names():
    assert call("methods", "vanilla", "fine-tuning") == call("methods", "scratch", "finetune")
    # The same method twice is one card.
    assert METHODS["kde"].card.summary in words(call("methods", "kde", "parzen window")[0])


def test_the_page_holds_all_of_it(tmp_path):
    path = tmp_path / "cards.html"
    out, _ = call("methods", "tgdp", "finetune", "--out", path)
    assert f"cards: {path}" in out
    page = Page(path.read_text())
    for name in ("tgdp", "finetune"):
        for text in METHODS[name].card.facts().values():
            assert text in page.text
    assert METHODS["kde"].card.summary not in page.text
    call("methods", "--out", path)
    assert [a["scope"] for a in Page(path.read_text()).all("th")].count("col") == 1 + len(METHODS)


@pytest.mark.parametrize("arguments", [(), ("kde", "sir")])
def test_every_terminal_can_show_them(arguments):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with contextlib.redirect_stdout(out):
        main(["methods", *arguments])
    out.flush()
    assert METHODS["kde"].card.trains.encode() in out.buffer.getvalue()


@pytest.mark.parametrize("arguments", [("nope",), ("tgdp", "nope")])
def test_unknown_methods_are_refused_with_the_list(arguments, tmp_path):
    path = tmp_path / "cards.html"
    said = refused("methods", *arguments, "--out", path)
    assert said.startswith("unknown method 'nope': choose one of ") and all(name in said for name in METHODS)
    assert not path.exists()


def test_a_place_that_can_not_be_written_is_said(tmp_path):
    assert "cannot write the report" in refused("methods", "--out", tmp_path / "none" / "cards.html")
