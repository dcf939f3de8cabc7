"""`tgdp compare`: every cell once, resumable, and a summary that is the cells'."""

import contextlib
import errno
import io
import os
import pathlib
import shutil

import numpy as np
import pytest

from tests import tiny
from tests.e2e.tools import LEFT, PowerCut, call, contents, read, refused, snapshot, stages, strict_json, without_times
from tgdp_jax.app.cli import main
from tgdp_jax.app.commands import cell as cell_command
from tgdp_jax.data.problem import Problem
from tgdp_jax.data.registry import load_problem
from tgdp_jax.settings.run import CompareConfig
from tgdp_jax.settings.stored import from_json
from tgdp_jax.transfer import METHODS

METHODS_ASKED, NUMBERS, SEEDS = ("source", "kde", "tgdp"), (4, 8), (0, 1)
BASE = ("compare", "gaussians", "--num-source", "200", *tiny.OPTIONS)
COMPARE = (*BASE, "--methods", "source,kde,tgdp", "--n-targets", "4,8", "--seeds", "2")
FLOOR = "fresh target data"
# Order in which cells are filled.
CELLS = [(m, n, seed) for seed in SEEDS for n in NUMBERS for m in (*METHODS_ASKED, FLOOR)]


@pytest.fixture(scope="module", autouse=True)
def one_scale():
    """One scale for the data of all seeds: it is part of the networks, which would be compiled for each seed anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Problem, "data_std", tiny.problem().data_std)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory, light_metrics, one_scale):
    folder = tmp_path_factory.mktemp("compared") / "comparison"
    return folder, *call(*COMPARE, "--out", folder)


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of the finished comparison, to be changed at will."""
    return shutil.copytree(finished[0], tmp_path / "comparison")


@pytest.mark.slow
def test_a_comparison_leaves_its_files(finished):
    folder, _, err = finished
    assert {path.name for path in folder.iterdir()} == {
        *(set(LEFT) - {"samples.npz", "model.npz", "complete.json"}),
        *("cells", "checkpoints", "pictures", "samples"),
    }
    names = {f"{m.replace(' ', '_')}-n{n}-seed{seed}.json" for m, n, seed in CELLS}
    assert {path.name for path in (folder / "cells").iterdir()} == names
    config = from_json(CompareConfig, strict_json(folder / "config.json")["config"])
    assert config == CompareConfig(
        **vars(tiny.TRAINING), problem=tiny.GAUSSIANS, methods=("source", "kde", "tgdp"), n_targets=(4, 8), seeds=2
    )
    page = (folder / "report.html").read_text()
    assert "Transfer methods on gaussians" in page and all(METHODS[m].card.summary in page for m in METHODS_ASKED)
    # The source depends on the seed alone, what sees the target on its number of rows too.
    trained = [path.name.rsplit("-", 1)[0] for path in (folder / "checkpoints").iterdir()]
    assert {name: trained.count(name) for name in trained} == {"source": 2, "kde": 4, "classifier": 4, "guidance": 4}
    assert "[1/16] n=4 seed=0 source: source: 20 of 20" in err


def test_metrics_are_the_cells_and_their_mean_and_spread(finished):
    metrics = strict_json(finished[0] / "metrics.json")
    cells = {(c["method"], c["num_target"], c["seed"]): c for c in metrics["cells"]}
    assert list(cells) == CELLS
    assert [(row["method"], row["num_target"]) for row in metrics["summary"]] == [
        (m, n) for n in NUMBERS for m in (*METHODS_ASKED, FLOOR)
    ]
    for row in metrics["summary"]:
        for name in ("sw2", "avg_density", "memorisation"):
            values = [cells[row["method"], row["num_target"], seed]["metrics"][name][0] for seed in SEEDS]
            mean, spread = row[name]
            assert mean == pytest.approx(np.mean(values))
            if not (row["method"] == FLOOR and name == "avg_density"):
                assert values[0] != values[1]
                assert spread == pytest.approx(abs(values[0] - values[1]) / np.sqrt(2))
    assert cells["kde", 4, 0]["parameters"] == 0 < cells["tgdp", 4, 0]["parameters"]


def test_costs_are_measured_for_every_cell_of_a_method(finished):
    metrics = strict_json(finished[0] / "metrics.json")
    for found in metrics["cells"]:
        costs = {"seconds", "sample_seconds", "memory"} & set(found["metrics"])
        assert costs >= (set() if found["method"] == FLOOR else {"seconds", "sample_seconds"})
        for name in costs - {"memory"}:
            assert found["metrics"][name][0] > 0
    # A method of a few rows may get by with what was held already.
    memory = [found["metrics"]["memory"][0] for found in metrics["cells"] if "memory" in found["metrics"]]
    assert not memory or (min(memory) >= 0 and max(memory) > 0)
    cells = {(c["method"], c["num_target"], c["seed"]): c for c in metrics["cells"]}
    for n in NUMBERS:
        source, tgdp = cells["source", n, 0], cells["tgdp", n, 0]
        # The source is learned from source rows alone; all else of tgdp from target rows too.
        assert source["trained_parameters"] == 0 < source["parameters"] == source["source_parameters"]
        assert tgdp["trained_parameters"] == tgdp["parameters"] - source["parameters"] > 0
        assert tgdp["calibration"]["auc"] >= 0.5 and "calibration" not in source


