"""Facts side by side: what differs is marked, for the eye and for a screen reader, in the terminal and on the page."""

import io

from rich.console import Console

from tests.app.report.test_html import Page
from tgdp_jax.app.report import html
from tgdp_jax.app.report.sheet import panels, sheet, side_by_side

FACTS = {
    "alpha": {"family": "guidance", "needs": "score", "fails with": "little overlap"},
    "beta [x]": {"family": "guidance", "needs": "weights <b>"},
    "gamma": {"family": "guidance", "needs": "score", "fails with": "few rows", "more": "yes"},
}


def printed(data, width=100):
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(data)
    return out.getvalue()


def test_lines_are_in_order_and_differ_where_texts_do():
    data = sheet("Methods", FACTS)
    assert data.names == tuple(FACTS)
    assert [(line.label, line.differs) for line in data.lines] == [
        ("family", False),
        ("needs", True),
        ("fails with", True),
        ("more", True),
    ]
    assert data.lines[2].texts == ("little overlap", "-", "few rows")
    assert not any(line.differs for line in sheet("Methods", {"alpha": FACTS["alpha"]}).lines)


def test_the_terminal_marks_what_differs():
    lines = [" ".join(line.split()) for line in printed(side_by_side(sheet("Methods", FACTS), 110), 110).splitlines()]
    assert "family guidance guidance guidance" in lines
    assert "!= needs score weights <b> score" in lines and "!= more - - yes" in lines
    assert "alpha beta [x] gamma" in lines
    assert sum(line.startswith("!=") for line in lines) == 4  # three lines and the caption


def test_a_narrow_terminal_gets_several_tables():
    lines = printed(side_by_side(sheet("Methods", FACTS), 60), 60).splitlines()
    assert sum("Methods" in line for line in lines) == 3 and max(map(len, lines)) <= 60
    # Each still says that the line differs, though one name stands alone in its table.
    assert sum(line.split()[:2] == ["!=", "needs"] for line in lines) == 3


def test_cards_hold_everything_once():
    text = printed(panels(sheet("Methods", FACTS)))
    for texts in FACTS.values():
        for label, value in texts.items():
            assert label in text and value in text
    assert "!=" not in text and text.count("alpha") == 1


def test_the_page_marks_what_differs():
    text = html.render(title="t", sheets=[sheet("Methods", FACTS)])
    page = Page(text)
    assert [a.get("class") for a in page.all("tr")].count("differs") == 3
    assert page.text.count("≠") == 3 + 2  # lines, caption and legend
    assert "weights <b>" in page.text and "<b>" not in text
    # In a narrow page the headings are gone: every cell has its name with it.
    assert [a["data-name"] for a in page.all("td")] == list(FACTS) * 4
    assert "≠" not in Page(html.render(title="t", sheets=[sheet("Methods", {"alpha": FACTS["alpha"]})])).text
