"""The page: nothing fetched, nothing unescaped, and written whole or not at all."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tgdp_jax.app.report import html, plots, style
from tgdp_jax.app.report.sheet import sheet
from tgdp_jax.app.report.table import Cell, Column, Row
from tgdp_jax.errors import UserError

EVIL = '<script>alert("1")</script>&amp;{{ 7 * 7 }}.npz'
COLUMN = Column("m", "sliced W2", "lower", "Distance to fresh target samples.")
ROWS = [
    Row("fresh", {"m": Cell(0.01)}, reference=True),
    Row("tgdp", {"m": Cell(0.2, 0.02)}),
    Row("scratch", {"m": Cell(0.6, 0.05)}),
    Row("gan", {}, failed="failed: training diverged"),
    Row("kde", {"m": Cell(0.9, worse=True)}),
]


def points(name="a"):
    return plots.scatter_panels({name: np.zeros((3, 2))}, labels={name: np.zeros(3, int)}, classes=[name])


class Page(HTMLParser):
    """Elements as (tag, attributes), their balance, and all text."""

    VOID = ("meta", "link", "img", "br", "wbr")

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.words = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join("".join(self.words).split())

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def full():
    return html.render(
        title="Report",
        lead="It is closer to the target.",
        intro="First paragraph.\n\nSecond one, see https://example.org/paper.",
        warnings=["little overlap"],
        findings=["With 10 rows use tgdp."],
        tables=[html.TableData("Comparison", ROWS, [COLUMN], "± over 4 seeds", None)],
        pictures=[
            html.Picture("Samples", "Side by side.", points()),
            html.Picture("Other", "", plots.curves({"s": {"loss": ([1, 2], [1.0, 0.5])}})),
        ],
        sheets=[sheet("Methods", {"tgdp": {"family": "guidance"}, "gan": {"family": "adversarial"}})],
        config={"sde": {"beta": [0.1, 20]}, "path": Path("/data/x"), "nan": float("nan")},
        command="tgdp compare gaussians",
        footer="Made with tgdp_jax 1.0",
    )


def test_everything_is_there():
    page = Page(full())
    for words in (
        "First paragraph.",
        "Second one",
        "little overlap",
        "Comparison",
        "sliced W2 ↓",
        "0.200 ± 0.020*",
        "± over 4 seeds",
        "* best; † worse beyond chance; ↓ lower is better",
        "Distance to fresh target samples.",
        "With 10 rows use tgdp.",
        "0.9000†",
        "failed: training diverged",
        "Side by side.",
        '"beta": [',
        '"path": "/data/x"',
        "It is closer to the target.",
        "tgdp compare gaussians",
        "Made with tgdp_jax 1.0",
    ):
        assert words in page.text
    assert "0.600 ± 0.050*" not in page.text
    assert "gan(failed)—" in page.text.replace(" ", "")
    assert [a.get("class") for a in page.all("td")].count("best") == 1
    assert [a.get("class") for a in page.all("tr")].count("reference") == 1
    assert len(page.all("h1")) == 1


def test_a_screen_reader_finds_its_way():
    page = Page(full())
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("caption")) == len(page.all("table")) == 2
    assert all(a.get("scope") in ("col", "row", "rowgroup") for a in page.all("th"))
    pictures = [a for a in page.all("svg") if a.get("aria-hidden") != "true"]
    assert [(a["role"], a["aria-label"]) for a in pictures] == [("img", "Samples: a"), ("img", "Other: s")]
    # What a measure is stands at its name, and in a list that needs no mouse.
    assert [a["title"] for a in page.all("abbr")] == ["Distance to fresh target samples."]
    assert page.text.count("Distance to fresh target samples.") == 1
    # No level of heading is left out, and every region that scrolls can be reached by keyboard and has a name.
    assert [tag for tag, _ in page.elements if re.fullmatch(r"h\d", tag)] == ["h1"] + 7 * ["h2"]
    ids = {a["id"] for _, a in page.elements if "id" in a}
    for _, attributes in page.elements:
        if attributes.get("role") == "region":
            assert attributes["tabindex"] == "0"
            assert attributes.get("aria-label") or attributes["aria-labelledby"] in ids


def test_nothing_is_fetched_and_nothing_runs():
    text = full()
    page = Page(text)
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
            assert attributes.get(name, "data:").startswith(("data:", "#")), (tag, attributes)
        assert not any(name.startswith("on") for name in attributes)
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "iframe", "object", "embed", "form"})
    style = "".join(re.findall(r"<style>(.*?)</style>", text, re.S))
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv")]
    assert policy.startswith("default-src 'none'")


def test_ids_are_unique_and_all_links_lead_somewhere():
    page = Page(full())
    ids = [a["id"] for _, a in page.elements if "id" in a]
    links = [a["href"][1:] for _, a in page.elements if a.get("href", "").startswith("#")]
    used = re.findall(r"url\(#([^)]*)\)", full())
    assert len(set(ids)) == len(ids)
    assert links and used and {*links, *used} <= set(ids)


def test_pictures_follow_light_and_dark_and_leave_the_page_alone():
    text = full()
    dark = re.search(r"@media screen and \(prefers-color-scheme: dark\) \{\n  :root \{(.*?)\}", text, re.S)
    assert dark
    defined = dict(re.findall(r"(--ink-[0-9a-f]{6}): (#[0-9a-f]{6});", dark[1]))
    assert {name.removeprefix("--ink-"): value for name, value in defined.items()} == {
        colour[1:]: value for colour, value in style.DARK.items()
    }
    shown = re.findall(r"var\((--ink-([0-9a-f]{6})), #([0-9a-f]{6})\)", text)
    assert shown and all(name in defined and own == fallback for name, own, fallback in shown)
    # No rules of the plotting library for all elements, and no facts about its files.
    assert text.count("<style>") == 1 and "metadata" not in text and "DejaVu" not in text


def test_foreign_text_stays_text():
    column = Column("m", EVIL, "lower", EVIL)
    text = html.render(
        title=EVIL,
        lead=EVIL,
        intro=EVIL,
        warnings=[EVIL],
        findings=[EVIL],
        tables=[html.TableData(EVIL, [Row(EVIL, {"m": Cell(1.0)}, group=EVIL, failed=EVIL)], [column], EVIL, EVIL)],
        pictures=[html.Picture(EVIL, EVIL, points(EVIL))],
        sheets=[sheet(EVIL, {EVIL: {EVIL: EVIL}})],
        config={EVIL: EVIL},
        command=EVIL,
        footer=EVIL,
    )
    page = Page(text)
    assert "<script" not in text
    assert page.all("script") == []
    # Title, heading, lead, intro, warning, finding, table's title (twice) and note, row and its failure, group (twice),
    # column (label twice, description), picture's title and caption, its panel and its key, sheet's title (twice),
    # name, label and text, command and footer; the settings print it with their own quotes.
    assert page.text.count(EVIL) == 27
    assert [a["aria-label"] for a in page.all("svg") if "aria-label" in a] == [f"{EVIL}: {EVIL}"]
    assert page.all("abbr")[0]["title"] == EVIL


def test_parts_that_are_empty_leave_no_empty_boxes():
    page = Page(html.render(title="Only a title"))
    assert {"section", "figure", "details", "footer", "ul", "table"}.isdisjoint(tag for tag, _ in page.elements)


def test_groups_have_headings():
    rows = [Row("a", {"m": Cell(1.0)}, group=n) for n in (10, 100)]
    page = Page(html.render(title="t", tables=[html.TableData("c", rows, [COLUMN], group="target samples")]))
    assert [a["scope"] for a in page.all("th")].count("rowgroup") == 2
    assert "target samples: 100" in page.text


def test_a_table_of_few_rows_can_be_turned():
    columns = [COLUMN, Column("k", "coverage", "higher")]
    rows = [Row("fresh", {"m": Cell(0.01)}, reference=True), *(Row(n, {"m": Cell(v), "k": Cell(v)}) for n, v in _TWO)]
    page = Page(html.render(title="t", tables=[html.TableData("c", rows, columns, turned=True)]))
    assert "measurefresh (ref)ab sliced W2 ↓0.010000.50000.2000* coverage ↑—0.5000*0.2000" in page.text
    assert [a.get("class") for a in page.all("td")] == ["reference", None, "best", "reference", "best", None]


_TWO = (("a", 0.5), ("b", 0.2))


def test_write_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "report.html"
    assert html.write(path, "old") == path
    html.write(str(path), "<p>né ± \udcff</p>\n")
    assert path.read_text("utf-8") == "<p>né ± \\udcff</p>\n"
    assert os.listdir(tmp_path) == ["report.html"]


def test_write_gives_the_usual_permissions(tmp_path):
    ordinary = tmp_path / "ordinary"
    ordinary.write_text("x")
    html.write(tmp_path / "report.html", "x")
    assert (tmp_path / "report.html").stat().st_mode == ordinary.stat().st_mode


def test_write_follows_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    goal, link = tmp_path / "real" / "r.html", tmp_path / "latest.html"
    goal.write_text("old")
    link.symlink_to(goal)
    html.write(link, "new")
    assert link.is_symlink()
    assert goal.read_text() == "new"


def test_write_to_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(UserError, match=r"cannot write the report .*create the folder .*nowhere") as caught:
        html.write(tmp_path / "nowhere" / "report.html", "x")
    assert isinstance(caught.value.__cause__, OSError)
    assert os.listdir(tmp_path) == []


def test_write_below_a_file_or_onto_a_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="cannot write the report"):
        html.write(tmp_path / "file" / "report.html", "x")
    with pytest.raises(UserError, match=r"folder: it is a folder: choose another output path"):
        html.write(tmp_path / "folder", "x")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is unwritable for root")
def test_write_to_an_unwritable_folder(tmp_path):
    (tmp_path / "report.html").write_text("old")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match="check the permissions"):
            html.write(tmp_path / "report.html", "new")
        assert (tmp_path / "report.html").read_text() == "old"
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("broken", ["write_bytes", "replace"])
def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch, broken):
    path = tmp_path / "report.html"
    html.write(path, "old")

    def full_disk(self, *arguments):
        # Half of it arrives before the disk is full.
        with open(self, "wb") as file:
            file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((Path, "write_bytes") if broken == "write_bytes" else (os, "replace")), full_disk)
    with pytest.raises(UserError, match="No space left on device"):
        html.write(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.html"]


def test_the_report_knows_nothing_of_the_floors_above_it():
    """It imports neither methods nor training, and a table does not wait for the plotting library."""
    code = (
        "import sys, tgdp_jax.app.report.table; assert 'matplotlib' not in sys.modules\n"
        "import tgdp_jax.app.report.html, tgdp_jax.app.report.plots\n"
        "bad = [m for m in sys.modules if m.startswith(('tgdp_jax.transfer', 'tgdp_jax.train', 'tgdp_jax.nets',"
        " 'tgdp_jax.app.cli', 'matplotlib.pyplot', 'jax.'))]\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
