"""`tgdp run` and `tgdp sample`: what a run leaves, how it goes on after a cut, and what is never touched."""

import errno
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

import tgdp_jax as tg
from tests import tiny
from tests.e2e.tools import (
    GAUSSIANS,
    LEFT,
    REPORT_FILES,
    PowerCut,
    call,
    contents,
    read,
    refused,
    snapshot,
    stages,
    strict_json,
    without_times,
)
from tgdp_jax.app.commands import run as run_command
from tgdp_jax.app.report import html
from tgdp_jax.errors import UserError
from tgdp_jax.metrics.registry import METRICS
from tgdp_jax.settings.run import RunConfig
from tgdp_jax.settings.stored import from_json
from tgdp_jax.train.checkpoint import Store
from tgdp_jax.transfer import METHODS, ratio, tgdp

KDE = (*GAUSSIANS, "--method", "kde")
OF_GAUSSIANS = {"sw2", "w2", "mmd2", "memorisation", "coverage", "density"} | {
    *("avg_density", "mode_balance", "path_kl", "nll")
}


# What a run leaves


def test_a_run_leaves_its_files(finished_run):
    folder, _, _ = finished_run
    assert {path.name for path in folder.iterdir()} == {*LEFT, "checkpoints", "pictures"}
    assert stages(folder) == {"source", "classifier", "guidance"}
    x = read(folder / "samples.npz")
    assert set(x) == {"x"} and x["x"].shape == (tiny.NUM, 2) and x["x"].dtype == np.float32
    assert np.isfinite(x["x"]).all()
    page = (folder / "report.html").read_text()
    assert (
        page.lower().startswith("<!doctype html>") and "tgdp on gaussians" in page and "data:image/png;base64," in page
    )
    pictures = list((folder / "pictures").iterdir())
    assert len(pictures) >= 4 and all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)


def test_the_stored_config_is_the_one_asked_for(finished_run):
    stored = strict_json(finished_run[0] / "config.json")
    config = from_json(RunConfig, stored["config"])
    wanted = RunConfig(**vars(tiny.TRAINING), problem=tiny.GAUSSIANS, method="tgdp", n_target=tiny.N_TARGET)
    assert stored["command"] == "run" and config == wanted


def test_metrics_are_strict_json_and_complete(finished_run):
    metrics = strict_json(finished_run[0] / "metrics.json")
    assert (metrics["method"], metrics["problem"], metrics["num_target"]) == ("tgdp", "gaussians", tiny.N_TARGET)
    assert list(metrics["metrics"]) == ["fresh target data", "source", "tgdp"]
    for row in metrics["metrics"].values():
        assert OF_GAUSSIANS <= set(row) - {"seconds"} <= set(METRICS)
        assert all(np.isfinite(value) for value, _ in row.values())
    assert metrics["parameters"] > 0 and 0 < metrics["train_seconds"] < metrics["total_seconds"]
    assert set(metrics["stages"]) == {"source", "classifier", "guidance"}
    assert metrics["trained_parameters"] == metrics["parameters"] - metrics["source_parameters"] > 0


def test_the_report_has_the_methods_card(finished_run):
    page, metrics = (finished_run[0] / "report.html").read_text(), strict_json(finished_run[0] / "metrics.json")
    card = METHODS["tgdp"].card
    assert page.count(card.summary[1:]) == 2 and card.trains in page and card.fails in page
    times = metrics["trained_parameters"] / metrics["source_parameters"]
    shown = (
        f"{metrics['trained_parameters']:,}; {times:.0f} times the source model&#39;s {metrics['source_parameters']:,}"
    )
    assert times > 10 and shown in page


def test_the_terminal_shows_progress_table_and_place(finished_run):
    folder, out, err = finished_run
    assert "sliced W2" in out and "fresh target data" in out and f"run folder: {folder}" in out
    for name in ("source: 20 of 20", "classifier: 20 of 20", "guidance: 20 of 20", f"sampling: {tiny.NUM} of"):
        assert name in err
    assert "8 target rows" in err
    # Away from a terminal lines are not folded, so that a log can be searched.
    warnings = json.loads((folder / "metrics.json").read_text())["warnings"]
    assert all(f"warning: {warning}" in err.splitlines() for warning in warnings)