def test_the_report_says_what_the_numbers_say(finished):
    folder, out, _ = finished
    page, metrics = (folder / "report.html").read_text(), strict_json(folder / "metrics.json")
    assert list(metrics["recommendations"]) == [str(n) for n in NUMBERS]
    for n in NUMBERS:
        found = metrics["recommendations"][str(n)]
        assert found["best"] in METHODS_ASKED and found["sentence"].startswith(f"With {n} target rows")
        assert found["sentence"].replace("±", "+/-") in out.replace("±", "+/-")  # as the terminal can show
        assert found["sentence"] in page
        ranks = metrics["ranks"][str(n)]["sw2"]
        rows = {r["method"]: r["sw2"][0] for r in metrics["summary"] if r["num_target"] == n and r["method"] != FLOOR}
        assert sorted(ranks, key=ranks.get) == sorted(rows, key=rows.get)
    for words in ("Overlap of source and target", "held-out AUC", "parameters trained here", "founding paper"):
        assert words in page
    share = strict_json(folder / "cells" / "tgdp-n4-seed0.json")
    assert f"{share['trained_parameters'] / share['source_parameters']:.0f} times" in page
    assert page.count("<figure") == 2 + 2 + 2  # two metrics by size, two costs, samples of two sizes
    assert "fewer than 3 seeds" in page  # two seeds mark nothing
    assert not any(row["worse_than_best"] for row in metrics["summary"])


def test_the_source_does_not_depend_on_the_target_rows(finished):
    stored = strict_json(finished[0] / "metrics.json")["cells"]
    cells = {(c["method"], c["num_target"], c["seed"]): c["metrics"] for c in stored}
    for seed in SEEDS:
        few, many = cells["source", 4, seed], cells["source", 8, seed]
        assert few["sw2"] == many["sw2"] and few["avg_density"] == many["avg_density"]
        assert cells["kde", 4, seed]["sw2"] != cells["kde", 8, seed]["sw2"]


def test_the_terminal_shows_one_table(finished):
    folder, out, _ = finished
    for word in (*METHODS_ASKED, FLOOR, "sliced W2", "target rows", "4", "8", f"comparison: {folder}"):
        assert word in out
    heads = [line.split()[1] for line in out.splitlines() if line.startswith("| ")]
    assert [head for head in heads if head in METHODS] == [*METHODS_ASKED] * 2


def test_a_terminal_without_unicode_shows_it_too(folder):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with contextlib.redirect_stdout(out):
        main([str(a) for a in (*COMPARE, "--out", folder)])
    out.flush()
    assert b"+/-" in out.buffer.getvalue() and b"With 4 target rows" in out.buffer.getvalue()


def test_samples_of_the_first_seed_are_kept_for_pictures(finished):
    names = {path.name for path in (finished[0] / "samples").iterdir()}
    assert names == {f"{m}-n{n}-seed0.npz" for m in METHODS_ASKED for n in NUMBERS}
    assert read(finished[0] / "samples" / "tgdp-n4-seed0.npz")["x"].shape == (tiny.NUM, 2)


