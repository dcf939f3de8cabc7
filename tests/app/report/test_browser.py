"""The page in a real browser: nothing sticks out of a phone or a sheet of paper, and it is not blank.

It stands in a frame of the size in question, as browsers make no window as narrow as a phone. The page itself runs no
script; one outside the frame measures what the browser laid out, and the browser prints that.
"""

import html as markup
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from tgdp_jax.app.report import html, plots
from tgdp_jax.app.report.sheet import sheet
from tgdp_jax.app.report.table import Cell, Column, Row
from tgdp_jax.transfer import METHODS

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
pytestmark = pytest.mark.skipif(not BROWSER, reason="no Chromium on this machine")

PHONE, DESK, PAPER = (390, 844), (1280, 900), (1032, 703)  # in CSS pixels; paper: A4 landscape within its margins
FRAME = """<!doctype html><body style="margin: 0">
<iframe id="frame" style="border: 0; width: {width}px; height: {height}px"
srcdoc="{page}"></iframe><div id="measured"></div><script>
frame.onload = () => {{
  const page = frame.contentDocument, view = frame.contentWindow, all = (query) => [...page.querySelectorAll(query)];
  const box = (e) => e.getBoundingClientRect();
  const text = all("p, li, h1, h2, td, th, figcaption").filter((e) => !e.closest(".scroll, .hidden, thead, details"));
  const boxes = all("section, figure, details.config");
  measured.textContent = JSON.stringify({{
    width: view.innerWidth, content: page.documentElement.clientWidth, scroll: page.documentElement.scrollWidth,
    beyond: [...text, ...boxes].filter((e) => box(e).right > view.innerWidth + 1 || box(e).left < -1)
      .map((e) => e.outerHTML.slice(0, 80)),
    tables: Math.max(...all("table").map((e) => box(e).right)),
    clipped: all("tbody th, td, table:not(.sheet) thead th").filter((e) => e.scrollWidth > e.clientWidth + 1)
      .map((e) => e.outerHTML.slice(0, 80)),
    sheets: Math.max(...all("table.sheet").map((e) => box(e).right)),
    small: Math.min(...text.map((e) => parseFloat(view.getComputedStyle(e).fontSize))),
    sticky: Math.max(...all("table:not(.sheet) th[scope=row]").map((e) => box(e).width)),
    overlap: boxes.map(box).some((b, i, others) => i && b.top < others[i - 1].bottom),
  }});
}};
</script></body>"""


def page():
    """As a comparison leaves it: many methods and measures, one that failed, long words."""
    columns = [Column(f"m{i}", f"measure {i}", "lower", "What it measures, in a sentence.") for i in range(12)]
    rng, names = np.random.default_rng(0), list(METHODS)
    rows = [
        Row(name, {c.key: Cell(rng.random(), 0.1 * rng.random(), worse=rng.random() > 0.8) for c in columns}, group=n)
        for n in ("10", "1000")
        for name in names[:-1]
    ]
    reason = "failed at 1 of 3 seeds: training diverged: loss nan at step 100; lower the learning rate (now 0.01)"
    rows.append(Row(names[-1], {}, group="1000", failed=reason))
    points = {name: rng.normal(size=(200, 2)) for name in ("source", "target", *names)}
    return html.render(
        title="Transfer methods on a_problem_with_a_very_long_name_and_no_blank_in_it_to_break_at",
        intro="10,000 source rows; 10,1000 target rows.",
        warnings=[f"{names[-1]} with 1000 target rows {reason}"],
        findings=["With 10 target rows use tgdp: sliced W2 0.110 ± 0.010, ahead of scratch by 0.10 ± 0.01."],
        tables=[html.TableData("Metrics", rows, columns, "Mean over seeds.\n\nA dagger.", group="target rows")],
        pictures=[html.Picture("Samples", "Side by side.", plots.scatter_panels(points))],
        sheets=[sheet("Methods", {name: METHODS[name].card.facts() for name in names})],
        config={"folder": "/a/very/long/path/" + 20 * "x/"},
        footer="Made by: tgdp compare",
    )


@pytest.fixture(scope="module")
def browse(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")

    def run(text, size, *options):
        path = folder / "page.html"
        path.write_text(FRAME.format(page=markup.escape(text), width=size[0], height=size[1]))
        command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
        command += [f"--user-data-dir={folder / 'profile'}", f"--window-size={max(size[0], 600)},{size[1]}", *options]
        done = subprocess.run([*command, path.as_uri()], capture_output=True, text=True, timeout=120, cwd=folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def measured(browse, text, size):
    found = re.search(
        r'id="measured">(.*?)</div>', browse(text, size, "--dump-dom", "--virtual-time-budget=5000"), re.S
    )
    assert found and found[1], "the page was not measured"
    return json.loads(markup.unescape(found[1]))


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_nothing_sticks_out_of_the_screen(browse, size):
    found = measured(browse, page(), size)
    assert found["width"] == size[0]
    assert found["scroll"] <= found["content"]
    assert found["beyond"] == [] and found["clipped"] == []
    assert not found["overlap"] and found["small"] >= 13
    assert size == DESK or found["sheets"] <= size[0]
    # The names that stay in view leave room for the numbers.
    assert found["sticky"] < 0.45 * size[0]


def test_what_is_too_wide_would_be_noticed(browse):
    wide = page().replace("<main>", '<main><p style="width: 500px">x</p>')
    found = measured(browse, wide, PHONE)
    assert found["scroll"] > found["content"] and found["beyond"]


def test_a_printed_page_loses_no_column(browse):
    # The rules for paper, applied to a window as wide as a sheet.
    found = measured(browse, page().replace("@media print", "@media all"), PAPER)
    assert found["width"] == PAPER[0] and found["scroll"] <= found["content"]
    assert found["beyond"] == [] and found["clipped"] == [] and found["tables"] <= PAPER[0]


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_the_picture_is_not_blank(browse, size, tmp_path):
    path = tmp_path / "shot.png"
    browse(page(), size, f"--screenshot={path}")
    image = np.asarray(Image.open(path).convert("L").crop((0, 0, *size)))
    # Text stands in all parts of the window but its margins: rows that are all of one shade are lines between.
    busy = image.astype(int).std(1) > 1
    assert all(part.mean() > 0.2 for part in np.array_split(busy, 4))
