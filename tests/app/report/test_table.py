"""Which row is marked best, how numbers are printed, and the three text renderings."""

import io
import math
import re

import numpy as np
import pytest
from rich.console import Console

from tgdp_jax.app.report.table import (
    MISSING,
    Cell,
    Column,
    Row,
    best,
    format_cell,
    legend,
    markdown,
    plain,
    sections,
    terminal,
)
from tgdp_jax.errors import UserError

LOWER = Column("m", "measure", "lower")
HIGHER = Column("m", "measure", "higher")
GOAL = Column("m", "density", "target", goal=0.4)


def rows(*values, reference=()):
    return [
        Row(name, {} if value is None else {"m": Cell(value)}, reference=name in reference)
        for name, value in zip("abcdef", values, strict=False)
    ]


@pytest.mark.parametrize(
    ("values", "column", "expected"),
    [
        ((3.0, 1.0, 2.0), LOWER, {"b"}),
        ((3.0, 1.0, 2.0), HIGHER, {"a"}),
        ((-3.0, 1.0), LOWER, {"a"}),
        ((2.0, 2.0, 3.0), LOWER, {"a", "b"}),
        # No difference in the digits shown: no winner is claimed between the two.
        ((0.123412, 0.123411, 0.2), LOWER, {"a", "b"}),
        ((math.nan, 5.0, None), LOWER, {"b"}),
        ((math.inf, 5.0, 6.0), HIGHER, {"c"}),
        ((-math.inf, 5.0, 6.0), LOWER, {"b"}),
        ((math.nan, None), LOWER, set()),
        ((), LOWER, set()),
        ((0.3, 0.45, 0.7), GOAL, {"b"}),
        # Equally far on both sides.
        ((0.375, 0.425, 0.9), Column("m", "d", "target", goal=0.4), {"a", "b"}),
        ((0.3, 0.45), Column("m", "d", "target"), set()),
        ((0.3, 0.45), Column("m", "d", "none"), set()),
        ((np.float32(0.3), np.float32(0.45)), LOWER, {"a"}),
    ],
)
def test_best(values, column, expected):
    assert best(rows(*values), column) == expected


@pytest.mark.parametrize("column", [LOWER, HIGHER, GOAL])
def test_reference_rows_never_compete(column):
    winner = {"lower": -9.0, "higher": 9.0, "target": 0.4}[column.better]
    assert best(rows(winner, 0.5, 0.7, reference="a"), column) == best(rows(None, 0.5, 0.7), column)
    assert best(rows(winner, reference="a"), column) == set()


def test_a_wide_spread_does_not_make_a_tie_of_different_numbers():
    table = [Row("a", {"m": Cell(0.5, 0.3)}), Row("b", {"m": Cell(0.45, 0.3)}), Row("c", {"m": Cell(0.452, 0.3)})]
    assert best(table, LOWER) == {"b", "c"}


def test_unknown_direction_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"'smaller'.*higher, lower, none, target"):
        best(rows(1.0, 2.0), Column("m", "measure", "smaller"))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("value", "spread", "expected"),
    [
        (0.0234, 0.0012, "0.0234 ± 0.0012"),
        (0.02341, 0.00119, "0.0234 ± 0.0012"),
        (0.4, 0.1, "0.40 ± 0.10"),
        # Rounding the spread up changes its number of decimals.
        (0.5, 0.0996, "0.50 ± 0.10"),
        (12345.0, 678.0, "12340 ± 680"),
        (123.4, 56.7, "123 ± 57"),
        (-0.001, 1.1, "0.0 ± 1.1"),
        (0.5, 0.0, "0.5000 ± 0"),
        (0.5, math.nan, "0.5000"),
        (3.0, math.inf, "3 ± inf"),
        (1.2e-9, 3e-11, "(1.200 ± 0.030)e-09"),
        (0.0, 1e-9, "(0.0 ± 1.0)e-09"),
        (2.5e7, 1e6, "(2.50 ± 0.10)e+07"),
        (0.157234, None, "0.1572"),
        (1234.5678, None, "1235"),
        (123456.7, None, "123457"),
        (9.99996, None, "10.00"),
        (25, None, "25"),
        (0.0, None, "0"),
        (-0.0, None, "0"),
        (1.6e-7, None, "1.600e-07"),
        (4e6, None, "4.000e+06"),
        (5e-324, None, "4.941e-324"),
        (math.nan, 0.1, MISSING),
        (math.inf, None, "inf"),
        (-math.inf, 1.0, "-inf"),
    ],
)
def test_format(value, spread, expected):
    assert format_cell(Cell(value, spread)) == expected


def test_missing_cell_is_a_dash():
    assert format_cell(None) == MISSING == "—"


