"""Runs, comparisons and diagnoses of the user's own files."""

import json
import os

import numpy as np
import pytest

from tests import tiny
from tests.e2e.tools import REPORT_FILES, call, contents, read, refused, snapshot, stages, strict_json

# The user's units, far from the models'.
SHIFT, SCALE = np.array([500.0, -3.0]), np.array([10.0, 0.01])


@pytest.fixture
def files(tmp_path):
    """A source of three classes in a row, and a target that has two of them, somewhat shifted."""
    rng = np.random.default_rng(0)
    ys, yt = np.arange(200) % 3, 1 + np.arange(30) % 2
    source = 3.0 * np.stack([ys - 1, 0 * ys], 1) + rng.normal(size=(200, 2))
    target = 3.0 * np.stack([yt - 1, 0 * yt], 1) + rng.normal(size=(30, 2)) + [0.0, 1.0]
    np.savez(tmp_path / "source.npz", x=SHIFT + SCALE * source, y=ys)
    np.savez(tmp_path / "target.npz", x=SHIFT + SCALE * target, y=yt)
    return tmp_path


def command(folder, *options, kind="run"):
    return (
        kind,
        "arrays",
        "--source",
        folder / "source.npz",
        "--target",
        folder / "target.npz",
        *tiny.OPTIONS,
        *options,
    )