# Going on


def test_a_finished_run_is_shown_and_left_alone(run_folder, finished_run):
    before = snapshot(run_folder)
    out, err = call(*GAUSSIANS, "--out", run_folder)
    assert "already complete" in out and "source: " not in err
    assert snapshot(run_folder) == before
    rows = [line for line in finished_run[1].splitlines() if line.startswith("| ")]
    assert len(rows) == 4 and all(row in out.splitlines() for row in rows), "another table than at first"


def test_the_table_says_where_metrics_are_of_fewer_rows_than_there_are(run_folder):
    record = strict_json(run_folder / "metrics.json")
    assert record["judged"] == [tiny.NUM, 300]
    (run_folder / "complete.json").unlink()  # which holds the hash of what is changed now
    (run_folder / "metrics.json").write_text(json.dumps(record | {"judged": [50_000, 300]}))
    assert "Computed on 10,000 of 50,000 samples, drawn by the seed: MMD^2." in call(*GAUSSIANS, "--out", run_folder)[0]
    # An earlier version took all rows.
    (run_folder / "metrics.json").write_text(json.dumps({k: v for k, v in record.items() if k != "judged"}))
    assert "Computed on" not in call(*GAUSSIANS, "--out", run_folder)[0]


@pytest.mark.parametrize("lost", ["metrics.json", "samples.npz", "report.html"])
def test_what_was_lost_is_made_again_without_training(run_folder, lost):
    before = snapshot(run_folder)
    measured = without_times(strict_json(run_folder / "metrics.json"))
    (run_folder / lost).unlink()
    _, err = call(*GAUSSIANS, "--out", run_folder)
    assert err.count("already finished, loaded") == 3
    after = snapshot(run_folder)
    assert after["samples.npz"][1] == before["samples.npz"][1]
    assert {k: v for k, v in after.items() if k.startswith("checkpoints")} == {
        k: v for k, v in before.items() if k.startswith("checkpoints")
    }
    assert without_times(strict_json(run_folder / "metrics.json")) == measured
    assert set(after) == set(before)


@pytest.mark.parametrize(
    ("place", "name", "left"),
    [
        (ratio, "fit_log_ratio", {"source"}),
        (tgdp, "fit_guidance", {"source", "classifier"}),
        (run_command, "write_samples", {"source", "classifier", "guidance"}),
        (html, "write", {"source", "classifier", "guidance"}),
    ],
)
def test_a_run_that_was_cut_off_ends_as_if_it_had_not_been(finished_run, tmp_path, monkeypatch, place, name, left):
    def cut(*args, **kwargs):
        raise PowerCut

    folder = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(PowerCut):
        patch.setattr(place, name, cut)
        call(*GAUSSIANS, "--out", folder)
    assert stages(folder) == left
    assert not (folder / "metrics.json").exists()
    kept = snapshot(folder / "checkpoints")
    call(*GAUSSIANS, "--out", folder)
    whole = finished_run[0]
    assert (folder / "samples.npz").read_bytes() == (whole / "samples.npz").read_bytes()
    a, b = (without_times(strict_json(f / "metrics.json")) for f in (folder, whole))
    assert a == b
    after = snapshot(folder / "checkpoints")
    assert {name: after[name] for name in kept} == kept, "finished stages were trained again"


# Folders that are not to be touched


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seed", "1"), "seed is 0 there and 1 here"),
        (("--method", "kde"), "method is 'tgdp' there and 'kde' here"),
        (("--network.features", "8"), "network.features is [16] there and [8] here"),
        (("--n-target", "9"), "n_target is 8 there and 9 here"),
        (("--variance", "0.2"), "problem.variance is 0.1 there and 0.2 here"),
    ],
)
def test_another_runs_folder_is_not_touched(run_folder, options, message):
    before = snapshot(run_folder)
    said = refused(*GAUSSIANS, *options, "--out", run_folder)
    assert message in said and "choose another --out" in said
    assert snapshot(run_folder) == before


def test_a_comparison_does_not_take_a_runs_folder(run_folder):
    before = snapshot(run_folder)
    said = refused("compare", "gaussians", "--methods", "kde", "--num-source", "200", "--out", run_folder)
    assert "command is 'run' there and 'compare' here" in said
    assert snapshot(run_folder) == before


