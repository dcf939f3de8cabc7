"""Runs that are killed, stopped, cut short of disk or damaged end with the bits of a run that was left in peace."""

import contextlib
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests.e2e.nursery import ROOT, Deed, Nursery
from tests.e2e.tools import GAUSSIANS, PowerCut, call, contents, read, refused, snapshot
from tgdp_jax.app.commands import run as run_command
from tgdp_jax.errors import UserError
from tgdp_jax.runtime import preemption
from tgdp_jax.train import checkpoint, fit
from tgdp_jax.train.session import Session

# Many short launches: STEPS steps a stage, a checkpoint after every other one.
STEPS = 16
SMALL_STAGES = tuple(
    option
    for name in (
        *(f"{stage}.optimiser" for stage in ("source", "classifier", "guidance", "rival")),
        "gan.source",
        "gan.target",
    )
    for option in (f"--{name}.steps", STEPS, f"--{name}.steps-per-launch", 2)
)
# The cycle term adds the noisy classifier: with it a run has every stage of the guided methods.
RUN = (*GAUSSIANS, *SMALL_STAGES, "--guidance.cycle", "0.1")
ALWAYS, NEVER = ("--checkpoint-seconds", "0"), ("--checkpoint-seconds", "1e9")
STAGES = ("source", "classifier", "noisy_classifier", "guidance")


def digests(folder: Path) -> dict[str, str]:
    """The digest of every finished stage's arrays."""
    return {
        path.parent.name: json.loads(path.read_text())["digest"].split(".")[0]
        for path in (folder / "checkpoints").glob("*/stage.json")
    }


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


def curves(folder: Path) -> dict[tuple[str, str], list[dict]]:
    """The rows of every part of every stage, without what a clock measured."""
    out: dict[tuple[str, str], list[dict]] = {}
    for row in rows(folder):
        del row["steps_per_second"]
        out.setdefault((row.pop("stage"), row.pop("part")), []).append(row)
    return out


def assert_same_end(folder: Path, whole: Path) -> None:
    """Same weights, samples and curves to the bit; nothing is left of the way there."""
    assert digests(folder) == digests(whole)
    assert (folder / "samples.npz").read_bytes() == (whole / "samples.npz").read_bytes()
    assert curves(folder) == curves(whole)
    assert {path.name for path in folder.iterdir()} == {path.name for path in whole.iterdir()}
    assert sorted(os.listdir(folder / "checkpoints")) == sorted(os.listdir(whole / "checkpoints"))


@pytest.fixture(scope="module", autouse=True)
def heard_interrupts():
    """A shell that puts the tests into the background has them, and their children, ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def nursery(tmp_path_factory):
    with contextlib.closing(Nursery(tmp_path_factory.mktemp("children"))) as nursery:
        yield nursery


@pytest.fixture(scope="module")
def whole(nursery, tmp_path_factory):
    """A run that nothing happens to."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    code, out, err = nursery.run(*RUN, *NEVER, "--out", folder)
    assert code == 0 and f"run folder: {folder}" in out, err
    return folder


@pytest.fixture(scope="module")
def whole_finetune(nursery, tmp_path_factory):
    """Another, whose last stage has several parts."""
    folder = tmp_path_factory.mktemp("whole") / "finetune"
    assert nursery.run(*RUN, *NEVER, "--method", "finetune", "--out", folder)[0] == 0
    return folder


def test_the_run_that_others_are_compared_with(whole, whole_finetune):
    steps = [float(step) for step in range(2, STEPS + 1, 2)]
    assert {name: [row["step"] for row in part] for name, part in curves(whole).items()} == {
        (stage, "fit"): steps for stage in STAGES
    }
    parts = [part for stage, part in curves(whole_finetune) if stage == "finetune"]
    assert parts == ["rate0", "all_rows"]
    assert set(digests(whole)) == set(os.listdir(whole / "checkpoints"))


# Killed