def change(path) -> None:
    """Another number in one row, in a file of the same size and time."""
    content, times = read(path), path.stat()
    content["x"][0, 0] += 1.0
    np.savez(path, **content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_conditional_run_on_some_of_the_sources_classes(files):
    out = files / "run"
    stdout, _ = call(*command(files, "--method", "sir", "--conditional", "--n-target", "8", "--out", out))
    assert {*REPORT_FILES} < {path.name for path in out.iterdir()}
    assert stages(out) == {"classifier"}
    samples, source = read(out / "samples.npz"), read(files / "source.npz")
    assert samples["x"].shape == (tiny.NUM, 2) and samples["x"].dtype == np.float32
    assert set(samples["y"].tolist()) == {1, 2}, "labels of the target, not those of the source"
    # This method draws source rows: back in the user's units, and each of the class asked for.
    distance = np.abs((samples["x"][:, None] - source["x"]) / SCALE).max(-1)
    assert np.all(distance.min(1) < 1e-3)
    np.testing.assert_array_equal(source["y"][distance.argmin(1)], samples["y"])
    metrics = strict_json(out / "metrics.json")
    assert set(metrics["metrics"]) == {"sir"} and metrics["num_target"] == 8
    assert {"sw2", "mmd2", "memorisation", "seconds"} <= set(metrics["metrics"]["sir"])
    assert "avg_density" not in metrics["metrics"]["sir"], "no density is known"
    assert "sliced W2" in stdout
    call("sample", out, "--num", "5", "--out", files / "more.npz")
    more = read(files / "more.npz")
    np.testing.assert_array_equal(more["x"], samples["x"][:5])
    np.testing.assert_array_equal(more["y"], samples["y"][:5])


def test_samples_come_back_in_the_users_units(files):
    call(*command(files, "--method", "kde", "--n-target", "20", "--out", files / "run"))
    samples, target = read(files / "run" / "samples.npz")["x"], read(files / "target.npz")["x"]
    spread = target.std(0)
    assert np.all(np.abs(samples.mean(0) - target.mean(0)) < 4 * spread / np.sqrt(20))
    assert np.all(samples.std(0) < 2 * spread) and np.all(samples.std(0) > spread / 2)


@pytest.mark.slow
def test_rows_may_have_any_shape(files):
    rng = np.random.default_rng(1)
    np.savez(files / "source.npz", x=rng.normal(size=(100, 2, 3)))
    np.savez(files / "target.npz", x=rng.normal(size=(30, 2, 3)))
    call(*command(files, "--method", "scratch", "--n-target", "8", "--out", files / "run"))
    assert read(files / "run" / "samples.npz")["x"].shape == (tiny.NUM, 2, 3)
    assert np.isfinite(strict_json(files / "run" / "metrics.json")["metrics"]["scratch"]["sw2"][0])


def test_without_rows_to_judge_by_there_are_samples_and_a_warning(files):
    out, err = call(*command(files, "--method", "kde", "--n-target", "30", "--out", files / "run"))
    assert "give --reference FILE or a smaller --n-target" in err
    metrics = strict_json(files / "run" / "metrics.json")
    assert set(metrics["metrics"]["kde"]) == {"seconds"} and len(metrics["warnings"]) == 1
    assert read(files / "run" / "samples.npz")["x"].shape == (tiny.NUM, 2)
    assert "warning" in (files / "run" / "report.html").read_text().lower()
    assert f"run folder: {files / 'run'}" in out


def test_a_file_of_its_own_may_be_judged_by(files):
    rng = np.random.default_rng(2)
    np.savez(files / "reference.npz", x=SHIFT + SCALE * rng.normal(size=(40, 2)))
    options = ("--method", "kde", "--reference", files / "reference.npz", "--out", files / "run")
    call(*command(files, *options))
    metrics = strict_json(files / "run" / "metrics.json")
    assert metrics["num_target"] == 30 and "sw2" in metrics["metrics"]["kde"]


@pytest.mark.parametrize("name", ["source", "target"])
def test_results_of_a_file_that_has_changed_are_not_taken_for_the_new_ones(files, name):
    run = command(files, "--method", "kde", "--out", files / "run")
    call(*run)
    before = snapshot(files / "run")
    change(files / f"{name}.npz")
    # Neither as a finished run, nor as a stage to sample from, nor as a run to be continued.
    assert f"the contents of the {name} file have changed" in refused(*run)
    said = refused("sample", files / "run", "--out", files / "more.npz")
    assert "no finished 'kde' stage for these settings and data" in said
    assert snapshot(files / "run") == before and not (files / "more.npz").exists()
    (files / "run" / "metrics.json").unlink()
    assert f"the contents of the {name} file have changed" in refused(*run)


def test_a_stage_is_trained_anew_for_other_contents(files):
    call(*command(files, "--method", "kde", "--out", files / "first"))
    change(files / "target.npz")
    call(*command(files, "--method", "kde", "--out", files / "second"))
    (first,), (second,) = (list((files / name / "checkpoints").iterdir()) for name in ("first", "second"))
    assert first.name != second.name


def test_files_that_moved_are_asked_for(files):
    call(*command(files, "--method", "kde", "--out", files / "run"))
    (files / "target.npz").rename(files / "elsewhere.npz")
    assert "target.npz does not exist: check the path" in refused(*command(files, "--out", files / "run"))
    said = refused("sample", files / "run", "--out", files / "a.npz")
    assert f"was made from {files / 'target.npz'}, and there is no such file" in said and "put it back" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--target", "nowhere.npz"), "nowhere.npz does not exist"),
        (("--n-target", "31"), "n-target is 31 but only 30"),
        (("--n-target", "1"), "n-target is 1: at least 2"),
        (("--reference", "nowhere.npz"), "nowhere.npz does not exist"),
    ],
)
def test_bad_input_is_refused_before_anything_is_made(files, options, message):
    assert message in refused(*command(files, *options, "--out", files / "run"))
    assert not (files / "run").exists()


def test_the_exact_ratio_is_refused_where_there_is_none(files):
    options = ("--method", "sir", "--classifier.exact", "--out", files / "run")
    assert "no closed-form ratio: run without --classifier.exact" in refused(*command(files, *options))
    assert not (files / "run").exists()