def test_a_foreign_folder_is_not_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    assert "is not a run folder" in refused(*KDE, "--out", tmp_path)
    assert contents(tmp_path).keys() == {"thesis.txt"}


@pytest.mark.parametrize("below", [(), ("deeper",), ("deeper", "still")])
def test_a_file_is_no_folder(tmp_path, below):
    file = tmp_path / "file"
    file.write_text("mine")
    said = refused(*KDE, "--out", file.joinpath(*below))
    assert str(file) in said and ("choose another --out" in said or "another place" in said)
    assert file.read_text() == "mine"


def test_an_impossible_name_is_refused(tmp_path):
    assert "choose another --out" in refused(*KDE, "--out", tmp_path / ("n" * 300))


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_place_is_refused(tmp_path):
    (tmp_path / "fixed").mkdir(mode=0o555)
    assert "can not be written" in refused(*KDE, "--out", tmp_path / "fixed" / "run")


def test_an_empty_folder_is_taken(tmp_path):
    call(*KDE, "--out", tmp_path)
    assert {*REPORT_FILES} < {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"command": "run"}', "\xff\xfe"])
def test_a_damaged_config_is_refused(run_folder, text):
    (run_folder / "config.json").write_text(text, encoding="latin-1")
    before = snapshot(run_folder)
    for command in ((*GAUSSIANS, "--out", run_folder), ("sample", run_folder, "--out", run_folder / "new.npz")):
        assert "config.json can not be read" in refused(*command)
    assert snapshot(run_folder) == before


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"metrics": 3'])
def test_damaged_metrics_of_which_no_record_is_kept_are_refused_with_a_remedy(run_folder, text):
    (run_folder / "complete.json").unlink()  # as an earlier version left it
    (run_folder / "metrics.json").write_text(text)
    said = refused(*GAUSSIANS, "--out", run_folder)
    assert "metrics.json can not be read" in said and "delete it and run again" in said
    (run_folder / "metrics.json").unlink()
    call(*GAUSSIANS, "--out", run_folder)
    strict_json(run_folder / "metrics.json")


def test_a_config_of_another_version_can_not_be_sampled(run_folder):
    stored = json.loads((run_folder / "config.json").read_text())
    stored["config"]["guidance"]["strength"] = 3
    (run_folder / "config.json").write_text(json.dumps(stored))
    assert "do not fit this version" in refused("sample", run_folder, "--out", run_folder / "new.npz")


# A full disk


@pytest.fixture
def full_disk(monkeypatch):
    """Makes files of one name impossible to put in place."""

    def at(name: str) -> None:
        replace, rename = pathlib.Path.replace, os.replace

        def refuse(source, target, there):
            if pathlib.Path(target).name == name:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return there(source, target)

        monkeypatch.setattr(pathlib.Path, "replace", lambda self, target: refuse(self, target, replace))
        monkeypatch.setattr(os, "replace", lambda source, target: refuse(source, target, rename))

    return at


@pytest.mark.parametrize("name", ["samples.npz", "report.html", "metrics.json"])
def test_a_full_disk_is_said_and_leaves_the_last_good_result(run_folder, full_disk, name):
    # The report is lost, so that the command works again.
    lost = "report.html" if name != "report.html" else "metrics.json"
    (run_folder / lost).unlink()
    before = contents(run_folder)
    full_disk(name)
    said = refused(*GAUSSIANS, "--out", run_folder)
    assert name in said and "No space left" in said
    after = contents(run_folder)
    assert after.get(name) == before.get(name)
    drawn_anew = ("report.html", "pictures")
    for path, digest in before.items():
        assert path.startswith(drawn_anew) or after[path] == digest
    assert not [path for path in after if ".part" in path or path.endswith(".tmp")]


def test_a_disk_that_fills_in_training_keeps_finished_stages(tmp_path, monkeypatch):
    rename = os.replace

    def full(source, target):
        if "classifier" in str(target):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return rename(source, target)

    monkeypatch.setattr(os, "replace", full)
    said = refused(*GAUSSIANS, "--out", tmp_path / "run")
    assert "free some space" in said and "finished stages are kept" in said
    assert stages(tmp_path / "run") == {"source"}