def deaths(stages: tuple[str, ...], seed: int, num: int) -> list[Deed]:
    """`num` ways to die in the order of the work: between launches, while a checkpoint or a stage is being saved."""
    rng = random.Random(seed)
    out = []
    for i, stage in enumerate(stages):
        share = num * (i + 1) // len(stages) - num * i // len(stages)
        steps = sorted(rng.sample(range(2, STEPS + 1, 2), share - 1))
        points = [rng.choice(("report", "save", "late")) for _ in steps]
        # A thread that strikes a few milliseconds after the save began, in the middle of it.
        out += [
            Deed(stage, step, "save", after_ms=rng.uniform(0.1, 20.0)) if point == "late" else Deed(stage, step, point)
            for step, point in zip(steps, points, strict=True)
        ]
        out.append(Deed(stage, 0, rng.choice(("finish", "discard"))))
    return out


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_as_if_it_had_not_been(nursery, whole, tmp_path):
    folder = tmp_path / "run"
    command = (*RUN, *ALWAYS, "--out", folder)
    ways, reached = deaths(STAGES, seed=3, num=12), []
    assert {"late" if deed.after_ms else deed.point for deed in ways} == {"report", "save", "late", "finish", "discard"}
    for deed in ways:
        code, _, err = nursery.run(*command, deed=deed)
        assert code == -signal.SIGKILL, err
        # What was known then: how many stages are finished, and whether the report is.
        reached.append(len(digests(folder)) if (folder / "checkpoints").exists() else 0)
        assert not (folder / "samples.npz").exists()
    code, _, err = nursery.run(*command)
    assert code == 0, err
    assert_same_end(folder, whole)
    assert len(reached) == 12 and set(reached) >= {0, 1, 2, 3}, "the kills did not hit every stage"


@pytest.mark.slow
def test_a_stage_of_several_parts_goes_on_in_the_part_where_it_was(nursery, whole_finetune, tmp_path):
    folder = tmp_path / "run"
    command = (*RUN, *ALWAYS, "--method", "finetune", "--out", folder)
    # Steps count within a part: the second death is in the first launch of the second part.
    for deed in (Deed("finetune", 6, "save"), Deed("finetune", 2, "save"), Deed("finetune", 0, "discard")):
        assert nursery.run(*command, deed=deed)[0] == -signal.SIGKILL
    code, _, err = nursery.run(*command)
    assert code == 0, err
    assert_same_end(folder, whole_finetune)


@pytest.mark.slow
def test_two_players_go_on_where_they_were(nursery, tmp_path):
    whole, folder = tmp_path / "whole" / "run", tmp_path / "run"  # apart: runs of one folder share their stages
    command = (*RUN, "--method", "gan", "--gan.freeze", "1", "--gan.discriminator-steps", "3")
    assert nursery.run(*command, *NEVER, "--out", whole)[0] == 0
    # After steps at which the generator moves and does not; the last where, folds being done, all rows train.
    for deed in (
        Deed("gan_source", 10, "report"),
        Deed("gan_target", 8, "save"),
        Deed("gan_target", 2, "report"),
    ):
        assert nursery.run(*command, *ALWAYS, "--out", folder, deed=deed)[0] == -signal.SIGKILL
    code, _, err = nursery.run(*command, *ALWAYS, "--out", folder)
    assert code == 0, err
    assert_same_end(folder, whole)


@pytest.mark.slow
def test_a_comparison_that_is_killed_again_and_again_ends_as_its_runs_do(nursery, whole, whole_finetune, tmp_path):
    folder = tmp_path / "comparison"
    options = RUN[RUN.index("8") + 1 :]
    cells = ("--methods", "finetune,tgdp", "--n-targets", "8", "--seeds", "1")
    command = ("compare", "gaussians", "--num-source", "200", *options, *cells, *ALWAYS, "--out", folder)
    # In the order of the work; the last cell is that of fresh data.
    for deed, finished in (
        (Deed("finetune", 2, "save"), 0),
        (Deed("", 0, "sampling"), 0),
        (Deed("noisy_classifier", 6, "save"), 1),
        (Deed("guidance", 0, "finish"), 1),
        (Deed("", 0, "page"), 3),
    ):
        code, _, err = nursery.run(*command, deed=deed)
        assert code == -signal.SIGKILL, err
        assert len(list((folder / "cells").glob("*.json"))) == finished and not (folder / "report.html").exists()
    code, _, err = nursery.run(*command)
    assert code == 0, err
    assert digests(folder) == digests(whole) | digests(whole_finetune)
    for method, run in (("tgdp", whole), ("finetune", whole_finetune)):
        drawn = read(folder / "samples" / f"{method}-n8-seed0.npz")["x"]
        np.testing.assert_array_equal(drawn, read(run / "samples.npz")["x"])