def test_a_comparison_on_files(files):
    options = ("--methods", "kde,source", "--n-targets", "8,20", "--seeds", "1", "--out", files / "c")
    out, _ = call(*command(files, *options, kind="compare"))
    metrics = strict_json(files / "c" / "metrics.json")
    # Nothing is known to be perfect here: no reference row.
    assert [(c["method"], c["num_target"]) for c in metrics["cells"]] == [
        (m, n) for n in (8, 20) for m in ("kde", "source")
    ]
    assert "sliced W2" in out
    before = contents(files / "c")
    change(files / "target.npz")
    assert "the contents of the target file have changed" in refused(*command(files, *options, kind="compare"))
    assert contents(files / "c") == before


# Diagnosis


@pytest.mark.slow
def test_a_diagnosis_prints_numbers_and_advice(files):
    out, err = call(
        *("diagnose", "--source", files / "source.npz", "--target", files / "target.npz"),
        *("--out", files / "diagnosis.json"),
    )
    found = json.loads((files / "diagnosis.json").read_text())
    assert "held-out domain AUC" in out and f"advice ({found['advice']['kind']}): {found['advice']['sentence']}" in out
    assert found["num_source"] == 200 and found["num_target"] == 30
    assert "domain classifier: " in err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        ("no archive", "can not be read as .npz"),
        ({"y": np.ones(5)}, "holds y but no array 'x'"),
        ({"x": np.full((30, 2), np.nan)}, "has NaN"),
        ({"x": np.ones((30, 3))}, "both must agree"),
        ({"x": np.ones((1, 2))}, "the target has 1 row"),
    ],
)
def test_bad_files_can_not_be_diagnosed(files, content, message):
    target = files / "target.npz"
    target.unlink()
    if isinstance(content, str):
        target.write_text(content)
    elif content is not None:
        np.savez(target, **content)
    said = refused("diagnose", "--source", files / "source.npz", "--target", target, "--out", files / "d.json")
    assert message in said and not (files / "d.json").exists()


# Tables


def test_a_table_gives_a_table_of_samples(tmp_path):
    rng = np.random.default_rng(0)
    for name, rows in (("source", 200), ("target", 30)):
        lines = [f"{a:.4f},{rng.choice(['red', 'blue'])},{rng.choice(['cat', 'dog'])}" for a in rng.normal(size=rows)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["length,colour,kind", *lines]) + "\n")
    out, files = tmp_path / "run", ("--source", tmp_path / "source.csv", "--target", tmp_path / "target.csv")
    words = ("run", "arrays", *files, "--label", "kind", "--conditional", "--method", "sir", "--n-target", "8")
    call(*words, *tiny.OPTIONS, "--out", out)
    samples = (out / "samples.csv").read_text().splitlines()
    assert samples[0] == "length,colour,kind" and len(samples) == 1 + tiny.NUM
    # This method draws source rows.
    known = {tuple(line.split(",")) for line in (tmp_path / "source.csv").read_text().splitlines()[1:]}
    drawn = {(f"{float(a):.4f}", *others) for a, *others in (line.split(",") for line in samples[1:])}
    assert drawn <= known
    (out / "samples.csv").unlink()
    assert "damaged or gone: samples.csv" in call(*words, *tiny.OPTIONS, "--out", out)[1]
    assert (out / "samples.csv").read_text().splitlines() == samples
    call("sample", out, "--num", "5", "--out", tmp_path / "more.csv")
    assert (tmp_path / "more.csv").read_text().splitlines() == samples[:6]
    assert "belongs to the run" in refused("sample", out, "--out", out / "samples.csv")
    assert "has no column 'size'" in refused(*words, "--columns", "length,size")


def test_samples_of_arrays_as_a_table_have_numbered_columns(files):
    call(*command(files, "--method", "kde", "--n-target", "8", "--out", files / "run"))
    call("sample", files / "run", "--num", "3", "--out", files / "more.csv")
    head, *rows = (files / "more.csv").read_text().splitlines()
    assert head == "x1,x2" and not (files / "run/samples.csv").exists()
    np.testing.assert_allclose(
        [[float(n) for n in row.split(",")] for row in rows], read(files / "run/samples.npz")["x"][:3], rtol=1e-6
    )
