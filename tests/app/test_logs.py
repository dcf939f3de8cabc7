"""Trackers: what each is told, that a killed run's steps are told once, and that none of them can stop a run."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests import tiny
from tests.e2e.tools import call, read, refused
from tests.light import cheap_pictures, light_metrics, small_picture  # noqa: F401 (fixtures)
from tgdp_jax.app.journal import Journal
from tgdp_jax.app.logs import TRACKERS, check_trackers, flat, numbers
from tgdp_jax.errors import UserError

SETTINGS = {"method": "tgdp", "source": {"optimiser": {"steps": 20}}}


def row(step: int) -> dict[str, float]:
    return {"step": step, "loss": step / 8, "validation": step / 16}


def picture(folder: Path) -> Path:
    path = folder / "pictures" / "samples.png"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(path)
    return path


def follow(folder: Path, name: str, steps: tuple[int, ...], *, finished: bool) -> list[str]:
    """A process that trains through some steps; returns its warnings. One that is killed does not close anything."""
    warnings: list[str] = []
    journal = Journal(folder, log=[name], settings=SETTINGS, warn=warnings.append)
    log = journal.stage("source")
    for step in steps:
        log("fit", row(step))
    if finished:
        journal.finish({"tgdp/sw2": 0.25}, [picture(folder)])
        journal.close()
    return warnings


# jsonl


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_jsonl_has_everything_once_after_a_kill_in_the_middle_of_a_line(tmp_path):
    follow(tmp_path, "jsonl", (10, 20, 30), finished=False)
    path = tmp_path / "log.jsonl"
    path.write_text(path.read_text()[:-9])
    # The checkpoint of step 10 was the last that was finished.
    assert follow(tmp_path, "jsonl", (20, 30, 40), finished=True) == []
    found = sorted(lines(tmp_path), key=lambda line: line.get("step", 0))
    assert [line["event"] for line in found] == ["settings", "metrics", "pictures", *["curve"] * 4]
    assert found[0]["settings"] == SETTINGS
    assert found[1]["metrics"] == {"tgdp/sw2": 0.25} and found[2]["pictures"] == ["pictures/samples.png"]
    for line, step in zip(found[3:], (10, 20, 30, 40), strict=True):
        assert line.items() >= {"name": "source/fit", **row(step)}.items() and "steps_per_second" in line


def test_a_run_is_logged_and_its_bits_do_not_depend_on_it(tmp_path, monkeypatch):
    class Broken:
        def __init__(self, about):
            raise OSError("no route\nto host")

    monkeypatch.setitem(sys.modules, "tgdp_jax.app.logs.wandb_runs", SimpleNamespace(WeightsAndBiases=Broken))
    monkeypatch.setitem(sys.modules, "wandb", ModuleType("wandb"))
    words = ("run", "gaussians", "--num-source", "200", "--n-target", "8", "--method", "scratch", *tiny.OPTIONS)
    call(*words, "--out", tmp_path / "apart" / "plain")  # or the second run would take its stages
    err = call(*words, "--log", "jsonl,wandb", "--out", tmp_path / "logged")[1]
    assert err.count("--log wandb failed (no route): the run goes on without it") == 1
    plain, logged = (read(tmp_path / name / "samples.npz")["x"] for name in ("apart/plain", "logged"))
    np.testing.assert_array_equal(plain, logged)
    found = lines(tmp_path / "logged")
    curves = {line["name"] for line in found if line["event"] == "curve"}
    assert any(name.startswith("scratch/") for name in curves)
    assert found[0]["settings"]["method"] == "scratch"
    (metrics,) = (line["metrics"] for line in found if line["event"] == "metrics")
    stored = json.loads((tmp_path / "logged/metrics.json").read_text())["metrics"]
    assert metrics["scratch/sw2"] == stored["scratch"]["sw2"][0]
    (pictures,) = (line["pictures"] for line in found if line["event"] == "pictures")
    assert pictures and all((tmp_path / "logged" / name).is_file() for name in pictures)


# The others


def test_tensorboard_has_curves_results_and_pictures(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    assert follow(tmp_path, "tensorboard", (10, 20), finished=True) == []

    def values(name: str) -> dict[tuple[str, int], Any]:
        (path,) = (tmp_path / "tensorboard" / name).iterdir()
        content, found, at = path.read_bytes(), {}, 0
        while at < len(content):
            # A record: length [8 bytes], its checksum [4], an event, its checksum [4].
            size = int.from_bytes(content[at : at + 8], "little")
            event = Event.FromString(content[at + 12 : at + 12 + size])
            found |= {(value.tag, event.step): value for value in event.summary.value}
            at += 16 + size
        return found

    curves = {place: value.simple_value for place, value in values("source/fit").items()}
    assert curves.pop(("steps_per_second", 20)) > 0
    assert curves == {("loss", 10): 1.25, ("validation", 10): 0.625, ("loss", 20): 2.5, ("validation", 20): 1.25}
    results = values("results")
    assert results["tgdp/sw2", 0].simple_value == 0.25
    assert (results["samples", 0].image.width, results["samples", 0].image.height) == (6, 4)


class FakeWandb(ModuleType):
    """What the adapter calls of wandb, with its signatures."""

    def __init__(self):
        super().__init__("wandb")
        self.runs: dict[str, Any] = {}
        self.Image = lambda path: ("image", path)

    def init(self, *, project, name, id, resume, dir, config):
        assert resume == "allow" and config == SETTINGS
        known = self.runs.setdefault(id, SimpleNamespace(rows=[], summary={}, steps={}, finished=0))

        def finish():
            known.finished += 1

        return SimpleNamespace(
            log=known.rows.append,
            define_metric=lambda name, step_metric=None: known.steps.update({name: step_metric}),
            summary=known.summary,
            finish=finish,
        )


def test_wandb_gets_every_row_once_over_a_kill(tmp_path, monkeypatch):
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.delitem(sys.modules, "tgdp_jax.app.logs.wandb_runs", raising=False)
    assert follow(tmp_path, "wandb", (10, 20), finished=False) == []
    assert follow(tmp_path, "wandb", (20, 30), finished=True) == []
    (run,) = fake.runs.values()
    assert [r["source/fit/step"] for r in run.rows[:-1]] == [10, 20, 30]
    assert run.rows[0]["source/fit/validation"] == 0.625 and run.rows[2]["source/fit/steps_per_second"] > 0
    assert run.steps["source/fit/*"] == "source/fit/step"
    assert run.rows[-1] == {"samples": ("image", str(tmp_path / "pictures/samples.png"))}
    assert run.summary == {"tgdp/sw2": 0.25} and run.finished == 1
    monkeypatch.delitem(sys.modules, "tgdp_jax.app.logs.wandb_runs")


class FakeMlflow(ModuleType):
    """What the adapter calls of mlflow, with its signatures."""

    def __init__(self):
        super().__init__("mlflow")
        self.calls: list[tuple[Any, ...]] = []
        self.MlflowClient = lambda: self

    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name):
        return "7"

    def create_run(self, experiment_id, run_name):
        self.calls.append(("run", experiment_id, run_name))
        return SimpleNamespace(info=SimpleNamespace(run_id="r1"))

    def update_run(self, run_id, status):
        self.calls.append(("status", run_id, status))

    def log_param(self, run_id, key, value):
        self.calls.append(("param", key, value))

    def log_metric(self, run_id, key, value, step=None):
        assert run_id == "r1"
        self.calls.append((key, step, value))

    def log_artifact(self, run_id, local_path, artifact_path):
        self.calls.append(("artifact", local_path, artifact_path))

    def set_terminated(self, run_id):
        self.calls.append(("terminated", run_id))


def test_mlflow_gets_every_row_once_over_a_kill(tmp_path, monkeypatch):
    fake = FakeMlflow()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    monkeypatch.delitem(sys.modules, "tgdp_jax.app.logs.mlflow_runs", raising=False)
    assert follow(tmp_path, "mlflow", (10, 20), finished=False) == []
    assert follow(tmp_path, "mlflow", (20, 30), finished=True) == []
    assert [c for c in fake.calls if c[0] == "run"] == [("run", "7", tmp_path.name)]
    assert [c[1:] for c in fake.calls if c[0] == "source/fit/loss"] == [(10, 1.25), (20, 2.5), (30, 3.75)]
    assert ("param", "source.optimiser.steps", "20") in fake.calls and ("tgdp/sw2", None, 0.25) in fake.calls
    assert fake.calls[-2:] == [("artifact", str(tmp_path / "pictures/samples.png"), "pictures"), ("terminated", "r1")]
    monkeypatch.delitem(sys.modules, "tgdp_jax.app.logs.mlflow_runs")


# What is refused, and what is not


def test_trackers_without_their_package_or_of_another_name_are_refused_at_once(tmp_path, monkeypatch):
    for name, entry in TRACKERS.items():
        if entry.package:
            monkeypatch.setitem(sys.modules, entry.package, None)
            with pytest.raises(UserError, match=rf"--log {name} needs .*pip install 'tgdp-jax\[{name}\]'"):
                check_trackers([name])
    message = refused("run", "gaussians", "--log", "wandb", "--out", tmp_path / "run")
    assert "--log wandb needs another package" in message and not (tmp_path / "run").exists()
    assert "unknown tracker of --log 'wanbd': choose one of jsonl" in refused("run", "gaussians", "--log", "wanbd")
    assert "--tensorboard is --log tensorboard now" in refused("run", "gaussians", "--tensorboard")


def test_a_tracker_that_fails_later_is_dropped_with_one_warning(tmp_path, monkeypatch):
    class Failing:
        def __init__(self, about):
            self.rows = 0

        def curve(self, name, row, *, again):
            self.rows += 1
            if self.rows == 2:
                raise ConnectionError("reset by peer")
            assert self.rows < 3

    monkeypatch.setitem(sys.modules, "tgdp_jax.app.logs.wandb_runs", SimpleNamespace(WeightsAndBiases=Failing))
    warnings = follow(tmp_path, "wandb", (10, 20, 30, 40), finished=True)
    assert warnings == ["--log wandb failed (reset by peer): the run goes on without it"]
    assert len((tmp_path / "train.jsonl").read_text().splitlines()) == 4


def test_settings_and_results_are_flattened():
    assert flat(SETTINGS) == {"method": "tgdp", "source.optimiser.steps": 20}
    table = {"a": {"sw2": [0.5, None], "mmd2": (float("nan"), 1.0)}, "b": {"rank": 2, "name": "text"}}
    assert numbers(table) == {"a/sw2": 0.5, "b/rank": 2.0}