# More samples


@pytest.mark.parametrize("num", [1, 10, 64, 100])
def test_sampling_again_gives_the_same_rows_and_more(run_folder, tmp_path, num):
    before = snapshot(run_folder)
    target = tmp_path / "new" / "more.npz"
    out, _ = call("sample", run_folder, "--num", num, "--out", target)
    x, first = read(target)["x"], read(run_folder / "samples.npz")["x"]
    assert x.shape == (num, 2) and str(target) in out
    np.testing.assert_array_equal(x[: min(num, 64)], first[:num])
    assert snapshot(run_folder) == before
    assert set(contents(target.parent)) == {"more.npz"}


def test_labels_come_with_the_samples_of_a_conditional_run(tmp_path):
    call(*KDE, "--conditional", "--out", tmp_path / "run")
    call("sample", tmp_path / "run", "--num", "10", "--out", tmp_path / "more.npz")
    whole, more = read(tmp_path / "run" / "samples.npz"), read(tmp_path / "more.npz")
    for content, num in ((whole, tiny.NUM), (more, 10)):
        assert set(content) == {"x", "y"} and content["x"].shape == (num, 2) and content["y"].shape == (num,)
        assert content["y"].dtype.kind == "i" and set(content["y"].tolist()) <= {0, 1}
    np.testing.assert_array_equal(more["x"], whole["x"][:10])
    np.testing.assert_array_equal(more["y"], whole["y"][:10])
    # The classes lie on either side, and the kernels are narrow enough to tell.
    side = whole["x"] @ [1.0, -1.0] > 0
    assert (side == (whole["y"] == 0)).mean() > 0.8


def test_samples_are_drawn_in_another_way_and_the_file_says_so(run_folder, tmp_path):
    """As the model does from Python; nothing in the run's folder changes."""
    before, model = snapshot(run_folder), tg.load(run_folder)
    path = tmp_path / "other.npz"
    options = ("--solver", "heun", "--steps", "3", "--grid", "edm", "--scale", "0.5", "--clip", "2", "--seed", "7")
    out, _ = call("sample", run_folder, "--num", "10", *options, "--out", path)
    drawn = model.sample(10, solver="heun", steps=3, grid="edm", scale=0.5, clip=2.0, seed=7)
    np.testing.assert_array_equal(read(path)["x"], drawn.x)
    about = json.loads(str(read(path)["about"]))
    assert about["method"] == "tgdp" and about["changed"] == {
        "solver": {"run": "centre_3m", "here": "heun"},
        "steps": {"run": 4, "here": 3},
        "grid": {"run": "blend", "here": "edm"},
        "clip": {"run": None, "here": 2.0},
        "scale": {"run": 1.0, "here": 0.5},
        "seed": {"run": 0, "here": 7},
    }
    assert "solver heun (the run: centre_3m)" in out
    # What is given as the run had it is no change.
    call("sample", run_folder, "--num", "10", "--steps", "4", "--seed", "0", "--out", path)
    assert set(read(path)) == {"x"}
    assert snapshot(run_folder) == before


def test_a_method_without_guidance_or_solver_says_so(tmp_path):
    call(*KDE, "--out", tmp_path / "run")
    for option, said in (("--scale", "kde has no guidance to weigh"), ("--steps", "kde samples without a solver")):
        assert said in refused("sample", tmp_path / "run", option, "2", "--out", tmp_path / "a.npz")


