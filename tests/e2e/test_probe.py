"""`tgdp probe`, from data to the sentence, and what it leaves."""

import json
import shutil

import numpy as np
import pytest

from tests import tiny
from tests.e2e.tools import call, refused, snapshot, stages, strict_json

DATA = ("--num-source", "200", "--n-target", "12", "--objectives", "masked")
PROBE = ("probe", "gaussians", *DATA, *tiny.OPTIONS, "--times", "0.05", "0.3")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, light_metrics):
    folder = tmp_path_factory.mktemp("probe") / "run"
    return folder, call(*PROBE, "--out", folder)[0]


def test_models_are_probed_by_layer_and_time(finished):
    folder, out = finished
    record = strict_json(folder / "probe.json")
    assert record["rows"] == {"train": 120, "validation": 40, "test": 40, "target_train": 12, "target_test": 300}
    cells = {(c["model"], c["layer"], c["time"]): c for c in record["cells"]}
    assert set(cells) == {("raw", "coordinates", None)} | {
        (model, "hidden0", t) for model in ("plain", "masked") for t in (0.05, 0.3)
    }
    for cell in cells.values():
        numbers = [*cell["source"]["linear"], *cell["source"]["neighbours"], *cell["target"].values()]
        assert len(numbers) == 6 and all(0 <= number <= 1 for number in numbers)
    # Two Gaussians whose means are 2.2 deviations from the middle: no probe is right more often than 99 % or so.
    assert 0.9 < cells["raw", "coordinates", None]["source"]["linear"][1] <= 1
    assert set(record["models"]) == {"plain", "masked"}
    assert all(np.isfinite(facts["denoising_loss"]) for facts in record["models"].values())
    assert record["finding"] in out and "at t = 0.05" in out and "model: masked" in out
    assert (folder / "probe.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert stages(folder) == {"source"} and len(list((folder / "checkpoints").iterdir())) == 2


def test_each_model_is_shown_where_other_rows_chose(finished):
    record = strict_json(finished[0] / "probe.json")
    for best in record["best"]:
        rivals = [c for c in record["cells"] if c["model"] == best["model"]]
        assert best["source"]["linear"][0] == max(c["source"]["linear"][0] for c in rivals)


def test_the_same_command_shows_what_is_there_and_goes_on_where_it_stopped(finished):
    folder, out = finished
    before = snapshot(folder)
    again, _ = call(*PROBE, "--out", folder)
    assert snapshot(folder) == before and "already complete" in again
    assert again.splitlines()[:-1] == out.splitlines()[:-1]
    record = (folder / "probe.json").read_text()
    (folder / "probe.json").unlink()
    _, said = call(*PROBE, "--out", folder)
    assert said.count("already finished, loaded") == 2
    fresh, kept = json.loads((folder / "probe.json").read_text()), json.loads(record)
    del fresh["total_seconds"], kept["total_seconds"]
    assert fresh == kept


@pytest.mark.parametrize("change", [{"cells": 3}, {"rows": None}, {"best": [3]}, {"finding": None}, {"problem": 3}])
def test_a_record_that_is_not_what_was_written_is_one_sentence(finished, tmp_path, change):
    folder = shutil.copytree(finished[0], tmp_path / "run")
    (folder / "complete.json").unlink()  # as an earlier version left it
    path = folder / "probe.json"
    path.write_text(json.dumps(strict_json(path) | change))
    said = refused(*PROBE, "--out", folder)
    assert f"{path} can not be read (its contents are not what was written: " in said and "delete it" in said


def test_a_damaged_picture_is_made_again(finished, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path / "run")
    (folder / "probe.png").write_bytes(b"")
    _, said = call(*PROBE, "--out", folder)
    assert "damaged or gone: probe.png; made again" in said and said.count("already finished, loaded") == 2
    assert (folder / "probe.png").read_bytes() == (finished[0] / "probe.png").read_bytes()


def test_what_does_not_fit_is_refused(finished, tmp_path):
    assert "holds another probe (times is" in refused(*PROBE[:-1], "--out", finished[0])
    assert "unknown representation objective 'nope'" in refused(*PROBE, "--objectives", "nope", "--out", tmp_path / "a")
    assert "times is (0.0,)" in refused("probe", "gaussians", "--times", "0", "--out", tmp_path / "a")
    rows = tmp_path / "rows.npz"
    np.savez(rows, x=np.random.default_rng(0).normal(size=(120, 2)))
    said = refused("probe", "arrays", "--source", rows, "--target", rows, "--out", tmp_path / "a")
    assert "has no labels" in said and "under y" in said
    np.savez(rows, x=np.random.default_rng(0).normal(size=(120, 2)), y=np.zeros(120, int))
    said = refused("probe", "arrays", "--source", rows, "--target", rows, "--out", tmp_path / "a")
    assert "all of one class" in said
    assert not (tmp_path / "a").exists()
