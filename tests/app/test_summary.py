"""What made-up cells add up to: rows, marks, ranks, recommendations and overlap. Nothing is trained here."""

import math

import pytest

from tgdp_jax.app.commands import pages
from tgdp_jax.app.commands.run import FLOOR
from tgdp_jax.app.commands.summary import failures, overlap, summarise
from tgdp_jax.app.report.table import Cell
from tgdp_jax.metrics.spread import Value

SEEDS = range(3)
GOOD, BAD = {"sw2": (0.10, 0.12, 0.11), "memorisation": (1.0, 0.9, 0.95)}, {"sw2": (0.9, 0.93, 0.91)}


def cell(seed, metrics, *, seconds=10.0, **facts):
    found = {name: [values[seed], None] for name, values in metrics.items()}
    costs = {"seconds": [seconds + seed, None], "sample_seconds": [1.0, None], "memory": [500.0, None]}
    return {"metrics": found | costs, "warnings": [], "parameters": 30, "trained_parameters": 20, **facts}


def floor():
    return {"metrics": {"sw2": [0.01, 0.001]}, "warnings": [], "parameters": 0, "trained_parameters": 0}


def failed(reason="training diverged: loss nan"):
    return {"metrics": {}, "warnings": [], "parameters": 0, "trained_parameters": 0, "failed": reason}


def table(*, numbers=(10,), **methods):
    """Cells from method to (seed -> cell), the same for all numbers of target rows."""
    cells = {(name, n, seed): make(seed) for n in numbers for name, make in methods.items() for seed in SEEDS}
    return cells | {(FLOOR, n, seed): floor() for n in numbers for seed in SEEDS}


def summary(cells):
    names = dict.fromkeys(name for name, _, _ in cells)
    return summarise(cells, dict.fromkeys(n for _, n, _ in cells), SEEDS, names)


def test_rows_are_means_and_spreads_with_costs_beside_them():
    found = summary(table(good=lambda s: cell(s, GOOD), bad=lambda s: cell(s, BAD, seconds=2.0)))
    good, bad, fresh = found.rows
    assert good.cells["sw2"] == pytest.approx((0.11, 0.01, False))
    assert good.cells["seconds"] == (11.0, 1.0, False) and good.cells["memory"] == (500.0, 0.0, False)
    assert good.cells["trained_parameters"] == (20, None, False) and good.cells["parameters"] == (30, None, False)
    assert bad.cells["sw2"].worse and not good.cells["sw2"].worse and not fresh.cells["sw2"].worse
    assert fresh.reference and "seconds" not in fresh.cells and "parameters" not in fresh.cells
    keys = [column.key for column in found.columns]
    assert keys == [
        *("sw2", "memorisation", "rank", "seconds", "sample_seconds"),
        *("trained_parameters", "parameters", "memory"),
    ]


def test_ranks_and_recommendations_are_those_of_the_numbers():
    cells = table(numbers=(10, 100), good=lambda s: cell(s, GOOD), bad=lambda s: cell(s, BAD))
    found = summary(cells)
    assert found.main is not None and found.main.key == "sw2"
    # Only one of them has the other metric.
    assert found.ranks == {n: {"sw2": {"good": 1.0, "bad": 2.0}} for n in (10, 100)}
    assert [row.cells["rank"] for row in found.rows if "rank" in row.cells] == [Cell(1.0), Cell(2.0)] * 2
    for n in (10, 100):
        assert (found.recommendations[n].best, found.recommendations[n].clear) == ("good", True)
        assert f"With {n} target rows use good" in found.recommendations[n].sentence


def test_memorisation_reaches_the_recommendation():
    copies = GOOD | {"memorisation": (0.1, 0.1, 0.1)}
    found = summary(table(good=lambda s: cell(s, copies), bad=lambda s: cell(s, BAD)))
    assert found.recommendations[10].best == "bad" and "good scores" in found.recommendations[10].sentence


def test_images_are_judged_by_features():
    found = summary(table(good=lambda s: cell(s, GOOD | {"frechet": (1.0, 2.0, 3.0)})))
    assert found.main is not None and found.main.key == "frechet"