def test_a_run_goes_on_from_its_last_checkpoint_and_not_from_the_start(nursery, tmp_path):
    folder = tmp_path / "run"
    command = (*RUN, *ALWAYS, "--out", folder)
    assert nursery.run(*command, deed=Deed("source", 10, "report"))[0] == -signal.SIGKILL
    kept = [int(path.name) for path in (folder / "checkpoints").glob(".source-*/fit/[0-9]*") if path.name.isdigit()]
    # The one of step 8 may still have been on its way; two are kept.
    assert max(kept) in (6, 8) and len(kept) <= 3
    before = rows(folder)
    assert nursery.run(*command, deed=Deed("source", 12, "report"))[0] == -signal.SIGKILL
    after = rows(folder)
    assert [row["step"] for row in after] == list(range(2, 13, 2))
    # What was known is not trained again: those lines are the old ones, times and all.
    same = max(kept) // 2
    assert after[:same] == before[:same] and after[same]["steps_per_second"] is None


# Asked to stop


@pytest.mark.slow
def test_a_run_that_is_asked_to_stop_saves_and_goes_on_from_there(nursery, whole, tmp_path):
    folder = tmp_path / "run"
    command = (*RUN, *NEVER, "--out", folder)
    ways = (
        ("source", 6, "SIGTERM", 143),
        ("classifier", 10, "SIGINT", 130),
        ("noisy_classifier", 2, "SIGTERM", 143),
        ("guidance", 4, "SIGINT", 130),
    )
    for stage, step, by, expected in ways:
        code, out, err = nursery.run(*command, deed=Deed(stage, step, "report", by))
        assert code == expected and out == "" and "Traceback" not in err, err
        # The launch that was under way when the signal came is finished and saved; no other checkpoint is.
        (partial,) = (folder / "checkpoints").glob(".*")
        (last,) = (int(path.name) for path in (partial / "fit").iterdir())
        assert partial.name.startswith(f".{stage}-") and last in (step, step + 2)
        assert rows(folder)[-1]["step"] == last
        assert err.splitlines()[-1] == f"tgdp: saved at step {last} of {stage}; run the same command again to go on"
    code, _, err = nursery.run(*command)
    assert code == 0, err
    assert_same_end(folder, whole)
    # Each stage was taken up once, after the step where it had been left.
    starts = [row["step"] for row in rows(folder) if row["steps_per_second"] is None]
    assert len(starts) == 8 and starts[::2] == [2, 2, 2, 2] and all(step > 2 for step in starts[1::2])


@pytest.mark.parametrize(("point", "by", "expected"), [("sampling", "SIGINT", 130), ("page", "SIGTERM", 143)])
def test_a_run_that_is_asked_to_stop_after_training_trains_nothing_again(nursery, whole, tmp_path, point, by, expected):
    folder = shutil.copytree(whole, tmp_path / "run")
    for name in ("samples.npz", "metrics.json", "report.html"):
        (folder / name).unlink()
    command = (*RUN, *NEVER, "--out", folder)
    code, out, err = nursery.run(*command, deed=Deed("", 0, point, by))
    assert code == expected and out == "" and "Traceback" not in err, err
    assert err.splitlines()[-1] == "tgdp: stopped; what is finished is kept; run the same command again to go on"
    assert not (folder / "metrics.json").exists() and not list(folder.rglob("*.part*"))
    code, _, err = nursery.run(*command)
    assert code == 0 and err.count("already finished, loaded") == len(STAGES)
    assert_same_end(folder, whole)


def test_a_signal_in_code_that_holds_it_back_comes_afterwards():
    order = []
    with pytest.raises(preemption.Preempted) as caught, preemption.listening():
        with preemption.deferred():
            with preemption.deferred():
                os.kill(os.getpid(), signal.SIGTERM)
                order.append(preemption.asked())
            order.append("inner done")
        order.append("never")
    assert order == [True, "inner done"] and caught.value.code == 143
    assert not preemption.asked()