def test_a_finished_comparison_computes_nothing_anew(folder, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("a finished cell was computed again")

    monkeypatch.setattr(cell_command, "train_method", never)
    monkeypatch.setattr(cell_command, "ideal_metrics", never)
    before = snapshot(folder)
    measured = strict_json(folder / "metrics.json")
    call(*COMPARE, "--out", folder)
    after = snapshot(folder)
    for name in before:
        if name.startswith(("cells", "checkpoints", "samples", "config")):
            assert after[name] == before[name]
    assert strict_json(folder / "metrics.json") == measured


@pytest.mark.parametrize("finished_cells", [2, 9])
def test_a_comparison_that_was_cut_off_ends_as_if_it_had_not_been(finished, tmp_path, monkeypatch, finished_cells):
    folder, evaluate = tmp_path / "comparison", cell_command.evaluate_samples

    def cut(*args, **kwargs):
        if len(list((folder / "cells").glob("*.json"))) == finished_cells:
            raise PowerCut
        return evaluate(*args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(PowerCut):
        patch.setattr(cell_command, "evaluate_samples", cut)
        call(*COMPARE, "--out", folder)
    kept = snapshot(folder / "cells")
    assert len(kept) == finished_cells
    call(*COMPARE, "--out", folder)
    after = snapshot(folder / "cells")
    assert {name: after[name] for name in kept} == kept
    whole = finished[0]
    assert without_times(strict_json(folder / "metrics.json")) == without_times(strict_json(whole / "metrics.json"))
    assert contents(folder / "samples") == contents(whole / "samples")


def test_one_cell_can_be_computed_anew(folder):
    cell = folder / "cells" / "kde-n4-seed1.json"
    before = without_times(strict_json(cell))
    cell.unlink()
    others = snapshot(folder / "cells")
    call(*COMPARE, "--out", folder)
    assert without_times(strict_json(cell)) == before
    after = snapshot(folder / "cells")
    assert {name: after[name] for name in others} == others


DAMAGED_CELLS = (
    "",
    "{",
    "[]",
    '{"metrics": {}}',
    '{"metrics": {"sw2": 3}, "warnings": [], "parameters": 0, "trained_parameters": 0}',
    '{"metrics": {}, "warnings": "none", "parameters": 0, "trained_parameters": 0}',
    '{"metrics": {}, "warnings": [], "parameters": null, "trained_parameters": 0}',
    '{"metrics": {}, "warnings": [], "parameters": 0, "trained_parameters": 0, "calibration": [1]}',
    "[" * 100_000,
)


@pytest.mark.parametrize("text", DAMAGED_CELLS, ids=range(len(DAMAGED_CELLS)))
def test_a_damaged_cell_is_named_with_the_remedy(folder, text):
    cell = folder / "cells" / "kde-n4-seed1.json"
    cell.write_text(text)
    said = refused(*COMPARE, "--out", folder)
    assert str(cell) in said and "delete it and run again" in said


def test_lost_samples_are_drawn_anew(folder):
    path = folder / "samples" / "kde-n8-seed0.npz"
    before = path.read_bytes()
    path.unlink()
    call(*COMPARE, "--out", folder)
    assert path.read_bytes() == before
    path.write_bytes(before[:100])
    said = refused(*COMPARE, "--out", folder)
    assert str(path) in said and "delete it and run again" in said


def test_a_full_disk_keeps_finished_cells(tmp_path, monkeypatch):
    replace = pathlib.Path.replace

    def full(self, target):
        if pathlib.Path(target).name == "tgdp-n4-seed0.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(self, target)

    monkeypatch.setattr(pathlib.Path, "replace", full)
    folder = tmp_path / "comparison"
    assert "No space left" in refused(*COMPARE, "--out", folder)
    assert {path.name for path in (folder / "cells").iterdir()} == {"source-n4-seed0.json", "kde-n4-seed0.json"}
    assert stages(folder) == {"source", "kde", "classifier", "guidance"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seeds", "3"), "seeds is 2 there and 3 here"),
        (("--n-targets", "4"), "n_targets is [4, 8] there and [4] here"),
        (("--sampling.steps", "5"), "sampling.steps is 4 there and 5 here"),
    ],
)
def test_another_comparisons_folder_is_not_touched(folder, options, message):
    before = snapshot(folder)
    assert message in refused(*COMPARE, *options, "--out", folder)
    assert snapshot(folder) == before


def test_a_comparison_is_not_a_run(folder, tmp_path):
    assert "holds no run" in refused("sample", folder, "--out", tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--methods", "source,nope"), "unknown method 'nope': choose one of discriminator_guidance, domain_guidance"),
        (("--methods", ","), "at least one method"),
        (("--n-targets", ""), "at least one method and one n-target"),
        (("--n-targets", "4,x"), "give integers separated by commas"),
        (("--n-targets", "4,1"), "n-target is 1: at least 2"),
        (("--n-targets", "4,200000"), "n-target is 200000 but only"),
        (("--seeds", "0"), "seeds is 0: at least 1"),
        (("--seeds", "1000000000"), "seeds is 1000000000: every method is trained at each, give at most 10000"),
    ],
)
def test_impossible_comparisons_are_refused_before_anything_is_made(tmp_path, options, message):
    assert message in refused(*BASE, *options, "--out", tmp_path / "comparison")
    assert not list(tmp_path.iterdir())


def test_problems_are_made_as_they_are_needed(tmp_path, monkeypatch):
    made = []

    def load(config, *, n_target, seed, source_seed):
        made.append((n_target, seed))
        return load_problem(config, n_target=n_target, seed=seed, source_seed=source_seed)

    def cut(config, problem, identity, method, seed, *rest):
        if seed == 1:
            raise PowerCut
        return {"metrics": {}, "warnings": [], "parameters": 0, "trained_parameters": 0}

    monkeypatch.setattr(cell_command, "load_problem", load)
    monkeypatch.setattr(cell_command, "fill_cell", cut)
    with pytest.raises(PowerCut):
        call(*BASE, "--methods", "kde", "--n-targets", "4,8", "--seeds", "9", "--out", tmp_path / "c")
    assert made == [(4, 0), (8, 0), (4, 1)]


def test_repetitions_in_a_list_count_once(tmp_path):
    call(*BASE, "--methods", "kde, kde,", "--n-targets", "8,8", "--seeds", "1", "--out", tmp_path / "c")
    cells = {path.name for path in (tmp_path / "c" / "cells").iterdir()}
    assert cells == {"kde-n8-seed0.json", "fresh_target_data-n8-seed0.json"}