@pytest.mark.parametrize("seed", range(3))
def test_printed_numbers_read_back(seed):
    """What is printed is the number, to half a unit of the last digit that the spread allows."""
    rng = np.random.default_rng(seed)
    for _ in range(200):
        spread = float(10 ** rng.uniform(-3, 2))
        value = float(rng.normal() * 10 ** rng.uniform(-2, 4))
        shown = [float(part) for part in format_cell(Cell(value, spread)).split(" ± ")]
        assert abs(shown[1] - spread) <= 0.051 * spread
        assert abs(shown[0] - value) <= 0.051 * spread + 1e-9


GROUPED = [
    Row("fresh", {"m": Cell(0.01)}, reference=True, group=10),
    Row("tgdp", {"m": Cell(0.2, 0.02)}, group=10),
    Row("scratch", {"m": Cell(0.6, 0.05)}, group=10),
    Row("tgdp", {"m": Cell(0.05, 0.005)}, group=100),
    Row("scratch", {"m": Cell(0.04, 0.004)}, group=100),
]


def test_groups_compete_among_themselves():
    first, second = sections(GROUPED, [LOWER], group="target samples")
    assert (first.heading, second.heading) == ("target samples: 10", "target samples: 100")
    assert [line.best[0] for line in first.lines] == [False, True, False]
    assert [line.best[0] for line in second.lines] == [False, True]


def test_a_single_competitor_is_not_marked():
    (only,) = sections([Row("fresh", {"m": Cell(1.0)}, reference=True), Row("tgdp", {"m": Cell(2.0)})], [LOWER])
    assert only.heading is None
    assert not any(line.best[0] for line in only.lines)


def printed(table, width=100):
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(table)
    return out.getvalue()


def test_best_is_seen_without_colour_and_in_bold_with_it():
    table = terminal(GROUPED, [LOWER], title="t", group="target samples")
    text = printed(table)
    assert "0.200 ± 0.020*" in text
    assert "0.600 ± 0.050*" not in text
    out = io.StringIO()
    Console(file=out, width=100, force_terminal=True, color_system="standard").print(table)
    assert re.search(r"\x1b\[1m *0\.200 ± 0\.020\*", out.getvalue())


def test_names_are_no_markup_and_no_control_codes():
    table = [Row("[red]a[/red]", {"m": Cell(1.0)}), Row("b\x1b[31m\nc", {"m": Cell(2.0)})]
    text = printed(terminal(table, [LOWER], title="[x]"))
    assert "[red]a[/red]" in text
    assert "[x]" in text
    assert "\x1b" not in text
    assert "b�[31m�c" in text


def test_a_narrow_terminal_never_cuts_a_number_silently():
    columns = [Column(f"m{i}", f"measure {i}", "lower") for i in range(5)]
    table = [Row(f"method {j}", {c.key: Cell(0.123 + j, 0.0045) for c in columns}) for j in range(2)]
    text = printed(terminal(table, columns, title="t"), width=50)
    for word in text.replace("*", "").split():
        if word.startswith("0.") and "…" not in word:
            assert word in ("0.1230", "0.0045")


def test_plain_is_one_line_a_row_whatever_the_width():
    text = plain(GROUPED, [LOWER], title="Comparison", group="target samples")
    assert text.startswith("Comparison\n")
    assert text.endswith("\n")
    assert sum("±" in line and "tgdp" in line for line in text.splitlines()) == 2
    assert not any(line != line.rstrip() for line in text.splitlines())
    assert "fresh (ref)" in text
    assert legend([LOWER]) in text


def test_plain_ascii():
    table = [Row("méthode", {"m": Cell(1.0, 0.1)}), Row("b", {"m": Cell(math.nan)}), Row("c", {"m": Cell(2.0)})]
    text = plain(table, [LOWER, GOAL], title="→", ascii_only=True)
    assert text.isascii()
    assert "1.00 +/- 0.10*" in text
    borders = {len(line) for line in text.splitlines() if line.startswith(("|", "+"))}
    assert len(borders) == 1


def test_markdown():
    table = [
        Row("a|b_c", {"m": Cell(1.0, 0.1)}),
        Row("d", {"m": Cell(2.0)}),
        Row("e", {}, reference=True),
    ]
    assert markdown(table, [LOWER, GOAL._replace(key="other")]).splitlines() == [
        "| method | measure ↓ | density (→ 0.4000) |",
        "| --- | ---: | ---: |",
        r"| a\|b\_c | **1.00 ± 0.10** | — |",
        "| d | 2 | — |",
        "| e (ref) | — | — |",
    ]
    grouped = markdown(GROUPED, [LOWER], group="target samples").splitlines()
    assert "| **target samples: 10** |  |" in grouped
    assert {line.count("|") for line in grouped} == {3}


def test_legend_explains_only_what_is_there():
    assert legend([LOWER]) == "* best; ↓ lower is better"
    assert "↑" in legend([HIGHER])
    assert "→" in legend([LOWER, GOAL])
    assert legend([Column("m", "x")]) == ""
    assert legend([Column("m", "x", "target")]) == ""
