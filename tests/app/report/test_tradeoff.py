"""Quality against cost: every method once in every panel, where its numbers are."""

import math

import numpy as np
import pytest

from tgdp_jax.app.report import plots
from tgdp_jax.app.report.table import Cell, Column, Row

COST, QUALITY = Column("s", "train s"), Column("q", "sliced W2", "lower")


def rows(scale):
    return [
        Row("a", {"s": Cell(10.0 * scale, 2.0), "q": Cell(0.2, 0.05)}),
        Row("b_$x$", {"s": Cell(0.01, 5.0), "q": Cell(0.5)}),
        Row("no cost", {"q": Cell(0.3)}),
        Row("failed", {}, failed="failed: diverged"),
        Row("instant", {"s": Cell(0.0), "q": Cell(0.3)}),
        Row("fresh", {"q": Cell(0.05)}, reference=True),
    ]


def test_points_are_where_the_numbers_are():
    figure = plots.tradeoff({"10 rows": rows(1), "100 rows": rows(2)}, COST, QUALITY).figure()
    assert [panel.get_title() for panel in figure.axes] == ["10 rows", "100 rows"]
    for panel, scale in zip(figure.axes, (1, 2), strict=True):
        points = [(line.get_xdata()[0], line.get_ydata()[0]) for line in panel.lines if line.get_marker() in "osD^vPX"]
        assert points == [(10.0 * scale, 0.2), (0.01, 0.5)]
        low, high = panel.get_xlim()
        assert panel.get_xscale() == "log" and 0 < low < 0.01 and high > 10.0 * scale
        assert panel.get_xlabel() == "train s" and panel.get_ylabel() == "sliced W2 ↓"
        levels = [line.get_ydata()[0] for line in panel.lines if line.get_linestyle() == "--"]
        assert levels == [0.05]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b_$x$", "fresh"]


def test_more_methods_than_colours_stay_distinct():
    many = [Row(str(i), {"s": Cell(i + 1.0), "q": Cell(0.1)}) for i in range(20)]
    (panel,) = plots.tradeoff({"10": many}, COST, QUALITY).figure().axes
    looks = [(line.get_color(), line.get_marker()) for line in panel.lines if line.get_marker() in "osD^vPX"]
    assert len(looks) == len(set(looks)) == 20


@pytest.mark.parametrize("found", [{}, {"10": []}, {"10": [Row("a", {"s": Cell(math.nan), "q": Cell(1.0)})]}])
def test_nothing_to_show_is_no_error(found):
    png = plots.tradeoff(found, COST, QUALITY).png()
    assert png.startswith(b"\x89PNG") and len(np.frombuffer(png, np.uint8)) > 500