def test_what_is_no_run_can_not_be_sampled(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for folder in ("empty", "file", "nowhere"):
        assert "is not a run folder" in refused("sample", tmp_path / folder, "--out", tmp_path / "a.npz")
    assert not (tmp_path / "a.npz").exists()


def test_an_unfinished_run_is_not_trained_by_sampling(run_folder, tmp_path):
    (guidance,) = (run_folder / "checkpoints").glob("guidance-*")
    shutil.rmtree(guidance)
    before = snapshot(run_folder)
    said = refused("sample", run_folder, "--out", tmp_path / "a.npz")
    assert "no checkpoint of its stage 'guidance'" in said and "repeat the run's command" in said
    assert snapshot(run_folder) == before and not (tmp_path / "a.npz").exists()
    (run_folder / "model.npz").unlink()  # the last that a run writes
    shutil.rmtree(run_folder / "checkpoints")
    assert "no finished 'source' stage" in refused("sample", run_folder, "--out", tmp_path / "a.npz")


def test_bad_requests_for_samples_are_refused(run_folder, tmp_path):
    for name in ("a.npy", "a.txt", "a"):
        assert "does not end in .npz" in refused("sample", run_folder, "--out", tmp_path / name)
    for num in (0, -1):
        assert f"num is {num}" in refused("sample", run_folder, "--num", num, "--out", tmp_path / "a.npz")
    (tmp_path / "a.npz").mkdir()
    assert "can not be written" in refused("sample", run_folder, "--num", "2", "--out", tmp_path / "a.npz")
    assert list(tmp_path.rglob("*.part*")) == []


def test_a_full_disk_keeps_the_samples_of_before(run_folder, tmp_path, full_disk):
    call("sample", run_folder, "--num", "5", "--out", tmp_path / "more.npz")
    before = contents(tmp_path)
    full_disk("more.npz")
    assert "No space left" in refused("sample", run_folder, "--num", "6", "--out", tmp_path / "more.npz")
    assert contents(tmp_path) == before


def damage(folder: pathlib.Path) -> pathlib.Path:
    """Makes one stage's arrays unreadable; returns its folder."""
    (stage,) = (folder / "checkpoints").glob("source-*")
    for path in (stage / "arrays").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-3] + b"abc")
    return stage


@pytest.mark.parametrize("first", [{}, {"kernel": np.zeros((1, 1)), "bias": np.zeros(1)}])
def test_weights_of_another_network_are_no_traceback(run_folder, tmp_path, first):
    [folder] = (run_folder / "checkpoints").glob("source-*")
    facts = strict_json(folder / "stage.json")
    store, name, mark = Store(run_folder / "checkpoints"), facts.pop("stage"), facts.pop("fingerprint")
    tree, _ = store.load(name, mark)
    tree["params"]["params"]["MLP_0"]["Dense_0"] = first
    store.save(name, mark, tree, {key: value for key, value in facts.items() if key != "digest"})
    said = refused("sample", run_folder, "--out", tmp_path / "a.npz")
    assert said.startswith("stored weights do not fit their network (") and "choose another folder" in said
    assert not (tmp_path / "a.npz").exists()


def test_a_damaged_checkpoint_is_named_with_the_remedy(run_folder, tmp_path):
    stage = damage(run_folder)
    (run_folder / "metrics.json").unlink()
    for command in (("sample", run_folder, "--out", tmp_path / "a.npz"), (*GAUSSIANS, "--out", run_folder)):
        said = refused(*command)
        assert str(stage) in said and "is damaged" in said and "delete that folder and run again" in said
    # The remedy works, and what did not need it is kept.
    first = read(run_folder / "samples.npz")["x"]
    shutil.rmtree(stage)
    _, err = call(*GAUSSIANS, "--out", run_folder)
    assert err.count("already finished, loaded") == 2
    np.testing.assert_array_equal(read(run_folder / "samples.npz")["x"], first)


@pytest.mark.slow
def test_errors_are_one_line_and_no_traceback(run_folder, tmp_path):
    damage(run_folder)
    for arguments, message in (
        (("run", "gaussians", "--method", "nope"), "unknown method 'nope': choose one of"),
        (("sample", run_folder, "--out", tmp_path / "a.npz"), "is damaged"),
    ):
        command = [sys.executable, "-m", "tgdp_jax.app.cli", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2 and done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith("tgdp: ") and message in line


# Samples that can not be


def test_samples_that_are_not_finite_end_the_run_with_a_remedy(tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise UserError("3 of 64 samples are not finite: use more --sampling.steps")

    monkeypatch.setattr(run_command, "draw_samples", broken)
    assert "samples are not finite" in refused(*KDE, "--out", tmp_path / "run")
    assert not (tmp_path / "run" / "samples.npz").exists()


def test_one_sample_is_enough(tmp_path):
    options = [*KDE]
    options[options.index("--sampling.num") + 1] = "1"
    call(*options, "--out", tmp_path / "run")
    assert read(tmp_path / "run" / "samples.npz")["x"].shape == (1, 2)