def test_failures_are_rows_with_their_reason():
    cells = table(
        good=lambda s: cell(s, GOOD),
        lost=lambda s: failed(),
        part=lambda s: failed("out of memory (x)") if s == 1 else cell(s, {"sw2": (0.01, 0.01, 0.01)}),
        bad=lambda s: cell(s, BAD),
    )
    found = summary(cells)
    good, lost, part, bad, _ = found.rows
    assert lost.cells == {} and lost.failed == "failed at 3 of 3 seeds: training diverged: loss nan"
    # Two seeds are left; they are shown but win nothing.
    assert part.cells["sw2"] == pytest.approx((0.01, 0.0, False))
    assert part.failed == "failed at 1 of 3 seeds: out of memory (x)"
    assert "rank" not in part.cells and good.cells["rank"].value == 1.0 and bad.cells["rank"].value == 2.0
    assert found.recommendations[10].best == "good"
    assert "Left out, as they failed: lost and part." in found.recommendations[10].sentence
    assert failures(found.rows) == [f"{r.name} with 10 target rows {r.failed}" for r in (lost, part)]


def test_what_is_measured_on_fewer_rows_than_there_are_is_said():
    columns = pages.columns({"kde": {name: Value(0.5, 0.1) for name in ("sw2", "mmd2", "recall")}})
    assert pages.left_out(columns, [(10_000, 10_000)] * 2) == pages.left_out(columns, []) == []
    assert pages.left_out(columns[:1], [(20_000, 20_000)]) == []  # the sliced distance is of all rows
    assert pages.left_out(columns, [(20_000, 10_050), (20_000, 10_010), (20_000, 900)]) == [
        "Computed on 10,000 of 20,000 samples and 10,000 of 10,010 or 10,050 held-out rows, drawn by the seed: "
        "MMD², recall."
    ]


def test_if_everything_fails_the_table_still_stands():
    found = summary(table(lost=lambda s: failed(), gone=lambda s: failed()))
    assert [row.name for row in found.rows] == ["lost", "gone", FLOOR]
    assert found.ranks == {10: {}} and "every method failed" in found.recommendations[10].sentence
    cells = {key: failed() for key in table(lost=lambda s: failed()) if key[0] == "lost"}
    found = summary(cells)
    assert found.columns == [] and found.main is None and found.recommendations == {}


def test_a_metric_that_appears_in_the_second_group_only_has_a_column():
    cells = table(numbers=(10, 100), good=lambda s: cell(s, GOOD))
    for seed in SEEDS:
        cells["good", 10, seed] = failed()
    assert "memorisation" in [column.key for column in summary(cells).columns]


def test_one_seed_marks_nothing():
    cells = {key: one for key, one in table(good=lambda s: cell(s, GOOD), bad=lambda s: cell(s, BAD)).items()}
    found = summarise(cells, [10], [0], ["good", "bad", FLOOR])
    assert not any(c.worse for row in found.rows for c in row.cells.values())
    assert found.rows[0].cells["sw2"] == (0.10, None, False)
    assert "single seed" in found.recommendations[10].sentence


def test_numbers_that_files_hold_as_null_are_missing():
    def holes(seed):
        found = cell(seed, GOOD)
        found["metrics"]["sw2"] = [None, None]
        return found

    found = summary(table(good=lambda s: cell(s, GOOD), holes=holes))
    assert math.isnan(found.rows[1].cells["sw2"].value)
    assert found.ranks[10] == {"memorisation": {"good": 1.5, "holes": 1.5}}
    assert found.recommendations[10].best == "good"


def test_overlap_is_the_mean_over_seeds_with_its_advice():
    def with_ratio(auc, cross_entropy):
        def make(seed):
            read = {"auc": auc, "cross_entropy": cross_entropy + 0.01 * seed, "kl": 2.0, "mean_ratio": 1.0}
            return cell(seed, GOOD, calibration=read | {"effective_sample_size": 20.0})

        return make

    assert overlap(table(good=lambda s: cell(s, GOOD)), [10], SEEDS) is None
    near = table(numbers=(100,), tgdp=with_ratio(0.95, 0.25), sir=with_ratio(0.95, 0.25))
    found = overlap(near, [100], SEEDS)
    assert found is not None
    (row,) = found.rows
    assert row.name == "100" and row.cells["cross_entropy"] == pytest.approx((0.26, 0.01, False))
    assert row.cells["auc"] == pytest.approx((0.95, 0.0, False))
    assert found.note.startswith("100 target rows: Source and target differ but overlap")
    far = overlap(table(numbers=(100,), tgdp=with_ratio(1.0, 0.001)), [100], SEEDS)
    assert far is not None and "hardly overlap" in far.note