def test_drawing_that_is_asked_to_stop_leaves_no_file_and_says_so(nursery, whole, tmp_path):
    kept = contents(whole)
    command = ("sample", whole, "--num", 100, "--out", tmp_path / "more.npz")
    code, out, err = nursery.run(*command, deed=Deed("", 0, "sampling", "SIGINT"))
    assert code == 130 and out == "" and "Traceback" not in err, err
    assert err.splitlines()[-1].startswith("tgdp: stopped; no samples were written; the same command draws them from")
    assert list(tmp_path.iterdir()) == [] and contents(whole) == kept
    assert nursery.run(*command)[0] == 0 and len(read(tmp_path / "more.npz")["x"]) == 100


def test_what_was_told_while_it_is_asked_to_stop_is_what_was_saved():
    # The storage layer's end, on the way out, holds signals back as well.
    with pytest.raises(preemption.Preempted) as caught, preemption.listening():
        try:
            with preemption.deferred():
                os.kill(os.getpid(), signal.SIGINT)
                raise preemption.Preempted("step 4 of source")
        finally:
            with preemption.deferred():
                pass
    assert caught.value.code == 130 and caught.value.saved == "step 4 of source"


HELD_UP = """
import hashlib
from tgdp_jax.runtime import preemption
with preemption.listening(), preemption.deferred():
    print("ready", flush=True)
    # Minutes of compiled code, in which the interpreter's handlers wait.
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""


def test_a_second_ctrl_c_ends_at_once_whatever_is_held_back():
    child = subprocess.Popen([sys.executable, "-c", HELD_UP], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    with child:
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        child.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(1)
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 130


def test_ctrl_c_that_was_ignored_from_the_start_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with preemption.listening():
            os.kill(os.getpid(), signal.SIGINT)
            assert not preemption.asked()
    finally:
        signal.signal(signal.SIGINT, before)


# Damaged checkpoints. From here on within this process: a cut is an exception.


@contextlib.contextmanager
def cut_at(stage: str, step: int):
    """A power cut at the given step; checkpoints of before are on disk."""
    report = Session.report

    def cut(session: Session, row: dict[str, float], steps: int) -> None:
        report(session, row, steps)
        if session.partial is not None and session.partial.folder.name.startswith(f".{stage}-") and row["step"] >= step:
            raise PowerCut

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "report", cut)
        yield


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory, light_metrics):
    """A run that was cut off in the middle of a stage, with two checkpoints of it."""
    folder = tmp_path_factory.mktemp("cut") / "run"
    with cut_at("classifier", 12), pytest.raises(PowerCut):
        call(*RUN, *ALWAYS, "--out", folder)
    return folder


def under_way(folder: Path) -> list[Path]:
    """The checkpoints of the stage that is under way, oldest first."""
    found = (folder / "checkpoints").glob(".classifier-*/fit/*")
    return sorted((path for path in found if path.name.isdigit()), key=lambda path: int(path.name))


@pytest.fixture
def cut_run(cut_off, tmp_path):
    folder = shutil.copytree(cut_off, tmp_path / "run")
    assert [path.name for path in under_way(folder)] == ["8", "10"]
    return folder


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def damage(checkpoint: Path, how) -> None:
    """Damages every file of a checkpoint that holds numbers or facts."""
    files = [path for path in checkpoint.rglob("*") if path.is_file() and path.stat().st_size > 200]
    assert len(files) >= 3
    for path in files:
        how(path)


@pytest.mark.parametrize("how", [_truncate, _zero, _empty])
def test_a_damaged_checkpoint_is_left_for_the_one_before(cut_run, whole, how):
    _, newest = under_way(cut_run)
    damage(newest, how)
    _, err = call(*RUN, *ALWAYS, "--out", cut_run)
    (warning,) = [line for line in err.splitlines() if line.startswith("warning: checkpoint")]
    assert str(newest) in warning and "is damaged" in warning and "the one before" in warning
    assert digests(cut_run) == digests(whole) and curves(cut_run) == curves(whole)
    np.testing.assert_array_equal(read(cut_run / "samples.npz")["x"], read(whole / "samples.npz")["x"])
    # Taken up after step 8.
    assert [row["step"] for row in rows(cut_run) if row["steps_per_second"] is None] == [2, 2, 10, 2, 2]


def test_where_all_checkpoints_are_damaged_the_stage_starts_anew(cut_run, whole):
    for path, how in zip(under_way(cut_run), (_truncate, _empty), strict=True):
        damage(path, how)
    _, err = call(*RUN, *ALWAYS, "--out", cut_run)
    assert sum(line.startswith("warning: checkpoint") for line in err.splitlines()) == 2
    assert digests(cut_run) == digests(whole) and curves(cut_run) == curves(whole)
    assert [row["step"] for row in rows(cut_run) if row["steps_per_second"] is None] == [2, 2, 2, 2]


def test_a_checkpoint_of_another_key_is_not_gone_on_with(cut_run, whole):
    # Copied by hand between folders: sound, but of another run.
    for path in under_way(cut_run):
        facts = path / "facts" / "metadata"
        stored = json.loads(facts.read_text())
        facts.write_text(json.dumps(stored | {"key": [1, 2]}))
    _, err = call(*RUN, *ALWAYS, "--out", cut_run)
    assert err.count("do not match its record") == 2
    assert digests(cut_run) == digests(whole)


# A full disk, numbers that are not finite


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["foreground", "background"])
def test_a_disk_that_fills_between_checkpoints_is_said_and_the_last_one_is_kept(cut_run, whole, where):
    before = under_way(cut_run)
    with pytest.MonkeyPatch.context() as patch:
        if where == "foreground":
            patch.setattr(ocp.CheckpointManager, "save", full)
        else:
            patch.setattr(ocp.JsonCheckpointHandler, "_save_fn", full)
        said = refused(*RUN, *ALWAYS, "--out", cut_run)
    assert "can not be written" in said and "No space left" in said and "free some space" in said
    assert set(before) <= set(under_way(cut_run))
    _settle(cut_run)
    # With room again it goes on from there, step 10.
    call(*RUN, *ALWAYS, "--out", cut_run)
    assert digests(cut_run) == digests(whole) and curves(cut_run) == curves(whole)
    assert [row["step"] for row in rows(cut_run) if row["steps_per_second"] is None] == [2, 2, 12, 2, 2]


def _settle(folder):
    """Waits until nothing is written any more: this process outlives what failed in its background."""
    seen: set[Path] = set()
    while seen != (now := set(folder.rglob("*"))):
        seen = now
        time.sleep(0.5)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("only root mounts file systems")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_disk_that_is_really_full_is_said_and_the_last_checkpoint_is_kept(cut_off, whole, small_disk):
    folder = shutil.copytree(cut_off, small_disk / "run")
    before = under_way(folder)
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    said = refused(*RUN, *ALWAYS, "--out", folder)
    assert "can not be written" in said and "free some space" in said
    assert under_way(folder) == before
    filler.unlink()
    call(*RUN, *ALWAYS, "--out", folder)
    assert digests(folder) == digests(whole) and curves(folder) == curves(whole)


def test_training_that_diverges_keeps_the_last_good_checkpoint(cut_run, whole):
    before = under_way(cut_run)
    launch = fit.parallel.mapped

    def diverge(fn, *args, **kwargs):
        result = launch(fn, *args, **kwargs)
        if fn is fit.launch:
            result.out[1]["loss"] = np.float32("nan")
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit.parallel, "mapped", diverge)
        said = refused(*RUN, *ALWAYS, "--out", cut_run)
    assert "training diverged" in said and "at step 12" in said
    assert under_way(cut_run) == before
    assert rows(cut_run)[-1]["step"] == 12
    call(*RUN, *ALWAYS, "--out", cut_run)
    assert digests(cut_run) == digests(whole)


# One folder, one process


@pytest.mark.parametrize("command", ["run", "compare"])
def test_a_second_process_is_kept_out_and_the_first_is_unharmed(nursery, whole, tmp_path, command):
    folder = tmp_path / "run"
    arguments = (*RUN, "--method", "source")
    if command == "compare":
        cells = ("--methods", "source", "--n-targets", "8", "--seeds", "1")
        arguments = ("compare", "gaussians", "--num-source", "200", *RUN[RUN.index("8") + 1 :], *cells)
    first = nursery.start(*arguments, *ALWAYS, "--out", folder, deed=Deed("source", 8, "report", "SIGSTOP"))
    assert nursery.wait(first) == -signal.SIGSTOP
    before = snapshot(folder)
    code, out, err = nursery.run(*arguments, "--out", folder)
    assert code == 2 and out == ""
    assert f"another process is at work in {folder}" in err.splitlines()[-1]
    assert snapshot(folder) == before
    os.kill(first, signal.SIGCONT)
    assert nursery.wait(first) == 0
    assert len(digests(folder)) == 1 and digests(folder).items() <= digests(whole).items()


def test_a_process_that_was_killed_holds_no_lock(nursery, tmp_path):
    folder = tmp_path / "run"
    first = nursery.start(*RUN, *ALWAYS, "--out", folder, deed=Deed("source", 8, "report", "SIGSTOP"))
    assert nursery.wait(first) == -signal.SIGSTOP
    assert nursery.run(*RUN, "--out", folder)[0] == 2
    os.kill(first, signal.SIGKILL)
    assert nursery.wait(first) == -signal.SIGKILL
    code, _, err = nursery.run(*RUN, *NEVER, "--out", folder, deed=Deed("source", 16, "report", "SIGTERM"))
    assert code == 143, err


def test_no_resume_refuses_a_folder_that_holds_a_run(cut_run):
    before = snapshot(cut_run)
    said = refused(*RUN, "--no-resume", "--out", cut_run)
    assert "holds a run" in said and "choose another --out" in said
    assert snapshot(cut_run) == before


def test_no_resume_takes_a_new_folder(tmp_path, monkeypatch):
    claimed = []

    def enough(*args, **kwargs):
        claimed.append((tmp_path / "new" / "config.json").exists())
        raise UserError("far enough")

    monkeypatch.setattr(run_command, "train_method", enough)
    assert refused(*RUN, "--no-resume", "--out", tmp_path / "new") == "far enough"
    assert claimed == [True]


# Checkpoints themselves


def test_a_checkpoint_comes_back_to_the_bit_and_only_two_are_kept(tmp_path):
    import jax

    key = jax.random.key(3)
    state = {"w": np.arange(6, dtype=np.float32).reshape(2, 3) / 7, "count": np.int32(4), "b": np.array([np.inf, -0.0])}
    partial = checkpoint.Partial(tmp_path / "under_way", seconds=0)
    assert partial.restore("fit", state, key) is None and not (tmp_path / "under_way").exists()
    history: dict[str, list[float]] = {"step": [], "loss": []}
    for step in (1, 2, 3):
        history["step"].append(step)
        history["loss"].append(0.1)
        partial.save("fit", state, key, history)
    # What comes afterwards is no part of it, however late the background gets to write.
    history["step"].append(4)
    state["w"][:] = 0
    partial.close()
    assert sorted(path.name for path in (tmp_path / "under_way" / "fit").iterdir()) == ["2", "3"]
    found, history = checkpoint.Partial(tmp_path / "under_way", seconds=0).restore("fit", state, key)
    assert history == {"step": [1, 2, 3], "loss": [0.1] * 3}
    state["w"][:] = np.arange(6, dtype=np.float32).reshape(2, 3) / 7
    for name, leaf in state.items():
        assert np.asarray(found[name]).tobytes() == np.asarray(leaf).tobytes() and found[name].dtype == leaf.dtype
    assert partial.restore("another", state, key) is None
    partial.discard()
    assert not (tmp_path / "under_way").exists()


def test_checkpoints_are_as_far_apart_as_asked(tmp_path, monkeypatch):
    import jax

    clock = [0.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: clock[0])
    partial = checkpoint.Partial(tmp_path, seconds=60.0)
    for now in range(0, 200, 20):
        clock[0] = float(now)
        partial.save("fit", {"w": np.ones(2)}, jax.random.key(0), {"step": [now]})
    partial.save("fit", {"w": np.ones(2)}, jax.random.key(0), {"step": [999]}, now=True)
    partial.close()
    # At 60, 120 and 180; two are kept, the last of them asked for.
    assert sorted(path.name for path in (tmp_path / "fit").iterdir()) == ["180", "999"]


def test_seconds_of_the_processes_before_are_known(tmp_path, monkeypatch):
    import jax

    clock, key, state = [0.0], jax.random.key(0), {"w": np.ones(2)}
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: clock[0])
    for start, earlier in ((0.0, 0.0), (1000.0, 50.0), (5000.0, 100.0)):
        clock[0] = start
        partial = checkpoint.Partial(tmp_path, seconds=60.0)
        partial.restore("fit", state, key)
        assert partial.earlier == earlier
        clock[0] += 50.0
        partial.save("fit", state, key, {"step": [int(start) + 1]}, now=True)
        partial.close()
