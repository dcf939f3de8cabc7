"""`tgdp compare --workers`: the files of one worker, to the bit, also where a worker is killed."""

import dataclasses
import json
import re

import numpy as np
import pytest

from tests import tiny
from tests.e2e.tools import call, read, refused, strict_json, without_times
from tests.e2e.worker import KILL
from tgdp_jax.app.workers import process
from tgdp_jax.app.workers.process import Job, Worker, make_setup
from tgdp_jax.runtime.settings import EngineConfig
from tgdp_jax.settings.run import CompareConfig
from tgdp_jax.settings.stored import to_json

BASE = ("compare", "gaussians", "--num-source", "200", *tiny.OPTIONS, "--n-targets", "8", "--seeds", "1")
COMPARE = (*BASE, "--methods", "source", "lora")


def digests(folder):
    """What the stages hold, by name."""
    files = (folder / "checkpoints").glob("*/stage.json")
    return {path.parent.name: json.loads(path.read_text())["digest"].split(".")[0] for path in files}


def curves(folder):
    """Every line of the learning curves, without the rate and the cell that came first to what several need."""
    lines = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    return sorted(
        json.dumps({**line, "stage": line["stage"].split("/")[-1], "steps_per_second": None}) for line in lines
    )


@pytest.mark.slow
def test_two_workers_leave_the_files_of_one_also_where_one_is_killed(tmp_path, monkeypatch):
    alone, together = tmp_path / "alone", tmp_path / "together"
    call(*COMPARE, "--out", alone / "c")
    monkeypatch.setattr(process, "PROGRAM", ("-m", "tests.e2e.worker"))
    monkeypatch.setenv(KILL, str(tmp_path / "killed"))
    _, err = call(*COMPARE, "--workers", "2", "--checkpoint-seconds", "0", "--out", together / "c")
    assert "warning: a worker was ended by SIGKILL at n=8 seed=0 lora, which another one goes on with" in err
    # Both need the source, which one of them trains.
    assert len(re.findall(r"(source|lora): source: 20 of 20", err)) == 1
    one, two = alone / "c", together / "c"
    assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}
    assert digests(one) == digests(two) and len(digests(one)) == 2
    assert curves(one) == curves(two)
    assert sorted(path.name for path in one.glob("checkpoints/*")) == sorted(p.name for p in two.glob("checkpoints/*"))
    for path in sorted(one.glob("samples/*.npz")):
        np.testing.assert_array_equal(read(path)["x"], read(two / "samples" / path.name)["x"])
    tables = [without_times(strict_json(folder / "metrics.json")) for folder in (one, two)]
    assert tables[0]["cells"] == tables[1]["cells"] and tables[0]["cells"][1]["metrics"]["sw2"]


@pytest.mark.slow
def test_a_worker_that_is_asked_to_stop_saves_and_says_where(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "PROGRAM", ("-m", "tests.e2e.worker"))
    # So many steps that the word comes before the last, however busy the machine is.
    source = dataclasses.replace(tiny.TRAINING.source, optimiser=dataclasses.replace(tiny.OPTIMISER, steps=100_000))
    training = vars(dataclasses.replace(tiny.TRAINING, source=source))
    config = CompareConfig(**training, problem=tiny.GAUSSIANS, methods=("source",), n_targets=(8,), seeds=1)
    (tmp_path / "config.json").write_text(json.dumps({"command": "compare", "config": to_json(config)}))
    worker = Worker(make_setup(tmp_path, None, EngineConfig()))
    worker.ask(Job("source", 8, 0))
    said = []
    for words in worker.messages():
        said.append(words)
        if words[0] == "log":
            worker.stop()
    (where,) = [words[1] for words in said if words[0] == "stopped"]
    step = re.fullmatch(r"step (\d+) of source", where)
    assert step is not None and 10 <= int(step[1]) < 100_000
    assert said[-1] == ["ended", 0] and list((tmp_path / "checkpoints").glob(".source-*/fit/*"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--workers", "0"), "workers is 0: give 1 to 256"),
        (("--scheduler", "nowhere"), "scheduler is 'nowhere': give HOST:PORT"),
    ],
)
def test_wrong_options_are_said(tmp_path, options, said):
    assert said in refused(*COMPARE, *options, "--out", tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_scheduler_that_is_not_there_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = refused(*COMPARE, "--scheduler", "127.0.0.1:9", "--out", tmp_path / "c")
    assert said == "--scheduler needs dask.distributed: install it with `pip install 'tgdp-jax[cluster]'`"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    said = refused(*COMPARE, "--scheduler", "tcp://127.0.0.1:9", "--out", tmp_path / "c")
    assert said.startswith("nothing answers at tcp://127.0.0.1:9 (") and "start `dask scheduler`" in said
    assert not (tmp_path / "c").exists()
