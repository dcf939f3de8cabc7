"""The page in a real browser: nothing sticks out of a phone or a sheet of paper, and it is not blank."""

import numpy as np
import pytest
from PIL import Image

from tests.app.report.browser import BROWSER, DARK, DESK, PAPER, PHONE, Browser, check_fits
from tgdp_jax.app.report import html, plots
from tgdp_jax.app.report.sheet import sheet
from tgdp_jax.app.report.table import Cell, Column, Row
from tgdp_jax.transfer import METHODS

pytestmark = pytest.mark.skipif(not BROWSER, reason="no Chromium on this machine")


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
def browser(tmp_path_factory):
    return Browser(tmp_path_factory.mktemp("browser"))


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_nothing_sticks_out_of_the_screen(browser, size):
    found = browser.measured(page(), size)
    check_fits(found, size)
    assert size == DESK or found["sheets"] <= size[0]
    # The names that stay in view leave room for the numbers.
    assert found["sticky"] < 0.45 * size[0]


def test_what_is_too_wide_would_be_noticed(browser):
    wide = page().replace("<main>", '<main><p style="width: 500px">x</p>')
    found = browser.measured(wide, PHONE)
    assert found["scroll"] > found["content"] and found["beyond"]


def test_a_printed_page_loses_no_column(browser):
    # The rules for paper, applied to a window as wide as a sheet.
    found = browser.measured(page().replace("@media print", "@media all"), PAPER)
    assert found["width"] == PAPER[0] and found["scroll"] <= found["content"]
    assert found["beyond"] == [] and found["clipped"] == [] and found["tables"] <= PAPER[0]


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_the_picture_is_not_blank(browser, size, tmp_path):
    path = tmp_path / "shot.png"
    browser(page(), size, f"--screenshot={path}")
    image = np.asarray(Image.open(path).convert("L").crop((0, 0, *size)))
    # Text stands in all parts of the window but its margins: rows that are all of one shade are lines between.
    busy = image.astype(int).std(1) > 1
    assert all(part.mean() > 0.2 for part in np.array_split(busy, 4))


def test_a_dark_page_is_dark_and_its_pictures_are_light_on_it(browser, tmp_path):
    line = plots.curves({"loss": {"loss": (np.arange(50), np.linspace(1, 0, 50))}})
    text = html.render(title="t", pictures=[html.Picture("Curve", "", line)])
    mean, brightest = [], []
    for name, options in (("light", ()), ("dark", (DARK,))):
        path = tmp_path / f"{name}.png"
        browser(text, PHONE, f"--screenshot={path}", *options)
        grey = np.asarray(Image.open(path).convert("L").crop((0, 0, *PHONE)), float)
        mean.append(grey.mean())
        brightest.append(abs(grey - np.median(grey)).max())
    assert mean[0] > 200 and mean[1] < 60
    # Ink that stayed black would leave no contrast on the dark page.
    assert min(brightest) > 150
