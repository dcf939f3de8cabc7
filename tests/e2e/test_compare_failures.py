"""A method that fails is a row that says why: the others go on, and the next call tries it again."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tests.e2e.test_compare import BASE, FLOOR, one_scale  # noqa: F401  (a fixture)
from tests.e2e.tools import call, refused, snapshot, strict_json
from tgdp_jax.errors import FileError, UserError
from tgdp_jax.transfer import METHODS, TransferMethod
from tgdp_jax.transfer.artefacts import Network
from tgdp_jax.transfer.base import Stage, StageResult

COMPARE = (*BASE, "--methods", "kde,broken", "--n-targets", "4,8", "--seeds", "2")


class Copies:
    """Draws zeros, or what it is told to."""

    score = None

    def __init__(self, value):
        self.value = value

    def draw(self, key, ids, cond=None, *, progress=None):
        return np.random.default_rng(0).normal(size=(len(ids), 2)).astype(np.float32) + np.float32(self.value)


@pytest.fixture
def breaks(monkeypatch):
    """Registers a method whose training does what it is told."""

    def register(work, value=0.0):
        def stages(config, problem):
            def run(key, trees, session):
                work(problem)
                return StageResult(Network({"w": np.zeros(3, np.float32)}), {}, {})

            return (Stage("broken", (), {}, uses_target=True, run=run),)

        method = TransferMethod("broken", METHODS["source"].card, (), stages, lambda *args: Copies(value))
        monkeypatch.setitem(METHODS, "broken", method)

    return register


def diverge(problem):
    raise UserError("training diverged: loss nan at step 100")


def exhaust_device(problem):
    jnp.zeros(1 << 57).block_until_ready()


def exhaust_host(problem):
    np.zeros(1 << 57)  # 2^60 bytes


@pytest.mark.parametrize(
    ("work", "value", "reason"),
    [
        (diverge, 0.0, "training diverged: loss nan at step 100"),
        (exhaust_device, 0.0, "out of memory (RESOURCE_EXHAUSTED"),
        (exhaust_host, 0.0, "out of memory (Unable to allocate"),
        (lambda problem: None, np.nan, "samples are not finite"),
    ],
)
def test_a_failure_is_a_row_with_its_reason(tmp_path, breaks, work, value, reason):
    breaks(work, value)
    folder = tmp_path / "comparison"
    out, err = call(*COMPARE, "--out", folder)
    metrics = strict_json(folder / "metrics.json")
    rows = {(row["method"], row["num_target"]): row for row in metrics["summary"]}
    assert set(rows) == {(m, n) for m in ("kde", "broken", FLOOR) for n in (4, 8)}
    for n in (4, 8):
        row = rows["broken", n]
        assert row["failed"].startswith("failed at 2 of 2 seeds: ") and reason in row["failed"]
        assert "sw2" not in row and "failed" not in rows["kde", n] and rows["kde", n]["sw2"][0] > 0
        assert f"broken with {n} target rows failed" in out
    assert f"broken failed: {reason.split(' (')[0]}" in err.replace("\n", " ") or reason in err
    page = (folder / "report.html").read_text()
    assert "broken (failed)" in page and "broken (failed)" in out and "Left out, as they failed: broken" in page
    # What failed is no file, so that it is tried again.
    assert {path.name.split("-")[0] for path in (folder / "cells").iterdir()} == {"kde", FLOOR.replace(" ", "_")}


def test_the_next_call_tries_again_what_failed_and_nothing_else(tmp_path, breaks):
    folder = tmp_path / "comparison"
    breaks(lambda problem: diverge(problem) if len(problem.target) == 8 else None)
    call(*COMPARE, "--out", folder)
    metrics = strict_json(folder / "metrics.json")
    failed = {(row["method"], row["num_target"]): "failed" in row for row in metrics["summary"]}
    assert [key for key, yes in failed.items() if yes] == [("broken", 8)]
    before = snapshot(folder / "cells")
    tried = []
    breaks(lambda problem: tried.append(len(problem.target)))
    call(*COMPARE, "--out", folder)
    assert tried == [8, 8]
    after = snapshot(folder / "cells")
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"broken-n8-seed0.json", "broken-n8-seed1.json"}
    metrics = strict_json(folder / "metrics.json")
    assert not any("failed" in row for row in metrics["summary"])
    assert "failed" not in (folder / "report.html").read_text().replace('"failed', "").split("<main>")[1]


def test_training_that_really_diverges_spares_the_others(tmp_path):
    folder = tmp_path / "comparison"
    options = ("--rival.learning-rates", "1e30", "--methods", "kde,scratch", "--n-targets", "8", "--seeds", "1")
    call(*BASE, *options, "--out", folder)
    rows = {row["method"]: row for row in strict_json(folder / "metrics.json")["summary"]}
    assert rows["scratch"]["failed"].startswith("failed: training diverged: loss") and "failed" not in rows["kde"]


def test_if_every_method_fails_the_report_is_there_and_the_command_says_so(tmp_path, breaks):
    breaks(diverge)
    folder = tmp_path / "comparison"
    said = refused(*BASE, "--methods", "broken", "--n-targets", "4", "--seeds", "1", "--out", folder)
    assert said == "every method failed: broken with 4 target rows failed: training diverged: loss nan at step 100"
    assert "every method failed" in (folder / "report.html").read_text()


def test_what_is_no_fault_of_the_method_ends_the_comparison(tmp_path, breaks):
    def full(problem):
        raise FileError("checkpoint x can not be written (No space left on device): free some space")

    def bug(problem):
        raise ZeroDivisionError

    folder = tmp_path / "comparison"
    breaks(full)
    assert "No space left" in refused(*COMPARE, "--out", folder)
    assert not (folder / "report.html").exists()
    breaks(bug)
    with pytest.raises(ZeroDivisionError):
        call(*COMPARE, "--out", folder)


def test_samples_of_the_first_seed_are_pictured_where_there_are_any(tmp_path, breaks):
    seen = []

    def first_seed_fails(problem):
        seen.append(problem)
        if len(seen) == 1:
            diverge(problem)

    breaks(first_seed_fails)
    folder = tmp_path / "comparison"
    call(*BASE, "--methods", "kde,broken", "--n-targets", "8", "--seeds", "2", "--out", folder)
    assert {path.name for path in (folder / "samples").iterdir()} == {"kde-n8-seed0.npz"}
    (row,) = [r for r in strict_json(folder / "metrics.json")["summary"] if r["method"] == "broken"]
    assert row["failed"].startswith("failed at 1 of 2 seeds") and row["sw2"][0] > 0
    assert "broken (failed in part)" in (folder / "report.html").read_text()
    assert tiny.NUM == 64
