"""Training curves on disk: every step once, and whole lines."""

import errno
import json
import os
from pathlib import Path

import pytest

from tgdp_jax.app.journal import Journal
from tgdp_jax.errors import UserError


def row(step: float, loss: float = 0.5) -> dict[str, float]:
    return {"step": step, "loss": loss, "validation": loss / 2}


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


def places(folder) -> list[tuple]:
    return [(line["stage"], line["part"], line["step"]) for line in lines(folder)]


def test_a_line_a_launch(tmp_path):
    log = Journal(tmp_path).stage("source")
    log("fit", row(10, 0.5))
    log("fit", row(20, 0.25))
    first, second = lines(tmp_path)
    speed = second.pop("steps_per_second")
    assert first == {"stage": "source", "part": "fit", **row(10, 0.5), "steps_per_second": None}
    assert second == {"stage": "source", "part": "fit", **row(20, 0.25)}
    assert speed > 0


def test_nothing_is_made_before_there_is_something_to_write(tmp_path):
    Journal(tmp_path).stage("source")
    assert not list(tmp_path.iterdir())


def test_lines_are_there_at_once(tmp_path):
    log = Journal(tmp_path).stage("source")
    log("fit", row(10))
    assert (tmp_path / "train.jsonl").read_text().endswith("}\n")


def test_what_is_trained_again_is_taken_back_and_nothing_else_is(tmp_path):
    journal = Journal(tmp_path)
    for stage, part in (("source", "fit"), ("finetune", "rate0"), ("finetune", "rate1")):
        for step in (10, 20, 30):
            journal.stage(stage)(part, row(step, 0.5))
    before = lines(tmp_path)
    # Continued from the checkpoint of step 10.
    again = Journal(tmp_path).stage("finetune")
    again("rate0", row(20, 0.75))
    assert places(tmp_path) == [
        *(("source", "fit", step) for step in (10, 20, 30)),
        ("finetune", "rate0", 10),
        *(("finetune", "rate1", step) for step in (10, 20, 30)),
        ("finetune", "rate0", 20),
    ]
    assert [line for line in lines(tmp_path) if line["loss"] != 0.75] == [
        line for line in before if (line["part"], line["step"]) not in (("rate0", 20), ("rate0", 30))
    ]
    # Only where the part is taken up: what follows is appended.
    again("rate0", row(30, 0.75))
    assert [line["step"] for line in lines(tmp_path) if line["part"] == "rate0"] == [10, 20, 30]


def test_a_line_that_was_cut_off_is_dropped(tmp_path):
    log = Journal(tmp_path).stage("source")
    for step in (10, 20):
        log("fit", row(step))
    path = tmp_path / "train.jsonl"
    path.write_text(path.read_text()[:-25])
    Journal(tmp_path).stage("source")("fit", row(20))
    assert places(tmp_path) == [("source", "fit", 10), ("source", "fit", 20)]


@pytest.mark.parametrize("text", ["[]\n", "3\n", '{"other": 1}\n', "\xff\xfe\n"])
def test_lines_of_another_kind_do_not_stop_a_run(tmp_path, text):
    (tmp_path / "train.jsonl").write_text(text, encoding="latin-1")
    Journal(tmp_path).stage("source")("fit", row(10))
    assert places(tmp_path) == [("source", "fit", 10)]


def test_a_place_that_can_not_be_written_is_said(tmp_path):
    log = Journal(tmp_path / "gone").stage("source")
    with pytest.raises(
        UserError, match=r"train\.jsonl can not be written .* removed meanwhile, so run the same command again"
    ):
        log("fit", row(10))


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    log = Journal(tmp_path).stage("source")
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(UserError, match=r"train\.jsonl can not be written .* free some space"):
        log("fit", row(10))
